/* Two sessions meet at one job. The first has done its part and not committed, the second
 * waits, or does not have to; both answers and the job agree afterwards, in either order.
 */
#include "tests/db/jobs.h"
#include "tests/db/session.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(meet, .timeout = 60);

struct meeting {
    const char *make; /* puts the jobs there */
    const char *first, *second;
    const char *first_answers, *second_answers; /* second: NULL when it must not wait */
    const char *after, *is;                     /* a query, and what it says in the end */
};

static void meet(const struct meeting *m)
{
    const char *url = jobs_database();
    struct session *a = session_open(url), *b = session_open(url);

    cluster_psql(url, m->make);
    session_run(a, "BEGIN");
    cr_expect_str_eq(session_run(a, m->first), m->first_answers);
    session_start(b, m->second);
    session_wait_blocked(b);
    session_run(a, "COMMIT");
    const char *answer = session_end(b);
    cr_expect_str_eq(answer, m->second_answers, "%s: %s and not %s", m->second, answer,
                     m->second_answers);
    jobs_expect(url, m->after, m->is);
    jobs_check(url);
    session_close(a);
    session_close(b);
}

Test(meet, a_cancel_waits_for_the_claim_and_finds_the_job_running)
{
    meet(&(struct meeting){"SELECT t.ins(), t.worker()", "SELECT t.claim(1)",
                           "SELECT t.cancel(1)", "{1}", "job-running",
                           "SELECT t.status(1)", "doing"});
}

Test(meet, a_cancel_that_waits_counts_the_attempt_that_it_waited_for)
{
    meet(&(struct meeting){"SELECT t.ins(tries => 3), t.worker()",
                           "LOCK TABLE belay.ready; SELECT t.claim(1);"
                           "SELECT t.back_mine(1, 'retry')",
                           "SELECT t.cancel(1)", "todo", "cancelled",
                           "SELECT attempts FROM belay.ends", "1"});
}

Test(meet, an_abort_waits_for_the_claim_and_is_asked)
{
    meet(&(struct meeting){"SELECT t.ins(), t.worker()", "SELECT t.claim(1)",
                           "SELECT t.cancel(1, true)", "{1}", "aborting",
                           "SELECT t.status(1) || t.receipts(1)", "doing1:open"});
}

Test(meet, a_cancel_of_a_slow_path_waits_for_the_claim_too)
{
    meet(&(struct meeting){"SELECT t.ins(qlock => 'k'), t.worker()", "SELECT t.claim(1)",
                           "SELECT t.cancel(1)", "{1}", "job-running",
                           "SELECT t.status(1)", "doing"});
}

Test(meet, an_abort_waits_for_the_finish_and_finds_the_job_finished)
{
    meet(&(struct meeting){"SELECT t.make('doing')", "SELECT t.finish_mine(1)",
                           "SELECT t.cancel(1, true)", "succeeded", "job-finished",
                           "SELECT t.status(1)", "succeeded"});
}

Test(meet, a_finish_waits_for_the_abort_and_closes_its_receipt)
{
    meet(&(struct meeting){"SELECT t.make('doing')", "SELECT t.cancel(1, true, true)",
                           "SELECT t.finish(1, 1, 1)", "aborting", "succeeded/completed",
                           "SELECT t.status(1) || t.receipts(1)", "none1:completed"});
}

Test(meet, a_retry_of_the_worker_waits_for_the_abort_and_fails_instead)
{
    meet(&(struct meeting){"SELECT t.make('doing', 9)", "SELECT t.cancel(1, true)",
                           "SELECT t.back(1, 1, 1, 'retry')", "aborting", "failed/failed",
                           "SELECT t.status(1) || t.receipts(1)", "failed1:failed"});
}

Test(meet, an_abort_waits_for_the_retry_of_the_worker_and_cancels)
{
    meet(&(struct meeting){"SELECT t.make('doing', 9)",
                           "SELECT t.back(1, 1, 1, 'retry', 60000)",
                           "SELECT t.cancel(1, true)", "todo/scheduled", "cancelled",
                           "SELECT t.status(1)", "cancelled"});
}

Test(meet, a_cancel_waits_while_the_job_becomes_due)
{
    meet(&(struct meeting){"SELECT t.ins(at => now() + interval '1 hour');"
                           "UPDATE belay.scheduled SET run_at = '2020-01-01';"
                           "UPDATE belay.jobs SET scheduled_at = '2020-01-01'",
                           "SELECT moved FROM belay.due(9)", "SELECT t.cancel(1)", "1",
                           "cancelled", "SELECT t.status(1)", "cancelled"});
}

Test(meet, a_finish_waits_for_the_rescue_and_is_stale)
{
    meet(&(struct meeting){"SELECT t.make('doing', 9); SELECT t.die(1)",
                           "SELECT t.reap()", "SELECT t.finish(1, 1, 1)", "1:todo",
                           "stale", "SELECT t.status(1)", "todo"});
}

