/* Jobs in over others: where standing rules end some of them at once, and from SQL. */
#include "tests/db/jobs.h"
#include "tests/db/session.h"
#include "tests/support/cluster.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(put_rules, .timeout = 90);

/* t.put(): two jobs in one request, the first with the lock `l` and the tag that a rule
 * is for, the second over what waits with the queueing lock q. */
static const char putting[] =
    "CREATE FUNCTION t.put(l text, k text) RETURNS text LANGUAGE sql AS $$ SELECT result "
    "FROM belay.put_jobs('{0,0}', '{t,t}', '{ended,default}', '{0,0}', "
    "ARRAY['{}','{}']::json[], '{1,1}', '{\"{}\",\"{}\"}', ARRAY['{}','{}']::json[], "
    "'{NULL,NULL}', '{NULL,NULL}', ARRAY[l, k], '{NULL,q}', '{f,f}', '{NULL,NULL}', "
    "'{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}', "
    "'{60,60}', '{reject,replace}') $$;"
    "SELECT belay.create_operation(belay.operation_of('cancel', "
    "'{\"queue\":\"ended\"}', false, false, NULL, NULL, NULL, now() + interval '1 "
    "hour'))";

/* Whatever the names: the one who waits for a turn has none that comes later in the order
 * of all, so somebody who takes them in that order is never in a ring. */
static void expect_one_order(const char *ended, const char *replacing)
{
    const char *url = jobs_database();
    struct session *a = session_open(url), *b = session_open(url);

    cluster_psql(url, putting);
    cluster_psql(url, "SELECT t.ins(NULL, 'q')");
    session_run(a, "BEGIN");
    session_run(a, text_of("SELECT belay.lock_names(4994, '{%s}')", replacing));
    session_start(b, text_of("SELECT t.put('%s', '%s')", ended, replacing));
    session_wait_blocked(b);
    cr_expect_eq(cluster_int(url, "SELECT count(*) FROM pg_locks WHERE locktype = "
                                  "'advisory' AND classid = 4994 AND granted"),
                 1, "it has turns while it waits for one");
    session_run(a, "COMMIT");
    cr_expect_str_eq(session_end(b), "done");
    jobs_expect(url, "SELECT string_agg(status::text, ',') FROM belay.ends", "4");
    jobs_check(url);
    session_close(a);
    session_close(b);
}

Test(put_rules, all_turns_are_taken_at_once)
{
    /* Of two names one is first in that order, whichever it is. */
    int64_t is_first = cluster_int(
        jobs_database(), "SELECT ((hashtext('a') & 1023) < (hashtext('b') & 1023))::int");

    expect_one_order(is_first ? "b" : "a", is_first ? "a" : "b");
}

/* -- belay.enqueue ------------------------------------------------------------------- */

TestSuite(put_sql, .timeout = 90);

Test(put_sql, enqueue_says_what_happens_when_one_waits)
{
    const char *url = jobs_database();

    jobs_expect(url,
                "SELECT belay.enqueue('t', '{\"n\": 1}', queueing_lock => 'k', "
                "on_conflict => 'ignore')",
                "1");
    jobs_expect(url,
                "SELECT belay.enqueue('t', '{\"n\": 2}', queueing_lock => 'k', "
                "on_conflict => 'ignore'), belay.job(1) #>> '{args,n}'",
                "1|1");
    jobs_expect(url,
                "SELECT belay.enqueue('u', '{\"n\": 3}', queue => 'new', "
                "queueing_lock => 'k', on_conflict => 'replace')",
                "1");
    jobs_expect(
        url, "SELECT d ->> 'task', d ->> 'queue', d #>> '{args,n}' FROM belay.job(1) d",
        "u|new|3");
    cr_expect_not_null(
        strstr(cluster_try(url, "SELECT belay.enqueue('t', queueing_lock => 'k', "
                                "on_conflict => 'reject')"),
               "queueing lock \"k\" is taken by job 1"));
    jobs_expect(url, "SELECT count(*) FROM belay.jobs", "1");
    jobs_check(url);
}

Test(put_sql, enqueue_supersedes_what_runs)
{
    const char *url = jobs_database();

    cluster_psql(
        url,
        "SELECT belay.enqueue('t', queueing_lock => 'k'); SELECT t.claim(t.worker())");
    jobs_expect(url,
                "SELECT belay.enqueue('t', queueing_lock => 'k', on_conflict => "
                "'abort_replace')",
                "2");
    jobs_expect(url,
                "SELECT c.job_id, c.cause, t.status(1), t.status(2) FROM "
                "belay.cancellations c",
                "1|superseded|doing|todo");
    jobs_check(url);
}

