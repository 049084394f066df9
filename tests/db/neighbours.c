/* What is done to one job leaves alone those that look like it: of the same time, queue,
 * task, worker, lock, or with a row of their own in the same table. */
#include "tests/db/jobs.h"
#include "tests/db/session.h"
#include "tests/support/cluster.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define STRICT "'{\"lock_strict\":true}'"

TestSuite(neighbours, .timeout = 60);

/* A second task and queue, and a job of each that has told how far it is. */
static const char *bystanders(void)
{
    const char *url = jobs_database();

    cluster_psql(
        url, "SELECT * FROM belay.insert_jobs(ARRAY[0], '{other}', '{others}', '{0}', "
             "'{\"{}\"}', '{1}', '{\"{}\"}', '{\"{}\"}', '{NULL}', '{NULL}', '{NULL}', "
             "'{NULL}', '{f}');"
             "INSERT INTO belay.progress (job_id, percent, message) "
             "VALUES (1, 50, 'half of the other')");
    return url;
}

Test(neighbours, of_two_with_the_same_time_one_is_cancelled)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(at => '2100-01-01'), t.ins(at => '2100-01-01')");
    jobs_expect(url, "SELECT t.cancel(2)", "cancelled");
    jobs_expect(url, "SELECT t.place(1), t.place(2)", "scheduled|ends");
    jobs_check(url);
}

Test(neighbours, of_two_with_the_same_time_one_gives_its_turn_away)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins('l', at => '2100-01-01', options => " STRICT "), "
                      "t.ins(at => '2100-01-01'); SELECT t.ins('l', prio => 1)");
    jobs_expect(url, "SELECT t.place(1), t.place(2), t.place(3)",
                "blocked|scheduled|ready");
    jobs_check(url);
}

/* Job 2 is where `table` says; somebody holds it there, and two want to cancel it. */
static void expect_one_cancel_of_two(const char *url, const char *table)
{
    struct session *a = session_open(url), *b = session_open(url);

    session_run(a,
                text_of("BEGIN; SELECT id FROM belay.%s WHERE id = 2 FOR UPDATE", table));
    session_start(b, "SELECT t.cancel(2)");
    session_wait_blocked(b);
    cr_expect_str_eq(session_run(a, "SELECT t.cancel(2)"), "cancelled");
    session_run(a, "COMMIT");
    cr_expect_str_eq(session_end(b), "already_cancelled");
    session_close(a);
    session_close(b);
}

Test(neighbours, whoever_cancels_waits_for_the_job_and_not_for_one_of_the_same_time)
{
    const char *url = jobs_database();

    cluster_psql(url,
                 "SELECT t.ins('l'); SELECT t.ins('l', at => '2100-01-01', options => "
                 "" STRICT "), t.ins(at => '2100-01-01')");
    expect_one_cancel_of_two(url, "blocked");
    jobs_check(url);
}

Test(neighbours, what_another_job_has_told_stays)
{
    const char *url = bystanders();

    cluster_psql(url, "SELECT t.ins(), t.ins(), t.worker();"
                      "SELECT belay.claim(1, 9, 9, '{default}', NULL)");
    jobs_expect(url, "SELECT t.finish_mine(2), t.retry(2), t.del(2)",
                "succeeded|retried|deleted");
    jobs_expect(url, "SELECT job_id, message FROM belay.progress", "1|half of the other");
    jobs_expect(url, "SELECT t.status(1), t.status(2), t.status(3)", "todo|none|doing");
}

Test(neighbours, many_are_answered_for_once_each_with_their_own_task_and_progress)
{
    const char *url = bystanders();

    cluster_psql(url, "SELECT t.ins(), t.ins(), t.ins(), t.ins(), t.worker();"
                      "SELECT belay.claim(1, 2, 9, '{default}', NULL)");
    jobs_expect(url,
                "SELECT ord, result, job::json ->> 'task', job::json ->> 'progress' FROM "
                "belay.cancel_jobs('{2,3,4,5}', '{t,t,t,t}', '{f,f,f,f}', "
                "'{why,why,why,why}', '{a,a,a,a}', '{user,user,user,user}', "
                "'{NULL,NULL,NULL,NULL}', '{NULL,NULL,NULL,NULL}', "
                "'{NULL,NULL,NULL,NULL}', '{NULL,NULL,NULL,NULL}') ORDER BY ord",
                "1|aborting|t|\n2|aborting|t|\n3|cancelled|t|\n4|cancelled|t|");
    jobs_check(url);
}