Test(meet, an_abort_waits_for_the_rescue_and_cancels)
{
    meet(&(struct meeting){"SELECT t.make('doing', 9); SELECT t.die(1)",
                           "SELECT t.reap()", "SELECT t.cancel(1, true)", "1:todo",
                           "cancelled", "SELECT t.status(1)", "cancelled"});
}

Test(meet, of_two_retries_one_wins)
{
    meet(&(struct meeting){"SELECT t.make('failed')", "SELECT t.retry(1)",
                           "SELECT t.retry(1)", "retried", "job-not-finished",
                           "SELECT t.place(1)", "ready"});
}

Test(meet, a_retry_waits_for_the_delete_and_finds_nothing)
{
    meet(&(struct meeting){"SELECT t.make('failed')", "SELECT t.del(1)",
                           "SELECT t.retry(1)", "deleted", "job-not-found",
                           "SELECT t.status(1)", "none"});
}

Test(meet, a_hold_waits_for_the_delete_and_finds_nothing)
{
    meet(&(struct meeting){"SELECT t.ins()", "SELECT t.del(1)", "SELECT t.hold(1)",
                           "deleted", "job-not-found", "SELECT t.status(1)", "none"});
}

Test(meet, a_delete_waits_for_the_retry_and_deletes_what_waits)
{
    meet(&(struct meeting){"SELECT t.make('failed')", "SELECT t.retry(1)",
                           "SELECT t.del(1)", "retried", "deleted", "SELECT t.status(1)",
                           "none"});
}

Test(meet, of_two_cancels_one_cancels_and_the_other_says_so)
{
    meet(&(struct meeting){"SELECT t.ins()", "SELECT t.cancel(1)", "SELECT t.cancel(1)",
                           "cancelled", "already_cancelled", "SELECT t.receipts(1)",
                           "1:cancelled"});
}

Test(meet, of_two_aborts_both_have_the_one_receipt)
{
    meet(&(struct meeting){"SELECT t.make('doing')", "SELECT t.cancel(1, true)",
                           "SELECT t.cancel(1, true)", "aborting", "aborting",
                           "SELECT t.receipts(1)", "1:open"});
}

Test(meet, the_end_of_a_holder_waits_while_the_head_of_its_line_is_cancelled)
{
    meet(&(struct meeting){
        "SELECT t.ins('l'), t.ins('l'), t.ins('l'), t.worker(); SELECT t.claim(1)",
        "SELECT t.cancel(2)", "SELECT t.finish(1, 1, 1)", "cancelled", "succeeded",
        "SELECT t.place(2) || t.place(3)", "endsready"});
}

Test(meet, a_cancel_waits_while_the_job_gets_its_turn)
{
    meet(&(struct meeting){
        "SELECT t.ins('l'), t.ins('l'), t.ins('l'), t.worker(); SELECT t.claim(1)",
        "SELECT t.finish(1, 1, 1)", "SELECT t.cancel(2)", "succeeded", "cancelled",
        "SELECT t.place(2) || t.place(3)", "endsready"});
}

Test(meet, a_queueing_lock_is_free_once_the_claim_has_been_committed)
{
    meet(&(struct meeting){"SELECT t.ins(qlock => 'k'), t.worker()", "SELECT t.claim(1)",
                           "SELECT t.ins(qlock => 'k') IS NOT NULL", "{1}", "t",
                           "SELECT id = 1 FROM belay.uniq", "f"});
}

Test(meet, a_queueing_lock_is_taken_once_the_insert_has_been_committed)
{
    meet(&(struct meeting){"SELECT 1", "SELECT t.ins(qlock => 'k')",
                           "SELECT coalesce(t.ins(qlock => 'k'), 0)", "1", "0",
                           "SELECT count(*) FROM belay.jobs", "1"});
}

/* The row of a head is held in the middle of a cancel; what comes meanwhile may not wait
 * for it with the turn in hand. */
Test(meet, a_better_newcomer_does_not_wait_for_a_head_that_is_being_cancelled)
{
    const char *url = jobs_database();
    struct session *a = session_open(url);

    cluster_psql(url, "SELECT t.ins('l'), t.ins('l')");
    session_run(a, "BEGIN; SELECT FROM belay.ready FOR UPDATE");
    jobs_expect(url, "SET lock_timeout = 100; SELECT t.ins('l', prio => 9)", "3");
    cr_expect_str_eq(session_run(a, "SELECT t.cancel(1)"), "cancelled");
    session_run(a, "COMMIT");
    jobs_expect(url, "SELECT t.place(1), t.place(2), t.place(3)", "ends|blocked|ready");
    jobs_check(url);
    session_close(a);
}

/* A line of one, whose row is held by a request that then changes nothing: its turn may
 * not be lost. */