Test(put_sql, enqueue_undoes_it_with_the_transaction)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT belay.enqueue('t', '{\"n\": 1}', queueing_lock => 'k')");
    cluster_psql(url, "BEGIN; SELECT belay.enqueue('t', '{\"n\": 2}', queueing_lock => "
                      "'k', on_conflict => 'replace'); ROLLBACK");
    jobs_expect(url, "SELECT belay.job(1) #>> '{args,n}'", "1");
    jobs_check(url);
}

Test(put_sql, enqueue_says_what_is_wrong_with_on_conflict)
{
    const char *url = jobs_database();

    cr_expect_not_null(strstr(
        cluster_try(url, "SELECT belay.enqueue('t', queueing_lock => 'k', on_conflict "
                         "=> 'fight')"),
        "on_conflict must be"));
    cr_expect_not_null(
        strstr(cluster_try(url, "SELECT belay.enqueue('t', on_conflict => 'ignore')"),
               "on_conflict needs a queueing_lock"));
}

/* -- families ------------------------------------------------------------------------ */

Test(put_sql, who_waits_for_a_job_is_told_of_its_end_though_it_was_replaced)
{
    const char *url = jobs_database();

    cluster_psql(url,
                 "SELECT belay.enqueue('t', queueing_lock => 'k'); SELECT t.after(1);"
                 "SELECT belay.enqueue('t', queueing_lock => 'k', on_conflict => "
                 "'replace')");
    jobs_check(url);
    jobs_expect(url, "SELECT t.cancel(1), t.told()", "cancelled|2:cancelled");
    jobs_check(url);
}

/* One has the name of the queueing lock and comes for the parent; the other has the
 * parent and comes for the name. */
Test(put_sql, a_child_with_a_queueing_lock_does_not_meet_its_parents_successor)
{
    const char *url = jobs_database();
    struct session *a = session_open(url), *b = session_open(url), *c = session_open(url);

    cluster_psql(url, "SELECT belay.enqueue('t', queueing_lock => 'k')");
    session_run(a, "BEGIN; SELECT FROM belay.ready FOR UPDATE");
    session_start(c, "SELECT belay.enqueue('t', parent_id => 1, queueing_lock => 'new', "
                     "on_conflict => 'ignore')");
    session_wait_blocked(c);
    session_start(b, "SELECT t.put('{\"parent_id\":1}', qlock => 'new')");
    session_wait_blocked(b);
    session_run(a, "COMMIT");
    cr_expect_str_eq(session_end(c), "3");
    cr_expect_str_eq(session_end(b), "already-enqueued");
    jobs_check(url);
    session_close(a);
    session_close(b);
    session_close(c);
}

/* The deadline has taken its row of the calendar and comes for the job; what replaces the
 * job has another deadline. */
Test(put_sql, a_job_that_is_replaced_at_its_deadline_has_the_new_one)
{
    const char *url = jobs_database();
    struct session *a = session_open(url), *b = session_open(url);

    cluster_psql(url, "SELECT belay.enqueue('t', queueing_lock => 'k', deadline => now() "
                      "- interval '1 minute')");
    session_run(a, "BEGIN; SELECT FROM belay.ready FOR UPDATE");
    session_start(b, "SELECT count(job_id) FROM belay.expire(9)");
    session_wait_blocked(b);
    cr_expect_str_eq(session_run(a, "SELECT belay.enqueue('t', queueing_lock => 'k', "
                                    "deadline => now() + interval '1 hour', on_conflict "
                                    "=> 'replace')"),
                     "1");
    session_run(a, "COMMIT");
    cr_expect_str_eq(session_end(b), "0");
    jobs_expect(url, "SELECT t.status(1), (SELECT count(*) FROM belay.deadlines)",
                "todo|1");
    jobs_check(url);
    session_close(a);
    session_close(b);
}

/* A job that is replaced again and again has one row in the calendar. */
Test(put_sql, a_deadline_may_come_back)
{
    const char *url = jobs_database();

    for (int i = 0; i < 6; i++)
        cluster_psql(url,
                     text_of("SELECT belay.enqueue('t', queueing_lock => 'k', deadline =>"
                             " date_trunc('hour', now()) + interval '%d hours', "
                             "on_conflict => 'replace')",
                             2 + i % 2));
    jobs_expect(url, "SELECT t.status(1), (SELECT count(*) FROM belay.deadlines)",
                "todo|1");
    cluster_psql(url, "SELECT belay.enqueue('t', queueing_lock => 'k', on_conflict => "
                      "'replace')");
    jobs_expect(url, "SELECT t.status(1), (SELECT count(*) FROM belay.deadlines)",
                "todo|0");
    jobs_check(url);
}

