/* What follows the end of a job: the job that it asked for, on every way to an end, and
 * its own disappearance. */
#include "tests/db/jobs.h"
#include "tests/db/session.h"
#include "tests/support/cluster.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>

TestSuite(follow, .timeout = 60);

#define HOOKS                                                                            \
    "'{\"on_cancel\":{\"task\":\"undo\",\"args\":{\"n\":1.10},\"queue\":\"back\","       \
    "\"priority\":3,\"max_attempts\":2},\"on_failure\":{\"task\":\"alarm\"},"            \
    "\"on_success\":{\"task\":\"next\"}}'"

/* t.ask(job, options): it had been put in with these. t.followers(job): what followed. */
static const char *database(void)
{
    const char *url = jobs_database();

    cluster_psql(
        url,
        "CREATE FUNCTION t.ask(job bigint, o json) RETURNS bigint LANGUAGE sql AS $$"
        " UPDATE belay.jobs SET options = o WHERE id = job;"
        " INSERT INTO belay.follows SELECT job WHERE belay.has_consequences(o);"
        " SELECT job $$;"
        "CREATE FUNCTION t.followers(job bigint) RETURNS text LANGUAGE sql AS $$"
        " SELECT string_agg(concat_ws(' ', t.name, o -> 'job_id', o ->> 'on'), ',') FROM"
        " belay.jobs j JOIN belay.tasks t ON t.id = j.task_id,"
        " LATERAL (SELECT j.options -> 'origin') x (o)"
        " WHERE (o ->> 'job_id')::bigint = job $$");
    return url;
}

struct way {
    const char *state, *how, *result, *followed;
};

/* Each is done to job 1, which is in that state. */
static const struct way ways[] = {
    {"ready", "SELECT t.cancel(1)", "cancelled", "undo 1 cancel"},
    {"scheduled", "SELECT t.cancel(1)", "cancelled", "undo 1 cancel"},
    {"ready", "SELECT t.cancel(1, only_if => '{todo}')", "cancelled", "undo 1 cancel"},
    {"ready", "SELECT t.del(1)", "deleted", "undo 1 cancel"},
    {"ready", "SELECT t.cancel(1, del => true)", "cancelled", "undo 1 cancel"},
    {"ready", "SELECT t.expire(1)", "cancelled", "undo 1 cancel"},
    {"asked", "SELECT t.finish_mine(1, 'aborted')", "aborted/aborted", "undo 1 cancel"},
    {"asked", "SELECT t.finish_mine(1, 'succeeded')", "succeeded/completed",
     "next 1 success"},
    {"asked", "SELECT t.back_mine(1, 'retry')", "failed/failed", "alarm 1 failure"},
    {"asked", "SELECT t.back_mine(1, 'unstarted')", "cancelled/cancelled",
     "undo 1 cancel"},
    {"asked", "SELECT t.back_mine(1, 'killed')", "aborted/killed", "undo 1 cancel"},
    {"asked", "SELECT t.back_mine(1, 'shutdown')", "aborted/aborted", "undo 1 cancel"},
    {"asked", "SELECT t.die(1); SELECT t.reap()", "1:aborted", "undo 1 cancel"},
    {"doing", "SELECT t.die(1); SELECT t.reap()", "1:failed", "alarm 1 failure"},
    {"doing", "SELECT t.finish_mine(1, 'succeeded')", "succeeded", "next 1 success"},
    {"doing", "SELECT t.finish_mine(1, 'failed')", "failed", "alarm 1 failure"},
};

Test(follow, the_job_that_was_asked_for_follows_on_every_way_to_an_end)
{
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        const struct way *w = &ways[i];
        const char *url = database();

        cluster_psql(url, text_of("SELECT t.ask(t.make('%s'), " HOOKS ")", w->state));
        jobs_expect(url, w->how, w->result);
        jobs_expect(url, "SELECT t.followers(1)", w->followed);
        jobs_expect(url, "SELECT count(*) FROM belay.follows", "0");
        jobs_check(url);
    }
}

