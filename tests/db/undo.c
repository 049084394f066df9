/* Restore: what was cancelled before it started comes back as it was; and a cancel that
 * has not come true yet is taken back. */
#include "tests/db/jobs.h"
#include "tests/db/session.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>
#include <stdio.h>

TestSuite(undo, .timeout = 60);

Test(undo, a_restored_job_is_todo_as_it_was)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.worker(); SELECT t.ins(); SELECT t.cancel(1)");
    jobs_expect(url, "SELECT t.claim(1, 9)", "");
    jobs_expect(url, "SELECT t.restore(1)", "restored");
    jobs_expect(url, "SELECT t.place(1)", "ready");
    jobs_check(url);
    jobs_expect(url, "SELECT t.claim(1, 9)", "{1}");
    jobs_expect(url,
                "SELECT string_agg(event::json ->> 'type', ' ' ORDER BY id)"
                " FROM belay.job_events(1, NULL, 9)",
                "deferred cancelled restored started");
    jobs_expect(url, "SELECT outcome FROM belay.cancellations", "cancelled");
}

Test(undo, its_time_and_its_attempts_are_kept)
{
    const char *url = jobs_database();

    cluster_psql(url,
                 "SELECT t.worker(); SELECT t.ins(tries => 3); SELECT t.claim(1, 1)");
    cluster_psql(url, "SELECT t.back_mine(1, 'retry', 3600000); SELECT t.cancel(1)");
    jobs_expect(url, "SELECT t.restore(1)", "restored");
    jobs_expect(url,
                "SELECT t.place(1), attempts, attempts_base, scheduled_at > now() FROM "
                "belay.jobs",
                "scheduled|1|0|t");
    jobs_check(url);
}

Test(undo, it_stands_in_the_line_of_its_lock)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins('l'), t.ins('l'); SELECT t.cancel(1)");
    jobs_expect(url, "SELECT t.place(2)", "ready");
    jobs_expect(url, "SELECT t.restore(1)", "restored");
    jobs_expect(url, "SELECT t.place(1), t.place(2)", "ready|blocked");
    jobs_check(url);
    cluster_psql(url, "SELECT t.cancel(1); SELECT t.claim(t.worker())");
    jobs_expect(url, "SELECT t.restore(1)", "restored");
    jobs_expect(url, "SELECT t.place(1), t.place(2)", "blocked|lease");
    jobs_check(url);
}

Test(undo, it_is_refused_while_its_queueing_lock_is_taken)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(qlock => 'k'); SELECT t.cancel(1);"
                      "SELECT t.ins(qlock => 'k')");
    jobs_expect(url, "SELECT t.restore(1)", "already-enqueued");
    jobs_expect(url, "SELECT t.status(1)", "cancelled");
    jobs_check(url);
    cluster_psql(url, "SELECT t.cancel(2)");
    jobs_expect(url, "SELECT t.restore(1)", "restored");
    jobs_expect(url, "SELECT id FROM belay.uniq", "1");
    jobs_check(url);
}

Test(undo, a_deadline_that_has_passed_is_dropped)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.ins(); UPDATE belay.jobs SET deadline = now() +"
                      " CASE id WHEN 1 THEN interval '-1 second' ELSE interval '1 hour'"
                      " END; SELECT t.cancel(1), t.cancel(2)");
    cluster_psql(url, "SELECT t.restore(1), t.restore(2)");
    jobs_expect(url,
                "SELECT string_agg((deadline IS NULL)::text, ' ' ORDER BY id) FROM "
                "belay.jobs",
                "true false");
}

Test(undo, many_at_once_are_each_answered)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins('l'), t.ins('l'), t.ins();"
                      "SELECT t.cancel(1), t.cancel(2)");
    jobs_expect(url,
                "SELECT ord, result FROM belay.restore_jobs('{3,2,1,1,9}',"
                " array_fill(NULL::text, '{5}'), '{NULL,NULL,NULL,f00,NULL}') ORDER BY 1",
                "1|job-not-cancelled\n2|restored\n3|restored\n4|precondition-failed\n"
                "5|job-not-found");
    jobs_expect(url, "SELECT t.place(1), t.place(2)", "ready|blocked");
    jobs_check(url);
}