/* -- keys, and who is beside --------------------------------------------------------- */

#define PUT_WITH(key)                                                                    \
    "SELECT result FROM belay.put_jobs('{0}', '{t}', '{default}', '{0}', "               \
    "ARRAY['{}']::json[], '{1}', '{\"{}\"}', ARRAY['{}']::json[], '{NULL}', '{NULL}', "  \
    "'{NULL}', '{NULL}', '{f}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{" key "}', "   \
    "'{h}', '{60}', '{NULL}')"

Test(put_sql, each_key_has_its_own_cancel)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT belay.cancel_key('a', 'why a', 'ann', 3600, false, NULL);"
                      "SELECT belay.cancel_key('b', 'why b', 'bob', 3600, false, NULL);"
                      "SELECT belay.cancel_key('c', 'why c', 'cy', 3600, false, NULL)");
    jobs_expect(url, PUT_WITH("b"), "done");
    jobs_expect(url, "SELECT reason, actor FROM belay.cancellations", "why b|bob");
    jobs_expect(url,
                "SELECT result, by_key::json ->> 'reason' FROM belay.forget_key('c')",
                "waiting|why c");
    jobs_expect(url, "SELECT string_agg(key, ' ' ORDER BY key) FROM belay.keys", "a b");
    jobs_check(url);
}

Test(put_sql, a_key_without_a_cancel_has_none_to_take_back)
{
    const char *url = jobs_database();

    jobs_expect(url, PUT_WITH("a"), "done");
    jobs_expect(url, "SELECT count(*) FROM belay.forget_key('a')", "0");
    jobs_expect(url, "SELECT count(*) FROM belay.keys", "1");
}

Test(put_sql, of_what_is_replaced_only_the_family_stays)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.ins(); SELECT t.put('{\"parent_id\":1,\"delete_policy\":"
                      "\"always\"}', qlock => 'k');"
                      "INSERT INTO belay.progress (job_id, percent) VALUES (1, 50);"
                      "SELECT belay.enqueue('t', queueing_lock => 'k', on_conflict => "
                      "'replace')");
    jobs_expect(url,
                "SELECT options ->> 'parent_id', options ->> 'delete_policy' FROM "
                "belay.jobs WHERE id = 2",
                "1|");
    jobs_expect(url, "SELECT percent FROM belay.progress", "50");
    jobs_check(url);
}

Test(put_rules, a_rule_that_is_revoked_leaves_the_others)
{
    const char *url = jobs_database();

    cluster_psql(url, putting);
    cluster_psql(url, "SELECT belay.create_operation(belay.operation_of('cancel', "
                      "'{\"queue\":\"other\"}', false, false, NULL, NULL, NULL, now() "
                      "+ interval '1 hour'))");
    cluster_psql(url, "SELECT belay.cancel_operation(1)");
    cluster_psql(url, "SELECT t.ins(queue => 'ended'), t.ins(queue => 'other')");
    jobs_expect(url, "SELECT t.status(1), t.status(2)", "todo|cancelled");
    jobs_check(url);
}

Test(put_rules, each_rule_counts_what_it_has_cancelled)
{
    const char *url = jobs_database();

    cluster_psql(url, putting);
    cluster_psql(url, "SELECT belay.create_operation(belay.operation_of('cancel', "
                      "'{\"queue\":\"other\"}', false, false, NULL, NULL, NULL, now() "
                      "+ interval '1 hour'))");
    cluster_psql(url, "SELECT t.ins(queue => 'ended'), t.ins(queue => 'other'), t.ins("
                      "queue => 'other')");
    for (int i = 0; i < 40; i++) /* any of them, each time */
        cluster_psql(url, "UPDATE belay.operations SET due_at = now();"
                          "SELECT * FROM belay.operation_step(1000)");
    jobs_expect(url, "SELECT id, cancelled FROM belay.operations ORDER BY id",
                "1|1\n2|2");
}

Test(put_rules, an_operation_that_is_not_due_is_left_alone)
{
    const char *url = jobs_database();

    cluster_psql(url, putting);
    cluster_psql(url, "UPDATE belay.operations SET due_at = now() + interval '1 hour'");
    jobs_expect(url, "SELECT coalesce(status, 'idle') FROM belay.operation_step(10)",
                "idle");
    cluster_psql(url, "UPDATE belay.operations SET due_at = now()");
    jobs_expect(url, "SELECT coalesce(status, 'idle') FROM belay.operation_step(10)",
                "running");
}
