/* Claim, finish, give back and rescue: the fence, and what an attempt is. */
#include "tests/db/jobs.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>

TestSuite(run, .timeout = 60);

Test(run, a_claim_takes_the_best_first_and_each_job_once)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(prio => p) FROM unnest('{0,5,0,-1,5}'::int[]) p; "
                      "SELECT t.worker()");
    jobs_expect(url, "SELECT t.claim(1, 3)", "{2,5,1}");
    jobs_expect(url, "SELECT t.claim(1, 9)", "{3,4}");
    jobs_expect(url, "SELECT t.claim(1, 9)", "");
    jobs_check(url);
}

Test(run, a_claim_of_some_queues_leaves_the_others)
{
    const char *url = jobs_database();

    cluster_psql(
        url,
        "SELECT t.ins(queue => q) FROM unnest('{a,b,c,a}'::text[]) q; SELECT t.worker()");
    jobs_expect(url,
                "SELECT string_agg(id::text, ' ' ORDER BY id) FROM belay.claim(1, 9, 9, "
                "'{b}', NULL)",
                "2");
    jobs_expect(url,
                "SELECT string_agg(id::text, ' ' ORDER BY id) FROM belay.claim(1, 1, 9, "
                "'{c,a}', NULL)",
                "1");
    jobs_expect(url,
                "SELECT string_agg(id::text, ' ' ORDER BY id) FROM belay.claim(1, 9, 9, "
                "'{c,a}', '{\"0\":3}')",
                "4");
    jobs_expect(url, "SELECT count(*) FROM belay.claim(1, 9, 9, '{nowhere}', NULL)", "0");
    jobs_expect(url,
                "SELECT string_agg(id::text, ' ' ORDER BY id) FROM belay.claim(1, 9, 9, "
                "NULL, '{\"0\":0}')",
                "3");
}

Test(run, a_worker_that_was_given_up_claims_nothing)
{
    const char *url = jobs_database();

    cluster_psql(url,
                 "SELECT t.ins(), t.worker(); UPDATE belay.workers SET gone_at = now()");
    jobs_expect(url, "SELECT count(*) FROM belay.claim(1, 9, 9, NULL, NULL)", "0");
    jobs_expect(url, "SELECT count(*) FROM belay.claim(77, 9, 9, NULL, NULL)", "0");
    jobs_expect(url, "SELECT t.place(1)", "ready");
}

Test(run, a_result_is_taken_once)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing')");
    jobs_expect(url, "SELECT t.finish(1, 1, 1)", "succeeded");
    jobs_expect(url, "SELECT t.finish(1, 1, 1, 'failed')", "succeeded");
    jobs_expect(url, "SELECT t.status(1), count(*) FROM belay.ends", "succeeded|1");
    jobs_check(url);
}

Test(run, one_statement_that_ends_a_job_twice_ends_it_once)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.ins(); SELECT t.claim(t.worker(), 2)");
    jobs_expect(url,
                "SELECT ord, id, taken FROM belay.finish('{1,1}', '{1,1}', '{1,1}', "
                "'{1,1}', '{succeeded,failed}',"
                " '{NULL,NULL}', '{NULL,NULL}', '{1,1}', '{0,0}', '{NULL,NULL}', "
                "'{f,f}', '{NULL,NULL}',"
                " '{NULL,NULL}') ORDER BY ord",
                "1|1|t\n2|1|t");
    jobs_expect(url, "SELECT t.status(2), (SELECT job_ids FROM belay.leases)",
                "doing|{2}");
    jobs_expect(url, "SELECT t.finish(2, 1, 1), (SELECT count(*) FROM belay.leases)",
                "succeeded|1");
    jobs_expect(url, "SELECT count(*) FROM belay.leases", "0");
    jobs_check(url);
}

Test(run, a_job_that_ended_has_left_its_lease_and_can_be_retried)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.ins(); SELECT t.claim(t.worker(), 2);"
                      "SELECT t.finish(1, 1, 1, 'failed'); SELECT t.retry(1)");
    jobs_expect(url, "SELECT t.status(1), t.place(1), t.status(2), t.place(2)",
                "todo|ready|doing|lease");
    jobs_expect(url, "SELECT t.finish(1, 1, 1)", "stale");
    jobs_expect(url, "SELECT t.cancel(1)", "cancelled");
    jobs_check(url);
}

Test(run, the_rescue_of_a_lease_leaves_a_retried_job_alone)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.ins(); SELECT t.claim(t.worker(), 2);"
                      "SELECT t.finish(1, 1, 1, 'failed'); SELECT t.retry(1); SELECT "
                      "t.claim(t.worker())");
    jobs_expect(url, "SELECT t.die(2), t.reap()", "|2:failed");
    jobs_expect(url, "SELECT t.status(1), t.place(1)", "doing|lease");
    jobs_check(url);
}

Test(run, a_stale_result_does_not_overwrite_the_true_one)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing', 9); SELECT t.die(1); SELECT t.reap(); "
                      "SELECT t.claim(t.worker())");
    jobs_expect(url, "SELECT t.finish(1, 1, 1, 'succeeded', 1)", "stale");
    jobs_expect(url, "SELECT t.finish(1, 2, 2, 'failed', 2)", "failed");
    jobs_expect(url, "SELECT t.finish(1, 1, 1, 'succeeded', 1)", "stale");
    jobs_expect(
        url, "SELECT job::json ->> 'attempt', t.status(1) FROM belay.job_states('{1}')",
        "2|failed");
}