Test(meet, a_turn_that_came_while_the_job_was_looked_at_is_not_lost)
{
    const char *url = jobs_database();
    struct session *a = session_open(url);

    cluster_psql(url, "SELECT t.ins('l'), t.ins('l'), t.worker(); SELECT t.claim(1)");
    session_run(a, "BEGIN; SELECT FROM belay.blocked FOR UPDATE");
    jobs_expect(url, "SET lock_timeout = 100; SELECT t.finish(1, 1, 1)", "succeeded");
    cr_expect_str_eq(session_run(a, "SELECT t.retry(2)"), "job-not-finished");
    session_run(a, "COMMIT");
    jobs_expect(url, "SELECT t.place(2)", "ready");
    jobs_check(url);
    session_close(a);
}

/* Job 2 comes while the request waits for job 1: its lock was not seen, so nobody would
 * hand it on. */
static void expect_not_there_yet(const char *request, const char *answers)
{
    const char *url = jobs_database();
    struct session *a = session_open(url), *b = session_open(url), *c = session_open(url);

    cluster_psql(url, "SELECT t.ins()");
    session_run(a, "BEGIN; SELECT FROM belay.ready FOR UPDATE");
    session_run(c, "BEGIN");
    cr_expect_str_eq(session_run(c, "SELECT t.ins('l')"), "2");
    session_start(b, request);
    session_wait_blocked(b);
    session_run(c, "COMMIT");
    session_run(a, "COMMIT");
    cr_expect_str_eq(session_end(b), answers);
    jobs_expect(url, "SELECT t.status(2)", "todo");
    jobs_check(url);
    session_close(a);
    session_close(b);
    session_close(c);
}

Test(meet, a_cancel_does_not_find_what_comes_after_its_first_look)
{
    expect_not_there_yet("SELECT string_agg(result, ' ' ORDER BY ord) FROM"
                         " belay.cancel_jobs('{1,2}', '{f,f}', '{t,t}', '{x,x}',"
                         " '{x,x}', '{user,user}', '{1,1}', '{NULL,NULL}',"
                         " '{NULL,NULL}', '{NULL,NULL}')",
                         "cancelled job-not-found");
}

Test(meet, a_delete_does_not_find_what_comes_after_its_first_look)
{
    expect_not_there_yet("SELECT string_agg(result, ' ' ORDER BY ord) FROM"
                         " belay.delete_jobs('{1,2}', '{f,f}', '{x,x}', '{x,x}',"
                         " '{1,1}', '{NULL,NULL}')",
                         "deleted job-not-found");
}

Test(meet, a_retry_does_not_find_what_comes_after_its_first_look)
{
    expect_not_there_yet("SELECT string_agg(result, ' ' ORDER BY ord) FROM"
                         " belay.retry_jobs('{1,2}', '{x,x}', '{NULL,NULL}')",
                         "job-not-finished job-not-found");
}

Test(meet, a_claim_passes_over_a_job_that_is_being_cancelled)
{
    const char *url = jobs_database();
    struct session *a = session_open(url);

    cluster_psql(url, "SELECT t.ins(), t.ins(), t.worker()");
    session_run(a, "BEGIN");
    cr_expect_str_eq(session_run(a, "SELECT t.cancel(1)"), "cancelled");
    jobs_expect(url, "SET lock_timeout = 100; SELECT t.claim(1, 9)", "{2}");
    session_run(a, "ROLLBACK");
    jobs_expect(url, "SELECT t.claim(1, 9)", "{1}");
    jobs_check(url);
    session_close(a);
}

Test(meet, a_cancel_in_a_transaction_that_rolls_back_has_not_happened)
{
    const char *url = jobs_database();
    struct session *a = session_open(url);

    cluster_psql(url, "SELECT t.make('ready'), t.make('doing')");
    session_run(a, "BEGIN; SELECT t.cancel(1), t.cancel(2, true); ROLLBACK");
    jobs_expect(url, "SELECT t.status(1), t.status(2), count(*) FROM belay.cancellations",
                "todo|doing|0");
    jobs_check(url);
    session_close(a);
}

Test(meet, partitions_are_added_while_a_reader_sits_on_the_table)
{
    const char *url = jobs_database();
    struct session *a = session_open(url);

    session_run(a, "BEGIN; SELECT count(*) FROM belay.jobs");
    cluster_psql(url, "SELECT setval('belay.job_id_seq', 4999999)");
    jobs_expect(url, "SET lock_timeout = 100; SELECT belay.maintain_partitions()", "1");
    jobs_expect(url, "SELECT belay.maintain_partitions()", "0");
    session_run(a, "COMMIT");
    jobs_expect(url, "SELECT t.ins(), t.ins()", "5000000|5000001");
    jobs_expect(url, "SELECT t.cancel(5000001)", "cancelled");
    jobs_expect(url, "SELECT count(*) FROM belay.ends_1", "1");
    jobs_check(url);
    session_close(a);
}
