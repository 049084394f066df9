/* Locks, queueing locks and schedules. */
#include "tests/db/jobs.h"
#include "tests/support/cluster.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>

#define STRICT "'{\"lock_strict\":true}'"

TestSuite(locks, .timeout = 60);

Test(locks, a_line_goes_by_priority_and_then_by_id)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins('l', prio => p) FROM unnest('{0,5,0,5}'::int[]) p; "
                      "SELECT t.worker()");
    jobs_expect(url, "SELECT t.claim(1, 9)", "{2}");
    jobs_expect(url, "SELECT t.finish_mine(2), t.claim(1, 9)", "succeeded|{4}");
    jobs_expect(url, "SELECT t.finish_mine(4), t.claim(1, 9)", "succeeded|{1}");
    jobs_expect(url, "SELECT t.finish_mine(1), t.claim(1, 9)", "succeeded|{3}");
    jobs_check(url);
}

Test(locks, other_locks_and_no_lock_do_not_wait)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins('l'), t.ins('l'), t.ins('m'), t.ins(), t.worker()");
    jobs_expect(url, "SELECT t.claim(1, 9)", "{1,3,4}");
    jobs_check(url);
}

Test(locks, a_strict_holder_keeps_its_turn_while_it_waits_for_its_next_attempt)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins('l', tries => 3, options => " STRICT "), t.ins('l'), "
                      "t.worker(); SELECT t.claim(1)");
    jobs_expect(url, "SELECT t.back_mine(1, 'retry', 3600000)", "todo/scheduled");
    jobs_expect(url, "SELECT t.place(1), t.place(2)", "scheduled|blocked");
    jobs_expect(url, "SELECT t.cancel(1)", "cancelled");
    jobs_expect(url, "SELECT t.place(1), t.place(2)", "ends|ready");
    jobs_check(url);
}

Test(locks, a_better_newcomer_takes_the_turn_of_a_head_that_has_not_started)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins('l'), t.ins('m', at => now() + interval '1 hour', "
                      "options => " STRICT "), t.worker();"
                      "SELECT t.ins('l', prio => 1), t.ins('m', prio => 1)");
    jobs_expect(url, "SELECT t.place(1), t.place(2), t.place(3), t.place(4)",
                "blocked|blocked|ready|ready");
    cluster_psql(url, "SELECT t.claim(1, 9); SELECT t.ins('l', prio => 2)");
    jobs_expect(url, "SELECT t.place(3), t.place(5)", "lease|blocked");
    jobs_check(url);
}

Test(locks, every_way_to_end_hands_the_lock_on)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins('l', tries => 1) FROM generate_series(1, 8); SELECT "
                      "t.claim(t.worker())");
    jobs_expect(url, "SELECT t.back_mine(1, 'retry'), t.claim(t.worker())", "failed|{2}");
    cluster_psql(url, "SELECT t.die(2); SELECT t.reap()");
    jobs_expect(url, "SELECT t.place(3), t.del(3)", "ready|deleted");
    jobs_expect(
        url, "SELECT t.claim(t.worker()), t.cancel(4, true), t.back_mine(4, 'shutdown')",
        "{4}|aborting|aborted/aborted");
    jobs_expect(url, "SELECT t.claim(t.worker()), t.del(5, true), t.finish_mine(5)",
                "{5}|aborting|succeeded/completed");
    jobs_expect(url, "SELECT t.cancel(6, true, true), t.claim(t.worker())",
                "cancelled|{7}");
    jobs_expect(url, "SELECT t.finish_mine(7, 'failed'), t.place(8)", "failed|ready");
    jobs_check(url);
}

Test(locks, one_statement_ends_many_holders)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins('l' || g % 3) FROM generate_series(0, 8) g; SELECT "
                      "t.claim(t.worker(), 9)");
    jobs_expect(url, "SELECT job_ids FROM belay.leases", "{1,2,3}");
    jobs_expect(url,
                "SELECT count(*) FILTER (WHERE taken) FROM belay.finish('{3,1,2}', "
                "'{1,1,1}', '{1,1,1}', '{1,1,1}',"
                " '{succeeded,failed,succeeded}', '{NULL,NULL,NULL}', "
                "'{NULL,NULL,NULL}', '{1,1,1}', '{0,0,0}',"
                " '{NULL,NULL,NULL}', '{f,f,f}', '{NULL,NULL,NULL}', '{NULL,NULL,NULL}')",
                "3");
    jobs_expect(url, "SELECT t.claim(1, 9)", "{4,5,6}");
    jobs_check(url);
}

Test(locks, a_stale_finish_does_not_free_the_lock_of_the_one_that_runs)
{
    const char *url = jobs_database();

    cluster_psql(url,
                 "SELECT t.ins('l', tries => 9), t.ins('l'); SELECT t.claim(t.worker());"
                 "SELECT t.die(1); SELECT t.reap(); SELECT t.claim(t.worker())");
    jobs_expect(url, "SELECT t.finish(1, 1, 1), t.place(1), t.place(2)",
                "stale|lease|blocked");
    jobs_check(url);
}

Test(locks, a_queueing_lock_lets_one_wait_and_others_run)
{
    const char *url = jobs_database();

    jobs_expect(url,
                "SELECT t.ins(qlock => 'k'), t.ins(qlock => 'k'), t.ins(qlock => 'm')",
                "1||3");
    cluster_psql(url, "SELECT t.claim(t.worker())");
    jobs_expect(url, "SELECT t.ins(qlock => 'k') > 0", "t");
    jobs_expect(url, "SELECT t.ins(qlock => 'k')", "");
    jobs_check(url);
}

