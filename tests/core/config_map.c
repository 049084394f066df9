/* Settings that are maps: queue_concurrency, task_concurrency. */
#include "server/core/cleanup.h"
#include "server/core/config.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(config_map, .timeout = 30);

static enum err load(struct config *c, struct buf *why, int argc, ...)
{
    char *argv[8] = {strdup("serve")};
    va_list args;

    va_start(args, argc);
    for (int i = 1; i <= argc; i++)
        argv[i] = strdup(va_arg(args, const char *));
    va_end(args);
    enum err e = config_load(c, argc + 1, argv, why);
    for (int i = 0; i <= argc; i++)
        free(argv[i]);
    return e;
}

/* A file with this text, as BELAY_CONFIG. */
static void use_file(char *path, const char *yaml)
{
    int fd = mkstemp(path);

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, yaml, strlen(yaml)), (ssize_t)strlen(yaml));
    close(fd);
    setenv("BELAY_CONFIG", path, 1);
}

Test(config_map, is_given_in_each_of_the_four_ways)
{
    char path[] = "/tmp/belay-map-XXXXXX";
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    struct config c;

    use_file(path, "queue_concurrency:\n  mail: 2\n  news/a: 10\n"
                   "task_concurrency: a=1\n");
    cr_assert_eq(load(&c, &why, 0), ERR_OK, "%s", why.text);
    cr_expect_str_eq(c.queue_concurrency, "mail=2,news/a=10");
    cr_expect_str_eq(c.task_concurrency, "a=1");
    config_release(&c);
    setenv("BELAY_QUEUE_CONCURRENCY", "mail=3,web=1", 1);
    cr_assert_eq(load(&c, &why, 3, "--task-concurrency", "b=2", "--task-concurrency=c=3"),
                 ERR_OK, "%s", why.text);
    cr_expect_str_eq(c.queue_concurrency, "mail=3,web=1");
    cr_expect_str_eq(c.task_concurrency, "b=2,c=3");
    config_release(&c);
    unlink(path);
}

Test(config_map, one_that_is_wrong_is_refused)
{
    static const char *const wrong[] = {"mail",        "mail=",   "mail=0", "=1",
                                        "mail=1,,b=1", "mail=1 ", "a b=1",  "a=1,a=2",
                                        "mail=200001", "mail=x",  "*=1"};

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CLEANUP(buf_release) struct buf why = BUF_INIT;
        char words[200];
        struct config c;
        snprintf(words, sizeof words,
                 "--queue-concurrency: %s is not right; it should be as name=N, "
                 "comma-separated, with N from 1 to 200000, each name once",
                 wrong[i]);
        cr_expect_eq(load(&c, &why, 2, "--queue-concurrency", wrong[i]), ERR_USAGE);
        cr_expect_str_eq(why.text, words);
        config_release(&c);
    }
}

Test(config_map, in_the_file_it_has_numbers)
{
    char path[] = "/tmp/belay-map-XXXXXX";
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    struct config c;

    use_file(path, "port: 1\nqueue_concurrency:\n  mail: [1]\n");
    cr_expect_eq(load(&c, &why, 0), ERR_CONFIG);
    cr_expect_not_null(strstr(why.text, ":2: queue_concurrency: it should be one value"),
                       "%s", why.text);
    config_release(&c);
    unlink(path);
}
