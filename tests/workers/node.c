/* A node inside of the test, with tasks that no program would have, against a real
 * database whose connections fail. */
#include "workers/node.h"

#include "server/core/clock.h"
#include "tests/support/cluster.h"
#include "tests/support/inside.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { JOBS_MAX = 8 };

static const char *url;
static struct config config;
static struct node *node;
static atomic_int runs;              /* of quick */
static atomic_int waiting[JOBS_MAX]; /* the attempt of each job that waits to be asked */

/* -- tasks --------------------------------------------------------------------------- */

static enum job_result quick(struct job_ctx *ctx)
{
    atomic_fetch_add(&runs, 1);
    return job_ok_json(ctx, "{\"id\":%lld}", (long long)job_id(ctx));
}

/* As JSON, jansson refuses the first, and PostgreSQL alone the second. */
static enum job_result not_json(struct job_ctx *ctx)
{
    return job_ok_text(ctx, "{\"a\":", 5);
}

static enum job_result not_json_behind_a_number(struct job_ctx *ctx)
{
    static const char text[] = "{\"a\":1e400, nonsense";

    return job_ok_text(ctx, text, sizeof text - 1);
}

static void wait_for_request(struct job_ctx *ctx)
{
    atomic_store(&waiting[job_id(ctx) % JOBS_MAX], job_attempt(ctx));
    while (job_sleep(ctx, 60000))
        ;
}

static enum job_result fail_when_asked(struct job_ctx *ctx)
{
    wait_for_request(ctx);
    return job_failed(ctx, "stubborn", "it did not stop well");
}

static enum job_result retry_when_asked(struct job_ctx *ctx)
{
    wait_for_request(ctx);
    return job_retry_in(ctx, 0, "not now");
}

static enum job_result succeed_when_asked(struct job_ctx *ctx)
{
    wait_for_request(ctx);
    return job_ok(ctx);
}

static enum job_result tell_the_cause(struct job_ctx *ctx)
{
    struct abort_info info;

    wait_for_request(ctx);
    if (!job_abort_info(ctx, &info))
        return job_failed(ctx, "no_info", "it was asked, and nobody says why");
    return job_aborted(ctx, "cause %d by %s: %s", info.cause, info.actor, info.reason);
}

static enum job_result abort_unasked(struct job_ctx *ctx)
{
    return job_aborted(ctx, "no reason");
}

#define TASK(function)                                                                   \
    {                                                                                    \
        .name = #function, .kind = TASK_SYNC, .run = function                            \
    }
static const struct task all[] = {
    TASK(quick),           TASK(not_json),         TASK(not_json_behind_a_number),
    TASK(fail_when_asked), TASK(retry_when_asked), TASK(succeed_when_asked),
    TASK(tell_the_cause),  TASK(abort_unasked),
};
static const struct task *tasks[sizeof all / sizeof *all + 1];

/* -- the node ------------------------------------------------------------------------ */

static void set_up(void)
{
    url = cluster_database();
    node = inside_node(url, &config,
                       "--backoff-base-seconds 0 --lease-seconds 2 --poll-seconds 1", all,
                       tasks, sizeof all / sizeof *all);
}

static void tear_down(void)
{
    cr_expect_eq(node_close(node), 0);
    node_free(node);
    config_release(&config);
}

TestSuite(node, .init = set_up, .fini = tear_down, .timeout = 90);

static int64_t enqueue(const char *task)
{
    return cluster_int(url,
                       text_of("SELECT belay.enqueue('%s', max_attempts => 3)", task));
}

static const char *status_of(int64_t id)
{
    return cluster_psql(
        url, text_of("SELECT status FROM belay.job_states('{%ld}')", (long)id));
}

static void wait_for(int64_t id, const char *status)
{
    wait_until(strcmp(status_of(id), status) == 0);
}

static const char *member(int64_t id, const char *path)
{
    return cluster_psql(url, text_of("SELECT belay.job(%ld) #>> '{%s}'", (long)id, path));
}

static const char *outcome_of(int64_t id)
{
    return cluster_psql(url, text_of("SELECT outcome FROM belay.cancellations"
                                     " WHERE job_id = %ld ORDER BY n",
                                     (long)id));
}

/* A job is doing from its claim; one that is asked before its task begins never starts,
 * and is cancelled. */
static void ask(int64_t id)
{
    wait_for(id, "doing");
    int64_t attempt =
        cluster_int(url, text_of("SELECT belay.job(%ld) -> 'attempt'", (long)id));
    wait_until(atomic_load(&waiting[id % JOBS_MAX]) == attempt);
    cluster_psql(url, text_of("SELECT belay.cancel(%ld, abort => true, reason => 'why',"
                              " actor => 'ada')",
                              (long)id));
}

/* -- what becomes of a result -------------------------------------------------------- */

Test(node, a_result_that_is_not_json_fails_its_job_and_no_other)
{
    int64_t bad = enqueue("not_json"), worse = enqueue("not_json_behind_a_number");
    int64_t good = enqueue("quick");

    wait_for(good, "succeeded");
    wait_for(bad, "failed");
    wait_for(worse, "failed");
    cr_expect_str_eq(member(bad, "error,kind"), "bad_result");
    cr_expect_str_eq(member(worse, "error,kind"), "bad_result");
}

Test(node, a_task_that_no_node_knows_fails_with_its_name)
{
    int64_t id = enqueue("nobody_knows");

    wait_for(id, "failed");
    cr_expect_str_eq(member(id, "error,kind"), "unknown_task");
    cr_expect_not_null(strstr(member(id, "error,message"), "nobody_knows"));
}

