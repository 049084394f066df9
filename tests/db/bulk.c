/* Bulk operations as the database takes them on: step by step, by anybody, exactly. */
#include "tests/db/jobs.h"
#include "tests/db/session.h"
#include "tests/support/cluster.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(bulk, .timeout = 90, .fini = service_stop_all);

/* t.ask() writes a request down; t.step() takes one step; t.sweep() all that are due. */
static const char asking[] =
    "CREATE FUNCTION t.ask(kind text, filter json, abort boolean DEFAULT false, until "
    "timestamptz DEFAULT NULL, del boolean DEFAULT false) RETURNS bigint LANGUAGE sql AS "
    "$$ SELECT id FROM belay.create_operation(belay.operation_of(kind, filter, abort, "
    "del, 'why', 'ann', NULL, until)) $$;"
    "CREATE FUNCTION t.step(n int DEFAULT 1000) RETURNS text LANGUAGE sql AS $$ SELECT "
    "coalesce(status, 'idle') FROM belay.operation_step(n) $$;"
    "CREATE FUNCTION t.sweep() RETURNS text LANGUAGE plpgsql AS $$ DECLARE s text; BEGIN "
    "FOR i IN 1 .. 100 LOOP s := t.step(); EXIT WHEN s = 'done'; PERFORM "
    "pg_sleep(0.02); END LOOP; RETURN s; END $$;"
    "CREATE FUNCTION t.counts(op bigint) RETURNS text LANGUAGE sql AS $$ SELECT "
    "string_agg(key || ' ' || value, ', ' ORDER BY key) FROM belay.operations o, "
    "json_each_text(belay.operation_text(o)::json -> 'counts') WHERE id = op AND value "
    "<> '0' $$;";

static const char *bulk_database(void)
{
    const char *url = jobs_database();

    cluster_psql(url, asking);
    return url;
}

Test(bulk, a_step_does_what_it_is_told_to_and_the_next_goes_on)
{
    const char *url = bulk_database();

    cluster_psql(url, "SELECT t.ins() FROM generate_series(1, 1000)");
    cluster_psql(url, "SELECT t.ask('cancel', '{}')");
    jobs_expect(url, "SELECT t.step(300)", "running");
    int64_t first = cluster_int(url, "SELECT cancelled FROM belay.operations");
    cr_expect(first > 0 && first < 1000, "%ld", (long)first);
    cr_expect_eq(cluster_int(url, "SELECT count(*) FROM belay.ends"), first);
    jobs_expect(url, "SELECT t.sweep()", "done");
    jobs_expect(url, "SELECT t.counts(1)", "cancelled 1000, matched 1000");
    jobs_expect(url, "SELECT count(*) FROM belay.ends WHERE status = 4", "1000");
    jobs_expect(url, "SELECT t.receipts(7)", "1:cancelled");
    jobs_check(url);
}

Test(bulk, a_node_need_not_look_before_there_is_something)
{
    const char *url = bulk_database();

    jobs_expect(url, "SELECT next_ms IS NULL FROM belay.operation_step(10)", "t");
    cluster_psql(url, "SELECT t.ask('cancel', '{}')");
    jobs_expect(url, "SELECT t.sweep()", "done");
    jobs_expect(url, "SELECT next_ms IS NULL FROM belay.operation_step(10)", "t");
}

Test(bulk, every_place_is_walked_over)
{
    const char *url = bulk_database();

    cluster_psql(url, "SELECT t.make(s, 2, CASE WHEN s = 'ready' THEN 'l' END) FROM "
                      "unnest('{ready,scheduled,blocked,doing,asked,succeeded,failed,"
                      "cancelled,aborted}'::text[]) s; SELECT t.ins(NULL, 'q')");
    cluster_psql(url, "SELECT t.ask('cancel', '{}', true)");
    jobs_expect(url, "SELECT t.sweep()", "done");
    /* `blocked` has put a second one in, whose lock it waits for */
    jobs_expect(url, "SELECT t.counts(1)", "aborting 2, cancelled 5, matched 7");
    jobs_expect(url, "SELECT count(*) FROM belay.held", "0");
    jobs_expect(url, "SELECT count(*) FROM belay.uniq", "0");
    jobs_check(url);
    cluster_psql(url, "SELECT t.ask('delete', '{}')");
    jobs_expect(url, "SELECT t.sweep()", "done");
    jobs_expect(url, "SELECT t.counts(2)", "deleted 9, failed 2, matched 11");
    jobs_check(url);
}

