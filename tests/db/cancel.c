/* What cancellation.md promises, as far as the tables keep it. */
#include "tests/db/jobs.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>

TestSuite(cancel, .timeout = 60);

Test(cancel, a_repeated_abort_is_the_same_receipt_and_adds_no_event)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing')");
    jobs_expect(url, "SELECT t.cancel(1, true), t.cancel(1, true), t.cancel(1, true)",
                "aborting|aborting|aborting");
    jobs_expect(url, "SELECT t.receipts(1), t.events(1)",
                "1:open|deferred started abort_requested");
    jobs_check(url);
}

Test(cancel, a_stronger_call_strengthens_the_receipt_and_a_weaker_one_does_not)
{
    const char *url = jobs_database();
    const char *receipt =
        "SELECT delete_requested, grace_seconds, force_at <= clock_timestamp() +"
        " grace_seconds * interval '1 second', reason FROM belay.cancellations";

    cluster_psql(url, "SELECT t.make('doing'); SELECT t.cancel(1, true, grace => 60)");
    jobs_expect(url, receipt, "f|60|t|why");
    cluster_psql(url, "SELECT t.cancel(1, true, true, grace => 5)");
    jobs_expect(url, receipt, "t|5|t|why");
    cluster_psql(url, "SELECT t.cancel(1, true, false, grace => 600)");
    jobs_expect(url, receipt, "t|5|t|why");
}

Test(cancel, a_delete_asked_of_a_running_job_is_kept_until_it_has_stopped)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing'); SELECT t.cancel(1, true, true)");
    jobs_expect(url, "SELECT t.status(1)", "doing");
    jobs_expect(url, "SELECT t.finish_mine(1, 'aborted'), t.status(1)",
                "aborted/aborted|none");
    jobs_expect(url, "SELECT t.receipts(1)", "1:aborted");
    jobs_check(url);
}

Test(cancel, the_delete_survives_success_retry_shutdown_and_the_death_of_the_worker)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing', 9) FROM generate_series(1, 4);"
                      "SELECT t.del(id, true) FROM generate_series(1, 4) id");
    jobs_expect(
        url,
        "SELECT t.finish_mine(1), t.back_mine(2, 'retry'), t.back_mine(3, 'shutdown')",
        "succeeded/completed|failed/failed|aborted/aborted");
    jobs_expect(url, "SELECT t.die(4), t.reap()", "|4:aborted");
    jobs_expect(url, "SELECT count(*) FROM belay.jobs", "0");
    jobs_expect(
        url, "SELECT string_agg(outcome, ' ' ORDER BY job_id) FROM belay.cancellations",
        "completed failed aborted worker_lost");
    jobs_check(url);
}

Test(cancel, each_deleted_job_names_who_asked_for_it)
{
    const char *url = jobs_database();

    cluster_psql(
        url, "SELECT t.ins() FROM generate_series(1, 3); SELECT t.claim(t.worker(), 3);"
             "SELECT t.del(1, true, 'ann'), t.del(2, true, 'zoe'), t.del(3, true, NULL)");
    cluster_psql(
        url,
        "SELECT * FROM belay.finish(ARRAY[1,2,3]::bigint[], ARRAY[1,1,1]::bigint[],"
        " ARRAY[1,1,1]::bigint[], ARRAY[1,1,1], ARRAY['aborted','aborted','aborted'],"
        " ARRAY[NULL,NULL,NULL]::json[], ARRAY[NULL,NULL,NULL]::json[], "
        "ARRAY[1,1,1]::bigint[],"
        " ARRAY[0,0,0]::bigint[], ARRAY[NULL,NULL,NULL]::text[], "
        "ARRAY[false,false,false],"
        " ARRAY[NULL,NULL,NULL]::bigint[], ARRAY[NULL,NULL,NULL]::bigint[])");
    jobs_expect(
        url, "SELECT job_id, actor FROM belay.events WHERE type = 'deleted' ORDER BY 1",
        "1|ann\n2|zoe\n3|");
}

