/* Pause, limits and holds: what a claim lets through, and where the others wait. */
#include "tests/db/jobs.h"
#include "tests/db/session.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>

TestSuite(gates, .timeout = 60);

/* Jobs 1 to 10 of queue q, and worker 1. */
static const char *with_ten_jobs(void)
{
    const char *url = jobs_database();

    cluster_psql(
        url, "SELECT t.worker();"
             "SELECT t.ins(queue => 'q') FROM generate_series(1, 10);"
             "CREATE FUNCTION t.of(place text) RETURNS text LANGUAGE sql AS $$"
             " SELECT string_agg(id::text, ' ' ORDER BY id) FROM belay.jobs"
             " WHERE t.place(id) = place $$;"
             /* With so many queues none is left out: what is met is parked. */
             "CREATE FUNCTION t.many_queues() RETURNS void LANGUAGE sql AS $$"
             " INSERT INTO belay.queues (name) SELECT 'other ' || n FROM"
             " generate_series(1, 40) n $$;"
             "CREATE FUNCTION t.limit(kind text, name text, n int) RETURNS void"
             " LANGUAGE sql AS $$ SELECT belay.limit_to(kind, name, n, NULL, NULL) $$");
    return url;
}

/* -- pause --------------------------------------------------------------------------- */

Test(gates, a_paused_queue_starts_nothing_and_moves_nothing)
{
    const char *url = with_ten_jobs();

    cluster_psql(url, "SELECT t.ins(queue => 'r');"
                      "SELECT belay.pause('queue', 'q', 'ann', 'why', NULL)");
    jobs_expect(url, "SELECT t.claim(1, 100)", "{11}");
    jobs_expect(url, "SELECT t.of('ready')", "1 2 3 4 5 6 7 8 9 10");
    cluster_psql(url, "SELECT belay.resume('queue', 'q')");
    jobs_expect(url, "SELECT t.claim(1, 4)", "{1,2,3,4}");
    jobs_check(url);
}

Test(gates, with_many_queues_what_is_met_is_parked_once)
{
    const char *url = with_ten_jobs();

    cluster_psql(url, "SELECT t.ins(queue => 'r'); SELECT t.many_queues();"
                      "SELECT belay.pause('queue', 'q', 'ann', 'why', NULL)");
    jobs_expect(url, "SELECT t.claim(1, 1)", "{11}");
    jobs_expect(url, "SELECT t.of('parked')", "1 2 3 4 5 6 7 8 9 10");
    jobs_expect(url, "SELECT t.claim(1, 100)", "");
    jobs_check(url);
    cluster_psql(url, "SELECT belay.resume('queue', 'q')");
    jobs_expect(url, "SELECT t.claim(1, 4)", "{1,2,3,4}");
    jobs_expect(url, "SELECT t.claim(1, 100)", "{5,6,7,8,9,10}");
    jobs_expect(url, "SELECT count(*) FROM belay.parked", "0");
    jobs_check(url);
}

Test(gates, a_claim_parks_so_many_at_most_and_says_that_there_is_more)
{
    const char *url = with_ten_jobs();

    cluster_psql(url, "SELECT t.ins(queue => 'q') FROM generate_series(1, 6000);"
                      "SELECT t.ins(queue => 'r'); SELECT t.many_queues();"
                      "SELECT belay.pause('queue', 'q', 'ann', 'why', NULL)");
    jobs_expect(url, "SELECT t.claim(1, 5)", "");
    jobs_expect(url, "SELECT count(*) FROM belay.parked", "4005");
    jobs_expect(url, "SELECT t.claim(1, 5)", "{6011}");
    jobs_check(url);
}

Test(gates, a_paused_task_lets_the_others_pass)
{
    const char *url = with_ten_jobs();

    cluster_psql(url, "SELECT belay.enqueue('u', queue => 'q', wake => false);"
                      "SELECT belay.pause('task', 't', 'ann', 'why', NULL)");
    jobs_expect(url, "SELECT t.claim(1, 3)", "{11}");
    jobs_expect(url, "SELECT t.of('parked')", "1 2 3 4 5 6 7 8 9 10");
    cluster_psql(url, "SELECT belay.resume('task', 't')");
    jobs_expect(url, "SELECT t.claim(1, 3)", "{1,2,3}");
    jobs_check(url);
}

