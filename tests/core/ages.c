/* Settings that are a length of time: a number and its unit. */
#include "server/core/cleanup.h"
#include "server/core/config.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(ages, .timeout = 30);

static enum err load(const char *age, struct config *c, struct buf *why)
{
    setenv("BELAY_RETENTION_FAILED", age, 1);
    return config_load(c, 1, (char *[]){(char[]){"serve"}, NULL}, why);
}

static void expect_seconds(const char *age, int64_t seconds)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    struct config c;

    cr_assert_eq(load(age, &c, &why), ERR_OK, "%s", why.text);
    cr_expect_eq(c.retention_failed, seconds, "%s", age);
    config_release(&c);
}

Test(ages, are_a_number_with_its_unit)
{
    expect_seconds("7d", 7 * 86400);
    expect_seconds("36h", 36 * 3600);
    expect_seconds("90m", 90 * 60);
    expect_seconds("3153600000s", 36500LL * 86400);
    expect_seconds("0", 0);
}

Test(ages, that_are_none_are_refused_with_what_would_be_right)
{
    const char *const wrong[] = {"7", "d", "7x", "-1d", "7dd", "0d", "36501d", "1 d"};

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CLEANUP(buf_release) struct buf why = BUF_INIT;
        struct config c;
        cr_expect_eq(load(wrong[i], &c, &why), ERR_CONFIG, "%s was taken", wrong[i]);
        cr_expect_not_null(strstr(why.text, "it should be as 90d, 12h, 30m or 45s, or 0"),
                           "%s", why.text);
        config_release(&c);
    }
}