Test(bulk, only_jobs_that_were_there_are_meant)
{
    const char *url = bulk_database();

    cluster_psql(url, "SELECT t.ins(); SELECT t.ask('cancel', '{}'); SELECT t.ins()");
    jobs_expect(url, "SELECT t.sweep()", "done");
    jobs_expect(url, "SELECT t.counts(1)", "cancelled 1, matched 1");
    jobs_expect(url, "SELECT t.status(2)", "todo");
}

Test(bulk, a_job_that_moves_past_the_walk_is_found_at_the_end)
{
    const char *url = bulk_database();

    cluster_psql(url, "SELECT t.ins(); SELECT t.claim(t.worker()); SELECT "
                      "t.ask('cancel', '{}')");
    /* The places are behind the walk when the job comes back to one. */
    cluster_psql(url,
                 "UPDATE belay.operations SET stage = 6, seen = pg_current_xact_id(); "
                 "SELECT t.back_mine(1, 'shutdown')");
    jobs_expect(url, "SELECT t.step()", "running");
    jobs_expect(url, "SELECT t.counts(1)", "");
    jobs_expect(url, "SELECT t.sweep()", "done");
    jobs_expect(url, "SELECT t.counts(1)", "cancelled 1, matched 1");
    jobs_check(url);
}

Test(bulk, a_row_that_is_busy_is_not_waited_for_and_not_forgotten)
{
    const char *url = bulk_database();
    struct session *other = session_open(url);

    cluster_psql(url, "SELECT t.ins(), t.ins(); SELECT t.ask('cancel', '{}')");
    session_run(other, "BEGIN; SELECT FROM belay.ready WHERE id = 1 FOR UPDATE");
    jobs_expect(url, "SELECT t.step()", "running");
    jobs_expect(url, "SELECT t.counts(1)", "cancelled 1, matched 1");
    session_run(other, "COMMIT");
    jobs_expect(url, "SELECT t.sweep()", "done");
    jobs_expect(url, "SELECT t.counts(1)", "cancelled 2, matched 2");
    session_close(other);
}

Test(bulk, a_lock_goes_on_to_the_next_of_its_line)
{
    const char *url = bulk_database();

    cluster_psql(url, "SELECT t.ins('l', NULL, NULL, 1, 9), t.ins('l', NULL, NULL, 1, 0, "
                      "'other'); SELECT t.ask('cancel', '{\"queue\":\"default\"}')");
    jobs_expect(url, "SELECT t.sweep()", "done");
    jobs_expect(url, "SELECT t.place(2)", "ready");
    jobs_check(url);
}

Test(bulk, one_that_was_asked_before_is_asked_once_more_and_not_twice)
{
    const char *url = bulk_database();

    cluster_psql(url, "SELECT t.make('asked'); SELECT t.ask('cancel', '{}', true)");
    jobs_expect(url, "SELECT t.sweep()", "done");
    jobs_expect(url, "SELECT t.counts(1)", "aborting 1, matched 1");
    jobs_expect(url,
                "SELECT string_agg(n || ' ' || requests, ',') FROM belay.cancellations",
                "1 2");
}

Test(bulk, a_queueing_lock_that_is_taken_refuses_a_retry)
{
    const char *url = bulk_database();

    cluster_psql(url, "SELECT t.ins(NULL, 'q'); SELECT t.cancel(1); SELECT t.ins(NULL, "
                      "'q'); SELECT t.ins(); SELECT t.cancel(3); SELECT t.ask('retry', "
                      "'{}')");
    jobs_expect(url, "SELECT t.sweep()", "done");
    jobs_expect(url, "SELECT t.counts(1)", "failed 1, matched 2, retried 1");
    jobs_check(url);
}

Test(bulk, a_stopped_operation_does_no_more)
{
    const char *url = bulk_database();

    cluster_psql(url, "SELECT t.ins(); SELECT t.ask('cancel', '{}')");
    jobs_expect(url, "SELECT result FROM belay.cancel_operation(1)", "cancelled");
    jobs_expect(url, "SELECT t.step()", "idle");
    jobs_expect(url, "SELECT t.status(1)", "todo");
    jobs_expect(url, "SELECT result FROM belay.cancel_operation(1)", "already_cancelled");
    jobs_expect(url, "SELECT result FROM belay.cancel_operation(2)",
                "operation-not-found");
}

/* -- what ends by itself meanwhile --------------------------------------------------- */

Test(bulk, what_ended_before_its_turn_is_counted_and_what_still_runs_is_refused)
{
    const char *url = bulk_database();

    cluster_psql(url, "SELECT t.ins(), t.ins(), t.ins(), t.ins(); SELECT "
                      "t.claim(t.worker(), 3); SELECT t.ask('cancel', '{}')");
    cluster_psql(url, "SELECT t.finish_mine(1, 'succeeded'), t.finish_mine(2, 'failed')");
    jobs_expect(url, "SELECT t.sweep()", "done");
    jobs_expect(url, "SELECT t.counts(1)",
                "cancelled 1, failed 1, finished 2, matched 4");
    jobs_check(url);
}

