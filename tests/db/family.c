/* Families: what the end of a job does to its children and to those that depend on it. */
#include "tests/db/jobs.h"
#include "tests/support/cluster.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>

TestSuite(family, .timeout = 90);

/* -- children ------------------------------------------------------------------------ */

struct way {
    const char *state, *how, *result, *swept;
};

/* Each is done to job 1, which is in that state and has the children 2 (cascade) and 3
 * (detach). */
static const struct way ways[] = {
    {"ready", "SELECT t.cancel(1)", "cancelled", "2:cancelled"},
    {"scheduled", "SELECT t.cancel(1)", "cancelled", "2:cancelled"},
    {"ready", "SELECT t.cancel(1, only_if => '{todo}')", "cancelled", "2:cancelled"},
    {"ready", "SELECT t.del(1)", "deleted", "2:cancelled"},
    {"ready", "SELECT t.cancel(1, del => true)", "cancelled", "2:cancelled"},
    {"ready", "SELECT t.expire(1)", "cancelled", "2:cancelled"},
    {"asked", "SELECT t.finish_mine(1, 'aborted')", "aborted/aborted", "2:cancelled"},
    {"asked", "SELECT t.finish_mine(1, 'succeeded')", "succeeded/completed", ""},
    {"asked", "SELECT t.back_mine(1, 'retry')", "failed/failed", ""},
    {"asked", "SELECT t.back_mine(1, 'unstarted')", "cancelled/cancelled", "2:cancelled"},
    {"asked", "SELECT t.back_mine(1, 'killed')", "aborted/killed", "2:cancelled"},
    {"asked", "SELECT t.back_mine(1, 'shutdown')", "aborted/aborted", "2:cancelled"},
    {"asked", "SELECT t.die(1); SELECT t.reap()", "1:aborted", "2:cancelled"},
    {"doing", "SELECT t.die(1); SELECT t.reap()", "1:failed", ""},
    {"doing", "SELECT t.finish_mine(1, 'succeeded')", "succeeded", ""},
    {"doing", "SELECT t.finish_mine(1, 'failed')", "failed", ""},
};

Test(family, a_child_that_cascades_ends_with_its_parent_on_every_way)
{
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        const struct way *w = &ways[i];
        const char *url = jobs_database();

        cluster_psql(url, text_of("SELECT t.make('%s'), t.child(1), t.child(1, 'detach')",
                                  w->state));
        jobs_expect(url, w->how, w->result);
        jobs_check(url);
        jobs_expect(url, "SELECT t.told()", w->swept);
        jobs_expect(url, "SELECT t.status(3)", "todo");
        jobs_expect(url, "SELECT count(*) FROM belay.sweeps", "0");
        jobs_check(url);
    }
}

Test(family, the_receipt_of_a_child_says_that_it_was_for_its_parent)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('ready'), t.child(1); SELECT t.cancel(1);"
                      "SELECT t.told()");
    jobs_expect(url,
                "SELECT concat_ws(', ', cause, reason, outcome) FROM belay.cancellations "
                "WHERE job_id = 2",
                "parent, job 1 was cancelled, cancelled");
}

Test(family, a_child_that_runs_is_asked_to_stop_and_its_children_follow_when_it_has)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.child(1), t.child(2), t.child(3, 'detach');"
                      "SELECT t.claim(t.worker(), 1); SELECT t.claim(t.worker(), 1);"
                      "SELECT t.cancel(1, true); SELECT t.finish_mine(1, 'aborted')");
    jobs_expect(url, "SELECT t.told()", "2:aborting");
    jobs_expect(url, "SELECT t.status(2) || t.status(3)", "doingtodo");
    jobs_expect(url, "SELECT cause FROM belay.cancellations WHERE job_id = 2", "parent");
    jobs_expect(url, "SELECT t.finish_mine(2, 'aborted')", "aborted/aborted");
    jobs_expect(url, "SELECT t.told()", "3:cancelled");
    jobs_expect(url, "SELECT t.status(4)", "todo");
    jobs_check(url);
}