/* A cancel of several in one request. */
#define CANCEL_BOTH(abort, a, b)                                                         \
    "SELECT string_agg(result, ' ' ORDER BY ord) FROM belay.cancel_jobs('{" a "," b      \
    "}', "                                                                               \
    "'{" abort "," abort "}', '{f,f}', '{why,why}', '{ann,ann}', '{user,user}', "        \
    "'{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}')"

Test(neighbours, a_lock_of_one_of_many_that_are_cancelled_goes_on)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins('l'), t.ins(); SELECT t.ins('l')");
    jobs_expect(url, CANCEL_BOTH("f", "1", "2"), "cancelled cancelled");
    jobs_expect(url, "SELECT t.place(3)", "ready");
    jobs_check(url);
}

Test(neighbours, a_queueing_lock_of_one_of_many_that_are_cancelled_is_free)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(NULL, 'q'), t.ins()");
    jobs_expect(url, CANCEL_BOTH("f", "1", "2"), "cancelled cancelled");
    jobs_expect(url, "SELECT t.put(NULL, NULL, 'q')", "3");
    jobs_check(url);
}

Test(neighbours, of_many_that_run_one_was_asked_in_an_earlier_attempt)
{
    const char *url = jobs_database();

    cluster_psql(url,
                 "SELECT t.ins(tries => 2), t.ins(), t.worker(); SELECT t.claim(1, 9)");
    jobs_expect(url, "SELECT t.late(1), t.back_mine(1, 'timeout')",
                "aborting|todo/aborted");
    jobs_expect(url, "SELECT t.claim(1)", "{1}");
    jobs_expect(url, CANCEL_BOTH("t", "1", "2"), "aborting aborting");
    jobs_expect(url, "SELECT t.receipts(1), t.receipts(2)", "1:aborted 2:open|1:open");
    jobs_check(url);
}

Test(neighbours, of_many_that_run_one_was_to_be_cancelled_later)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.ins(), t.worker(); SELECT t.claim(1, 9)");
    jobs_expect(url, "SELECT t.undo(1, true)", "cancel_pending");
    jobs_expect(url, CANCEL_BOTH("t", "1", "2"), "aborting aborting");
    jobs_expect(url, "SELECT t.receipts(1), t.receipts(2)", "1:open|1:open");
    jobs_check(url);
}

Test(neighbours, an_attempt_after_a_receipt_ends_without_one)
{
    const char *url = jobs_database();

    cluster_psql(url,
                 "SELECT t.ins(tries => 2), t.ins(), t.worker(); SELECT t.claim(1, 9)");
    jobs_expect(url, "SELECT t.late(1), t.back_mine(1, 'timeout')",
                "aborting|todo/aborted");
    /* The worker has another one that was asked to stop, and so nothing is plain. */
    cluster_psql(url, "SELECT t.claim(1); SELECT t.cancel(2, true)");
    jobs_expect(url, "SELECT t.finish_mine(1)", "succeeded");
    jobs_expect(url, "SELECT t.receipts(1), t.receipts(2)", "1:aborted|1:open");
    jobs_check(url);
}

Test(neighbours, an_attempt_that_failed_is_tried_again_whoever_else_was_asked_to_stop)
{
    const char *url = jobs_database();

    cluster_psql(url,
                 "SELECT t.ins(), t.ins(tries => 2), t.worker(); SELECT t.claim(1, 9);"
                 "SELECT t.cancel(1, true)");
    jobs_expect(url, "SELECT t.back_mine(2, 'retry')", "todo");
    jobs_expect(url, "SELECT t.receipts(1), t.status(2)", "1:open|todo");
    jobs_check(url);
}

Test(neighbours, one_that_is_given_back_is_answered_once_by_a_worker_of_many_leases)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(tries => 2), t.ins(), t.worker();"
                      "SELECT t.claim(1); SELECT t.claim(1)");
    jobs_expect(url,
                "SELECT b.id, b.taken FROM t.lease(1) l, belay.give_back('{1}', "
                "ARRAY[l.id], '{1}', '{1}', '{retry}', '{0}', '{\"{}\"}', '{no}') b",
                "1|t");
    jobs_check(url);
}

