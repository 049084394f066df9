/* What explain says of a job in each place, and of each way that a place can be in. */
#include "tests/db/jobs.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(explain, .timeout = 60);

static const char helpers[] =
    "CREATE FUNCTION t.explain(job bigint) RETURNS json LANGUAGE sql AS $$"
    " SELECT x::json FROM belay.explain(job, '{\"lease_ms\":600000,\"poll_ms\":300000,"
    "\"tasks\":{\"t\":{\"grace_ms\":10000,\"timeout_ms\":0}}}') x $$;"
    "CREATE FUNCTION t.why(job bigint) RETURNS text LANGUAGE sql AS $$"
    " SELECT concat_ws(' | ', x ->> 'status', x ->> 'reason', x ->> 'sentence')"
    " FROM t.explain(job) x $$;"
    /* A worker that takes these queues and has room for one job. */
    "CREATE FUNCTION t.taker(q text[], n int DEFAULT 0) RETURNS bigint LANGUAGE sql AS $$"
    " INSERT INTO belay.workers (name, concurrency, running, queues)"
    " VALUES ('taker', 1, n, q) RETURNING id $$;"
    /* What the kind of the task allows to follow the grace. */
    "CREATE FUNCTION t.what_follows(job bigint, after text) RETURNS text LANGUAGE sql AS "
    "$$ SELECT x::json -> 'next' ->> 'what' FROM belay.explain(job, json_build_object("
    "'lease_ms', 60000, 'poll_ms', 1000, 'tasks', json_build_object('t',"
    " json_build_object('grace_ms', 10000, 'timeout_ms', 0, 'after_grace', after)))) x "
    "$$;";

static const char *explain_database(void)
{
    const char *url = jobs_database();

    cluster_psql(url, helpers);
    return url;
}

static void expect_words(const char *url, const char *sql, const char *words)
{
    const char *answer = cluster_psql(url, sql);

    cr_expect_not_null(strstr(answer, words), "%s\n  is     %s\n  without %s", sql,
                       answer, words);
}

/* -- it has not started -------------------------------------------------------------- */

Test(explain, a_job_that_no_worker_takes_says_so)
{
    const char *url = explain_database();

    cluster_psql(url, "SELECT t.ins(queue => 'mails')");
    jobs_expect(url, "SELECT t.why(1)",
                "todo | no_worker | It has not started: no live worker takes jobs of the "
                "queue \"mails\"; next: it starts when such a worker does.");
    cluster_psql(url, "SELECT t.taker('{other}')");
    expect_words(url, "SELECT t.why(1)", "no_worker");
    cluster_psql(url, "SELECT t.taker('{other,mails}'); UPDATE belay.workers SET "
                      "heartbeat_at = now() - interval '11 min'");
    expect_words(url, "SELECT t.why(1)", "no_worker");
    cluster_psql(url, "SELECT t.taker('{other,mails}')");
    expect_words(url, "SELECT t.why(1)", "starting");
}

Test(explain, a_job_in_line_says_how_many_are_before_it)
{
    const char *url = explain_database();

    cluster_psql(url, "SELECT t.taker(NULL); SELECT t.ins(), t.ins(prio => 1), t.ins(),"
                      " t.ins(prio => 5, queue => 'elsewhere')");
    expect_words(url, "SELECT t.why(3)",
                 "in_line | It has not started: 2 jobs are before it in the queue "
                 "\"default\"; next: it starts when those before it have.");
    expect_words(url, "SELECT t.why(1)", "1 job is before it");
    expect_words(url, "SELECT t.why(2)", "starting");
    cluster_psql(url, "UPDATE belay.workers SET running = 1");
    expect_words(url, "SELECT t.why(2)", "workers_busy");
    jobs_expect(url, "SELECT (t.explain(3) -> 'facts')::jsonb - 'workers'",
                "{\"ahead\": 2, \"queue\": \"default\", \"running\": 1, \"concurrency\": "
                "1, \"ahead_is_more\": false}");
}

Test(explain, a_long_line_is_not_counted_to_its_end)
{
    const char *url = explain_database();

    cluster_psql(url,
                 "SELECT t.taker(NULL); SELECT t.ins() FROM generate_series(1, 1003)");
    expect_words(url, "SELECT t.why(1003)", "more than 1000 jobs are before it");
    jobs_expect(
        url,
        "SELECT x ->> 'ahead', x ->> 'ahead_is_more' FROM (SELECT t.explain(1001) -> "
        "'facts' x) y",
        "1000|false");
}