Test(family, a_child_of_a_parent_that_was_cancelled_is_born_cancelled)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(); SELECT t.cancel(1)");
    jobs_expect(url, "SELECT t.child(1), t.child(1, 'detach')", "2|3");
    jobs_expect(url, "SELECT t.status(2) || t.status(3)", "cancelledtodo");
    jobs_expect(
        url, "SELECT cause || ': ' || reason FROM belay.cancellations WHERE job_id = 2",
        "parent: job 1 was cancelled");
    jobs_expect(url,
                "SELECT job::json ->> 'status' FROM belay.insert_jobs('{0}', '{t}', "
                "'{default}', '{0}', '{\"{}\"}', '{1}', '{\"{}\"}', '{\"{}\"}', "
                "'{NULL}', '{NULL}', '{l}', '{q}', '{t}', p_options => "
                "ARRAY['{\"parent_id\":1,\"on_parent_cancel\":\"cascade\"}'::json])",
                "cancelled");
    jobs_expect(url, "SELECT count(*) FROM belay.uniq", "0");
    jobs_check(url);
}

Test(family, a_child_may_come_after_its_parent_has_ended)
{
    const char *url = jobs_database();

    jobs_expect(url, "SELECT t.child(t.make('succeeded')), t.child(t.make('failed'))",
                "2|4");
    jobs_expect(url, "SELECT t.status(2) || t.status(4)", "todotodo");
    jobs_expect(url, "SELECT t.child(99), t.after(99), t.after(1, 99)",
                "parent-not-found|dependency-not-found|dependency-not-found");
    jobs_expect(url, "SELECT t.put('{\"parent_id\":99}', qlock => 'q')",
                "parent-not-found");
    jobs_expect(url, "SELECT count(*) FROM belay.uniq", "0");
    jobs_check(url);
}

Test(family, many_children_are_cancelled_in_steps)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(); SELECT t.child(1) FROM generate_series(1, 25);"
                      "SELECT t.cancel(5), t.cancel(1)");
    cluster_psql(url, "SELECT belay.sweep(10)");
    jobs_expect(url, "SELECT count(*) FROM belay.ready", "14");
    jobs_expect(url, "SELECT count(*), max(after_id) FROM belay.sweeps", "1|12");
    cluster_psql(url, "SELECT t.told(10)");
    jobs_expect(url, "SELECT count(*) FROM belay.ready", "0");
    jobs_expect(url, "SELECT count(*) FROM belay.sweeps", "0");
    jobs_check(url);
}

Test(family, a_parent_that_was_started_again_takes_its_children_with_it_again)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.child(1); SELECT t.cancel(1), t.retry(1)");
    cluster_psql(url, "SELECT t.child(1)"); /* after the end that is swept */
    jobs_expect(url, "SELECT t.told()", "2:cancelled");
    jobs_expect(url, "SELECT t.status(1) || t.status(2) || t.status(3)",
                "todocancelledtodo");
    cluster_psql(url, "SELECT t.cancel(1)");
    jobs_expect(url, "SELECT t.told()", "3:cancelled");
    jobs_check(url);
}

Test(family, nothing_is_left_of_a_family_that_was_deleted)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.child(1), t.child(1, 'detach'), t.child(3);"
                      "SELECT t.del(1); SELECT t.told(1)");
    jobs_expect(url, "SELECT t.status(2) || t.status(3)", "cancelledtodo");
    jobs_expect(url, "SELECT string_agg(parent_id || '>' || id, ' ') FROM belay.children",
                "3>4");
    cluster_psql(url, "SELECT t.del(4)");
    jobs_expect(url, "SELECT count(*) FROM belay.children", "0");
    jobs_expect(url, "SELECT count(*) FROM belay.sweeps", "0");
    jobs_check(url);
}

/* -- those that depend on others ----------------------------------------------------- */