/* -- a cancel that can be undone ----------------------------------------------------- */

Test(undo, a_waiting_job_is_put_aside_and_cancelled_when_the_time_is_over)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.worker(); SELECT t.ins()");
    jobs_expect(url, "SELECT t.undo(1)", "cancel_pending");
    jobs_expect(url, "SELECT t.status(1), t.place(1), t.claim(1, 9) IS NULL",
                "todo|aside|t");
    jobs_expect(url,
                "SELECT (belay.job(1) ->> 'cancel_at')::timestamptz - now() BETWEEN"
                " interval '50 s' AND interval '61 s'",
                "t");
    jobs_check(url);
    jobs_expect(url, "SELECT next_due_ms BETWEEN 50000 AND 60000 FROM belay.end_undos(9)",
                "t");
    jobs_expect(url, "SELECT t.undos_end()", "1:cancelled");
    jobs_expect(url, "SELECT t.status(1), t.receipts(1), t.events(1)",
                "cancelled|1:cancelled|deferred cancel_pending cancelled");
    jobs_expect(url, "SELECT belay.job(1) ->> 'cancel_at' IS NULL", "t");
    jobs_expect(url, "SELECT reason, actor FROM belay.cancellations", "why|ann");
    jobs_expect(url, "SELECT count(*) FROM belay.follows", "0");
    jobs_check(url);
}

Test(undo, within_the_time_it_is_taken_back_as_it_was)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.worker();"
                      "SELECT t.ins(), t.ins(at => now() + interval '1 hour')");
    cluster_psql(url, "SELECT t.undo(1), t.undo(2)");
    jobs_expect(url, "SELECT t.restore(1), t.restore(2), t.restore(1)",
                "restored|restored|job-not-cancelled");
    jobs_expect(url, "SELECT t.place(1), t.place(2)", "ready|scheduled");
    jobs_expect(url, "SELECT t.receipts(1), t.events(1)",
                "1:restored|deferred cancel_pending restored");
    jobs_expect(url, "SELECT options IS NULL FROM belay.jobs WHERE id = 1", "t");
    jobs_expect(url, "SELECT count(*) FROM belay.follows", "0");
    jobs_expect(url, "SELECT t.undos_end() IS NULL", "t");
    jobs_expect(url, "SELECT t.claim(1, 9)", "{1}");
    jobs_check(url);
}

Test(undo, a_plain_cancel_wins_at_once_with_the_same_receipt)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(qlock => 'k'); SELECT t.undo(1)");
    jobs_expect(url, "SELECT t.ins(qlock => 'k') IS NULL", "t"); /* it waits still */
    jobs_expect(url, "SELECT t.cancel(1, actor => 'bob')", "cancelled");
    jobs_expect(url, "SELECT t.receipts(1), t.status(1)", "1:cancelled|cancelled");
    jobs_expect(url, "SELECT actor FROM belay.cancellations", "bob");
    jobs_check(url);
    jobs_expect(url, "SELECT t.undos_end() IS NULL", "t");
    jobs_expect(url, "SELECT t.undo(1)", "already_cancelled");
}

Test(undo, asked_again_it_is_one_receipt_and_the_earlier_time)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(); SELECT t.undo(1, seconds => 100)");
    jobs_expect(url, "SELECT t.undo(1, seconds => 200)", "cancel_pending");
    jobs_expect(url, "SELECT t.undo(1, seconds => 50)", "cancel_pending");
    jobs_expect(url,
                "SELECT (belay.job(1) ->> 'cancel_at')::timestamptz - now() BETWEEN"
                " interval '40 s' AND interval '51 s'",
                "t");
    jobs_expect(url, "SELECT t.receipts(1), requests FROM belay.cancellations",
                "1:pending|3");
    jobs_expect(url, "SELECT t.events(1)", "deferred cancel_pending");
    jobs_check(url);
}

