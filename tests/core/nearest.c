#include "server/core/nearest.h"

#include <criterion/criterion.h>
#include <stddef.h>
#include <string.h>

static const char *const words[] = {"port", "listen", "listen-notify", "log-level", NULL};

Test(nearest, a_mistyped_word_finds_what_was_meant)
{
    cr_expect_str_eq(nearest("port", words), "port");
    cr_expect_str_eq(nearest("prot", words), "port");
    cr_expect_str_eq(nearest("ports", words), "port");
    cr_expect_str_eq(nearest("lisen", words), "listen");
    cr_expect_str_eq(nearest("log_level", words), "log-level");
    cr_expect_str_eq(nearest("listen-notfiy", words), "listen-notify");
}

Test(nearest, what_is_far_from_all_finds_nothing)
{
    char long_word[200];

    memset(long_word, 'p', sizeof long_word - 1);
    long_word[sizeof long_word - 1] = '\0';
    cr_expect_null(nearest("", words));
    cr_expect_null(nearest("concurrency", words));
    cr_expect_null(nearest("xy", words));
    cr_expect_null(nearest(long_word, words));
    cr_expect_null(nearest("port", words + 4));
}