Test(family, a_job_waits_until_all_that_it_depends_on_have_succeeded)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.ins(), t.make('succeeded')");
    jobs_expect(url, "SELECT t.after(1, 2, 3), t.after(3)", "4|5");
    jobs_expect(url, "SELECT t.place(4) || t.place(5) || t.status(4)", "waitsreadytodo");
    cluster_psql(url, "SELECT t.claim(t.worker(), 2); SELECT t.finish_mine(1)");
    jobs_expect(url, "SELECT t.told()", "");
    jobs_expect(url, "SELECT t.place(4)", "waits");
    cluster_psql(url, "SELECT t.finish_mine(2)");
    jobs_check(url);
    jobs_expect(url, "SELECT t.told()", "+1");
    jobs_expect(url, "SELECT t.place(4)", "ready");
    jobs_check(url);
}

Test(family, a_job_is_cancelled_when_one_that_it_depends_on_ends_otherwise)
{
    static const struct way ends[] = {
        {"ready", "SELECT t.cancel(1)", "cancelled", "job 1 was cancelled"},
        {"ready", "SELECT t.del(1)", "deleted", "job 1 was cancelled"},
        {"asked", "SELECT t.finish_mine(1, 'aborted')", "aborted/aborted",
         "job 1 was aborted"},
        {"doing", "SELECT t.finish_mine(1, 'failed')", "failed", "job 1 failed"},
    };

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const struct way *w = &ends[i];
        const char *url = jobs_database();

        cluster_psql(url, text_of("SELECT t.make('%s'), t.ins(), t.after(1, 2), "
                                  "t.after(3)",
                                  w->state));
        jobs_expect(url, w->how, w->result);
        jobs_expect(url, "SELECT t.told()", "3:cancelled 4:cancelled");
        jobs_expect(url, "SELECT reason FROM belay.cancellations WHERE job_id = 3",
                    w->swept);
        jobs_check(url);
        jobs_expect(url, "SELECT t.after(4), t.status(5)", "5|cancelled");
        jobs_check(url);
    }
}

Test(family, a_job_that_waited_joins_its_schedule_or_the_line_of_its_lock)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.ins('l');"
                      "SELECT t.put('{\"depends_on\":[1]}', 'l'), t.put('{\"depends_on\":"
                      "[1]}', at => now() + interval '1 hour'), t.put('{\"depends_on\":"
                      "[1]}', 'm')");
    jobs_check(url);
    cluster_psql(url, "SELECT t.claim(t.worker(), 1); SELECT t.finish_mine(1)");
    jobs_expect(url, "SELECT t.told()", "+3");
    jobs_expect(url, "SELECT t.place(3) || t.place(4) || t.place(5)",
                "blockedscheduledready");
    jobs_check(url);
}

Test(family, a_job_that_waits_can_be_cancelled_deleted_and_started_by_hand)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.after(1), t.after(1), t.after(1)");
    jobs_expect(url, "SELECT t.cancel(2), t.del(3), t.expire(4)",
                "cancelled|deleted|cancelled");
    jobs_expect(url, "SELECT t.retry(2), t.place(2)", "retried|ready");
    jobs_check(url);
    cluster_psql(url, "SELECT t.cancel(1)");
    jobs_expect(url, "SELECT t.told(), t.place(2)", "|ready");
    jobs_check(url);
}

Test(family, a_list_knows_what_waits_and_the_children_of_a_job)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.after(1), t.child(1), t.child(1), t.ins()");
    jobs_expect(url,
                "SELECT string_agg(id::text, ' ') FROM belay.list_jobs('{todo}', NULL, "
                "NULL, NULL, NULL, NULL, NULL, true, NULL, 9, NULL)",
                "1 2 3 4 5");
    jobs_expect(url,
                "SELECT string_agg(id::text, ' ') FROM belay.list_jobs(NULL, NULL, NULL, "
                "NULL, NULL, NULL, NULL, true, NULL, 9, 1)",
                "3 4");
    jobs_expect(url,
                "SELECT string_agg(id::text, ' ') FROM belay.list_jobs('{todo}', NULL, "
                "NULL, NULL, NULL, NULL, NULL, false, 4, 9, 1)",
                "3");
    jobs_expect(url,
                "SELECT count(*), count(id) FROM belay.list_jobs(NULL, NULL, NULL, "
                "NULL, NULL, NULL, NULL, true, NULL, 9, 99)",
                "1|0");
}

