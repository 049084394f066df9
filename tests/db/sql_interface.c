/* belay.enqueue, belay.cancel and belay.job, as docs/sql.md promises them to strangers.
 */
#include "db/listen.h"
#include "tests/db/jobs.h"
#include "tests/db/session.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

TestSuite(sql_interface, .timeout = 60);

static void expect_error(const char *url, const char *sql, const char *words)
{
    const char *answer = cluster_try(url, sql);

    cr_expect_eq(strncmp(answer, "ERROR: ", 7), 0, "%s is no error but %s", sql, answer);
    cr_expect_not_null(strstr(answer, words), "%s: %s", sql, answer);
}

Test(sql_interface, enqueue_needs_a_task_and_nothing_else)
{
    const char *url = jobs_database();

    jobs_expect(url, "SELECT belay.enqueue('t')", "1");
    jobs_expect(url,
                "SELECT d ->> 'queue', d ->> 'priority', d ->> 'args', d ->> "
                "'max_attempts', d ->> 'tags',"
                " d ->> 'metadata', d ->> 'status' FROM belay.job(1) d",
                "default|0|{}|1|[]|{}|todo");
    jobs_expect(url,
                "SELECT belay.enqueue('t', NULL, NULL, NULL, NULL, NULL, NULL, NULL, "
                "NULL, NULL, NULL)",
                "2");
    jobs_expect(url,
                "SELECT (belay.job(1)::jsonb - 'id' - 'created_at') = "
                "(belay.job(2)::jsonb - 'id' - 'created_at')",
                "t");
}

Test(sql_interface, enqueue_takes_all_that_the_page_names)
{
    const char *url = jobs_database();

    cluster_psql(
        url,
        "SELECT belay.enqueue('t', '{\"to\": \"ann\"}', queue => 'mail', priority => 5, "
        "lock => 'ann',"
        " queueing_lock => 'k', scheduled_at => '2030-01-01 00:00Z', max_attempts => 3,"
        " tags => '{a,b}', metadata => '{\"m\": 1}')");
    jobs_expect(
        url,
        "SELECT d ->> 'queue', d ->> 'priority', d ->> 'lock', d ->> 'queueing_lock',"
        " d ->> 'scheduled_at', d ->> 'max_attempts', d ->> 'tags' FROM belay.job(1) d",
        "mail|5|ann|k|2030-01-01T00:00:00.000000Z|3|[\"a\",\"b\"]");
    jobs_check(url);
}

Test(sql_interface, enqueue_says_what_is_wrong)
{
    const char *url = jobs_database();

    expect_error(url, "SELECT belay.enqueue(NULL)", "task must have");
    expect_error(url, "SELECT belay.enqueue('')", "task must have");
    expect_error(url, "SELECT belay.enqueue(repeat('x', 129))", "task must have");
    expect_error(url, "SELECT belay.enqueue('t', '[]')", "args must be");
    expect_error(url, "SELECT belay.enqueue('t', metadata => '1')", "metadata must be");
    expect_error(url, "SELECT belay.enqueue('t', queue => '')", "queue must have");
    expect_error(url, "SELECT belay.enqueue('t', lock => '')", "lock must have");
    expect_error(url, "SELECT belay.enqueue('t', queueing_lock => repeat('x', 256))",
                 "queueing_lock must have");
    expect_error(url, "SELECT belay.enqueue('t', max_attempts => 0)",
                 "max_attempts must be");
    expect_error(url, "SELECT belay.enqueue('t', max_attempts => 1001)",
                 "max_attempts must be");
    expect_error(url, "SELECT belay.enqueue('t', tags => '{a,NULL}')", "a tag must have");
    expect_error(url, "SELECT belay.enqueue('t', tags => array_fill('a'::text, '{21}'))",
                 "tags must be");
    expect_error(url, "SELECT belay.enqueue('t', timeout_seconds => -1)",
                 "timeout_seconds must be");
    expect_error(url, "SELECT belay.enqueue('t', deadline => 'infinity')",
                 "deadline must be");
    expect_error(url, "SELECT belay.enqueue('t', scheduled_at => 'infinity')",
                 "scheduled_at must be");
    jobs_expect(url, "SELECT count(*) FROM belay.jobs", "0");
}