Test(run, a_result_that_comes_after_the_rescue_is_stale_even_if_it_says_the_same)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing'); SELECT t.die(1); SELECT t.reap()");
    jobs_expect(url, "SELECT t.status(1), t.finish(1, 1, 1, 'failed'), t.finish(1, 1, 1)",
                "failed|stale|stale");
}

Test(run, a_stale_result_beside_the_true_one_in_a_batch_is_still_stale)
{
    const char *url = jobs_database();

    /* Lease 1 still has job 2; job 1 went back and is in lease 2. */
    cluster_psql(url, "SELECT t.ins(), t.ins(); SELECT t.claim(t.worker(), 2);"
                      "SELECT t.back_mine(1, 'unstarted'); SELECT t.claim(1)");
    jobs_expect(url,
                "SELECT ord, taken FROM belay.finish('{1,1}', '{1,2}', '{1,1}', '{1,1}', "
                "'{failed,succeeded}',"
                " '{NULL,NULL}', '{NULL,NULL}', '{1,1}', '{0,0}', '{NULL,NULL}', "
                "'{f,f}', '{NULL,NULL}',"
                " '{NULL,NULL}') ORDER BY ord",
                "1|f\n2|t");
    jobs_expect(url, "SELECT t.status(1), t.place(2)", "succeeded|lease");
    jobs_check(url);
}

Test(run, given_back_twice_it_goes_back_once)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing', 9)");
    jobs_expect(url,
                "SELECT ord, taken FROM belay.give_back('{1,1}', '{1,1}', '{1,1}', "
                "'{1,1}', '{retry,retry}', '{0,0}',"
                " '{NULL,NULL}', '{NULL,NULL}') ORDER BY ord",
                "1|t\n2|f");
    jobs_expect(url, "SELECT t.place(1)", "ready");
}

Test(run, a_shutdown_is_not_counted_and_a_retry_is)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing', 2); SELECT t.back_mine(1, 'shutdown')");
    for (int i = 0; i < 2; i++)
        cluster_psql(url,
                     "SELECT t.claim(t.worker()); SELECT t.back_mine(1, 'shutdown')");
    jobs_expect(url,
                "SELECT attempt, counted FROM belay.claim(t.worker(), 1, 1, NULL, NULL)",
                "4|1");
    jobs_expect(url, "SELECT t.back_mine(1, 'retry')", "todo");
    jobs_expect(url,
                "SELECT attempt, counted FROM belay.claim(t.worker(), 1, 1, NULL, NULL)",
                "5|2");
    jobs_expect(url, "SELECT t.back_mine(1, 'retry')", "failed");
    jobs_check(url);
}

Test(run, what_never_started_keeps_its_attempt_and_its_schedule)
{
    const char *url = jobs_database();

    cluster_psql(
        url, "SELECT t.ins(at => now() - interval '1 hour'); SELECT t.claim(t.worker())");
    jobs_expect(url, "SELECT t.back_mine(1, 'unstarted')", "todo");
    jobs_expect(url,
                "SELECT attempts, uncounted, scheduled_at < now(), t.place(1), "
                "t.events(1) FROM belay.jobs",
                "0|0|t|ready|deferred scheduled");
}

Test(run, a_retry_waits_for_its_time)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing', 9)");
    jobs_expect(url, "SELECT t.back_mine(1, 'retry', 3600000)", "todo/scheduled");
    jobs_expect(url,
                "SELECT moved, next_due_ms BETWEEN 3500000 AND 3600000 FROM belay.due(9)",
                "0|t");
    cluster_psql(url,
                 "UPDATE belay.scheduled SET run_at = now() - interval '1 s';"
                 "UPDATE belay.jobs SET scheduled_at = s.run_at FROM belay.scheduled s");
    jobs_expect(url, "SELECT moved, next_due_ms FROM belay.due(9)", "1|");
    jobs_expect(url, "SELECT t.place(1), t.cancel(1)", "ready|cancelled");
    jobs_check(url);
}

Test(run, a_dead_worker_costs_an_attempt_where_the_job_had_started)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(tries => 2) FROM generate_series(1, 3); SELECT "
                      "t.claim(t.worker(), 3, 1);"
                      "SELECT t.die(1); SELECT t.reap()");
    jobs_expect(url, "SELECT id, attempts, uncounted FROM belay.jobs ORDER BY id",
                "1|1|0\n2|1|1\n3|1|1");
    cluster_psql(url, "SELECT t.claim(t.worker(), 3, 9); SELECT t.die(1)");
    jobs_expect(url, "SELECT t.reap()", "1:failed 2:todo 3:todo");
    jobs_check(url);
}

Test(run, a_job_that_only_ever_was_claimed_ahead_fails_in_the_end)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(tries => 1)");
    for (int i = 0; i < 3; i++)
        cluster_psql(
            url, "SELECT t.claim(t.worker(), 1, 0); SELECT t.die(1); SELECT t.reap()");
    jobs_expect(url, "SELECT t.status(1)", "todo");
    cluster_psql(url,
                 "SELECT t.claim(t.worker(), 1, 0); SELECT t.die(1); SELECT t.reap()");
    jobs_expect(url, "SELECT t.status(1)", "failed");
}

Test(run, a_lost_claim_is_recovered)
{
    const char *url = jobs_database();

    cluster_psql(
        url, "SELECT t.ins(), t.ins(), t.ins(); SELECT t.worker(); SELECT t.claim(1, 1);"
             "SELECT t.claim(1, 2)");
    jobs_expect(url, "SELECT belay.recover(1, '{1}')", "2");
    jobs_expect(url, "SELECT t.place(1), t.place(2), t.place(3)", "lease|ready|ready");
    jobs_expect(url, "SELECT belay.recover(1, '{1}')", "0");
    jobs_check(url);
}