Test(bulk, what_starts_while_it_is_walked_and_ends_is_counted)
{
    const char *url = bulk_database();

    cluster_psql(url, "SELECT t.ins() FROM generate_series(1, 1000)");
    cluster_psql(url, "SELECT t.ask('cancel', '{}')");
    jobs_expect(url, "SELECT t.step(300)", "running");
    cluster_psql(url, "SELECT t.claim(t.worker())");
    jobs_expect(url, "SELECT t.step(100)", "running");
    cluster_psql(url, "SELECT t.finish_mine(job_ids[1], 'succeeded') FROM belay.leases");
    jobs_expect(url, "SELECT t.sweep()", "done");
    jobs_expect(url, "SELECT t.counts(1)", "cancelled 999, finished 1, matched 1000");
    jobs_check(url);
}

Test(bulk, one_that_ends_between_the_look_and_the_request_to_stop_is_counted_once)
{
    const char *url = bulk_database();
    struct session *worker = session_open(url), *sweeper = session_open(url);

    cluster_psql(url, "SELECT t.ins(), t.ins(); SELECT t.claim(t.worker(), 2)");
    session_run(worker, "BEGIN; SELECT t.finish_mine(1, 'succeeded')");
    cluster_psql(url, "SELECT t.ask('cancel', '{}', true)");
    session_start(sweeper, "SELECT t.step()");
    session_wait_blocked(sweeper);
    session_run(worker, "COMMIT");
    session_end(sweeper);
    cluster_psql(url, "SELECT t.finish_mine(2, 'aborted')");
    jobs_expect(url, "SELECT t.counts(1)", "aborting 1, finished 1, matched 2");
    jobs_check(url);
    session_close(sweeper);
    session_close(worker);
}

Test(bulk, one_that_comes_back_and_is_cancelled_is_not_counted_as_ended)
{
    const char *url = bulk_database();

    cluster_psql(url, "SELECT t.ins(NULL, NULL, NULL, 3); SELECT t.claim(t.worker()); "
                      "SELECT t.ask('cancel', '{}'); SELECT t.back_mine(1, 'retry')");
    jobs_expect(url, "SELECT t.sweep()", "done");
    jobs_expect(url, "SELECT t.counts(1)", "cancelled 1, matched 1");
}

/* -- rules --------------------------------------------------------------------------- */

/* Inserts that do not see the rule, because they began before it was there. */
static void expect_no_slip(const char *isolation)
{
    const char *url = bulk_database();
    struct session *a = session_open(url);

    session_run(a, isolation);
    session_run(a, "SELECT 1 FROM belay.queues"); /* the snapshot, where it is kept */
    if (strstr(isolation, "REPEATABLE") == NULL)
        session_run(a, "SELECT t.ins()");
    cluster_psql(url, "SELECT t.ask('cancel', '{}', false, now() + interval '1 day')");
    for (int i = 0; i < 3; i++)
        cluster_psql(url, "SELECT t.step(), pg_sleep(0.25)");
    if (strstr(isolation, "REPEATABLE") != NULL)
        session_run(a, "SELECT t.ins()");
    session_run(a, "COMMIT");
    jobs_expect(url, "SELECT t.status(1)", "todo");
    for (int i = 0; i < 3; i++)
        cluster_psql(url, "SELECT t.step(), pg_sleep(0.25)");
    jobs_expect(url, "SELECT t.status(1)", "cancelled");
    jobs_expect(url, "SELECT t.counts(1)", "cancelled 1, matched 1");
    jobs_expect(url, "SELECT t.status(t.ins())", "cancelled");
    jobs_expect(url, "SELECT t.counts(1)", "cancelled 2, matched 2");
    jobs_check(url);
    session_close(a);
}

Test(bulk, an_insert_under_way_does_not_slip_past_a_new_rule)
{
    expect_no_slip("BEGIN");
}

Test(bulk, nor_does_one_whose_snapshot_is_older_than_the_rule)
{
    expect_no_slip("BEGIN ISOLATION LEVEL REPEATABLE READ");
}