/* Its first lease lives on for another job, and it is under a new one. */
#define CLAIMED_ANEW                                                                     \
    "SELECT t.ins(tries => 3), t.ins(), t.ins(), t.worker('a'), t.worker('b');"          \
    "SELECT t.claim(1, 2)"

Test(neighbours, what_was_given_back_is_not_taken_from_its_next_lease)
{
    const char *url = jobs_database();

    cluster_psql(url, CLAIMED_ANEW);
    jobs_expect(url, "SELECT t.back_mine(1, 'retry'), t.claim(2, 1)", "todo|{1}");
    jobs_expect(url, "SELECT t.back(1, (t.lease(2)).id, 1, 'retry')", "stale");
    jobs_expect(url, "SELECT t.status(1), t.status(2)", "doing|doing");
    jobs_check(url);
}

Test(neighbours, what_was_given_back_is_not_taken_from_its_next_lease_with_others)
{
    const char *url = jobs_database();

    cluster_psql(url, CLAIMED_ANEW);
    jobs_expect(url, "SELECT t.back_mine(1, 'retry'), t.claim(2, 9)", "todo|{1,3}");
    jobs_expect(url, "SELECT t.back(1, (t.lease(2)).id, 1, 'retry')", "stale");
    jobs_expect(url, "SELECT t.status(1), t.status(2), t.status(3)", "doing|doing|doing");
    jobs_check(url);
}

Test(neighbours, the_end_of_one_is_not_taken_for_that_of_another)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.ins(), t.worker(); SELECT t.claim(1, 9)");
    jobs_expect(url, "SELECT t.finish_mine(1)", "succeeded");
    jobs_expect(url, "SELECT t.finish(2, 999, 1)", "stale");
    jobs_expect(url, "SELECT t.status(2)", "doing");
    jobs_check(url);
}

Test(neighbours, one_that_starts_again_keeps_its_turn_whoever_is_set_aside)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins('l', tries => 2), t.ins('l'), t.ins(), t.worker();"
                      "SELECT t.undo(3); SELECT t.claim(1)");
    jobs_expect(url,
                "SELECT result FROM belay.cancel_jobs('{1}', '{t}', '{f}', '{NULL}', "
                "'{ann}', '{user}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', "
                "ARRAY['{\"retry\":\"requeue\"}'::json])",
                "aborting");
    jobs_expect(url, "SELECT t.finish_mine(1, 'aborted')", "todo/requeued");
    jobs_expect(url, "SELECT t.place(1), t.place(2), t.place(3)", "ready|blocked|aside");
    jobs_check(url);
}

Test(neighbours, a_worker_that_was_given_up_gets_nothing_however_many_others_live)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.worker('a'), t.worker('b');"
                      "UPDATE belay.workers SET gone_at = '2020-01-01', heartbeat_at = "
                      "'2020-01-01' WHERE id = 1");
    jobs_expect(url, "SELECT t.claim(1)", "");
    cluster_psql(url, "SELECT t.reap()");
    jobs_expect(url, "SELECT gone_at = '2020-01-01' FROM belay.workers WHERE id = 1",
                "t");
    jobs_expect(url, "SELECT t.claim(2)", "{1}");
}

Test(neighbours, a_claim_of_two_queues_is_not_used_up_by_a_third)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(queue => 'c'), t.ins(queue => 'a'), t.ins(queue => "
                      "'b'), t.ins(queue => 'c', prio => 9), t.worker()");
    jobs_expect(url, "SELECT id FROM belay.claim(1, 1, 9, '{a,b}', NULL)", "2");
    jobs_expect(url, "SELECT id FROM belay.claim(1, 1, 9, '{a,b}', '{\"9\":0,\"0\":0}')",
                "3");
    jobs_expect(url, "SELECT id FROM belay.claim(1, 1, 9, '{a,b}', NULL)", "");
}

/* A claim that goes on from its marks looks past them only, at each priority. */
static void expect_marks(const char *url, const char *queues)
{
    char sql[200];

    snprintf(
        sql, sizeof sql,
        "SELECT array_agg(id ORDER BY id) FROM belay.claim(1, 9, 9, %s, '{\"5\":2}')",
        queues);
    jobs_expect(url, sql, "{3}");
}

Test(neighbours, a_claim_goes_on_from_its_mark_of_each_priority)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(prio => 5), t.ins(prio => 5), t.ins(prio => 5), "
                      "t.ins(prio => 0), t.worker()");
    expect_marks(url, "NULL");
    cluster_psql(url, "SELECT t.finish_mine(3); SELECT t.retry(3)");
    expect_marks(url, "'{default}'");
}