Test(locks, a_group_is_refused_as_a_whole_and_leaves_nothing)
{
    const char *url = jobs_database();
    const char *group =
        "SELECT ord, result, existing_id FROM belay.insert_jobs('{0,0,1}', '{t,t,t}', "
        "'{q,q,q}',"
        " '{0,0,0}', '{\"{}\",\"{}\",\"{}\"}', '{1,1,1}', '{\"{}\",\"{}\",\"{}\"}',"
        " '{\"{}\",\"{}\",\"{}\"}', '{NULL,NULL,NULL}', '{NULL,NULL,NULL}', "
        "'{NULL,NULL,NULL}',"
        " '{a,k,b}', '{t,t,t}') ORDER BY ord";

    cluster_psql(url, "SELECT t.ins(qlock => 'k')");
    jobs_expect(url, group, "1|refused|\n2|already-enqueued|1\n3|created|");
    jobs_expect(
        url,
        "SELECT string_agg(queueing_lock, ' ' ORDER BY queueing_lock) FROM belay.uniq",
        "b k");
    jobs_expect(url, "SELECT count(*) FROM belay.jobs", "2");
    jobs_check(url);
}

Test(locks, what_goes_back_does_not_take_its_queueing_lock_again)
{
    const char *url = jobs_database();

    cluster_psql(url,
                 "SELECT t.ins(qlock => 'k', tries => 9); SELECT t.claim(t.worker());"
                 "SELECT t.ins(qlock => 'k')");
    jobs_expect(url, "SELECT t.back_mine(1, 'retry')", "todo");
    jobs_expect(url, "SELECT id FROM belay.uniq", "2");
    jobs_expect(url, "SELECT t.cancel(1)", "cancelled");
    jobs_expect(url, "SELECT id FROM belay.uniq", "2");
    jobs_check(url);
}

Test(locks, a_schedule_is_kept_and_ends)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(at => now() + interval '1 hour'), t.ins(at => now() "
                      "- interval '1 hour')");
    jobs_expect(url, "SELECT t.place(1), t.place(2)", "scheduled|ready");
    jobs_expect(url, "SELECT moved, queues FROM belay.due(9)", "0|{}");
    cluster_psql(url, "UPDATE belay.scheduled SET run_at = '2020-01-01';"
                      "UPDATE belay.jobs SET scheduled_at = '2020-01-01' WHERE id = 1");
    jobs_expect(url, "SELECT moved, queues, next_due_ms FROM belay.due(9)",
                "1|{default}|");
    jobs_expect(url, "SELECT t.place(1)", "ready");
    jobs_check(url);
}

static const char *const later = "now() + interval '1 hour'";

Test(locks, a_scheduled_job_does_not_hold_the_others_back)
{
    const char *url = jobs_database();

    cluster_psql(url, text_of("SELECT t.ins('l', at => %s), t.ins('l')", later));
    jobs_expect(url, "SELECT t.place(1), t.place(2)", "scheduled|ready");
    cluster_psql(url, "UPDATE belay.scheduled SET run_at = '2020-01-01';"
                      "UPDATE belay.jobs SET scheduled_at = '2020-01-01' WHERE id = 1;"
                      "SELECT t.claim(t.worker())");
    jobs_expect(url, "SELECT moved FROM belay.due(9)", "1");
    jobs_expect(url, "SELECT t.place(1), t.place(2)", "blocked|lease");
    jobs_expect(url, "SELECT t.finish_mine(2), t.place(1)", "succeeded|ready");
    jobs_check(url);
}

Test(locks, a_strict_one_does)
{
    const char *url = jobs_database();

    cluster_psql(
        url,
        text_of("SELECT t.ins('l', at => %s, options => " STRICT "), t.ins('l')", later));
    jobs_expect(url, "SELECT t.place(1), t.place(2)", "scheduled|blocked");
    jobs_check(url);
    jobs_expect(url, "SELECT t.cancel(1), t.place(2)", "cancelled|ready");
    jobs_check(url);
}

Test(locks, one_that_waits_for_its_next_attempt_gives_its_turn_up)
{
    const char *url = jobs_database();

    cluster_psql(url,
                 "SELECT t.ins('l', tries => 2), t.ins('l'); SELECT t.claim(t.worker())");
    jobs_expect(url, "SELECT t.back_mine(1, 'retry', 60000), t.place(1), t.place(2)",
                "todo/scheduled|scheduled|ready");
    jobs_check(url);
}

Test(locks, one_that_goes_back_lets_a_better_one_pass)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins('l', tries => 9), t.worker(); SELECT t.claim(1);"
                      "SELECT t.ins('l', prio => 1)");
    jobs_expect(url, "SELECT t.back_mine(1, 'unstarted'), t.place(1), t.place(2)",
                "todo|blocked|ready");
    jobs_expect(url, "SELECT t.claim(1), t.finish_mine(2), t.claim(1)",
                "{2}|succeeded|{1}");
    cluster_psql(url, "SELECT t.ins('l', prio => 1); SELECT t.die(1); SELECT t.reap()");
    jobs_expect(url, "SELECT t.place(1), t.place(3)", "blocked|ready");
    jobs_check(url);
}