Test(cancel, an_abort_that_loses_to_success_stays_on_record)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('asked'); SELECT t.finish_mine(1)");
    jobs_expect(url, "SELECT t.status(1), t.receipts(1)", "succeeded|1:completed");
    jobs_expect(url, "SELECT t.events(1)", "deferred started abort_requested succeeded");
}

Test(cancel, an_abort_that_ends_in_failure_is_not_retried)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('asked', 9)");
    jobs_expect(url, "SELECT t.back_mine(1, 'retry', 1000)", "failed/failed");
    jobs_expect(url, "SELECT t.status(1), t.receipts(1)", "failed|1:failed");
    jobs_check(url);
}

Test(cancel, a_cancelled_job_has_no_abort_flag)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('ready'); SELECT t.cancel(1, true);"
                      "SELECT t.make('asked'); SELECT t.back_mine(2, 'unstarted')");
    jobs_expect(url,
                "SELECT status, job::json ->> 'abort_requested_at' IS NULL FROM "
                "belay.job_states('{1,2}')",
                "cancelled|t\ncancelled|t");
}

Test(cancel, an_old_receipt_is_no_flag_of_a_new_attempt)
{
    const char *url = jobs_database();

    cluster_psql(
        url,
        "SELECT t.make('asked'); SELECT t.back_mine(1, 'unstarted'); SELECT t.retry(1)");
    jobs_expect(
        url,
        "SELECT job::json ->> 'abort_requested_at' IS NULL FROM belay.job_states('{1}')",
        "t");
    cluster_psql(url, "SELECT t.claim(t.worker())");
    jobs_expect(url,
                "SELECT status, job::json ->> 'abort_requested_at' IS NULL FROM "
                "belay.job_states('{1}')",
                "doing|t");
    cluster_psql(url, "SELECT t.finish_mine(1)");
    jobs_expect(url,
                "SELECT status, job::json ->> 'abort_requested_at' IS NULL FROM "
                "belay.job_states('{1}')",
                "succeeded|t");
}

Test(cancel, a_receipt_tells_only_the_stages_that_were_reached)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('asked'); SELECT t.die(1); SELECT t.reap()");
    jobs_expect(
        url,
        "SELECT outcome, delivered_at, acknowledged_at, stopped_at >= requested_at"
        " FROM belay.cancellations",
        "worker_lost|||t");
    jobs_expect(url, "SELECT t.events(1)", "deferred started abort_requested aborted");
}

Test(cancel, receipts_are_numbered_by_job_over_all_attempts)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('aborted'); SELECT t.retry(1); SELECT t.cancel(1); "
                      "SELECT t.retry(1);"
                      "SELECT t.claim(t.worker()); SELECT t.cancel(1, true)");
    jobs_expect(url, "SELECT t.receipts(1)", "1:aborted 2:cancelled 3:open");
    jobs_expect(url,
                "SELECT string_agg(coalesce(attempt::text, '-'), ' ' ORDER BY n) FROM "
                "belay.cancellations",
                "1 - 2");
    jobs_check(url);
}

Test(cancel, a_batch_answers_each_request_in_its_place)
{
    const char *url = jobs_database();

    cluster_psql(url,
                 "SELECT t.make(s) FROM "
                 "unnest('{ready,doing,succeeded,cancelled,scheduled,ready}'::text[]) s");
    jobs_expect(
        url,
        "SELECT ord, result FROM belay.cancel_jobs('{6,5,1,1,99,4,3,2}',"
        " '{f,f,f,f,f,f,f,t}', '{f,f,f,f,f,f,f,f}', array_fill(NULL::text, '{8}'),"
        " array_fill(NULL::text, '{8}'), array_fill('user'::text, '{8}'), "
        "array_fill(NULL::int, '{8}'),"
        " array_fill(NULL::text, '{8}'), array_fill(NULL::int, '{8}'), "
        "array_fill(NULL::text, '{8}'))"
        " ORDER BY ord",
        "1|cancelled\n2|cancelled\n3|cancelled\n4|already_cancelled\n5|job-not-found\n"
        "6|already_cancelled\n7|job-finished\n8|aborting");
    jobs_check(url);
}

