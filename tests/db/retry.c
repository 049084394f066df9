/* A manual retry starts clean, whatever came before. */
#include "tests/db/jobs.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>

TestSuite(retry, .timeout = 60);

Test(retry, works_after_an_abort_that_ended_in_failure)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('asked'); SELECT t.finish_mine(1, 'failed')");
    jobs_expect(url, "SELECT t.retry(1)", "retried");
    jobs_expect(url,
                "SELECT attempt, counted FROM belay.claim(t.worker(), 1, 1, NULL, NULL)",
                "2|1");
    jobs_expect(url, "SELECT t.cancel(1, true)", "aborting");
    jobs_expect(url, "SELECT t.finish_mine(1, 'aborted')", "aborted/aborted");
    jobs_expect(url, "SELECT t.receipts(1)", "1:failed 2:aborted");
    jobs_check(url);
}

Test(retry, counts_from_one_again_and_numbers_go_on)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing', 2); SELECT t.back_mine(1, 'retry'); SELECT "
                      "t.claim(t.worker());"
                      "SELECT t.back_mine(1, 'retry'); SELECT t.retry(1)");
    jobs_expect(url,
                "SELECT attempt, counted FROM belay.claim(t.worker(), 1, 1, NULL, NULL)",
                "3|1");
    jobs_expect(url, "SELECT t.back_mine(1, 'retry')", "todo");
    jobs_expect(url,
                "SELECT attempt, counted FROM belay.claim(t.worker(), 1, 1, NULL, NULL)",
                "4|2");
}

Test(retry, is_refused_while_its_queueing_lock_is_taken)
{
    const char *url = jobs_database();

    cluster_psql(
        url,
        "SELECT t.ins(qlock => 'k'); SELECT t.cancel(1); SELECT t.ins(qlock => 'k')");
    jobs_expect(url,
                "SELECT result, existing_id, status FROM belay.retry_jobs('{1}', "
                "'{NULL}', '{NULL}')",
                "already-enqueued|2|cancelled");
    cluster_psql(url, "SELECT t.cancel(2)");
    jobs_expect(url, "SELECT t.retry(1)", "retried");
    jobs_expect(url, "SELECT t.place(1), (SELECT id FROM belay.uniq)", "ready|1");
    jobs_check(url);
}

Test(retry, stands_in_the_line_of_its_lock)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins('l'); SELECT t.cancel(1); SELECT t.ins('l'); SELECT "
                      "t.claim(t.worker())");
    jobs_expect(url, "SELECT t.retry(1)", "retried");
    jobs_expect(url, "SELECT t.place(1), t.place(2)", "blocked|lease");
    cluster_psql(url, "SELECT t.finish_mine(2)");
    jobs_expect(url, "SELECT t.place(1)", "ready");
    jobs_check(url);
}

Test(retry, of_another_version_is_refused)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('failed')");
    jobs_expect(url, "SELECT t.retry(1, 'f00')", "precondition-failed");
    jobs_expect(url, "SELECT t.retry(1, (SELECT etag FROM belay.job_states('{1}')))",
                "retried");
}

Test(retry, a_batch_retries_each_once)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('failed'), t.make('ready'), t.make('cancelled')");
    jobs_expect(
        url,
        "SELECT ord, result FROM belay.retry_jobs('{3,1,1,2,9}', array_fill(NULL::text, "
        "'{5}'),"
        " array_fill(NULL::text, '{5}')) ORDER BY ord",
        "1|retried\n2|retried\n3|job-not-finished\n4|job-not-finished\n5|job-not-found");
    jobs_check(url);
}

/* -- with something else than before ------------------------------------------------- */

/* Beside its siblings in jobs.c: what belay.retry_one() takes as `more`. */
static const char retry_with[] =
    "CREATE FUNCTION t.retry_with(job bigint, more json) RETURNS text LANGUAGE sql AS $$"
    " SELECT concat_ws('/', result, existing_id, CASE WHEN scheduled THEN 'scheduled' "
    "END)"
    " FROM belay.retry_jobs(ARRAY[job], ARRAY['ann'], ARRAY[NULL], ARRAY[more]) $$;";

Test(retry, moves_to_another_queue_with_another_priority)
{
    const char *url = jobs_database();

    cluster_psql(url, retry_with);
    cluster_psql(url, "SELECT t.make('failed')");
    jobs_expect(url,
                "SELECT t.retry_with(1, "
                "'{\"queue\":\"new\",\"priority\":7,\"max_attempts\":3}')",
                "retried");
    jobs_expect(
        url,
        "SELECT q.name, r.priority, j.priority, j.max_attempts FROM belay.ready r "
        "JOIN belay.queues q ON q.id = r.queue_id JOIN belay.jobs j ON j.id = r.id",
        "new|7|7|3");
    jobs_expect(url, "SELECT detail FROM belay.events WHERE type = 'retried'",
                "{\"queue\": \"new\", \"by_hand\": true, \"priority\": 7, "
                "\"max_attempts\": 3}");
    jobs_expect(url,
                "SELECT attempt, counted FROM belay.claim(t.worker(), 1, 1, "
                "'{new}', NULL)",
                "2|1");
    jobs_check(url);
}