Test(sql_interface, a_taken_queueing_lock_is_an_error_that_names_its_job)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT belay.enqueue('t', queueing_lock => 'k')");
    expect_error(url, "SELECT belay.enqueue('t', queueing_lock => 'k')",
                 "queueing lock \"k\" is taken by job 1");
    jobs_expect(url,
                "DO $$ BEGIN PERFORM belay.enqueue('t', queueing_lock => 'k');"
                " EXCEPTION WHEN unique_violation THEN NULL; END $$; SELECT count(*) "
                "FROM belay.jobs",
                "1");
    jobs_check(url);
}

Test(sql_interface, a_job_is_there_if_and_only_if_the_transaction_commits)
{
    const char *url = jobs_database();
    struct session *s = session_open(url);

    session_run(s, "BEGIN; SELECT belay.enqueue('t')");
    jobs_expect(url, "SELECT count(*) FROM belay.jobs", "0");
    session_run(s, "ROLLBACK");
    jobs_expect(url, "SELECT count(*) FROM belay.jobs", "0");
    session_run(s, "BEGIN; SELECT belay.enqueue('t'); COMMIT");
    jobs_expect(url, "SELECT count(*) FROM belay.jobs", "1");
    jobs_check(url);
    session_close(s);
}

Test(sql_interface, cancel_answers_as_http_does)
{
    const char *url = jobs_database();
    const char *results =
        "SELECT string_agg(belay.cancel(id) ->> 'result', ' ' ORDER BY id)"
        " FROM unnest('{1,2,3,4,5,99}'::bigint[]) id";

    cluster_psql(url, "SELECT t.make(s) FROM "
                      "unnest('{ready,doing,succeeded,cancelled,aborted}'::text[]) s");
    jobs_expect(url, results,
                "cancelled job-running job-finished already_cancelled already_aborted "
                "job-not-found");
    jobs_expect(
        url,
        "SELECT c ->> 'result', c -> 'job' ->> 'status', c -> 'cancellation' ->> 'actor'"
        " FROM belay.cancel(2, abort => true, actor => 'shop', reason => 'r') c",
        "aborting|doing|shop");
    jobs_expect(url, "SELECT belay.cancel(NULL) ->> 'result'", "job-not-found");
    jobs_check(url);
}

Test(sql_interface, null_is_not_a_wish_to_abort_or_to_delete)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing'), t.make('ready')");
    jobs_expect(url,
                "SELECT belay.cancel(1, NULL, NULL) ->> 'result', belay.cancel(2, NULL, "
                "NULL) ->> 'result'",
                "job-running|cancelled");
    jobs_expect(url, "SELECT t.status(1), t.status(2)", "doing|cancelled");
}

Test(sql_interface, cancel_says_what_is_wrong)
{
    const char *url = jobs_database();

    expect_error(url, "SELECT belay.cancel(1, reason => repeat('x', 1025))",
                 "reason must have");
    expect_error(url, "SELECT belay.cancel(1, actor => repeat('x', 256))",
                 "actor must have");
    expect_error(url, "SELECT belay.cancel(1, grace_seconds => -1)",
                 "grace_seconds must be");
}

Test(sql_interface, a_role_needs_no_right_on_any_table)
{
    const char *url = jobs_database();
    char sql[900], role[64];

    snprintf(role, sizeof role, "shop_%d", (int)getpid());
    snprintf(sql, sizeof sql,
             "CREATE ROLE %s; GRANT USAGE ON SCHEMA belay, t TO %s;"
             "GRANT EXECUTE ON FUNCTION belay.enqueue, belay.cancel, belay.job TO %s; "
             "SET ROLE %s;"
             "SELECT belay.cancel(belay.enqueue('new task', queue => 'new queue', lock "
             "=> 'l'));"
             "SELECT belay.job(1) ->> 'status'",
             role, role, role, role);
    cr_expect_str_eq(cluster_psql(url, sql), "cancelled");
    snprintf(sql, sizeof sql, "SET ROLE %s; SELECT count(*) FROM belay.jobs", role);
    expect_error(url, sql, "permission denied");
    snprintf(sql, sizeof sql, "SET ROLE %s; SELECT * FROM belay.reap(0, 9)", role);
    expect_error(url, sql, "permission denied");
    snprintf(sql, sizeof sql,
             "REVOKE EXECUTE ON FUNCTION belay.enqueue FROM %s; SET ROLE %s; SELECT "
             "belay.enqueue('t')",
             role, role);
    expect_error(url, sql, "permission denied");
    snprintf(sql, sizeof sql, "DROP OWNED BY %s; DROP ROLE %s", role, role);
    cluster_psql(url, sql);
}

