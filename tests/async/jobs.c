/* Async jobs on a node inside of the test, against a real database. */
#include "server/core/clock.h"
#include "tests/support/cluster.h"
#include "tests/support/inside.h"
#include "tests/support/service.h"
#include "workers/tally.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <string.h>

static const char *url;
static struct config config;
static struct node *node;
static atomic_int events; /* counted by tasks */

/* -- tasks --------------------------------------------------------------------------- */

static enum job_result async_quick(struct job_ctx *ctx)
{
    return job_ok_json(ctx, "{\"id\":%lld}", (long long)job_id(ctx));
}

static enum job_result async_wait(struct job_ctx *ctx)
{
    struct abort_info info;

    if (await_sleep(ctx, INT64_MAX, JOB_FOREVER) != JOB_CANCELLED)
        return job_failed(ctx, "no_cancel", "it was woken by something else");
    if (!job_abort_info(ctx, &info))
        return job_failed(ctx, "no_info", "it was cancelled, and nobody says why");
    return job_aborted(ctx, "cause %d by %s: %s", info.cause, info.actor, info.reason);
}

static enum job_result async_swallow(struct job_ctx *ctx)
{
    if (await_sleep(ctx, INT64_MAX, JOB_FOREVER) != JOB_CANCELLED)
        return job_failed(ctx, "no_cancel", "it was woken by something else");
    if (await_sleep(ctx, 10, JOB_FOREVER) != JOB_OK)
        return job_failed(ctx, "cancelled_twice", "a swallowed cancel came again");
    return job_ok(ctx);
}

static enum job_result async_fail(struct job_ctx *ctx)
{
    await_sleep(ctx, INT64_MAX, JOB_FOREVER);
    return job_failed(ctx, "stubborn", "it did not stop well");
}

static int count_cancel(struct job_ctx *ctx, void *arg)
{
    (void)arg;
    if (await_sleep(ctx, INT64_MAX, JOB_FOREVER) == JOB_CANCELLED)
        atomic_fetch_add(&events, 1);
    return 0;
}

static void count_defer(struct job_ctx *ctx, void *arg)
{
    if (await_sleep(ctx, 1, JOB_FOREVER) == JOB_OK)
        atomic_fetch_add(&events, *(const int *)arg);
}

static enum job_result async_family(struct job_ctx *ctx)
{
    static const int hundred = 100;

    job_defer(ctx, count_defer, (void *)(uintptr_t)&hundred);
    for (int i = 0; i < 5; i++)
        await_spawn(ctx, count_cancel, NULL);
    await_sleep(ctx, 5, JOB_FOREVER);
    return job_ok(ctx);
}

/* Goes on after the first cancel, and stops at the second. */
static enum job_result async_stubborn(struct job_ctx *ctx)
{
    while (await_sleep(ctx, INT64_MAX, JOB_FOREVER) != JOB_CANCELLED)
        ;
    atomic_fetch_add(&events, 1);
    int64_t began_ms = clock_ms();
    while (await_sleep(ctx, INT64_MAX, JOB_FOREVER) != JOB_CANCELLED)
        ;
    return job_aborted(ctx, "%s", clock_ms() - began_ms >= 900 ? "late" : "soon");
}

/* Three polls read its request again before it ends. */
static enum job_result async_swallow_long(struct job_ctx *ctx)
{
    if (await_sleep(ctx, INT64_MAX, JOB_FOREVER) != JOB_CANCELLED)
        return job_failed(ctx, "no_cancel", "it was woken by something else");
    if (await_sleep(ctx, 3500, JOB_FOREVER) != JOB_OK)
        return job_failed(ctx, "cancelled_twice", "a swallowed cancel came again");
    return job_ok(ctx);
}

static enum job_result async_block(struct job_ctx *ctx)
{
    sleep_ms(150);
    if (await_sleep(ctx, 1, JOB_FOREVER) != JOB_OK)
        return job_failed(ctx, "cancelled", "nobody asked");
    sleep_ms(1300); /* long enough to be named while it lasts */
    return job_ok(ctx);
}

static enum job_result sync_deaf(struct job_ctx *ctx)
{
    sleep_ms(6500);
    return job_ok(ctx);
}

static enum job_result sync_defer(struct job_ctx *ctx)
{
    static const int one = 1;

    if (await_sleep(ctx, 1, JOB_FOREVER) != JOB_NO_ASYNC)
        return job_failed(ctx, "awaited", "a thread has awaited");
    job_defer(ctx, count_defer, (void *)(uintptr_t)&one);
    return job_ok(ctx);
}

static enum job_result sync_wait(struct job_ctx *ctx)
{
    while (job_sleep(ctx, 60000))
        ;
    return job_aborted(ctx, "asked to");
}