Test(undo, its_lock_goes_on_and_a_restore_joins_the_line_again)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins('l'), t.ins('l'); SELECT t.undo(1)");
    jobs_expect(url, "SELECT t.place(1), t.place(2)", "aside|ready");
    jobs_check(url);
    cluster_psql(url, "SELECT t.restore(1)");
    jobs_expect(url, "SELECT t.place(1), t.place(2)", "ready|blocked");
    jobs_check(url);
    cluster_psql(url, "SELECT t.undo(2); SELECT t.undos_end()");
    jobs_expect(url, "SELECT t.status(2)", "cancelled");
    jobs_check(url);
}

/* Neither a release nor what it waited for starts it. */
Test(undo, what_is_held_or_waits_stays_where_it_is)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.worker(); SELECT t.ins(), t.ins(); SELECT t.after(2);"
                      "SELECT t.hold(1); SELECT t.undo(1), t.undo(3)");
    jobs_expect(url, "SELECT t.place(1), t.place(3)", "held|waits");
    jobs_check(url);
    cluster_psql(url, "SELECT t.release(1); SELECT t.claim(1, 9)");
    cluster_psql(url, "SELECT t.finish_mine(2); SELECT t.told()");
    jobs_expect(url, "SELECT t.place(1), t.place(3), t.claim(1, 9) IS NULL",
                "aside|aside|t");
    jobs_check(url);
    jobs_expect(url, "SELECT t.hold(1)", "held");
    jobs_expect(url, "SELECT t.restore(1), t.restore(3)", "restored|restored");
    jobs_expect(url, "SELECT t.place(1), t.place(3)", "held|ready");
    jobs_check(url);
}

Test(undo, a_job_that_is_replaced_meanwhile_is_cancelled_all_the_same)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(qlock => 'k'); SELECT t.child(1); SELECT t.undo(1)");
    cluster_psql(url,
                 "SELECT belay.replace_todo(1, r) FROM (SELECT (jsonb_populate_record("
                 "NULL::belay.put_row, '{\"task\":\"t\",\"queue\":\"default\",\"priority"
                 "\":0,\"args\":{},\"max_attempts\":1,\"queueing_lock\":\"k\","
                 "\"on_conflict\":\"replace\"}')).*) r");
    jobs_expect(url, "SELECT t.place(1)", "aside");
    jobs_check(url);
    jobs_expect(url, "SELECT t.undos_end(), t.told()", "1:cancelled|2:cancelled");
    jobs_check(url);
}

/* -- of a job that runs -------------------------------------------------------------- */

/* Job 1, which worker 1 runs. */
static const char *with_a_running_job(int tries)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.worker()");
    cluster_psql(url, tries > 1 ? "SELECT t.ins('l', tries => 3)" : "SELECT t.ins('l')");
    cluster_psql(url, "SELECT t.ins('l'); SELECT t.claim(1, 1)");
    return url;
}

/* What the worker is told. */
static const char polled[] =
    "SELECT count(*) FROM belay.cancellations WHERE worker_id = 1 AND stopped_at IS NULL";

Test(undo, a_running_job_is_told_nothing_until_the_time_is_over)
{
    const char *url = with_a_running_job(1);

    jobs_expect(url, "SELECT t.undo(1)", "job-running");
    jobs_expect(url, "SELECT t.undo(1, true)", "cancel_pending");
    jobs_expect(url, polled, "0");
    jobs_expect(url, "SELECT t.status(1), belay.job(1) ->> 'abort_requested_at' IS NULL",
                "doing|t");
    jobs_check(url);
    jobs_expect(url, "SELECT t.undos_end()", "1:aborting");
    jobs_expect(url, polled, "1");
    jobs_expect(url, "SELECT t.restore(1)", "job-not-cancelled");
    jobs_expect(url, "SELECT belay.job(1) ->> 'cancel_at' IS NULL", "t");
    jobs_check(url);
    jobs_expect(url, "SELECT t.finish_mine(1, 'aborted')", "aborted/aborted");
    jobs_expect(url, "SELECT t.receipts(1), t.place(2)", "1:aborted|ready");
    jobs_check(url);
}

