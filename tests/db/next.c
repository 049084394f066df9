/* Attempts that go on as something else: another queue, another priority, another lock.
 */
#include "tests/db/jobs.h"
#include "tests/support/cluster.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <libpq-fe.h>

TestSuite(next, .timeout = 60);

/* Beside t.back_mine() of jobs.c: with what the task wants to be different. */
static const char back_with[] =
    "CREATE FUNCTION t.back_with(job bigint, next json, kind text DEFAULT 'retry', delay "
    "bigint DEFAULT 0) RETURNS text LANGUAGE plpgsql AS $$ BEGIN"
    " PERFORM belay.name_queues(ARRAY[next ->> 'queue']) WHERE next ->> 'queue' IS NOT "
    "NULL;"
    " RETURN (SELECT concat_ws('/', b.status, b.outcome, CASE WHEN scheduled THEN "
    "'scheduled' END) FROM t.lease(job) l, belay.give_back(ARRAY[job], ARRAY[l.id], "
    "ARRAY[l.worker_id], ARRAY[1], ARRAY[kind], ARRAY[delay], "
    "ARRAY['{\"kind\":\"error\"}'::json], ARRAY['bye'], ARRAY[next]) b); END $$;"
    "CREATE FUNCTION t.as_it_is(job bigint) RETURNS text LANGUAGE sql AS $$ SELECT "
    "concat_ws(' ', (SELECT name FROM belay.queues q WHERE q.id = j.queue_id), priority,"
    " lock, t.place(id)) FROM belay.jobs j WHERE id = job $$;";

static const char *database(void)
{
    const char *url = jobs_database();

    cluster_psql(url, back_with);
    return url;
}

Test(next, an_attempt_that_counts_goes_on_in_another_queue)
{
    const char *url = database();

    cluster_psql(url, "SELECT t.make('doing', 3)");
    jobs_expect(url, "SELECT t.back_with(1, '{\"queue\":\"new\",\"priority\":7}')",
                "todo");
    jobs_expect(url, "SELECT t.as_it_is(1)", "new 7 ready");
    jobs_expect(url,
                "SELECT queue, attempt, counted FROM belay.claim(t.worker(), 1, 1, "
                "'{new}', NULL)",
                "new|2|2");
    jobs_expect(url,
                "SELECT detail ->> 'queue', detail ->> 'priority', detail ->> 'kind' "
                "FROM belay.events WHERE type = 'retried'",
                "new|7|error");
    jobs_check(url);
}

Test(next, one_that_waits_for_its_time_waits_in_the_other_queue)
{
    const char *url = database();

    cluster_psql(url, "SELECT t.make('doing', 3)");
    jobs_expect(
        url, "SELECT t.back_with(1, '{\"queue\":\"new\",\"lock\":\"m\"}', 'retry', 700)",
        "todo/scheduled");
    jobs_expect(url, "SELECT t.as_it_is(1)", "new 0 m scheduled");
    cluster_psql(url, "SELECT pg_sleep(0.8)");
    cluster_psql(url, "SELECT belay.due(9)");
    jobs_expect(url, "SELECT t.as_it_is(1)", "new 0 m ready");
    jobs_check(url);
}

Test(next, the_old_lock_goes_to_its_line_and_the_new_one_has_a_line_too)
{
    const char *url = database();

    cluster_psql(url, "SELECT t.ins('old', tries => 3); SELECT t.ins('new');"
                      "SELECT t.claim(t.worker()); SELECT t.claim(t.worker());"
                      "SELECT t.ins('old')");
    jobs_expect(url, "SELECT t.place(1), t.place(2), t.place(3)", "lease|lease|blocked");
    jobs_expect(url, "SELECT t.back_with(1, '{\"lock\":\"new\"}')", "todo");
    jobs_expect(url, "SELECT t.place(1), t.place(3)", "blocked|ready");
    cluster_psql(url, "SELECT t.finish_mine(2)");
    jobs_expect(url, "SELECT t.place(1)", "ready");
    jobs_check(url);
}

Test(next, a_lock_is_taken_away_and_its_line_goes_on)
{
    const char *url = database();

    cluster_psql(url, "SELECT t.ins('old', tries => 3); SELECT t.claim(t.worker());"
                      "SELECT t.ins('old')");
    jobs_expect(url, "SELECT t.back_with(1, '{\"lock\":null}')", "todo");
    jobs_expect(url, "SELECT t.as_it_is(1), t.place(2)", "default 0 ready|ready");
    jobs_check(url);
}

Test(next, a_holder_that_comes_down_lets_a_better_one_pass)
{
    const char *url = database();

    cluster_psql(url, "SELECT t.ins('l', tries => 3); SELECT t.claim(t.worker());"
                      "SELECT t.ins('l')");
    jobs_expect(url, "SELECT t.back_with(1, '{\"priority\":-1}')", "todo");
    jobs_expect(url, "SELECT t.place(1), t.place(2)", "blocked|ready");
    jobs_check(url);
}

Test(next, an_attempt_that_does_not_count_or_ends_the_job_changes_nothing)
{
    const char *url = database();
    static const char *const kinds[] = {"shutdown", "unstarted"};

    for (int i = 0; i < 2; i++) {
        cluster_psql(url, "SELECT t.ins('l', tries => 3); SELECT t.claim(t.worker())");
        jobs_expect(url,
                    text_of("SELECT t.back_with(%d, "
                            "'{\"queue\":\"new\",\"lock\":\"m\"}', '%s')",
                            i + 1, kinds[i]),
                    "todo");
        jobs_expect(url, text_of("SELECT t.as_it_is(%d)", i + 1), "default 0 l ready");
        cluster_psql(url, text_of("SELECT t.cancel(%d)", i + 1));
    }
    cluster_psql(url, "SELECT t.ins('l'); SELECT t.claim(t.worker())");
    jobs_expect(url, "SELECT t.back_with(3, '{\"queue\":\"new\",\"lock\":\"m\"}')",
                "failed");
    jobs_expect(url, "SELECT t.as_it_is(3)", "default 0 l ends");
    jobs_check(url);
}

Test(next, one_that_was_asked_to_stop_and_start_again_starts_as_it_was)
{
    const char *url = database();

    cluster_psql(url, "SELECT t.make('asked', 3); UPDATE belay.cancellations SET requeue "
                      "= true");
    jobs_expect(url, "SELECT t.back_with(1, '{\"priority\":7}')", "todo/requeued");
    jobs_expect(url, "SELECT priority FROM belay.jobs", "0");
    jobs_check(url);
}

Test(next, whoever_takes_the_other_queue_is_told)
{
    const char *url = database();

    cluster_psql(url, "SELECT t.make('doing', 3)");
    PGconn *ear = PQconnectdb(url);
    PQclear(PQexec(ear, "LISTEN belay_ready"));
    jobs_expect(url, "SELECT t.back_with(1, '{\"queue\":\"new\"}')", "todo");
    PQclear(PQexec(ear, "SELECT 1")); /* reads what has come until now */
    PGnotify *told = PQnotifies(ear);
    cr_assert_not_null(told);
    cr_expect_str_eq(told->extra, "new");
    PQfreemem(told);
    PQfinish(ear);
}