#define TASK(function, of_kind)                                                          \
    {                                                                                    \
        .name = #function, .kind = of_kind, .run = function                              \
    }
static const struct task all[] = {
    TASK(async_quick, TASK_ASYNC),
    TASK(async_wait, TASK_ASYNC),
    TASK(async_swallow, TASK_ASYNC),
    TASK(async_fail, TASK_ASYNC),
    TASK(async_family, TASK_ASYNC),
    TASK(sync_defer, TASK_SYNC),
    TASK(sync_wait, TASK_SYNC),
    TASK(async_stubborn, TASK_ASYNC),
    TASK(async_swallow_long, TASK_ASYNC),
    TASK(async_block, TASK_ASYNC),
    TASK(sync_deaf, TASK_SYNC),
    {.name = "async_graceless",
     .kind = TASK_ASYNC,
     .run = async_stubborn,
     .grace_seconds = 1},
};
static const struct task *tasks[sizeof all / sizeof *all + 1];

/* -- the node ------------------------------------------------------------------------ */

static void set_up(void)
{
    url = cluster_database();
    node = inside_node(url, &config,
                       "--backoff-base-seconds 0 --lease-seconds 2 --poll-seconds 1 "
                       "--async-concurrency 50 --concurrency 2",
                       all, tasks, sizeof all / sizeof *all);
}

static void close_node(void)
{
    if (node == NULL)
        return;
    cr_expect_eq(node_close(node), 0);
    node_free(node);
    node = NULL;
}

static void tear_down(void)
{
    close_node();
    config_release(&config);
}

TestSuite(jobs, .init = set_up, .fini = tear_down, .timeout = 90);

static int64_t enqueue(const char *task)
{
    return cluster_int(url,
                       text_of("SELECT belay.enqueue('%s', max_attempts => 3)", task));
}

static void enqueue_many(const char *task, int n)
{
    cluster_psql(url, text_of("SELECT belay.enqueue('%s', max_attempts => 3)"
                              " FROM generate_series(1, %d)",
                              task, n));
}

static void wait_for(int64_t id, const char *status)
{
    wait_until(
        strcmp(cluster_psql(url, text_of("SELECT status FROM belay.job_states('{%ld}')",
                                         (long)id)),
               status) == 0);
}

static const char *member(int64_t id, const char *path)
{
    return cluster_psql(url, text_of("SELECT belay.job(%ld) #>> '{%s}'", (long)id, path));
}

static const char *receipt(int64_t id, const char *column)
{
    return cluster_psql(url, text_of("SELECT %s FROM belay.cancellations"
                                     " WHERE job_id = %ld ORDER BY n",
                                     column, (long)id));
}

static void ask(int64_t id)
{
    wait_for(id, "doing");
    cluster_psql(url, text_of("SELECT belay.cancel(%ld, abort => true, reason => 'why',"
                              " actor => 'ada')",
                              (long)id));
}

static int64_t ended_as(int status)
{
    return cluster_int(
        url, text_of("SELECT count(*) FROM belay.ends WHERE status = %d", status));
}

/* -- an abort and what the task makes of it ------------------------------------------ */

Test(jobs, an_async_job_runs_to_its_result)
{
    int64_t id = enqueue("async_quick");

    wait_for(id, "succeeded");
    cr_expect_eq(strtoll(member(id, "result,id"), NULL, 10), id);
}

Test(jobs, an_abort_cancels_the_await_that_the_task_is_in)
{
    int64_t id = enqueue("async_wait");

    ask(id);
    wait_for(id, "aborted");
    cr_expect_str_eq(receipt(id, "outcome"), "aborted");
    cr_expect_str_eq(receipt(id, "message"), text_of("cause %d by ada: why", ABORT_USER));
    cr_expect_str_eq(receipt(id, "delivered_at <= acknowledged_at"
                                 " AND acknowledged_at <= stopped_at"),
                     "t");
}

Test(jobs, a_task_that_swallows_the_cancel_succeeds_and_the_receipt_says_completed)
{
    int64_t id = enqueue("async_swallow");

    ask(id);
    wait_for(id, "succeeded");
    cr_expect_str_eq(receipt(id, "outcome"), "completed");
}

Test(jobs, an_abort_means_no_retry_of_an_async_job_that_fails)
{
    int64_t id = enqueue("async_fail");

    ask(id);
    wait_for(id, "failed");
    cr_expect_str_eq(member(id, "attempt"), "1");
    cr_expect_str_eq(receipt(id, "outcome"), "failed");
}

Test(jobs, a_further_request_cancels_once_more)
{
    int64_t id = enqueue("async_stubborn");

    ask(id);
    wait_until(atomic_load(&events) == 1);
    ask(id);
    wait_for(id, "aborted");
    cr_expect_str_eq(receipt(id, "requests"), "2");
}