Test(undo, a_running_job_that_is_restored_goes_on)
{
    const char *url = with_a_running_job(1);

    cluster_psql(url, "SELECT t.undo(1, true)");
    jobs_expect(url, "SELECT t.restore(1)", "restored");
    jobs_check(url);
    jobs_expect(url, "SELECT t.undos_end() IS NULL", "t");
    jobs_expect(url, "SELECT t.finish_mine(1)", "succeeded");
    jobs_expect(url, "SELECT t.receipts(1), t.events(1)",
                "1:restored|deferred started cancel_pending restored succeeded");
    jobs_check(url);
}

/* It ends one of two ways by itself; the receipt says which. */
Test(undo, what_ends_by_itself_meanwhile_closes_the_receipt)
{
    static const char *const ends[][2] = {
        {"SELECT t.finish_mine(1)", "succeeded|1:completed"},
        {"SELECT t.finish_mine(1, 'failed')", "failed|1:failed"},
        {"SELECT t.back_mine(1, 'retry')", "failed|1:failed"},
        {"SELECT t.die(1); SELECT t.reap()", "failed|1:failed"}};

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const char *url = with_a_running_job(1);
        cluster_psql(url, "SELECT t.undo(1, true)");
        cluster_psql(url, ends[i][0]);
        jobs_expect(url, "SELECT t.status(1), t.receipts(1)", ends[i][1]);
        jobs_expect(url, "SELECT t.place(2)", "ready");
        jobs_check(url);
        jobs_expect(url, "SELECT t.undos_end() IS NULL", "t");
    }
}

Test(undo, what_goes_back_meanwhile_does_not_start_again)
{
    static const char *const backs[] = {
        "SELECT t.back_mine(1, 'retry')", "SELECT t.back_mine(1, 'retry', 60000)",
        "SELECT t.back_mine(1, 'shutdown')", "SELECT t.back_mine(1, 'unstarted')",
        "SELECT t.die(1); SELECT t.reap()"};

    for (size_t i = 0; i < sizeof backs / sizeof *backs; i++) {
        const char *url = with_a_running_job(3);
        cluster_psql(url, "SELECT t.undo(1, true)");
        cluster_psql(url, backs[i]);
        jobs_expect(url, "SELECT t.place(1), t.place(2)", "aside|ready");
        jobs_check(url);
        jobs_expect(url, "SELECT t.undos_end(), t.receipts(1)",
                    "1:cancelled|1:cancelled");
        jobs_check(url);
    }
}

Test(undo, an_abort_in_the_meantime_is_told_at_once)
{
    const char *url = with_a_running_job(3);

    cluster_psql(url, "SELECT t.undo(1, true)");
    jobs_expect(url, "SELECT t.cancel(1, true, actor => 'bob')", "aborting");
    jobs_expect(url, "SELECT t.receipts(1)", "1:open");
    jobs_expect(url, polled, "1");
    jobs_check(url);
    /* There is nothing to undo any more, and one more receipt would say so. */
    jobs_expect(url, "SELECT t.undo(1, true)", "aborting");
    jobs_expect(url, "SELECT t.undos_end() IS NULL", "t");
    jobs_expect(url, "SELECT t.finish_mine(1, 'aborted')", "aborted/aborted");
    jobs_expect(url, "SELECT t.receipts(1), actor, requests FROM belay.cancellations",
                "1:aborted|bob|2");
    jobs_check(url);
}