Test(gates, a_pause_ends_when_its_time_has_come)
{
    const char *url = with_ten_jobs();

    cluster_psql(url, "SELECT belay.pause('queue', 'q', NULL, NULL, now() + interval '1 "
                      "hour')");
    jobs_expect(url, "SELECT t.claim(1, 3)", "");
    jobs_expect(url, "SELECT next_due_ms BETWEEN 3590000 AND 3600000 FROM belay.due(10)",
                "t");
    cluster_psql(url,
                 "UPDATE belay.gates SET paused_until = now() - interval '1 second'");
    jobs_expect(url, "SELECT t.claim(1, 3)", "{1,2,3}");
    jobs_expect(url, "SELECT count(*) FROM belay.gates", "1");
    jobs_expect(url, "SELECT moved > 0 FROM belay.due(10)", "t"); /* wakes the workers */
    jobs_expect(url, "SELECT count(*) FROM belay.gates", "0");
    jobs_check(url);
}

Test(gates, a_pause_waits_for_the_claim_that_is_at_work)
{
    const char *url = with_ten_jobs();
    struct session *a = session_open(url), *b = session_open(url);

    cluster_psql(url, "SELECT t.limit('task', 't', 5)");
    session_run(a, "BEGIN; SELECT t.claim(1, 2)");
    session_start(b, "SELECT belay.pause('queue', 'q', 'ann', 'why', NULL) <> ''");
    session_wait_blocked(b);
    session_run(a, "COMMIT");
    cr_expect_str_eq(session_end(b), "t");
    jobs_expect(url, "SELECT t.claim(1, 2)", "");
    jobs_expect(url, "SELECT t.of('lease')", "1 2");
    jobs_check(url);
    session_close(a);
    session_close(b);
}

Test(gates, two_claims_do_not_share_the_last_place)
{
    const char *url = with_ten_jobs();
    struct session *a = session_open(url), *b = session_open(url);

    cluster_psql(url, "SELECT t.limit('queue', 'q', 3); SELECT t.worker()");
    session_run(a, "BEGIN; SELECT t.claim(1, 2)");
    session_start(b, "SELECT t.claim(2, 2)");
    session_wait_blocked(b);
    session_run(a, "COMMIT");
    cr_expect_str_eq(session_end(b), "{3}");
    jobs_check(url);
    session_close(a);
    session_close(b);
}

/* -- limits -------------------------------------------------------------------------- */

Test(gates, so_many_jobs_of_a_queue_run_and_no_more)
{
    const char *url = with_ten_jobs();

    cluster_psql(url, "SELECT t.limit('queue', 'q', 3); SELECT t.worker()");
    jobs_expect(url, "SELECT t.claim(1, 2)", "{1,2}");
    jobs_expect(url, "SELECT t.claim(2, 8)", "{3}");
    jobs_expect(url, "SELECT t.claim(1, 8)", "");
    jobs_expect(url, "SELECT t.finish_mine(2)", "succeeded");
    jobs_expect(url, "SELECT t.claim(2, 8)", "{4}");
    cluster_psql(url, "SELECT t.die(1); SELECT t.reap()"); /* one of them */
    jobs_expect(url, "SELECT t.claim(2, 8)", "{5}");
    cluster_psql(url, "SELECT t.limit('queue', 'q', NULL)");
    jobs_expect(url, "SELECT t.claim(2, 8)", "{6,7,8,9,10}");
    jobs_check(url);
}

Test(gates, what_runs_already_counts_for_a_new_limit)
{
    const char *url = with_ten_jobs();

    jobs_expect(url, "SELECT t.claim(1, 4)", "{1,2,3,4}");
    cluster_psql(url, "SELECT t.limit('queue', 'q', 5)");
    jobs_expect(url, "SELECT t.claim(1, 4)", "{5}");
    jobs_expect(url, "SELECT t.claim(1, 4)", "");
    jobs_check(url);
}