/* Leases of others, which somebody else is at work with, are not waited for. */
static void expect_no_wait(const char *url, const char *call, const char *expected)
{
    struct session *a = session_open(url);
    char sql[200];

    snprintf(sql, sizeof sql, "SET lock_timeout = '5s'; SELECT %s", call);
    session_run(a, "BEGIN; SELECT id FROM belay.leases WHERE worker_id = 2 FOR UPDATE");
    jobs_expect(url, sql, expected);
    session_close(a);
    jobs_check(url);
}

Test(neighbours, a_worker_that_tells_of_its_jobs_waits_for_no_lease_of_another)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins('l'), t.ins('m'), t.ins(tries => 2), t.ins(), "
                      "t.worker('a'), t.worker('b');"
                      "SELECT t.claim(1, 1); SELECT t.claim(2, 1); SELECT t.claim(1, 2)");
    expect_no_wait(url, "t.finish_mine(1)", "succeeded"); /* has a lock */
    expect_no_wait(url, "t.back_mine(3, 'retry')", "todo");
    cluster_psql(url, "SELECT t.finish_mine(2)"); /* nobody has a lock */
    cluster_psql(url, "SELECT t.ins(); SELECT t.claim(2, 9)");
    expect_no_wait(url, "t.finish_mine(4)", "succeeded");
}

/* Somebody is at work with a job that waits for another, with a lease and with an end. */
Test(neighbours, whoever_holds_a_job_waits_for_no_other)
{
    const char *url = jobs_database();
    struct session *a = session_open(url);

    cluster_psql(url,
                 "SELECT t.ins(options => " STRICT "), t.ins(), t.ins(), t.worker();"
                 "SELECT t.claim(1, 1); SELECT t.finish_mine(1); SELECT t.claim(1, 1);"
                 "SELECT t.finish_mine(2); SELECT t.claim(1, 1); SELECT t.after(3)");
    session_run(a, "BEGIN; SELECT id FROM belay.waits FOR UPDATE");
    session_run(a, "SELECT id FROM belay.leases FOR UPDATE");
    session_run(a, "SELECT id FROM belay.ends WHERE id = 2 FOR UPDATE");
    jobs_expect(url, "SET lock_timeout = '5s'; SELECT t.retry(1)", "retried");
    session_close(a);
    jobs_check(url);
}

Test(neighbours, whoever_cancels_waits_for_the_job_and_not_for_one_of_the_same_line)
{
    const char *url = jobs_database();

    cluster_psql(url,
                 "SELECT t.ins('l'); SELECT t.ins('l'), t.ins('l'); SELECT t.hold(2)");
    expect_one_cancel_of_two(url, "parked");
    jobs_check(url);
}

Test(neighbours, of_many_that_are_cancelled_one_is_to_be_removed)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.put('{\"delete_policy\":\"always\"}'), t.ins()");
    jobs_expect(url, CANCEL_BOTH("f", "1", "2"), "cancelled cancelled");
    jobs_expect(url, "SELECT t.status(1), t.status(2)", "none|cancelled");
    jobs_check(url);
}

Test(neighbours, receipts_of_many_are_numbered_by_job)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.ins(), t.ins()");
    cluster_psql(url, "SELECT t.cancel(1), t.retry(1); SELECT t.cancel(1)");
    jobs_expect(url, CANCEL_BOTH("f", "2", "3"), "cancelled cancelled");
    jobs_expect(url, "SELECT t.receipts(1), t.receipts(2), t.receipts(3)",
                "1:cancelled 2:cancelled|1:cancelled|1:cancelled");
    jobs_check(url);
}

Test(neighbours, the_end_of_an_earlier_attempt_is_not_taken_for_that_of_the_last)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.worker(); SELECT t.claim(1)");
    jobs_expect(url, "SELECT t.finish_mine(1, 'failed'), t.retry(1)", "failed|retried");
    jobs_expect(url, "SELECT t.claim(1), t.finish_mine(1)", "{1}|succeeded");
    jobs_expect(url, "SELECT t.finish(1, 1, 1, 'failed', 1)", "stale");
    jobs_expect(url, "SELECT t.finish(1, 2, 1, 'succeeded', 2)", "succeeded");
    jobs_check(url);
}