Test(explain, a_job_that_waits_for_its_time_says_when)
{
    const char *url = explain_database();

    cluster_psql(url, "SELECT t.make('scheduled'); SELECT t.make('doing', 9);"
                      "SELECT t.back_mine(2, 'retry', 600000)");
    expect_words(url, "SELECT t.why(1)",
                 "todo | waits_for_time | It has not started: it is scheduled for later; "
                 "next: it may start in 60 min.");
    expect_words(
        url, "SELECT t.why(2)",
        "todo | waits_for_retry | It has not started: attempt 1 did not succeed, "
        "and the next waits for its time; next: it may start in 10 min.");
    jobs_expect(url,
                "SELECT t.explain(1) -> 'next' ->> 'at' = belay.time_text(scheduled_at) "
                "FROM belay.jobs WHERE id = 1",
                "t");
}

Test(explain, a_job_behind_a_lock_names_who_has_it)
{
    const char *url = explain_database();

    cluster_psql(url, "SELECT t.make('doing', lock => 'l');"
                      "SELECT t.ins('l') FROM generate_series(1, 2)");
    expect_words(
        url, "SELECT t.why(2)",
        "todo | lock_held | It has not started: its lock \"l\" is held by job 1, "
        "which is doing; next: it gets the lock when that job has ended.");
    expect_words(url, "SELECT t.why(3)", "when that job and 1 other before it has ended");
    jobs_expect(url, "SELECT t.explain(3) -> 'facts' ->> 'held_by'", "1");
}

/* -- it has not stopped -------------------------------------------------------------- */

Test(explain, each_stage_of_an_abort_has_its_words)
{
    const char *url = explain_database();

    cluster_psql(url, "SELECT t.make('doing')");
    expect_words(url, "SELECT t.why(1)",
                 "doing | running | It runs: worker \"w\" has had it");
    cluster_psql(url, "SELECT t.cancel(1, true); UPDATE belay.cancellations SET "
                      "requested_at = now() - interval '2.9 min'");
    expect_words(url, "SELECT t.why(1)",
                 "doing | not_delivered | It has not stopped: it was asked to stop 3 min "
                 "ago, and its worker \"w\" has not been told yet; next: the worker asks "
                 "for itself in 2 min.");
    cluster_psql(url, "UPDATE belay.cancellations SET requested_at = now() - interval "
                      "'8 min', delivered_at = now() - interval '7 min'");
    expect_words(
        url, "SELECT t.why(1)",
        "doing | not_checked | It has not stopped: it was asked to stop, and its "
        "task has not checked for 7 min; next: it goes on until the task checks "
        "or ends, because nothing can kill it.");
    cluster_psql(url, "UPDATE belay.cancellations SET acknowledged_at = now() - interval "
                      "'6 min'");
    expect_words(url, "SELECT t.why(1)",
                 "winding_up | It has not stopped: its task saw 6 min ago that it is to "
                 "stop, and is winding up; next: it ends when the task does.");
    cluster_psql(url, "INSERT INTO belay.progress (job_id, shield, shield_at) VALUES (1, "
                      "'commit payment', now() - interval '5 min')");
    cluster_psql(url, "UPDATE belay.leases SET at = now() - interval '9 min'");
    expect_words(url, "SELECT t.why(1)",
                 "shielded | It has not stopped: it was asked to stop, and has been in "
                 "the shielded section \"commit payment\" for 5 min; next: it goes on to "
                 "the end of that section.");
}