Test(follow, an_attempt_that_is_no_end_is_not_followed)
{
    const char *url = database();

    cluster_psql(url, "SELECT t.ask(t.make('doing', 3), " HOOKS ")");
    jobs_expect(url, "SELECT t.back_mine(1, 'retry')", "todo");
    jobs_expect(url, "SELECT coalesce(t.followers(1), 'none')", "none");
}

Test(follow, a_job_that_is_started_again_is_followed_again)
{
    const char *url = database();

    cluster_psql(url, "SELECT t.ask(t.make('ready'), " HOOKS "); SELECT t.cancel(1);"
                      "SELECT t.retry(1); SELECT t.cancel(1)");
    jobs_expect(url, "SELECT t.followers(1)", "undo 1 cancel,undo 1 cancel");
}

Test(follow, the_follower_is_as_it_was_written_and_the_receipt_names_it)
{
    const char *url = database();

    cluster_psql(url, "SELECT t.ask(t.make('asked'), " HOOKS ");"
                      "SELECT t.finish_mine(1, 'aborted')");
    jobs_expect(
        url,
        "SELECT concat_ws(' ', d ->> 'task', d ->> 'queue', d ->> 'priority', d ->> "
        "'max_attempts', d ->> 'args', d ->> 'status') FROM (SELECT belay.job("
        "compensation_job_id) d FROM belay.cancellations) x",
        "undo back 3 2 {\"n\":1.10} todo");
    jobs_expect(url, "SELECT t.events(1)",
                "deferred started abort_requested aborted followed");
}

Test(follow, many_that_are_cancelled_at_once_are_followed_each)
{
    const char *url = database();

    cluster_psql(url,
                 "SELECT t.ask(t.make('ready'), " HOOKS ") FROM generate_series(1, 5)");
    jobs_expect(
        url,
        "SELECT string_agg(result, ',') FROM belay.cancel_jobs('{1,2,3,4,5}', "
        "array_fill(false, '{5}'), array_fill(false, '{5}'), array_fill(NULL::text, "
        "'{5}'), array_fill(NULL::text, '{5}'), array_fill('user'::text, '{5}'), "
        "array_fill(NULL::int, '{5}'), array_fill(NULL::text, '{5}'), "
        "array_fill(NULL::int, '{5}'), array_fill(NULL::text, '{5}'))",
        "cancelled,cancelled,cancelled,cancelled,cancelled");
    jobs_expect(
        url, "SELECT count(DISTINCT compensation_job_id) FROM belay.cancellations", "5");
    jobs_check(url);
}

Test(follow, many_that_finish_at_once_are_followed_each)
{
    const char *url = database();

    cluster_psql(url, "SELECT t.ask(t.ins(), " HOOKS ") FROM generate_series(1, 3);"
                      "SELECT t.claim(t.worker(), 3)");
    cluster_psql(url,
                 "SELECT belay.finish(l.job_ids, array_fill(l.id, '{3}'), "
                 "array_fill(l.worker_id, '{3}'), '{1,1,1}', "
                 "'{succeeded,failed,succeeded}', array_fill('1'::json, '{3}'), "
                 "array_fill(NULL::json, '{3}'), '{1,1,1}', '{0,0,0}', "
                 "array_fill(NULL::text, '{3}'), '{f,f,f}', array_fill(NULL::bigint, "
                 "'{3}'), array_fill(NULL::bigint, '{3}')) FROM belay.leases l");
    jobs_expect(url, "SELECT t.followers(1) || t.followers(2) || t.followers(3)",
                "next 1 successalarm 2 failurenext 3 success");
    jobs_check(url);
}