Test(gates, each_gate_on_the_way_counts)
{
    const char *url = with_ten_jobs();

    cluster_psql(url,
                 "SELECT belay.enqueue('t', queue => 'r', limit_key => k, wake => false) "
                 "FROM unnest(ARRAY['a', 'a', 'b', NULL]) WITH ORDINALITY x (k, n) ORDER "
                 "BY n;"
                 "SELECT t.limit('task', 't', 6), t.limit('queue', 'q', 3),"
                 " t.limit('key', 'a', 1)");
    jobs_expect(url, "SELECT t.claim(1, 20)", "{1,2,3,11,13,14}");
    jobs_expect(url,
                "SELECT string_agg(cardinality(gates) || ':' || array_to_string(job_ids, "
                "' '), ', ' ORDER BY lo) FROM belay.leases",
                "2:1 2 3, 2:11, 1:13 14");
    jobs_expect(url, "SELECT t.claim(1, 20)", "");
    jobs_expect(url, "SELECT t.finish_mine(11)", "succeeded");
    jobs_expect(url, "SELECT t.claim(1, 20)", "{12}");
    jobs_expect(url, "SELECT t.finish_mine(3)", "succeeded");
    jobs_expect(url, "SELECT t.claim(1, 20)", "{4}");
    jobs_check(url);
}

Test(gates, the_better_job_gets_the_free_place)
{
    const char *url = with_ten_jobs();

    cluster_psql(url, "SELECT t.many_queues(); SELECT t.limit('queue', 'q', 1)");
    jobs_expect(url, "SELECT t.claim(1, 20)", "{1}");
    cluster_psql(url, "SELECT t.ins(queue => 'q', prio => 5)");
    jobs_expect(url, "SELECT t.finish_mine(1)", "succeeded");
    jobs_expect(url, "SELECT t.claim(1, 20)", "{11}");
    jobs_expect(url, "SELECT t.finish_mine(11)", "succeeded");
    jobs_expect(url, "SELECT t.claim(1, 20)", "{2}");
    jobs_check(url);
}

Test(gates, what_waits_at_a_gate_is_not_given_to_who_does_not_take_it)
{
    const char *url = with_ten_jobs();

    cluster_psql(url, "SELECT t.many_queues(); SELECT t.limit('queue', 'q', 1)");
    jobs_expect(url, "SELECT t.claim(1, 20)", "{1}");
    jobs_expect(url, "SELECT t.finish_mine(1)", "succeeded");
    jobs_expect(url, "SELECT count(*) FROM belay.claim(1, 5, 5, '{r}', NULL)", "0");
    jobs_expect(url, "SELECT count(*) FROM belay.claim(1, 5, 5, NULL, NULL, '{x}', true)",
                "0");
    jobs_expect(url,
                "SELECT count(*) FROM belay.claim(1, 5, 5, '{q}', NULL, '{t}', "
                "true)",
                "1");
    jobs_check(url);
}

Test(gates, a_bucket_fills_with_time)
{
    const char *url = with_ten_jobs();

    cluster_psql(url, "SELECT belay.limit_to('queue', 'q', NULL, 0.5, 2)");
    jobs_expect(url, "SELECT t.claim(1, 20)", "{1,2}");
    jobs_expect(url, "SELECT t.claim(1, 20)", "");
    jobs_expect(url, "SELECT next_due_ms BETWEEN 1000 AND 2000 FROM belay.due(10)", "t");
    cluster_psql(url, "UPDATE belay.gates SET tokens_at = tokens_at - interval '2.1 s'");
    jobs_expect(url, "SELECT moved > 0 FROM belay.due(10)", "t");
    jobs_expect(url, "SELECT t.claim(1, 20)", "{3}");
    cluster_psql(url, "UPDATE belay.gates SET tokens_at = tokens_at - interval '1 hour'");
    jobs_expect(url, "SELECT t.claim(1, 20)", "{4,5}");
    jobs_check(url);
}