Test(retry, waits_for_its_time)
{
    const char *url = jobs_database();

    cluster_psql(url, retry_with);
    cluster_psql(url, "SELECT t.make('failed'), t.make('cancelled'), t.make('aborted')");
    jobs_expect(url,
                "SELECT t.retry_with(1, '{\"delay_ms\":60000}'), t.retry_with(2, "
                "'{\"scheduled_us\":4102444800000001}'), t.retry_with(3, "
                "'{\"delay_ms\":0}')",
                "retried/scheduled|retried/scheduled|retried");
    jobs_expect(url, "SELECT t.place(1), t.place(2), t.place(3)",
                "scheduled|scheduled|ready");
    jobs_expect(url,
                "SELECT run_at = '2100-01-01 00:00:00.000001Z' FROM belay.scheduled "
                "WHERE id = 2",
                "t");
    jobs_expect(url, "SELECT t.events(2)", "deferred cancelled retried");
    jobs_check(url);
}

Test(retry, joins_the_line_of_its_new_lock)
{
    const char *url = jobs_database();

    cluster_psql(url, retry_with);
    cluster_psql(url, "SELECT t.ins('l'); SELECT t.cancel(1); SELECT t.ins('m');"
                      "SELECT t.claim(t.worker()); SELECT t.ins('l')");
    jobs_expect(url, "SELECT t.place(2), t.place(3)", "lease|ready");
    jobs_expect(url, "SELECT t.retry_with(1, '{\"lock\":\"m\"}')", "retried");
    jobs_expect(url, "SELECT t.place(1)", "blocked");
    cluster_psql(url, "SELECT t.finish_mine(2)");
    jobs_expect(url, "SELECT t.place(1)", "ready");
    cluster_psql(url, "SELECT t.cancel(1); SELECT t.cancel(3)");
    jobs_expect(url, "SELECT t.retry_with(1, '{\"lock\":null}')", "retried");
    jobs_expect(url, "SELECT lock IS NULL FROM belay.jobs WHERE id = 1", "t");
    jobs_expect(url, "SELECT count(*) FROM belay.held", "0");
    jobs_check(url);
}

Test(retry, joins_the_line_when_its_time_has_come)
{
    const char *url = jobs_database();

    cluster_psql(url, retry_with);
    cluster_psql(url, "SELECT t.ins('l'); SELECT t.cancel(1); SELECT t.ins('l')");
    jobs_expect(url, "SELECT t.retry_with(1, '{\"delay_ms\":60000}')",
                "retried/scheduled");
    jobs_expect(url, "SELECT t.place(1), t.place(2)", "scheduled|ready");
    jobs_check(url);
}

Test(retry, takes_its_new_queueing_lock_or_is_refused)
{
    const char *url = jobs_database();

    cluster_psql(url, retry_with);
    cluster_psql(url, "SELECT t.ins(qlock => 'k'); SELECT t.cancel(1);"
                      "SELECT t.ins(qlock => 'k'); SELECT t.ins(qlock => 'm')");
    jobs_expect(url, "SELECT t.retry_with(1, '{\"queueing_lock\":\"m\"}')",
                "already-enqueued/3");
    jobs_expect(url, "SELECT queueing_lock FROM belay.jobs WHERE id = 1", "k");
    jobs_expect(url, "SELECT t.retry_with(1, '{\"queueing_lock\":\"n\"}')", "retried");
    jobs_expect(url, "SELECT queueing_lock FROM belay.uniq WHERE id = 1", "n");
    cluster_psql(url, "SELECT t.cancel(1)");
    jobs_expect(url, "SELECT t.retry_with(1, '{\"queueing_lock\":null}')", "retried");
    jobs_expect(url, "SELECT count(*) FROM belay.uniq WHERE id = 1", "0");
    jobs_check(url);
}

/* -- strategies ---------------------------------------------------------------------- */

Test(retry, a_failure_that_is_not_tried_again_ends_the_job)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing', 9), t.make('doing', 9)");
    jobs_expect(url, "SELECT t.back_mine(1, 'timeout', -1)", "failed");
    jobs_expect(url, "SELECT t.back_mine(2, 'retry', -1)", "failed");
    jobs_expect(url, "SELECT t.place(1), t.events(1)", "ends|deferred started failed");
    jobs_check(url);
}

