/* What readers see: the document, its version, the list, and the events. */
#include "tests/db/jobs.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>
#include <stdio.h>

TestSuite(documents, .timeout = 60);

Test(documents, the_version_changes_with_each_change_and_with_nothing_else)
{
    const char *url = jobs_database();
    static const char *const steps[] = {"t.claim(t.worker('a'))",
                                        "t.cancel(1, true)",
                                        "t.finish_mine(1, 'failed')",
                                        "t.retry(1)",
                                        "t.claim(t.worker('b'))",
                                        "t.back_mine(1, 'unstarted')",
                                        "t.claim(t.worker('c'))",
                                        "t.back_mine(1, 'retry', 60000)",
                                        "t.cancel(1)"};

    cluster_psql(url,
                 "CREATE TABLE seen (etag text, job text); SELECT t.ins(tries => 9)");
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        char sql[200];
        snprintf(
            sql, sizeof sql,
            "SELECT %s; INSERT INTO seen SELECT etag, job FROM belay.job_states('{1}')",
            steps[i]);
        cluster_psql(url, sql);
        cluster_psql(url,
                     "INSERT INTO seen SELECT etag, job FROM belay.job_states('{1}')");
    }
    jobs_expect(url,
                "SELECT count(DISTINCT etag) = count(DISTINCT job), count(DISTINCT job) "
                "FROM seen",
                "t|8");
}

Test(documents, two_workers_one_after_the_other_are_two_versions)
{
    const char *url = jobs_database();

    cluster_psql(url,
                 "SELECT t.ins(); SELECT t.claim(t.worker('a'));"
                 "CREATE TABLE seen AS SELECT etag FROM belay.job_states('{1}');"
                 "SELECT t.back_mine(1, 'unstarted'); SELECT t.claim(t.worker('b'))");
    jobs_expect(url, "SELECT etag = (SELECT etag FROM seen) FROM belay.job_states('{1}')",
                "f");
}

Test(documents, args_and_metadata_come_back_as_they_were_written)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT belay.enqueue('t', E'{ \"a\":  0.10, \"a\":1e400}', "
                      "metadata => '{\"x\" : null}',"
                      " tags => '{\"a b\",c}')");
    jobs_expect(url,
                "SELECT job::json ->> 'args' || (job::json ->> 'metadata') || (job::json "
                "->> 'tags')"
                " FROM belay.job_states('{1}')",
                "{ \"a\":  0.10, \"a\":1e400}{\"x\" : null}[\"a b\",\"c\"]");
}

Test(documents, names_with_quotes_are_still_json)
{
    const char *url = jobs_database();

    cluster_psql(
        url, "SELECT belay.enqueue(E'a\"b\\\\c\\nd', queue => E'q\"\\t', lock => E'\"')");
    jobs_expect(url,
                "SELECT job::json ->> 'task' = E'a\"b\\\\c\\nd', job::json ->> 'queue' = "
                "E'q\"\\t',"
                " job::json ->> 'lock' FROM belay.job_states('{1}')",
                "t|t|\"");
}

Test(documents, the_events_of_an_attempt_outlive_it)
{
    const char *url = jobs_database();

    cluster_psql(
        url,
        "SELECT t.ins(at => now() - interval '1 hour', tries => 2); SELECT "
        "t.claim(t.worker());"
        "SELECT t.back_mine(1, 'retry'); SELECT t.claim(t.worker()); SELECT t.die(1);"
        "SELECT t.reap(); SELECT t.retry(1); SELECT t.claim(t.worker()); SELECT "
        "t.cancel(1, true);"
        "SELECT t.finish_mine(1, 'aborted')");
    jobs_expect(url, "SELECT t.events(1)",
                "deferred scheduled started retried started failed retried started "
                "abort_requested aborted");
    cluster_psql(url, "SELECT t.del(1)");
    jobs_expect(url, "SELECT t.events(1)",
                "deferred scheduled started retried started failed retried started "
                "abort_requested aborted deleted");
}

/* Finishes job 1, which was asked to stop: each stage so many microseconds ago. */
static void finish_asked(const char *url, const char *delivered, const char *acknowledged,
                         const char *finished)
{
    char sql[400];

    snprintf(
        sql, sizeof sql,
        "SELECT belay.finish('{1}', ARRAY[l.id], ARRAY[l.worker_id], '{1}', "
        "'{aborted}', '{7}', '{7}', '{1}', '{%s}', '{bye}', '{false}', '{%s}', '{%s}')"
        " FROM (SELECT (t.lease(1)).*) l",
        finished, delivered, acknowledged);
    cluster_psql(url, sql);
}

Test(documents, the_stages_of_an_abort_come_before_the_end_however_close)
{
    const char *url = jobs_database();
    const char *life = "deferred started abort_requested delivered acknowledged aborted";

    cluster_psql(url, "SELECT t.make('asked'); SELECT pg_sleep(0.01)");
    finish_asked(url, "3", "2", "1");
    jobs_expect(url, "SELECT t.events(1)", life);
}