Test(node, a_task_that_aborts_itself_unasked_has_failed)
{
    int64_t id = enqueue("abort_unasked");

    wait_for(id, "failed");
    cr_expect_str_eq(member(id, "error,kind"), "not_asked");
    cr_expect_str_eq(outcome_of(id), "");
}

/* -- an abort and what the task makes of it ------------------------------------------ */

Test(node, a_task_is_told_cause_reason_and_actor_and_its_words_are_the_receipts)
{
    int64_t id = enqueue("tell_the_cause");

    ask(id);
    wait_for(id, "aborted");
    cr_expect_str_eq(outcome_of(id), "aborted");
    cr_expect_str_eq(cluster_psql(url, "SELECT message FROM belay.cancellations"),
                     text_of("cause %d by ada: why", ABORT_USER));
}

Test(node, an_abort_means_no_retry_whatever_the_task_returns)
{
    int64_t fails = enqueue("fail_when_asked"), retries = enqueue("retry_when_asked");

    ask(fails);
    ask(retries);
    wait_for(fails, "failed");
    wait_for(retries, "failed");
    cr_expect_str_eq(member(fails, "attempt"), "1");
    cr_expect_str_eq(member(retries, "attempt"), "1");
    cr_expect_str_eq(member(fails, "error,kind"), "stubborn");
    cr_expect_str_eq(outcome_of(fails), "failed");
    cr_expect_str_eq(outcome_of(retries), "failed");
}

Test(node, success_is_success_though_it_was_asked_to_stop)
{
    int64_t id = enqueue("succeed_when_asked");

    ask(id);
    wait_for(id, "succeeded");
    cr_expect_str_eq(outcome_of(id), "completed");
}

/* -- connections that fail ----------------------------------------------------------- */

enum { JOBS = 1500 };

Test(node, connections_that_die_all_the_time_lose_nothing_and_run_nothing_twice)
{
    const char *const ended = "SELECT count(*) FROM belay.ends";
    int64_t seen = 0;
    int kills = 0;

    cluster_psql(url, text_of("SELECT belay.enqueue('quick', wake => i %% 50 = 0)"
                              " FROM generate_series(1, %d) i",
                              JOBS));
    /* Whenever something has moved; where in its statements that is, chance says. */
    for (int i = 0; i < 15 && seen < JOBS; i++) {
        wait_until(cluster_int(url, ended) > seen);
        kills += cluster_kill_sessions(url, i % 3 == 0 ? "belay %" : "belay worker");
        seen = cluster_int(url, ended);
    }
    wait_until(cluster_int(url, "SELECT count(*) FROM belay.ends WHERE status = 2") ==
               JOBS);
    cr_expect_eq(atomic_load(&runs), JOBS, "%d runs of %d jobs, %d connections died",
                 atomic_load(&runs), JOBS, kills);
    cr_expect_eq(cluster_int(url, "SELECT count(*) FROM belay.ends"
                                  " WHERE (result ->> 'id')::bigint <> id"),
                 0);
    wait_until(cluster_int(url, "SELECT count(*) FROM belay.leases") == 0);
}

Test(node, a_claim_whose_answer_was_lost_is_given_back)
{
    struct node_status status;

    wait_until((node_status(node, &status), status.worker_id) != 0);
    /* A claim in this worker's name of which the worker has not heard; one transaction.
     */
    int64_t id =
        cluster_int(url, text_of("SELECT belay.enqueue('quick', wake => false);"
                                 "SELECT id FROM belay.claim(%ld, 1, 1, NULL, NULL)",
                                 (long)status.worker_id));
    cr_assert_str_eq(status_of(id), "doing");
    cluster_kill_sessions(url, "belay worker");
    wait_for(id, "succeeded");
    cr_expect_str_eq(member(id, "attempt"), "1", "it had not started");
    cr_expect_eq(atomic_load(&runs), 1);
}

Test(node, a_worker_that_was_given_up_stops_its_jobs_and_begins_anew)
{
    struct node_status before, after;
    int64_t id = enqueue("tell_the_cause");

    wait_for(id, "doing");
    node_status(node, &before);
    /* What another node does with a worker that it has not heard of. */
    cluster_psql(url, "UPDATE belay.workers SET heartbeat_at = now() - interval '1 hour';"
                      "SELECT * FROM belay.reap(2000, 100)");
    wait_until((node_status(node, &after), after.worker_id) != before.worker_id &&
               after.worker_id != 0);
    wait_until((node_status(node, &after), after.stale_writes) == 1);
    wait_for(id, "doing");
    cr_expect_str_eq(member(id, "attempt"), "2");
    ask(id);
    wait_for(id, "aborted");
}

/* -- the end ------------------------------------------------------------------------ */

static void make_steps_of_operations_slow(void)
{
    cluster_psql(url, "DO $$ BEGIN EXECUTE regexp_replace(pg_get_functiondef("
                      "'belay.operation_step'::regproc), 'BEGIN',"
                      " 'BEGIN PERFORM pg_sleep(50);'); END $$");
}

Test(node, does_not_wait_for_a_long_step_of_an_operation_to_end)
{
    int64_t from_ms;

    make_steps_of_operations_slow();
    while (cluster_int(url, "SELECT count(*) FROM pg_stat_activity WHERE datname ="
                            " current_database() AND wait_event = 'PgSleep'") == 0)
        usleep(20 * 1000);
    from_ms = clock_ms();
    cr_expect_eq(node_close(node), 0);
    cr_expect_lt(clock_ms() - from_ms, 4000);
    node_free(node);
    config_release(&config);
    node = inside_node(url, &config, "--poll-seconds 60", all, tasks,
                       sizeof all / sizeof *all);
}