Test(bulk, a_rule_removes_what_is_to_be_removed)
{
    const char *url = bulk_database();

    cluster_psql(url,
                 "SELECT t.ask('cancel', '{\"lock\":\"l\"}', false, now() + interval "
                 "'1 day', true); SELECT t.ins('l', 'q'), t.ins('l')");
    jobs_expect(url, "SELECT t.status(1) || t.status(2)", "nonenone");
    jobs_expect(url, "SELECT t.ins('m', 'q')", "3");
    jobs_expect(url, "SELECT t.status(3)", "todo");
    jobs_expect(url, "SELECT count(*) FROM belay.held WHERE lock = 'l'", "0");
    jobs_check(url);
}

Test(bulk, inserts_do_not_wait_for_a_rule_that_counts)
{
    const char *url = bulk_database();
    struct session *sweeper = session_open(url), *one = session_open(url);

    cluster_psql(url, "SELECT t.del(t.ins())"); /* the names are there */
    cluster_psql(url, "SELECT t.ask('cancel', '{}', false, now() + interval '1 day')");
    session_run(sweeper, "BEGIN; SELECT t.step()");
    session_run(one, "BEGIN; SELECT t.ins()");
    jobs_expect(url, "SELECT t.status(t.ins())", "cancelled");
    session_run(one, "COMMIT");
    session_run(sweeper, "COMMIT");
    jobs_expect(url, "SELECT t.counts(1)", "cancelled 2, matched 2");
    session_close(one);
    session_close(sweeper);
}

/* -- nodes --------------------------------------------------------------------------- */

Test(bulk, a_node_that_dies_in_the_middle_leaves_the_rest_to_another)
{
    static const char flags[] = "--concurrency 1 --queues default --poll-seconds 1";
    const char *url = bulk_database();
    struct service *a = service_start(url, flags), *b = service_start(url, flags);

    cluster_psql(url, "SELECT t.ins(NULL, NULL, NULL, 1, 0, 'mail')");
    cluster_psql(url,
                 "WITH j AS (INSERT INTO belay.jobs (id, queue_id, task_id) SELECT "
                 "nextval('belay.job_id_seq'), j.queue_id, j.task_id FROM belay.jobs j, "
                 "generate_series(1, 19999) RETURNING id, queue_id) INSERT INTO "
                 "belay.ready SELECT queue_id, 0, id FROM j");
    struct reply *r = http_post(a, "{\"filter\":{\"queue\":\"mail\"}}", "/cancellations");
    expect_status(r, 202);
    wait_until(cluster_int(url, "SELECT cancelled FROM belay.operations") > 0);
    service_crash(a);
    wait_until(strcmp(reply_text(http_get(b, "/operations/1"), "status"), "done") == 0);
    r = http_get(b, "/operations/1");
    expect_text(r, "counts.matched", "20000");
    expect_text(r, "counts.cancelled", "20000");
    jobs_expect(url, "SELECT count(*) FROM belay.cancellations", "20000");
    jobs_expect(url, "SELECT count(*) FROM belay.ready", "0");
}

/* -- all at once --------------------------------------------------------------------- */

/* A session that does this again and again for some seconds, each time in a transaction
 * of its own. */
static struct session *start_loop(const char *url, const char *what)
{
    struct session *s = session_open(url);

    session_start(s, text_of("DO $x$ DECLARE e timestamptz := clock_timestamp() + "
                             "interval '4 s'; w bigint := t.worker(); l record; BEGIN "
                             "WHILE clock_timestamp() < e LOOP %s; COMMIT; END LOOP; END "
                             "$x$",
                             what));
    return s;
}

Test(bulk, whatever_happens_at_once_nobody_deadlocks)
{
    static const char insert[] =
        "PERFORM t.ins(CASE WHEN random() < 0.5 THEN 'l' || (random() * 4)::int END, "
        "CASE "
        "WHEN random() < 0.2 THEN 'q' || (random() * 9)::int END, CASE WHEN random() < "
        "0.2 THEN now() + interval '5 ms' END, 3, (random() * 2)::int)";
    static const char work[] =
        "PERFORM t.claim(w, 5); COMMIT; FOR l IN SELECT u.id, x.id AS lease FROM "
        "belay.leases x, unnest(x.job_ids) u (id) WHERE x.worker_id = w LOOP IF random() "
        "< 0.5 THEN PERFORM t.finish(l.id, l.lease, w); ELSE PERFORM t.back(l.id, "
        "l.lease, w, 'retry'); END IF; COMMIT; END LOOP";
    static const char cancel[] =
        "w := (SELECT last_value - (random() * 50)::int FROM belay.job_id_seq); PERFORM "
        "t.cancel(w, random() < 0.5); COMMIT; PERFORM t.retry(w + 1)";
    static const char ask[] =
        "PERFORM t.ask((ARRAY['cancel', 'cancel', 'retry', 'delete'])[1 + (random() * "
        "3)::int], CASE WHEN random() < 0.8 THEN json_build_object('lock', 'l' || "
        "(random() * 4)::int) ELSE '{}' END, random() < 0.5, CASE WHEN random() < 0.1 "
        "THEN clock_timestamp() + interval '0.3 s' END); COMMIT; PERFORM belay.due(50); "
        "COMMIT; PERFORM pg_sleep(0.03)";
    static const char sweep[] = "PERFORM t.step(30)";
    const char *const loops[] = {insert, insert, work, work, cancel, ask, sweep, sweep};
    enum { LOOPS = sizeof loops / sizeof *loops };
    const char *url = bulk_database();
    struct session *s[LOOPS];

    for (int i = 0; i < LOOPS; i++)
        s[i] = start_loop(url, loops[i]);
    for (int i = 0; i < LOOPS; i++)
        session_end(s[i]); /* an error, such as a deadlock, fails the test */
    cr_expect_gt(cluster_int(url, "SELECT sum(matched) FROM belay.operations"), 50);
    jobs_check(url);
    for (int i = 0; i < LOOPS; i++)
        session_close(s[i]);
}

