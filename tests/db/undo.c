/* Restore: what was cancelled before it started comes back as it was. */
#include "tests/db/jobs.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>

TestSuite(undo, .timeout = 60);

/* With t.restore(). */
static const char *undo_database(void)
{
    const char *url = jobs_database();

    cluster_psql(url, "CREATE FUNCTION t.restore(job bigint, if_match text DEFAULT NULL)"
                      " RETURNS text LANGUAGE sql AS $$ SELECT result FROM"
                      " belay.restore_jobs(ARRAY[job], ARRAY['ann'], ARRAY[if_match])"
                      " $$");
    return url;
}

Test(undo, a_restored_job_is_todo_as_it_was)
{
    const char *url = undo_database();

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
    const char *url = undo_database();

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
    const char *url = undo_database();

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
    const char *url = undo_database();

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
    const char *url = undo_database();

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
    const char *url = undo_database();

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