Test(undo, a_timeout_meanwhile_ends_the_attempt_and_not_the_job)
{
    const char *url = with_a_running_job(3);

    cluster_psql(url, "SELECT t.undo(1, true)");
    jobs_expect(url, "SELECT t.late(1)", "aborting");
    jobs_expect(url, "SELECT t.receipts(1)", "1:pending 2:open");
    cluster_psql(url, "SELECT t.back_mine(1, 'timeout')");
    jobs_expect(url, "SELECT t.place(1), t.receipts(1)", "aside|1:pending 2:aborted");
    jobs_check(url);
    jobs_expect(url, "SELECT t.restore(1), t.place(1), t.place(2)",
                "restored|ready|blocked");
    jobs_check(url);
}

Test(undo, a_job_that_is_to_start_again_is_put_aside_instead)
{
    const char *url = with_a_running_job(3);

    cluster_psql(url, "SELECT belay.cancel(1, abort => true, retry => 'requeue')");
    jobs_expect(url, "SELECT t.undo(1, true)", "cancel_pending");
    jobs_expect(url, "SELECT t.finish_mine(1, 'aborted')", "todo/requeued");
    jobs_expect(url, "SELECT t.place(1), t.place(2)", "aside|ready");
    jobs_check(url);
    jobs_expect(url, "SELECT t.undos_end()", "1:cancelled");
    jobs_check(url);
}

/* -- and of many --------------------------------------------------------------------- */

Test(undo, bulk_and_deletes_and_deadlines_win_at_once)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.ins(), t.ins();"
                      "SELECT t.undo(1), t.undo(2), t.undo(3)");
    cluster_psql(url, "SELECT belay.create_operation(belay.operation_of('cancel', '{}',"
                      " false, false, 'why', 'bob', NULL, NULL)); SELECT t.expire(2)");
    jobs_expect(url, "SELECT t.del(3)", "deleted");
    for (int i = 0; i < 8; i++)
        cluster_psql(url, "SELECT belay.operation_step(1000)");
    jobs_expect(url, "SELECT t.status(1), t.status(2), t.status(3)",
                "cancelled|cancelled|none");
    jobs_expect(url, "SELECT count(*) FROM belay.cancellations WHERE outcome IS NULL",
                "0");
    jobs_check(url);
}

Test(undo, it_can_be_asked_for_in_sql)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins()");
    jobs_expect(url, "SELECT belay.cancel(1, undo_seconds => 60) ->> 'result'",
                "cancel_pending");
    jobs_expect(url, "SELECT t.place(1)", "aside");
    jobs_check(url);
    const char *const wrong[] = {"undo_seconds => 0", "undo_seconds => 86401",
                                 "undo_seconds => 5, delete => true",
                                 "undo_seconds => 5, abort => true, retry => 'requeue'"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char sql[300];
        snprintf(sql, sizeof sql,
                 "DO $$ BEGIN PERFORM belay.cancel(1, %s); RAISE 'taken'; EXCEPTION WHEN"
                 " invalid_parameter_value THEN NULL; END $$",
                 wrong[i]);
        cluster_psql(url, sql);
    }
}

Test(undo, two_nodes_share_what_is_due)
{
    const char *url = jobs_database();
    struct session *other = session_open(url);

    cluster_psql(url, "SELECT t.ins('l'), t.ins('l'), t.ins();"
                      "SELECT t.undo(1), t.undo(2), t.undo(3)");
    cluster_psql(url, "UPDATE belay.undos SET at = at - interval '1 hour';"
                      "UPDATE belay.jobs j SET options = json_build_object('cancel_at',"
                      " belay.time_text(u.at)) FROM belay.undos u WHERE u.id = j.id");
    session_run(other, "BEGIN; SELECT belay.end_undos(2)");
    jobs_expect(url, "SELECT job_id, result FROM belay.end_undos(2) WHERE job_id > 0",
                "3|cancelled");
    session_run(other, "COMMIT");
    jobs_expect(url, "SELECT count(*) FROM belay.ends WHERE status = 4", "3");
    jobs_check(url);
    session_close(other);
}