Test(cancel, the_fast_path_and_the_slow_one_write_the_same)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.ins();"
                      "SELECT t.cancel(1); SELECT t.cancel(2, only_if => '{todo}')");
    cluster_psql(url, "UPDATE belay.ends SET finished_at = '2026-01-01'");
    const char *fast = cluster_psql(
        url, "SELECT job::jsonb - 'id' - 'created_at' FROM belay.job_states('{1}')");
    const char *slow = cluster_psql(
        url, "SELECT job::jsonb - 'id' - 'created_at' FROM belay.job_states('{2}')");
    cr_expect_str_eq(fast, slow);
    jobs_expect(url,
                "SELECT count(DISTINCT (cause, reason, actor, abort, delete_requested, "
                "outcome, attempt))"
                " FROM belay.cancellations",
                "1");
}

Test(cancel, running_jobs_of_a_batch_get_the_receipts_that_single_ones_get)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing') FROM generate_series(1, 4)");
    cluster_psql(url, "SELECT belay.cancel_jobs('{4}', '{t}', '{f}', '{NULL}', '{NULL}',"
                      " '{user}', '{NULL}', '{NULL}', '{NULL}', '{NULL}')");
    jobs_expect(url,
                "SELECT string_agg(result, ' ' ORDER BY ord) FROM"
                " belay.cancel_jobs('{3,1,2,2,4}', '{t,t,f,t,t}', '{f,f,f,f,f}',"
                " '{NULL,NULL,NULL,NULL,NULL}', '{NULL,NULL,NULL,NULL,NULL}',"
                " '{user,user,user,user,user}', '{NULL,NULL,NULL,NULL,NULL}',"
                " '{NULL,NULL,NULL,NULL,NULL}', '{NULL,NULL,NULL,NULL,NULL}',"
                " '{NULL,NULL,NULL,NULL,NULL}')",
                "aborting aborting job-running aborting aborting");
    jobs_expect(url, "SELECT t.receipts(1), t.receipts(2), t.receipts(3), t.receipts(4)",
                "1:open|1:open|1:open|1:open");
    jobs_expect(url,
                "SELECT count(DISTINCT (n, attempt, cause, reason, actor, abort,"
                " delete_requested, grace_seconds, force_at, outcome)),"
                " string_agg(requests::text, ' ' ORDER BY job_id) FROM"
                " belay.cancellations c JOIN belay.leases l ON l.id = c.lease_id AND"
                " l.worker_id = c.worker_id AND l.job_ids @> ARRAY[c.job_id]",
                "1|1 1 1 2");
    jobs_check(url);
}

Test(cancel, the_etag_answered_is_that_of_the_job_as_it_is_then)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('ready'), t.make('scheduled'), t.make('doing')");
    jobs_expect(
        url,
        "CREATE TEMP TABLE a AS SELECT * FROM belay.cancel_jobs('{1,2,3}', '{t,t,t}', "
        "'{f,f,f}',"
        " '{NULL,NULL,NULL}', '{NULL,NULL,NULL}', '{user,user,user}', '{NULL,NULL,NULL}',"
        " '{NULL,\"{todo}\",NULL}', '{NULL,NULL,NULL}', '{NULL,NULL,NULL}');"
        "SELECT count(*) FROM a JOIN belay.job_states('{1,2,3}') s ON s.id = a.ord"
        " WHERE s.etag = a.etag AND s.job = a.job",
        "3");
}

Test(cancel, a_precondition_on_the_version_holds_or_does_not)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('ready'), t.make('ready')");
    jobs_expect(url, "SELECT t.cancel(1, if_match => 'f00')", "precondition-failed");
    jobs_expect(
        url, "SELECT t.cancel(1, if_match => (SELECT etag FROM belay.job_states('{1}')))",
        "cancelled");
    jobs_expect(url, "SELECT t.cancel(2, if_match => '*')", "cancelled");
    jobs_expect(url, "SELECT t.cancel(99, if_match => '*')", "job-not-found");
}
