/* What holds for every awaitable: it has a result, a deadline, and a clean end when its
 * job is cancelled, whatever it waits for. */
#include "server/core/clock.h"
#include "tests/async/awaitables.h"
#include "tests/async/harness.h"

#include <criterion/criterion.h>

static const struct awaitable *one;

static void for_each(void (*body)(struct job_ctx *ctx))
{
    for (size_t i = 0; i < n_awaitables; i++) {
        one = &awaitables[i];
        run_async(body);
    }
}

TestSuite(every, .init = outside_open, .fini = outside_close, .timeout = 60);

static void has_result(struct job_ctx *ctx)
{
    cr_expect_eq(one->completes(ctx), JOB_OK, "%s", one->name);
}
Test(every, await_returns_its_result)
{
    for_each(has_result);
}

static void meets_deadline(struct job_ctx *ctx)
{
    int64_t began_ms = clock_ms();
    int e = one->hangs(ctx, 30);

    cr_expect_eq(e, JOB_TIMEOUT, "%s: %d", one->name, e);
    cr_expect_geq(ms_since(began_ms), 29, "%s: %d ms", one->name,
                  (int)ms_since(began_ms));
    cr_expect_eq(one->hangs(ctx, 0), JOB_TIMEOUT, "%s", one->name);
    cr_expect_eq(one->completes(ctx), JOB_OK, "%s goes on working", one->name);
}
Test(every, await_ends_at_its_deadline)
{
    for_each(meets_deadline);
}

static void is_cancelled_while_waiting(struct job_ctx *ctx)
{
    test_cancel_in(10);
    cr_expect_eq(one->hangs(ctx, JOB_FOREVER), JOB_CANCELLED, "%s", one->name);
    cr_expect_eq(one->completes(ctx), JOB_OK, "%s: the cancel is swallowed", one->name);
    test_cancel_in(10);
    cr_expect_eq(one->hangs(ctx, 60000), JOB_CANCELLED, "%s: a second", one->name);
}
Test(every, await_is_cancelled_while_it_waits)
{
    for_each(is_cancelled_while_waiting);
}

static void is_cancelled_before(struct job_ctx *ctx)
{
    test_cancel();
    cr_expect_eq(one->hangs(ctx, JOB_FOREVER), JOB_CANCELLED, "%s", one->name);
    cr_expect_eq(one->hangs(ctx, 10), JOB_TIMEOUT, "%s: it is delivered once", one->name);
}
Test(every, await_returns_a_cancel_that_came_before_it)
{
    for_each(is_cancelled_before);
}

static int short_wait(struct job_ctx *ctx, void *arg)
{
    bool *has_ended = arg;
    int result = one->hangs(ctx, 200);

    *has_ended = true;
    return result;
}

static void goes_on_behind_a_shield(struct job_ctx *ctx)
{
    int result = 0;
    bool has_ended = false;
    struct job_child *child = await_spawn(ctx, short_wait, &has_ended);

    test_cancel_in(10);
    cr_expect_eq(await_shielded(ctx, child, "part", JOB_FOREVER), JOB_CANCELLED, "%s",
                 one->name);
    cr_expect_not(has_ended, "%s: it comes at once", one->name);
    cr_expect_eq(await_join(ctx, child, &result, JOB_FOREVER), JOB_OK, "%s", one->name);
    cr_expect_eq(result, JOB_TIMEOUT, "%s was not cancelled: %d", one->name, result);
}
Test(every, await_behind_a_shield_is_not_cancelled)
{
    for_each(goes_on_behind_a_shield);
}

static int timeout_of_child(struct job_ctx *ctx, void *arg)
{
    (void)arg;
    return one->hangs(ctx, 60);
}

static void works_behind_a_join_that_gave_up(struct job_ctx *ctx)
{
    int result = 0;
    struct job_child *child = await_spawn(ctx, timeout_of_child, NULL);

    cr_expect_eq(await_join(ctx, child, NULL, 10), JOB_TIMEOUT, "%s", one->name);
    cr_expect_eq(await_join(ctx, child, &result, JOB_FOREVER), JOB_OK, "%s", one->name);
    cr_expect_eq(result, JOB_TIMEOUT, "%s", one->name);
}
Test(every, await_of_a_child_outlives_the_deadline_of_its_join)
{
    for_each(works_behind_a_join_that_gave_up);
}

static int hang(struct job_ctx *ctx, void *arg)
{
    *(int *)arg = one->hangs(ctx, JOB_FOREVER);
    return 0;
}

static int results[3];

static void leaves_children(struct job_ctx *ctx)
{
    for (int i = 0; i < 3; i++) {
        results[i] = 1;
        await_spawn(ctx, hang, &results[i]);
    }
    cr_expect_eq(await_sleep(ctx, 5, JOB_FOREVER), JOB_OK);
}

Test(every, await_of_a_child_is_cancelled_when_the_task_returns)
{
    for (size_t i = 0; i < n_awaitables; i++) {
        one = &awaitables[i];
        run_async(leaves_children);
        for (int k = 0; k < 3; k++)
            cr_expect_eq(results[k], JOB_CANCELLED, "%s: %d", one->name, results[k]);
    }
}

static void is_shielded_only_once(struct job_ctx *ctx)
{
    int result = 0;
    struct job_child *child = await_spawn(ctx, hang, &result);

    test_cancel_in(5);
    cr_expect_eq(await_shielded(ctx, child, "part", JOB_FOREVER), JOB_CANCELLED, "%s",
                 one->name);
    test_cancel_in(5);
    cr_expect_eq(await_join(ctx, child, NULL, JOB_FOREVER), JOB_OK, "%s", one->name);
    cr_expect_eq(result, JOB_CANCELLED, "%s: %d", one->name, result);
}
Test(every, await_behind_a_shield_is_cancelled_by_a_further_request)
{
    for_each(is_shielded_only_once);
}

Test(every, await_outside_of_an_async_task_is_refused)
{
    struct abort_cell cell = {0};
    struct job_ctx_head head = {.cell = &cell};
    struct job_ctx *ctx = (struct job_ctx *)(void *)&head;

    cr_expect_null(await_spawn(ctx, hang, NULL));
    for (size_t i = 0; i < n_awaitables; i++)
        cr_expect_eq(awaitables[i].hangs(ctx, 0), JOB_NO_ASYNC, "%s", awaitables[i].name);
}
