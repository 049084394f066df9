/* A cancel that can be undone changes nothing of other jobs, nor of earlier receipts. */
#include "tests/db/jobs.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>

TestSuite(undo_others, .timeout = 60);

Test(undo_others, one_is_restored_and_the_other_stays_pending)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.ins(), t.put('{\"on_success\":{\"task\":"
                      "\"t\"}}'), t.worker(); SELECT t.cancel(1), t.retry(1)");
    jobs_expect(url, "SELECT t.undo(1), t.undo(2)", "cancel_pending|cancel_pending");
    jobs_expect(url, "SELECT t.restore(1)", "restored");
    jobs_expect(url, "SELECT t.receipts(1), t.receipts(2)",
                "1:cancelled 2:restored|1:pending");
    jobs_expect(url, "SELECT t.claim(1, 9)", "{1,3}");
    jobs_expect(url, "SELECT t.finish_mine(3), t.status(4)", "succeeded|todo");
    jobs_check(url);
}

Test(undo_others, one_is_set_aside_whoever_else_waits)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.ins(), t.after(2)");
    jobs_expect(url, "SELECT t.undo(1), t.place(1)", "cancel_pending|aside");
    jobs_check(url);
}

Test(undo_others, one_that_runs_is_told_at_once_and_the_other_is_not)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.ins(), t.worker(); SELECT t.claim(1, 9);"
                      "SELECT t.undo(1, true), t.undo(2, true)");
    jobs_expect(url, "SELECT t.cancel(1, true)", "aborting");
    jobs_expect(url, "SELECT t.receipts(1), t.receipts(2)", "1:open|1:pending");
    jobs_check(url);
}

Test(undo_others, an_end_closes_what_is_pending_and_no_earlier_receipt)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.ins(), t.ins(), t.worker();"
                      "SELECT t.cancel(1), t.retry(1); SELECT t.claim(1, 9);"
                      "SELECT t.undo(1, true), t.undo(2, true), t.finish_mine(3)");
    jobs_expect(url, "SELECT t.finish_mine(1)", "succeeded");
    jobs_expect(url, "SELECT t.finish_mine(2, 'cancelled')", "cancelled");
    jobs_expect(url,
                "SELECT job_id, n, attempt, outcome FROM belay.cancellations "
                "ORDER BY 1, 2",
                "1|1||cancelled\n1|2||completed\n2|1|2|cancelled");
    jobs_check(url);
}

Test(undo_others, two_of_the_same_time_are_cancelled_once_each)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.ins(); SELECT t.undo(1), t.undo(2);"
                      "UPDATE belay.undos SET at = date_trunc('hour', now());"
                      "UPDATE belay.jobs SET options = json_build_object('cancel_at', "
                      "belay.time_text(date_trunc('hour', now())))");
    jobs_expect(url,
                "SELECT string_agg(concat(job_id, ':', result), ' ' ORDER BY job_id) "
                "FROM belay.end_undos(9) WHERE job_id IS NOT NULL",
                "1:cancelled 2:cancelled");
    jobs_check(url);
}

Test(undo_others, the_time_of_a_cancel_that_was_taken_back_is_of_no_use)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(); SELECT t.undo(1); SELECT t.restore(1);"
                      "UPDATE belay.undos SET at = now() - interval '1 hour';"
                      "SELECT t.undo(1, seconds => 7200)");
    jobs_expect(url, "SELECT count(job_id) FROM belay.end_undos(9)", "0");
    jobs_expect(url, "SELECT t.receipts(1), t.place(1)", "1:restored 2:pending|aside");
    jobs_check(url);
}

/* By an operation, which has a receipt of its own: no attempt had begun. */
Test(undo_others, what_is_pending_of_one_that_never_started_names_no_attempt)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.undo(t.ins()); SELECT belay.create_operation("
                      "belay.operation_of('cancel', '{}', false, false, 'why', 'ann', "
                      "NULL, NULL))");
    for (int i = 0; i < 3; i++)
        cluster_psql(url, "SELECT * FROM belay.operation_step(1000)");
    jobs_expect(url,
                "SELECT count(*), count(attempt) FROM belay.cancellations WHERE "
                "job_id = 2 AND outcome = 'cancelled'",
                "2|0");
    jobs_check(url);
}