Test(gates, a_parked_job_keeps_its_turn_until_a_better_one_comes)
{
    const char *url = with_ten_jobs();

    cluster_psql(url, "SELECT t.many_queues(); SELECT t.limit('queue', 's', 0);"
                      "SELECT t.ins(lock => 'l', queue => 's'), t.ins(lock => 'l')");
    cluster_psql(url, "SELECT t.claim(1, 20)");
    jobs_expect(url, "SELECT t.place(11), t.place(12)", "parked|blocked");
    cluster_psql(url, "SELECT t.ins(lock => 'l', prio => 1)");
    jobs_expect(url, "SELECT t.place(11), t.place(12), t.place(13)",
                "blocked|blocked|ready");
    jobs_check(url);
}

/* -- hold ---------------------------------------------------------------------------- */

Test(gates, a_held_job_waits_until_it_is_released)
{
    const char *url = with_ten_jobs();

    jobs_expect(url, "SELECT t.hold(1)", "held");
    jobs_expect(url, "SELECT t.hold(1)", "held");
    jobs_expect(url, "SELECT belay.job(1) -> 'hold' ->> 'by'", "ann");
    jobs_expect(url, "SELECT t.claim(1, 2)", "{2,3}");
    jobs_expect(url, "SELECT t.release(1)", "released");
    jobs_expect(url, "SELECT t.release(1)", "not_held");
    jobs_expect(url, "SELECT belay.job(1) ->> 'hold'", "");
    jobs_expect(url, "SELECT t.events(1)", "deferred held held hold_ended");
    jobs_expect(url, "SELECT t.claim(1, 2)", "{1,4}");
    jobs_expect(url, "SELECT t.hold(1)", "job-running");
    jobs_expect(url, "SELECT t.release(1)", "not_held");
    jobs_check(url);
}

Test(gates, what_is_held_gives_its_turn_away_and_stands_in_line_again)
{
    const char *url = with_ten_jobs();

    cluster_psql(url, "SELECT t.ins(lock => 'l'); SELECT t.ins(lock => 'l')");
    jobs_expect(url, "SELECT t.hold(11)", "held");
    jobs_expect(url, "SELECT t.place(11), t.place(12)", "held|ready");
    jobs_check(url);
    jobs_expect(url, "SELECT t.release(11)", "released");
    jobs_expect(url, "SELECT t.place(11), t.place(12)", "ready|blocked");
    jobs_check(url);
}

Test(gates, what_is_held_can_be_scheduled_parked_cancelled_and_deleted)
{
    const char *url = with_ten_jobs();

    cluster_psql(url, "SELECT t.ins(at => now() + interval '1 hour')");
    jobs_expect(url, "SELECT t.hold(11), t.hold(t.make('parked')), t.hold(1), t.hold(2)",
                "held|held|held|held");
    jobs_expect(url, "SELECT t.release(11)", "released");
    jobs_expect(url, "SELECT t.place(11)", "scheduled");
    jobs_expect(url, "SELECT t.cancel(1), t.del(2)", "cancelled|deleted");
    jobs_expect(url, "SELECT t.status(1), t.status(2)", "cancelled|none");
    jobs_expect(url, "SELECT t.hold(1), t.hold(2)", "job-finished|job-not-found");
    jobs_expect(url, "SELECT t.retry(1), t.place(1)", "retried|ready");
    jobs_check(url);
}

Test(gates, a_hold_ends_when_its_time_has_come)
{
    const char *url = with_ten_jobs();

    cluster_psql(url, "SELECT belay.hold_by_hand('{1,2,3}', '{a,a,a}', '{r,r,r}',"
                      " array_fill(now() + interval '1 hour', '{3}'));"
                      "SELECT t.release(2); SELECT t.hold(3)");
    jobs_expect(url,
                "SELECT moved, next_due_ms BETWEEN 3590000 AND 3600000 FROM "
                "belay.due(10)",
                "0|t");
    cluster_psql(url, "UPDATE belay.holds SET until = until - interval '2 hours';"
                      "UPDATE belay.jobs j SET options = jsonb_build_object('hold', "
                      "jsonb_build_object('until', belay.time_text((SELECT until FROM "
                      "belay.holds h WHERE h.id = j.id)))) WHERE id = 1");
    jobs_expect(url, "SELECT moved, next_due_ms FROM belay.due(10)", "1|");
    jobs_expect(url, "SELECT t.of('held')", "3"); /* by hand, later */
    jobs_expect(url, "SELECT count(*) FROM belay.holds", "0");
    jobs_check(url);
}