Test(family, explain_says_what_it_waits_for)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.make('doing'), t.after(1), t.after(1, 2)");
    jobs_expect(url, "SELECT x::json ->> 'sentence' FROM belay.explain(3, '{}') x",
                "It has not started: it is waiting for job 1 to succeed; next: it may "
                "start when that has succeeded, and is cancelled if it ends in another "
                "way.");
    jobs_expect(url,
                "SELECT x::json ->> 'reason', x::json #>> '{facts,jobs,1,status}' FROM "
                "belay.explain(4, '{}') x",
                "waits_for_jobs|doing");
}

Test(family, enqueue_in_sql_takes_parents)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT belay.enqueue('t'), belay.enqueue('t', parent_id => 1, "
                      "on_parent_cancel => 'cascade'), belay.enqueue('t', depends_on => "
                      "'{1,2}')");
    jobs_expect(url,
                "SELECT concat_ws(' ', d -> 'parent_id', d -> 'on_parent_cancel', d -> "
                "'depends_on') FROM (VALUES (belay.job(1)), (belay.job(2)), "
                "(belay.job(3))) x (d)",
                "null null []\n1 \"cascade\" []\nnull null [1,2]");
    jobs_expect(url, "SELECT t.place(3)", "waits");
    jobs_check(url);
}

Test(family, a_job_that_waits_and_is_held_waits_on_when_it_is_released)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.after(1), t.after(1), t.after(1)");
    jobs_expect(url, "SELECT t.hold(2), t.hold(3), t.hold(4)", "held|held|held");
    jobs_check(url);
    jobs_expect(url, "SELECT t.release(2), t.place(2)", "released|waits");
    jobs_expect(url, "SELECT t.cancel(4)", "cancelled");
    jobs_check(url);
    cluster_psql(url, "SELECT t.claim(t.worker(), 1); SELECT t.finish_mine(1)");
    jobs_expect(url, "SELECT t.told(), t.place(2), t.place(3)", "+1|ready|held");
    jobs_expect(url, "SELECT t.release(3), t.place(3)", "released|ready");
    jobs_check(url);
}

/* -- beside other families ----------------------------------------------------------- */

Test(family, those_that_wait_are_told_one_by_one_and_none_is_forgotten)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.ins(), t.worker(); SELECT t.claim(1);"
                      "SELECT t.after(1), t.after(1), t.after(2)");
    jobs_expect(url, "SELECT t.finish_mine(1), t.told(1)", "succeeded|+1 +1");
    jobs_expect(url, "SELECT t.place(3), t.place(4), t.place(5)", "ready|ready|waits");
    jobs_check(url);
}

Test(family, what_was_refused_is_nobodys_child)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins()");
    jobs_expect(url, "SELECT t.put('{\"parent_id\":1,\"depends_on\":[999]}')",
                "dependency-not-found");
    jobs_expect(url, "SELECT count(*) FROM belay.children", "0");
    jobs_check(url);
}

Test(family, children_of_one_that_is_gone_are_no_concern_of_others)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(), t.ins(); SELECT t.child(1, 'ignore'), t.child(2);"
                      "SELECT t.del(1), t.told()");
    jobs_expect(url, "SELECT parent_id, id FROM belay.children", "2|4");
    jobs_expect(url, "SELECT t.cancel(2), t.told()", "cancelled|4:cancelled");
    jobs_check(url);
}