Test(sql_interface, a_hostile_search_path_changes_nothing)
{
    const char *url = jobs_database();

    jobs_expect(url,
                "CREATE SCHEMA evil; CREATE FUNCTION evil.length(text) RETURNS int "
                "LANGUAGE sql AS 'SELECT 0';"
                "CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS $$ "
                "SELECT timestamptz 'epoch' $$;"
                "SET search_path = evil, pg_catalog; SELECT belay.enqueue('t')",
                "1");
    jobs_expect(url, "SELECT created_at > now() - interval '1 minute' FROM belay.jobs",
                "t");
}

/* -- notifications ------------------------------------------------------------------- */

static char heard[64];

static void hear(void *arg, const char *channel, const char *payload, int sender)
{
    (void)arg;
    (void)sender;
    snprintf(heard, sizeof heard, "%s:%s", channel, payload);
}

static void expect_heard(struct db *db, const char *expected)
{
    for (int i = 0; i < 20 && heard[0] == '\0' && expected[0] != '\0'; i++)
        cr_assert_eq(db_wait_notify(db, -1, 500, hear, NULL), ERR_OK);
    cr_expect_str_eq(heard, expected);
    heard[0] = '\0';
}

Test(sql_interface, workers_are_told_at_commit_and_where_that_was_asked)
{
    const char *url = jobs_database();
    struct db_options options = {
        .url = url, .application_name = "belay test", .no_prepare = true};
    struct db *db;

    cr_assert_eq(db_open(&options, &db, NULL, 0), ERR_OK);
    cr_assert_eq(db_run(db, "LISTEN belay_ready; LISTEN belay_abort", NULL), ERR_OK);
    cluster_psql(url, "SELECT belay.enqueue('t', queue => 'silent', wake => false)");
    cluster_psql(url, "SELECT belay.enqueue('t', queue => 'later', scheduled_at => now() "
                      "+ interval '1 hour')");
    cluster_psql(url, "SELECT belay.enqueue('t', queue => 'mail')");
    expect_heard(db, CHANNEL_READY ":mail");
    cluster_psql(url, "SELECT t.make('doing')");
    cluster_psql(url, "SELECT belay.cancel(4, abort => true)");
    expect_heard(db, CHANNEL_ABORT ":1");
    db_close(db);
}

Test(sql_interface, enqueue_takes_a_retry_strategy)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT belay.enqueue('t', max_attempts => 3, retry => "
                      "'{\"kind\": \"fixed\", \"wait_seconds\": 2.5, \"on\": [\"a\"]}')");
    jobs_expect(url,
                "SELECT d #>> '{retry,kind}', d #>> '{retry,wait_seconds}', d #>> "
                "'{retry,on,0}' FROM belay.job(1) d",
                "fixed|2.5|a");
    expect_error(url, "SELECT belay.enqueue('t', retry => '{}')", "max_attempts is 1");
    expect_error(url, "SELECT belay.enqueue('t', max_attempts => 2, retry => '7')",
                 "retry must be a JSON object");
    const char *const wrong[] = {
        "{\"kind\": \"often\"}",     "{\"wait_seconds\": -1}",
        "{\"wait_seconds\": \"1\"}", "{\"max_wait_seconds\": 604801}",
        "{\"jitter\": 1}",           "{\"on\": [\"\"]}",
        "{\"on\": \"a\"}",           "{\"waits\": 1}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char sql[200];
        snprintf(sql, sizeof sql,
                 "SELECT belay.enqueue('t', max_attempts => 2, retry => '%s')", wrong[i]);
        expect_error(url, sql, "is not as it should be");
    }
}
