/* What is older than its retention goes, in steps, and nothing else. */
#include "tests/db/jobs.h"
#include "tests/db/session.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>

TestSuite(retention, .timeout = 60);

#define DAYS_AGO(n)                                                                      \
    "UPDATE belay.ends SET finished_at = now() - interval '" n " days';"                 \
    "UPDATE belay.jobs SET created_at = now() - interval '" n " days';"

Test(retention, each_status_has_its_own)
{
    const char *url = jobs_database();

    cluster_psql(url,
                 "SELECT t.make('succeeded'), t.make('failed'), t.make('cancelled'), "
                 "t.make('aborted'), t.make('ready'), t.make('doing');" DAYS_AGO("8"));
    jobs_expect(url, "SELECT * FROM belay.retain('{604800,0,691300,604800}', 0, 100)",
                "2|");
    jobs_expect(url,
                "SELECT string_agg(t.status(i), ' ' ORDER BY i) FROM generate_series(1, "
                "6) i",
                "none failed cancelled none todo doing");
    jobs_check(url);
}

Test(retention, a_walk_goes_in_steps_and_ends_at_the_first_young_job)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('succeeded') FROM generate_series(1, 5);" DAYS_AGO(
                          "8") "SELECT t.make('succeeded') FROM generate_series(1, 5)");
    jobs_expect(url, "SELECT * FROM belay.retain('{604800,0,0,0}', 0, 2)", "2|2");
    jobs_expect(url, "SELECT * FROM belay.retain('{604800,0,0,0}', 2, 2)", "2|4");
    jobs_expect(url, "SELECT * FROM belay.retain('{604800,0,0,0}', 4, 2)", "1|");
    jobs_expect(url, "SELECT count(*) FROM belay.jobs", "5");
    jobs_check(url);
}

Test(retention, what_somebody_holds_is_passed_over)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('succeeded'), t.make('succeeded');" DAYS_AGO("8"));
    struct session *other = session_open(url);
    session_run(other, "BEGIN; SELECT FROM belay.ends WHERE id = 1 FOR UPDATE");
    jobs_expect(url, "SELECT removed FROM belay.retain('{604800,0,0,0}', 0, 100)", "1");
    session_close(other);
    jobs_expect(url, "SELECT t.status(1), t.status(2)", "succeeded|none");
}

Test(retention, the_trail_of_removed_jobs_has_one_of_its_own)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('deleted'), t.make('succeeded', 2), t.make('asked');"
                      "SELECT t.retry(2);"
                      "UPDATE belay.events SET at = now() - interval '100 days';"
                      "UPDATE belay.cancellations SET requested_at = now() - interval "
                      "'100 days', stopped_at = stopped_at - interval '100 days'");
    jobs_expect(url,
                "SELECT removed > 0, next_after FROM belay.retain_trail(8640000 + "
                "86400, 0, 100)",
                "f|");
    jobs_expect(url,
                "SELECT removed > 0, next_after FROM belay.retain_trail(86400, 0, "
                "100)",
                "t|");
    jobs_expect(url,
                "SELECT (SELECT count(*) FROM belay.events WHERE job_id = 1), (SELECT "
                "count(*) FROM belay.cancellations WHERE job_id = 1), (SELECT count(*) > "
                "0 FROM belay.events WHERE job_id = 2), t.receipts(3)",
                "0|0|t|1:open");
}

/* 1 and 3 were removed, 2 is there; all of it is old but the receipt of 3. */
Test(retention, a_receipt_goes_when_it_is_old_and_its_job_is_gone)
{
    const char *url = jobs_database();

    cluster_psql(url,
                 "SELECT t.ins(), t.ins(), t.ins(); SELECT t.cancel(1), t.cancel(2), "
                 "t.cancel(3); SELECT t.del(1), t.del(3);"
                 "UPDATE belay.events SET at = at - interval '1 day';"
                 "UPDATE belay.cancellations SET stopped_at = stopped_at - interval "
                 "'1 day' WHERE job_id < 3");
    jobs_expect(url, "SELECT removed FROM belay.retain_trail(3600, 3, 100)", "0");
    jobs_expect(url, "SELECT removed > 0 FROM belay.retain_trail(3600, 0, 100)", "t");
    jobs_expect(url,
                "SELECT string_agg(job_id::text, ' ' ORDER BY job_id) FROM "
                "belay.cancellations",
                "2 3");
}

Test(retention, a_step_goes_on_behind_the_one_before)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.ins(); SELECT t.cancel(1), t.cancel(2);"
                      "UPDATE belay.ends SET finished_at = now() - interval '1 day'");
    jobs_expect(url, "SELECT removed FROM belay.retain('{60,60,60,60}', 1, 10)", "1");
    jobs_expect(url, "SELECT t.status(1), t.status(2)", "cancelled|none");
}