Test(jobs, the_end_of_the_grace_cancels_once_more)
{
    int64_t id = enqueue("async_graceless");

    ask(id);
    wait_for(id, "aborted");
    cr_expect_str_eq(receipt(id, "message"), "late");
}

Test(jobs, a_request_that_is_read_again_is_no_further_one)
{
    int64_t id = enqueue("async_swallow_long");

    ask(id);
    wait_for(id, "succeeded");
}

/* -- what tasks should not do -------------------------------------------------------- */

static struct task_tally *tally_of(const char *task)
{
    return node_tally(node, node_task(node, task));
}

Test(jobs, a_task_that_keeps_the_loop_is_counted_once_a_stall)
{
    wait_for(enqueue("async_block"), "succeeded");
    cr_expect_eq(atomic_load(&tally_of("async_block")->stalls), 2);
    cr_expect_eq(atomic_load(&tally_of("async_wait")->stalls), 0);
}

Test(jobs, a_task_that_does_not_look_at_its_abort_is_counted_once)
{
    int64_t id = enqueue("sync_deaf"), good = enqueue("async_wait");

    ask(good);
    ask(id);
    wait_for(id, "succeeded");
    cr_expect_str_eq(receipt(id, "outcome"), "completed");
    cr_expect_eq(atomic_load(&tally_of("sync_deaf")->ignored), 1);
    cr_expect_eq(atomic_load(&tally_of("async_wait")->ignored), 0);
}

/* -- children and what was deferred -------------------------------------------------- */

Test(jobs, a_job_ends_after_its_children_and_what_it_deferred)
{
    wait_for(enqueue("async_family"), "succeeded");
    cr_expect_eq(atomic_load(&events), 105);
}

Test(jobs, what_a_sync_task_deferred_is_called)
{
    wait_for(enqueue("sync_defer"), "succeeded");
    cr_expect_eq(atomic_load(&events), 0, "an await on a thread is refused");
}

/* -- how many, and a shutdown -------------------------------------------------------- */

Test(jobs, async_jobs_run_up_to_their_limit_and_the_rest_is_left_to_others)
{
    struct node_status status;

    enqueue_many("async_wait", 200);
    wait_until((node_status(node, &status), status.running) == 50);
    /* What was claimed beyond the limit goes back; less than a handful may be on its way.
     */
    wait_until((node_status(node, &status), status.running + status.waiting) <= 54);
    cr_expect_eq(status.running, 50);
    cluster_psql(url, "SELECT belay.cancel(id, abort => true) FROM belay.jobs");
    wait_until(ended_as(5) + ended_as(4) == 200);
}

Test(jobs, async_jobs_start_although_all_threads_are_busy)
{
    enqueue_many("sync_wait", 100);
    wait_for(enqueue("async_quick"), "succeeded");
}

/* It is claimed by another statement than most, which has to tell the same of a job. */
Test(jobs, a_job_from_behind_a_backlog_has_its_timeout)
{
    enqueue_many("sync_wait", 100);
    int64_t id =
        cluster_int(url, "SELECT belay.enqueue('async_wait', timeout_seconds => 0.2)");
    wait_for(id, "failed");
    cr_expect_str_eq(cluster_psql(url, text_of("SELECT error ->> 'kind' FROM belay.ends"
                                               " WHERE id = %ld",
                                               (long)id)),
                     "timeout");
}

Test(jobs, sync_jobs_start_although_the_loop_is_full)
{
    struct node_status status;

    enqueue_many("async_wait", 500);
    wait_until((node_status(node, &status), status.running) == 50);
    wait_for(enqueue("sync_defer"), "succeeded");
}

Test(jobs, a_shutdown_brings_async_jobs_back_uncounted)
{
    int64_t id = enqueue("async_wait"), swallows = enqueue("async_swallow");

    wait_for(id, "doing");
    wait_for(swallows, "doing");
    close_node();
    wait_for(id, "todo");
    wait_for(swallows, "succeeded");
    cr_expect_str_eq(cluster_psql(url, text_of("SELECT uncounted FROM belay.jobs"
                                               " WHERE id = %ld",
                                               (long)id)),
                     "1");
}

Test(jobs, async_jobs_of_a_worker_that_was_given_up_stop_and_begin_anew)
{
    int64_t id = enqueue("async_wait");
    struct node_status after;

    wait_for(id, "doing");
    cluster_psql(url, "UPDATE belay.workers SET heartbeat_at = now() - interval '1 hour';"
                      "SELECT * FROM belay.reap(2000, 100)");
    wait_until((node_status(node, &after), after.stale_writes) == 1);
    wait_for(id, "doing");
    cr_expect_str_eq(member(id, "attempt"), "2");
}
