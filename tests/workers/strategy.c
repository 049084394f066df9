/* When a failed job is tried again: the table of docs/retries.md, and what it leaves to
 * chance. */
#include "workers/strategy.h"

#include "server/core/cleanup.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(strategy, .timeout = 30);

static const struct config config = {.backoff_base_seconds = 1,
                                     .backoff_max_seconds = 3600};

static int64_t wait_of(const char *options, int failures, const char *kind)
{
    struct job job = {.options = options, .counted = failures};

    return strategy_wait_ms(&config, &job, kind);
}

/* | `{...}` | 1 | 2 | ... : as the page says it is without jitter. */
static void expect_row(char *line)
{
    static const int failures[] = {1, 2, 3, 4, 10, 100};
    CLEANUP(buf_release) struct buf options = BUF_INIT;
    char *retry = strchr(line, '{'), *end = strchr(line, '`') + 1;

    end = strchr(end, '`');
    bool empty = end - retry == 2;
    buf_addf(&options, "{\"retry\":%.*s%s\"jitter\":false}}", (int)(end - retry) - 1,
             retry, empty ? "" : ",");
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        end = strchr(end, '|') + 1;
        cr_expect_eq(wait_of(options.text, failures[i], "any"),
                     (int64_t)(strtod(end, NULL) * 1000), "%s after %d: not %.8s",
                     options.text, failures[i], end);
    }
}

Test(strategy, waits_as_the_table_of_the_manual_says)
{
    FILE *page = fopen("docs/retries.md", "r");
    char line[512];
    int rows = 0;

    cr_assert_not_null(page);
    while (fgets(line, sizeof line, page) != NULL) {
        if (strncmp(line, "| `{", 4) != 0)
            continue;
        expect_row(line);
        rows++;
    }
    fclose(page);
    cr_expect_eq(rows, 7);
}

Test(strategy, jitter_draws_from_nothing_to_all_of_it)
{
    int64_t least = INT64_MAX, most = 0;

    for (int i = 0; i < 1000; i++) {
        int64_t ms = wait_of("{\"retry\":{\"kind\":\"fixed\",\"wait_seconds\":10,"
                             "\"jitter\":true}}",
                             1, "any");
        least = ms < least ? ms : least;
        most = ms > most ? ms : most;
    }
    cr_expect_lt(least, 500);
    cr_expect_gt(most, 9500);
    cr_expect_leq(most, 10000);
}

Test(strategy, a_kind_that_is_not_listed_is_for_good)
{
    const char *options = "{\"retry\":{\"on\":[\"a\",\"b\"],\"jitter\":false}}";

    cr_expect_eq(wait_of(options, 1, "b"), 1000);
    cr_expect_eq(wait_of(options, 1, "c"), -1);
    cr_expect_eq(wait_of("{\"retry\":{\"on\":[]}}", 1, "a"), -1);
    cr_expect_geq(wait_of("{\"retry\":{\"on\":null}}", 1, "a"), 0);
}

Test(strategy, the_jobs_own_counts_and_else_that_of_its_task)
{
    static const char *const on[] = {"a", NULL};
    static const struct retry_strategy slow = {
        .kind = RETRY_FIXED, .wait_seconds = 60, .on = on};
    static const struct task task = {.name = "t", .retry = &slow};
    struct job job = {.task = &task, .counted = 2};

    cr_expect_eq(strategy_wait_ms(&config, &job, "a"), 60000);
    cr_expect_eq(strategy_wait_ms(&config, &job, "b"), -1);
    job.options = "{\"traceparent\":\"00\"}";
    cr_expect_eq(strategy_wait_ms(&config, &job, "a"), 60000);
    job.options = "{\"retry\":{\"kind\":\"linear\",\"jitter\":false}}";
    cr_expect_eq(strategy_wait_ms(&config, &job, "b"), 2000);
}

Test(strategy, is_shown_as_it_counts)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;
    static const char *const on[] = {"a", "b\"", NULL};
    static const struct retry_strategy mine = {
        .kind = RETRY_LINEAR, .wait_seconds = -1, .max_wait_seconds = 2.5, .on = on};

    strategy_add_json(&b, &config, NULL);
    cr_expect_str_eq(b.text, "{\"kind\":\"exponential\",\"wait_seconds\":1,"
                             "\"max_wait_seconds\":3600,\"jitter\":true,\"on\":null}");
    buf_clear(&b);
    strategy_add_json(&b, &config, &mine);
    cr_expect_str_eq(b.text, "{\"kind\":\"linear\",\"wait_seconds\":0,"
                             "\"max_wait_seconds\":2.5,\"jitter\":false,"
                             "\"on\":[\"a\",\"b\\\"\"]}");
}