Test(retry, the_event_tells_when_the_next_attempt_begins)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing', 9); SELECT t.back_mine(1, 'retry', 60000)");
    jobs_expect(url,
                "SELECT v.detail ->> 'kind', v.detail ->> 'next_at' = "
                "belay.time_text(j.scheduled_at), j.scheduled_at > now() + interval '50 "
                "seconds' FROM belay.events v, belay.jobs j WHERE v.type = 'retried'",
                "error|t|t");
}

Test(retry, a_lost_worker_is_a_failure_like_any_other)
{
    const char *url = jobs_database();

    cluster_psql(
        url, "SELECT t.make('doing', 9), t.make('doing', 9), t.make('doing', 9);"
             "UPDATE belay.jobs SET options = '{\"retry\":{\"on\":[\"timeout\"]}}' WHERE "
             "id = 1;"
             "UPDATE belay.jobs SET options = '{\"retry\":{\"on\":[\"worker_died\"]}}' "
             "WHERE id "
             "= 2;"
             "UPDATE belay.jobs SET options = '{\"retry\":{\"on\":null}}' WHERE id = 3;"
             "SELECT t.die(1), t.die(2), t.die(3)");
    jobs_expect(url, "SELECT t.reap()", "1:failed 2:todo 3:todo");
    jobs_check(url);
}

/* -- aborts that want the job back --------------------------------------------------- */

static const char requeue[] =
    "CREATE FUNCTION t.requeue(job bigint) RETURNS text LANGUAGE sql AS $$"
    " SELECT result FROM belay.cancel_jobs(ARRAY[job], '{true}', '{false}', '{NULL}', "
    "'{ann}', '{user}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', "
    "ARRAY['{\"retry\":\"requeue\"}'::json]) $$;";

static const char *requeue_database(void)
{
    const char *url = jobs_database();

    cluster_psql(url, requeue);
    return url;
}

Test(retry, a_job_that_was_to_start_again_waits_when_it_has_stopped)
{
    const char *url = requeue_database();

    cluster_psql(url, "SELECT t.make('doing', 1, 'l'), t.make('doing'), t.make('doing')");
    jobs_expect(url, "SELECT t.requeue(1), t.requeue(2), t.requeue(3)",
                "aborting|aborting|aborting");
    jobs_expect(url, "SELECT t.finish_mine(1, 'aborted'), t.finish_mine(2, 'failed')",
                "todo/requeued|todo/requeued");
    jobs_expect(url, "SELECT t.finish_mine(3)", "succeeded/completed");
    jobs_expect(url, "SELECT t.place(1), t.receipts(1), t.events(1)",
                "ready|1:requeued|deferred started abort_requested retried");
    jobs_expect(url, "SELECT t.requeue(1), t.requeue(3)", "already_todo|job-finished");
    jobs_expect(url,
                "SELECT id, attempt, counted FROM belay.claim(t.worker(), 9, 9, NULL, "
                "NULL) ORDER BY id",
                "1|2|2\n2|2|2");
    jobs_check(url);
}

Test(retry, what_is_given_back_after_such_an_abort_goes_back)
{
    const char *url = requeue_database();

    cluster_psql(url, "SELECT t.make('doing') FROM generate_series(1, 5)");
    cluster_psql(url, "SELECT t.requeue(i) FROM generate_series(1, 5) i");
    jobs_expect(url,
                "SELECT t.back_mine(1, 'retry', 60000), t.back_mine(2, 'killed'), "
                "t.back_mine(3, 'unstarted'), t.back_mine(4, 'shutdown')",
                "todo/requeued|todo/requeued|todo/requeued|todo/requeued");
    cluster_psql(url, "SELECT t.die(5)");
    jobs_expect(url, "SELECT t.reap()", "5:todo");
    jobs_expect(url,
                "SELECT string_agg(t.place(i) || t.receipts(i), ' ' ORDER BY i) FROM "
                "generate_series(1, 5) i",
                "ready1:requeued ready1:requeued ready1:requeued ready1:requeued "
                "ready1:requeued");
    jobs_check(url);
}

Test(retry, an_abort_for_good_is_stronger_than_one_that_wants_the_job_back)
{
    const char *url = requeue_database();

    cluster_psql(url, "SELECT t.make('doing', 9) FROM generate_series(1, 3)");
    cluster_psql(url, "SELECT t.requeue(1); SELECT t.cancel(1, true);"
                      "SELECT t.cancel(2, true); SELECT t.requeue(2);"
                      "SELECT t.requeue(3); SELECT t.late(3)");
    jobs_expect(url,
                "SELECT t.finish_mine(1, 'aborted'), t.finish_mine(2, 'aborted'), "
                "t.back_mine(3, 'timeout')",
                "aborted/aborted|aborted/aborted|todo/requeued");
    jobs_check(url);
}
