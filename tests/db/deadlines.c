/* Timeouts of attempts and deadlines of jobs, as the database decides them. */
#include "tests/db/jobs.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>

TestSuite(deadlines, .timeout = 60);

Test(deadlines, a_late_attempt_is_tried_again_while_attempts_are_left)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing', 2)");
    jobs_expect(url, "SELECT t.late(1)", "aborting");
    jobs_expect(url, "SELECT t.back_mine(1, 'killed', 60000)", "todo/killed/scheduled");
    jobs_expect(url, "SELECT t.receipts(1)", "1:killed");
    jobs_expect(url, "SELECT belay.job(1) ->> 'abort_requested_at'", "");
    jobs_check(url);
    cluster_psql(url, "DELETE FROM belay.scheduled; INSERT INTO belay.ready SELECT "
                      "queue_id, priority, id FROM belay.jobs; SELECT t.claim(1)");
    jobs_expect(url, "SELECT t.late(1)", "precondition-failed"); /* that was attempt 1 */
    jobs_expect(url, "SELECT t.late(1, 2)", "aborting");
    jobs_expect(url, "SELECT t.back_mine(1, 'timeout')", "failed/aborted");
    jobs_expect(url, "SELECT t.receipts(1)", "1:killed 2:aborted");
    jobs_expect(url, "SELECT t.status(1)", "failed");
    jobs_check(url);
}

Test(deadlines, who_asks_after_a_timeout_has_the_say)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing', 5); SELECT t.late(1)");
    jobs_expect(url, "SELECT t.cancel(1, true)", "aborting");
    jobs_expect(url,
                "SELECT string_agg(concat_ws(' ', n, cause, reason, actor), ',') "
                "FROM belay.cancellations",
                "1 user why ann");
    jobs_expect(url, "SELECT t.back_mine(1, 'timeout')", "aborted/aborted");
    jobs_expect(url, "SELECT t.status(1)", "aborted");
    jobs_check(url);
}

Test(deadlines, a_timeout_after_an_abort_changes_nothing)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('asked', 5); SELECT t.late(1)");
    jobs_expect(url, "SELECT cause FROM belay.cancellations", "user");
    jobs_expect(url, "SELECT t.back_mine(1, 'retry')", "failed/failed");
    jobs_check(url);
}

Test(deadlines, a_late_attempt_that_fails_by_itself_is_tried_again)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing', 2); SELECT t.late(1)");
    jobs_expect(url, "SELECT t.back_mine(1, 'retry')", "todo/failed");
    jobs_expect(url, "SELECT t.receipts(1)", "1:failed");
    jobs_check(url);
}

Test(deadlines, a_late_attempt_may_succeed)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing', 2); SELECT t.late(1)");
    jobs_expect(url, "SELECT t.finish_mine(1)", "succeeded/completed");
    jobs_check(url);
}

Test(deadlines, a_late_attempt_of_a_lost_worker_is_tried_again)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing', 2); SELECT t.late(1); SELECT t.die(1)");
    jobs_expect(url, "SELECT t.reap()", "1:todo");
    jobs_expect(url, "SELECT t.receipts(1)", "1:worker_lost");
    jobs_check(url);
}

Test(deadlines, a_task_that_stops_by_itself_is_not_excused_by_a_timeout)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing'); SELECT t.late(1)");
    jobs_expect(url, "SELECT t.finish_mine(1, 'aborted')", "failed/aborted");
    jobs_expect(url, "SELECT error ->> 'kind' FROM belay.ends", "not_asked");
    jobs_check(url);
}

Test(deadlines, the_calendar_says_when_it_is_next_wanted)
{
    const char *url = jobs_database();

    jobs_expect(url, "SELECT count(*), max(next_due_ms) FROM belay.expire(9)", "1|");
    cluster_psql(url, "SELECT belay.enqueue('t', deadline => now() + interval '1 hour')");
    jobs_expect(url,
                "SELECT next_due_ms BETWEEN 3500000 AND 3600000 FROM "
                "belay.expire(9)",
                "t");
    jobs_expect(url, "SELECT t.status(1)", "todo");
}

Test(deadlines, one_that_is_gone_or_was_moved_is_dropped)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT belay.enqueue('t', deadline => now()) FROM "
                      "generate_series(1, 3); SELECT t.del(1); SELECT t.cancel(2);"
                      "UPDATE belay.jobs SET deadline = NULL WHERE id = 3");
    jobs_expect(url, "SELECT count(job_id) FROM belay.expire(9)", "0");
    jobs_expect(url, "SELECT count(*) FROM belay.deadlines", "0");
    jobs_expect(url, "SELECT t.status(3)", "todo");
}

Test(deadlines, a_retry_by_hand_keeps_a_deadline_only_while_it_can_be_met)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT belay.enqueue('t', deadline => now() + interval '1 hour'), "
                      "belay.enqueue('t', deadline => now())");
    cluster_psql(url, "SELECT t.cancel(1), t.cancel(2)");
    cluster_psql(url, "SELECT t.retry(1), t.retry(2)");
    jobs_expect(url,
                "SELECT string_agg((deadline IS NOT NULL)::text, ',' ORDER BY id) FROM "
                "belay.jobs",
                "true,false");
    jobs_expect(url, "SELECT count(job_id) FROM belay.expire(9)", "0");
}

Test(deadlines, a_batch_shows_them_as_a_single_cancel_does)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT belay.enqueue('t', timeout_seconds => 1.5, deadline => "
                      "'2100-01-01') FROM generate_series(1, 2)");
    jobs_expect(url,
                "SELECT string_agg(DISTINCT concat_ws(' ', job::json ->> "
                "'timeout_seconds', job::json ->> 'deadline'), ',') "
                "FROM belay.cancel_jobs('{1,2}', '{f,f}', '{f,f}', '{NULL,NULL}', "
                "'{NULL,NULL}', '{user,user}', '{NULL,NULL}', '{NULL,NULL}', "
                "'{NULL,NULL}', '{NULL,NULL}')",
                "1.5 2100-01-01T00:00:00.000000Z");
    jobs_expect(url, "SELECT belay.job(1) ->> 'timeout_seconds'", "1.5");
    jobs_expect(url, "SELECT belay.job(1) ->> 'deadline'", "2100-01-01T00:00:00.000000Z");
}

Test(deadlines, one_with_a_queueing_lock_is_cancelled_beside_one_without_a_deadline)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.ins(NULL, 'q')");
    jobs_expect(url, "SELECT t.expire(2)", "cancelled");
    jobs_expect(url, "SELECT t.status(1), t.status(2)", "todo|cancelled");
    jobs_check(url);
}
