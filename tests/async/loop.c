/* The order of things on the loop: children, cancels that cross results, many at once. */
#include "workers/async/loop.h"

#include "server/core/clock.h"
#include "tests/async/harness.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(loop, .timeout = 60);

static char trace[64]; /* in the order of its letters */

static void note(char c)
{
    size_t len = strlen(trace);

    trace[len] = c;
    trace[len + 1] = '\0';
}

static int notes_after(struct job_ctx *ctx, void *arg)
{
    const char *c = arg;

    cr_expect_eq(await_sleep(ctx, (*c - 'a') * 10, JOB_FOREVER), JOB_OK);
    note(*c);
    return 0;
}

static void sleeps_in_order(struct job_ctx *ctx)
{
    struct job_child *children[4];
    static char names[] = "dbca";

    for (int i = 0; i < 4; i++)
        children[i] = await_spawn(ctx, notes_after, &names[i]);
    for (int i = 0; i < 4; i++)
        cr_expect_eq(await_join(ctx, children[i], NULL, JOB_FOREVER), JOB_OK);
}
Test(loop, sleepers_wake_in_the_order_of_their_deadlines)
{
    run_async(sleeps_in_order);
    cr_expect_str_eq(trace, "abcd");
}

static int cleans_up(struct job_ctx *ctx, void *arg)
{
    (void)arg;
    if (await_sleep(ctx, 60000, JOB_FOREVER) != JOB_CANCELLED)
        return -EIO;
    note('c');
    cr_expect_eq(await_sleep(ctx, 20, JOB_FOREVER), JOB_OK, "clean-up may await");
    note('u');
    return JOB_CANCELLED;
}

static void cancel_waits_for_clean_up(struct job_ctx *ctx)
{
    int result = 0;

    test_cancel_in(5);
    cr_expect_eq(await_join(ctx, await_spawn(ctx, cleans_up, NULL), &result, JOB_FOREVER),
                 JOB_CANCELLED);
    cr_expect_eq(result, JOB_CANCELLED);
    note('j');
}
Test(loop, join_passes_the_cancel_on_and_waits_for_the_clean_up)
{
    run_async(cancel_waits_for_clean_up);
    cr_expect_str_eq(trace, "cuj");
}

static int swallows(struct job_ctx *ctx, void *arg)
{
    (void)arg;
    cr_expect_eq(await_sleep(ctx, 60000, JOB_FOREVER), JOB_CANCELLED);
    return 7;
}

static void swallowed_by_child(struct job_ctx *ctx)
{
    int result = 0;

    test_cancel_in(5);
    cr_expect_eq(await_join(ctx, await_spawn(ctx, swallows, NULL), &result, JOB_FOREVER),
                 JOB_OK);
    cr_expect_eq(result, 7);
    cr_expect_eq(await_sleep(ctx, 1, JOB_FOREVER), JOB_OK, "it is not delivered again");
}
Test(loop, child_that_swallows_the_cancel_has_a_result)
{
    run_async(swallowed_by_child);
}

static int counts_cancels(struct job_ctx *ctx, void *arg)
{
    int *n = arg;

    while (*n < 3) {
        if (await_sleep(ctx, 60000, JOB_FOREVER) == JOB_CANCELLED)
            ++*n;
    }
    return *n;
}

static int cancel_again(struct job_ctx *ctx, void *arg)
{
    (void)arg;
    cr_expect_eq(await_sleep(ctx, 30, JOB_FOREVER), JOB_OK);
    test_cancel();
    return 0;
}

static void cancels_thrice(struct job_ctx *ctx)
{
    int n = 0, result = 0;
    struct job_child *child = await_spawn(ctx, counts_cancels, &n);

    await_cancel(ctx, child); /* before it has run */
    test_cancel_in(5);
    cr_expect_eq(await_join(ctx, child, NULL, 1), JOB_TIMEOUT);
    cr_expect_eq(n, 1);
    await_spawn(ctx, cancel_again, NULL);
    cr_expect_eq(await_join(ctx, child, &result, JOB_FOREVER), JOB_OK);
    cr_expect_eq(result, 3);
}
Test(loop, a_further_cancel_reaches_a_child_that_swallowed_the_first)
{
    run_async(cancels_thrice);
}

static void cancel_of_all(struct job_ctx *ctx)
{
    struct job_child *children[2] = {await_spawn(ctx, cleans_up, NULL),
                                     await_spawn(ctx, swallows, NULL)};
    int result = 0;

    test_cancel_in(5);
    cr_expect_eq(await_any(ctx, children, 2, JOB_FOREVER), JOB_CANCELLED);
    cr_expect_str_eq(trace, "cu", "both have ended");
    cr_expect_eq(await_join(ctx, children[1], &result, JOB_FOREVER), JOB_OK);
    cr_expect_eq(result, 7);
}
Test(loop, a_cancel_of_any_is_passed_on_to_all_whose_clean_up_is_waited_for)
{
    run_async(cancel_of_all);
}

static int instant(struct job_ctx *ctx, void *arg)
{
    (void)ctx;
    ++*(int *)arg;
    return 0;
}

static void many_children(struct job_ctx *ctx)
{
    int n = 0;

    for (int round = 0; round < 3; round++) {
        struct job_child *children[5000];
        for (int i = 0; i < 5000; i++)
            children[i] = await_spawn(ctx, instant, &n);
        for (int i = 0; i < 5000; i++)
            cr_expect_eq(await_join(ctx, children[i], NULL, JOB_FOREVER), JOB_OK);
    }
    cr_expect_eq(n, 15000);
}
Test(loop, thousands_of_children_run_on_recycled_stacks)
{
    run_async(many_children);
}

static void result_beats_cancel(struct job_ctx *ctx)
{
    struct job_child *child = await_spawn(ctx, instant, &(int){0});

    cr_expect_eq(await_sleep(ctx, 1, JOB_FOREVER), JOB_OK);
    test_cancel();
    cr_expect_eq(await_join(ctx, child, NULL, JOB_FOREVER), JOB_OK,
                 "what is there already is returned");
    cr_expect_eq(await_sleep(ctx, 1, JOB_FOREVER), JOB_CANCELLED,
                 "and the cancel is not lost");
}
Test(loop, cancel_behind_a_result_is_kept_for_the_next_await)
{
    run_async(result_beats_cancel);
}