Test(documents, the_end_comes_after_a_stage_that_was_told_late)
{
    const char *url = jobs_database();
    const char *life = "deferred started abort_requested delivered acknowledged aborted";

    cluster_psql(
        url,
        "SELECT t.make('asked'); SELECT pg_sleep(0.1); UPDATE belay.cancellations"
        " SET delivered_at = clock_timestamp(), acknowledged_at = clock_timestamp()");
    finish_asked(url, "NULL", "NULL", "50000");
    jobs_expect(url, "SELECT t.events(1)", life);
}

Test(documents, the_end_of_a_job_that_never_started_says_who_and_why)
{
    const char *url = jobs_database();
    const char *event =
        "SELECT event::json ->> 'actor', event::json -> 'detail' ->> 'reason'"
        " FROM belay.job_events(1, NULL, 9) WHERE event::json ->> 'type' = 'cancelled'";

    cluster_psql(url, "SELECT t.ins(); SELECT t.cancel(1, actor => 'zoe')");
    jobs_expect(url, event, "zoe|why");
    cluster_psql(url, "SELECT t.del(1)");
    jobs_expect(url, event, "zoe|why");
    jobs_expect(url, "SELECT t.events(1)", "deferred cancelled deleted");
}

Test(documents, a_shutdown_and_a_rescue_are_told)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('doing', 9); SELECT t.back_mine(1, 'shutdown'); "
                      "SELECT t.claim(t.worker());"
                      "SELECT t.die(1); SELECT t.reap()");
    jobs_expect(url, "SELECT t.events(1)", "deferred started released started rescued");
}

Test(documents, events_are_read_page_by_page)
{
    const char *url = jobs_database();

    cluster_psql(url, "SELECT t.make('aborted')");
    jobs_expect(url, "SELECT string_agg(id::text, ' ') FROM belay.job_events(1, NULL, 2)",
                "1 2");
    jobs_expect(url, "SELECT string_agg(id::text, ' ') FROM belay.job_events(1, 2, 9)",
                "3 4");
}

static void expect_list(const char *url, const char *arguments, const char *expected)
{
    char sql[300];

    snprintf(sql, sizeof sql, "SELECT string_agg(id::text, ' ') FROM belay.list_jobs(%s)",
             arguments);
    jobs_expect(url, sql, expected);
}

Test(documents, a_list_is_filtered_by_where_jobs_stand)
{
    const char *url = jobs_database();

    cluster_psql(
        url, "SELECT t.make(s) FROM "
             "unnest('{ready,scheduled,doing,succeeded,failed,cancelled,aborted,asked}'"
             "::text[]) s");
    expect_list(url, "'{todo}', NULL, NULL, NULL, NULL, NULL, NULL, true, NULL, 9",
                "1 2");
    expect_list(url, "'{doing}', NULL, NULL, NULL, NULL, NULL, NULL, false, NULL, 9",
                "8 3");
    expect_list(url,
                "'{failed,cancelled}', NULL, NULL, NULL, NULL, NULL, NULL, true, NULL, 9",
                "5 6");
    expect_list(
        url,
        "'{todo,succeeded,aborted}', NULL, NULL, NULL, NULL, NULL, NULL, true, NULL, 9",
        "1 2 4 7");
    expect_list(url, "NULL, NULL, NULL, NULL, NULL, NULL, NULL, true, 5, 2", "6 7");
    expect_list(url, "NULL, NULL, NULL, NULL, NULL, NULL, NULL, false, 5, 2", "4 3");
}

Test(documents, a_list_is_filtered_by_what_was_asked_for)
{
    const char *url = jobs_database();

    cluster_psql(url,
                 "SELECT belay.enqueue('a', queue => 'x', tags => '{u,v}', lock => 'l');"
                 "SELECT belay.enqueue('b', queue => 'y', tags => '{v}');"
                 "SELECT belay.enqueue('a', queue => 'y', lock => 'l')");
    expect_list(url, "NULL, 'y', NULL, NULL, NULL, NULL, NULL, true, NULL, 9", "2 3");
    expect_list(url, "NULL, NULL, 'a', NULL, NULL, NULL, NULL, true, NULL, 9", "1 3");
    expect_list(url, "NULL, NULL, NULL, 'v', NULL, NULL, NULL, true, NULL, 9", "1 2");
    expect_list(url, "NULL, NULL, NULL, NULL, 'l', NULL, NULL, true, NULL, 9", "1 3");
    expect_list(url, "NULL, 'nowhere', NULL, NULL, NULL, NULL, NULL, true, NULL, 9", "");
    expect_list(
        url,
        "NULL, NULL, NULL, NULL, NULL, now() + interval '1 hour', NULL, true, NULL, 9",
        "");
    expect_list(
        url,
        "NULL, NULL, NULL, NULL, NULL, NULL, now() + interval '1 hour', true, NULL, 9",
        "1 2 3");
}