/* Jobs 1 and 2 were held until a time that is over, and then anew until a later one; what
 * was noted of the first time is still there. Of job 3 the same time is over. */
Test(gates, a_hold_that_was_replaced_goes_by_its_new_time_only)
{
    const char *url = with_ten_jobs();

    cluster_psql(url, "INSERT INTO belay.holds (until, id) VALUES ('2020-01-01', 1), "
                      "('2021-01-01', 2)");
    cluster_psql(url, "SELECT belay.hold_by_hand('{1,2}', '{a,a}', '{r,r}',"
                      " array_fill(now() + interval '1 hour', '{2}'));"
                      "SELECT belay.hold_by_hand('{3}', '{a}', '{r}', '{2021-01-01}')");
    jobs_expect(url, "SELECT moved FROM belay.due(1)", "1");
    jobs_expect(url, "SELECT t.of('held')", "1 2");
    jobs_expect(url, "SELECT moved FROM belay.due(1)", "0");
    jobs_expect(url, "SELECT t.of('held')", "1 2");
    jobs_expect(url, "SELECT count(*) FROM belay.holds", "2");
    jobs_check(url);
}

Test(gates, a_hold_that_is_over_waits_for_whoever_is_at_work_with_its_job)
{
    const char *url = with_ten_jobs();
    struct session *a = session_open(url);

    cluster_psql(url, "SELECT belay.hold_by_hand('{1,2}', '{a,a}', '{r,r}',"
                      " array_fill(now() + interval '0.1 s', '{2}'))");
    session_run(a, "SELECT pg_sleep(0.2)");
    session_run(a, "BEGIN; SELECT id FROM belay.parked WHERE id = 1 FOR UPDATE");
    jobs_expect(url, "SELECT moved FROM belay.due(10)", "1");
    jobs_expect(url, "SELECT t.place(1), t.place(2)", "held|ready");
    session_run(a, "COMMIT");
    jobs_expect(url, "SELECT moved FROM belay.due(10)", "1");
    jobs_expect(url, "SELECT t.place(1), t.place(2)", "ready|ready");
    jobs_check(url);
    session_close(a);
}

Test(gates, what_one_bucket_gives_is_not_taken_from_another)
{
    const char *url = with_ten_jobs();

    cluster_psql(url, "SELECT t.ins(queue => 'r');"
                      "SELECT belay.limit_to('queue', 'q', NULL, 0.001, 5);"
                      "SELECT belay.limit_to('queue', 'r', NULL, 0.001, 5)");
    jobs_expect(url, "SELECT count(*) FROM belay.claim(1, 3, 3, '{q}', NULL)", "3");
    jobs_expect(url, "SELECT name, floor(tokens) FROM belay.gates ORDER BY name",
                "q|2\nr|5");
    jobs_expect(url, "SELECT count(*) FROM belay.claim(1, 9, 9, NULL, NULL)", "3");
    jobs_check(url);
}

/* Two of the three wait for a thread: should the worker die, they have not started. */
Test(gates, a_lease_says_how_many_start_at_once_behind_a_limit_too)
{
    const char *url = with_ten_jobs();

    cluster_psql(url, "SELECT t.limit('queue', 'q', 9)");
    jobs_expect(url, "SELECT t.claim(1, 3, 1)", "{1,2,3}");
    jobs_expect(url, "SELECT sure, cardinality(job_ids) FROM belay.leases", "1|3");
    jobs_check(url);
}

/* The first one waits for its next attempt, and another one has its queueing lock. */
Test(gates, one_that_starts_again_leaves_the_queueing_lock_to_who_has_it_now)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(NULL, 'k', tries => 2), t.worker();"
                      "SELECT belay.limit_to('task', 't', 1, NULL, NULL)");
    jobs_expect(url, "SELECT t.claim(1), t.ins(NULL, 'k'), t.back_mine(1, 'retry')",
                "{1}|2|todo");
    jobs_expect(url, "SELECT t.claim(1)", "{1}");
    jobs_expect(url, "SELECT t.put(NULL, NULL, 'k')", "already-enqueued");
    jobs_check(url);
}