Test(explain, what_follows_the_grace_is_what_the_kind_of_the_task_allows)
{
    const char *url = explain_database();

    cluster_psql(url, "SELECT t.make('asked'); UPDATE belay.cancellations SET "
                      "delivered_at = clock_timestamp()");
    jobs_expect(url, "SELECT t.what_follows(1, 'kill')", "it is killed");
    jobs_expect(url, "SELECT t.what_follows(1, 'cancel')",
                "what it waits for is cancelled once more");
    expect_words(url, "SELECT t.what_follows(1, NULL)", "nothing can kill it");
    cluster_psql(url, "SELECT t.cancel(1, true, grace => 5)");
    expect_words(url, "SELECT t.what_follows(1, NULL)", "nothing can kill it");
    jobs_expect(url,
                "SELECT (x::json -> 'next' ->> 'at')::timestamptz = c.force_at FROM "
                "belay.cancellations c, belay.explain(1, '{\"lease_ms\":60000,\"tasks\":"
                "{\"t\":{\"after_grace\":\"kill\",\"grace_ms\":10000}}}') x",
                "t");
}

Test(explain, spans_are_told_as_people_do)
{
    jobs_expect(explain_database(),
                "SELECT belay.span_text('4.24 s'), belay.span_text('-1 s'), "
                "belay.span_text('119 s'), belay.span_text('2 min'), "
                "belay.span_text('47 h'), belay.span_text('49 h')",
                "4.2 s|0.0 s|119.0 s|2 min|47 h|2 days");
}

Test(explain, a_shield_of_an_earlier_attempt_is_none)
{
    const char *url = explain_database();

    cluster_psql(url,
                 "SELECT t.make('asked'); INSERT INTO belay.progress (job_id, "
                 "shield, shield_at) VALUES (1, 's', now() - interval '1 h'); UPDATE "
                 "belay.cancellations SET delivered_at = now()");
    expect_words(url, "SELECT t.why(1)", "not_checked");
}

Test(explain, a_worker_that_is_not_heard_of_is_said_first)
{
    const char *url = explain_database();

    cluster_psql(url, "SELECT t.make('doing'), t.make('asked'); UPDATE belay.workers SET "
                      "heartbeat_at = now() - interval '7.5 min'");
    expect_words(
        url, "SELECT t.why(1)",
        "doing | worker_late | It has not stopped: its worker \"w\" has not been "
        "heard of for 8 min; next: it is taken from it, and starts again or "
        "ends in 2 min.");
    expect_words(url, "SELECT t.why(2)",
                 "it is taken from it, and ends as aborted in 2 min.");
}

/* -- it has ended -------------------------------------------------------------------- */

Test(explain, an_end_says_by_whom_and_after_which_attempt)
{
    const char *url = explain_database();

    cluster_psql(url, "SELECT t.make('succeeded'), t.make('failed'), "
                      "t.make('cancelled'), t.make('aborted')");
    jobs_expect(url, "SELECT t.why(1)",
                "succeeded | succeeded | It has ended: it succeeded with attempt 1 on "
                "\"w\"; next: nothing, unless somebody retries or deletes it.");
    expect_words(url, "SELECT t.why(2)", "it failed for good with attempt 1 on \"w\"");
    expect_words(url, "SELECT t.why(3)",
                 "it was cancelled by ann (\"why\") before it started;");
    expect_words(url, "SELECT t.why(4)",
                 "it was stopped by ann (\"why\") in attempt 1 on \"w\", by its own "
                 "task;");
    cluster_psql(url, "SELECT t.make('asked'), t.make('asked'), t.make('asked');"
                      "SELECT t.finish_mine(5), t.die(6), t.finish_mine(7, 'failed');"
                      "SELECT t.reap()");
    expect_words(url, "SELECT t.why(5)", "although it was asked to stop by ann");
    expect_words(url, "SELECT t.why(6)", "in attempt 1 on \"w\", whose worker was lost;");
    expect_words(url, "SELECT t.why(7)", "after it was asked to stop by ann");
    jobs_expect(url, "SELECT t.explain(999)", "");
}

Test(explain, a_deadline_is_told_before_and_after)
{
    const char *url = explain_database();

    cluster_psql(url, "SELECT t.make('doing'); UPDATE belay.jobs SET deadline = now() + "
                      "interval '30 s'");
    expect_words(url, "SELECT t.why(1)", "because of its deadline in ");
    cluster_psql(url, "UPDATE belay.jobs SET timeout_ms = 20000");
    expect_words(url, "SELECT t.why(1)", "because the attempt takes too long in ");
    cluster_psql(url, "SELECT t.make('scheduled'); SELECT t.expire(2)");
    expect_words(url, "SELECT t.why(2)",
                 "it was cancelled, cause deadline before it started");
}