/* What is removed belongs to no family, has no queueing lock any more and is not held;
 * others are and have. */
Test(bulk, those_that_are_not_meant_keep_what_they_wait_for)
{
    const char *url = bulk_database();

    cluster_psql(url, "SELECT t.ins(NULL, 'k', tries => 2); SELECT t.claim(t.worker());"
                      "SELECT t.ins(NULL, 'k'); SELECT t.back_mine(1, 'retry');"
                      "SELECT t.after(2), t.ins(queue => 'q'), t.ins();"
                      "SELECT t.hold(4), t.hold(5)");
    cluster_psql(url, "UPDATE belay.jobs SET queue_id = (SELECT queue_id FROM belay.jobs "
                      "WHERE id = 4) WHERE id = 1;"
                      "UPDATE belay.ready r SET queue_id = j.queue_id FROM belay.jobs j "
                      "WHERE r.id = 1 AND j.id = 1;"
                      "SELECT t.ask('cancel', '{\"queue\":\"q\"}')");
    jobs_expect(url, "SELECT t.sweep(), t.counts(1)", "done|cancelled 2, matched 2");
    jobs_expect(url, "SELECT t.place(2), t.place(3), t.place(5)", "ready|waits|held");
    jobs_expect(url, "SELECT t.put(NULL, NULL, 'k')", "already-enqueued");
    jobs_check(url);
}

Test(bulk, a_receipt_of_an_earlier_attempt_stays_as_it_is)
{
    const char *url = bulk_database();

    cluster_psql(url,
                 "SELECT t.ins(tries => 2), t.ins(), t.worker(); SELECT t.claim(1, 9);"
                 "SELECT t.late(1), t.cancel(2, true); SELECT t.back_mine(1, "
                 "'timeout'); SELECT t.claim(1); SELECT t.ask('cancel', '{}', true)");
    jobs_expect(url, "SELECT t.sweep(), t.counts(1)", "done|aborting 2, matched 2");
    jobs_expect(url,
                "SELECT job_id, n, requests, outcome FROM belay.cancellations "
                "ORDER BY 1, 2",
                "1|1|1|aborted\n1|2|1|\n2|1|2|");
    jobs_check(url);
}

Test(bulk, who_was_asked_before_is_asked_again_in_the_first_pass_only)
{
    const char *url = bulk_database();

    cluster_psql(url, "SELECT t.ins(), t.ins(), t.worker(); SELECT t.claim(1, 9);"
                      "SELECT t.cancel(1, true), t.ask('cancel', '{}', true);"
                      "UPDATE belay.operations SET passes = 1");
    jobs_expect(url, "SELECT t.sweep()", "done");
    jobs_expect(url, "SELECT job_id, requests FROM belay.cancellations ORDER BY 1",
                "1|1\n2|1");
    jobs_check(url);
}

Test(bulk, who_is_not_meant_is_not_asked_again)
{
    const char *url = bulk_database();

    cluster_psql(url,
                 "SELECT t.ins(), t.ins(queue => 'q'), t.worker(); SELECT t.claim(1, "
                 "9); SELECT t.cancel(1, true), t.cancel(2, true);"
                 "SELECT t.ask('cancel', '{\"queue\":\"q\"}', true)");
    jobs_expect(url, "SELECT t.sweep(), t.counts(1)", "done|aborting 1, matched 1");
    jobs_expect(url, "SELECT job_id, requests FROM belay.cancellations ORDER BY 1",
                "1|1\n2|2");
    jobs_check(url);
}