static void expect_left(const char *policy, const char *state, const char *how,
                        const char *result, const char *left)
{
    const char *url = database();

    cluster_psql(url, text_of("SELECT t.ask(t.make('%s'), '{\"delete_policy\":\"%s\"}')",
                              state, policy));
    jobs_expect(url, how, result);
    jobs_expect(url, "SELECT t.status(1)", left);
    jobs_check(url);
}

Test(follow, a_delete_policy_leaves_receipts_and_events)
{
    expect_left("successful", "doing", "SELECT t.finish_mine(1)", "succeeded", "none");
    expect_left("successful", "doing", "SELECT t.finish_mine(1, 'failed')", "failed",
                "failed");
    expect_left("successful", "ready", "SELECT t.cancel(1)", "cancelled", "cancelled");
    expect_left("always", "doing", "SELECT t.finish_mine(1, 'failed')", "failed", "none");
    expect_left("always", "ready", "SELECT t.cancel(1)", "cancelled", "none");
    expect_left("always", "asked", "SELECT t.back_mine(1, 'killed')", "aborted/killed",
                "none");
    expect_left("always", "asked", "SELECT t.die(1); SELECT t.reap()", "1:aborted",
                "none");
    const char *url = database();
    cluster_psql(url, "SELECT t.ask(t.make('asked'), '{\"delete_policy\":\"always\"}');"
                      "SELECT t.finish_mine(1, 'aborted')");
    jobs_expect(url, "SELECT t.receipts(1)", "1:aborted");
    jobs_expect(url, "SELECT t.events(1)",
                "deferred started abort_requested aborted deleted");
}

/* The end has the lease and puts a job in; the child has the new name and comes for the
 * lease. */
Test(follow, an_end_does_not_wait_for_a_child_that_brings_the_same_new_names)
{
    const char *url = jobs_database();
    struct session *a = session_open(url), *b = session_open(url);

    cluster_psql(url, "SELECT t.put('{\"on_success\":{\"task\":\"new\",\"queue\":"
                      "\"fresh\"}}'), t.worker(); SELECT t.claim(1)");
    session_run(a, "BEGIN; SELECT FROM belay.leases FOR UPDATE");
    session_start(b, "SELECT belay.enqueue('new', queue => 'fresh', parent_id => 1) > 0");
    session_wait_blocked(b);
    cr_expect_str_eq(session_run(a, "SELECT t.finish(1, 1, 1)"), "succeeded");
    session_run(a, "COMMIT");
    cr_expect_str_eq(session_end(b), "t");
    jobs_check(url);
    session_close(a);
    session_close(b);
}

#define COMPENSATED "t.put('{\"on_cancel\":{\"task\":\"t\"}}')"

Test(follow, each_receipt_names_the_job_that_came_of_it)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), " COMPENSATED);
    cluster_psql(url, "SELECT t.cancel(1), t.retry(1); SELECT t.cancel(1), t.retry(1);"
                      "SELECT t.cancel(1)");
    jobs_expect(url, "SELECT t.cancel(2), t.retry(2)", "cancelled|retried");
    jobs_expect(url, "SELECT t.cancel(2)", "cancelled");
    jobs_expect(url,
                "SELECT job_id, n, compensation_job_id FROM belay.cancellations "
                "ORDER BY 1, 2",
                "1|1|\n1|2|\n1|3|\n2|1|3\n2|2|4");
    jobs_check(url);
}

Test(follow, a_cancel_that_was_refused_in_a_batch_changes_nothing_of_what_follows)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.put('{\"on_success\":{\"task\":\"t\"}}'), t.worker();"
                      "SELECT t.claim(1); SELECT t.ins()");
    jobs_expect(url,
                "SELECT string_agg(result, ' ' ORDER BY ord) FROM belay.cancel_jobs("
                "'{1,2}', '{f,f}', '{f,f}', '{why,why}', '{ann,ann}', '{user,user}', "
                "'{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}')",
                "job-running cancelled");
    jobs_expect(url, "SELECT t.finish_mine(1), t.status(3)", "succeeded|todo");
    jobs_check(url);
}
