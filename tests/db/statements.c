/* The statements that are not a function: sent as the product sends them. */
#include "db/db.h"
#include "tests/db/jobs.h"
#include "tests/db/session.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(statements, .timeout = 60);

static struct db *open_db(const char *url)
{
    struct db_options options = {
        .url = url, .application_name = "belay test", .pin_plans = true};
    char why[200] = "";
    struct db *db;

    cr_assert_eq(db_open(&options, &db, why, sizeof why), ERR_OK, "%s", why);
    return db;
}

/* The answer as psql -At would print it. Valid until the next call. */
static const char *exec(struct db *db, enum sql sql, int n_rows,
                        const struct db_value *values, int columns)
{
    static char text[2000];
    struct db_rows rows;
    size_t used = 0;

    cr_assert_eq(db_exec(db, sql, n_rows, values, &rows), ERR_OK, "%s: %s", sql_name(sql),
                 db_errmsg(db));
    text[0] = '\0';
    for (int i = 0; i < rows.count; i++) {
        for (int c = 0; c < columns; c++)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s",
                                     c > 0   ? "|"
                                     : i > 0 ? "\n"
                                             : "",
                                     row_text(&rows, i, c));
    }
    db_rows_free(&rows);
    return text;
}

Test(statements, a_heartbeat_says_whether_the_worker_is_here_and_what_it_is_asked)
{
    const char *url = jobs_database();
    struct db *db = open_db(url);
    struct db_value v[] = {db_int(1), db_int(1)};

    cluster_psql(url, "SELECT t.make('doing')");
    cr_expect_str_eq(exec(db, SQL_worker_heartbeat, 1, v, 2), "t|0");
    cluster_psql(url, "SELECT t.cancel(1, true)");
    cr_expect_str_eq(exec(db, SQL_worker_heartbeat, 1, v, 2), "t|1");
    cluster_psql(url, "SELECT t.die(1); SELECT t.reap()");
    cr_expect_str_eq(exec(db, SQL_worker_heartbeat, 1, v, 2), "f|0");
    db_close(db);
}

Test(statements, a_heartbeat_before_the_sweep_saves_the_worker)
{
    const char *url = jobs_database();
    struct db *db = open_db(url);
    struct db_value v[] = {db_int(1), db_int(1)};

    cluster_psql(url, "SELECT t.make('doing'); SELECT t.die(1)");
    cr_expect_str_eq(exec(db, SQL_worker_heartbeat, 1, v, 2), "t|0");
    jobs_expect(url, "SELECT t.reap()", "");
    jobs_expect(url, "SELECT t.finish(1, 1, 1)", "succeeded");
    db_close(db);
}

Test(statements, a_worker_that_still_has_a_lease_does_not_leave)
{
    const char *url = jobs_database();
    struct db *db = open_db(url);
    struct db_value v[] = {db_int(1)};

    cluster_psql(url, "SELECT t.make('doing')");
    exec(db, SQL_worker_stop, 1, v, 0);
    jobs_expect(url, "SELECT gone_at IS NULL FROM belay.workers", "t");
    cluster_psql(url, "SELECT t.finish(1, 1, 1)");
    exec(db, SQL_worker_stop, 1, v, 0);
    jobs_expect(url, "SELECT gone_at IS NULL FROM belay.workers", "f");
    db_close(db);
}

Test(statements, the_poll_reads_the_open_receipts_of_its_worker)
{
    const char *url = jobs_database();
    struct db *db = open_db(url);
    struct db_value mine[] = {db_int(1)}, other[] = {db_int(2)};

    cluster_psql(url, "SELECT t.make('doing'), t.make('doing'); SELECT t.cancel(1, "
                      "true), t.cancel(2, true)");
    cr_expect_str_eq(exec(db, SQL_abort_poll, 1, mine, 7), "1|1|1|user|why|ann|");
    cr_expect_str_eq(exec(db, SQL_abort_poll, 1, other, 4), "2|1|1|user");
    cluster_psql(url, "SELECT t.cancel(1, true, grace => 0)");
    cr_expect_str_eq(exec(db, SQL_abort_poll, 1, mine, 7), "1|1|1|user|why|ann|0");
    cluster_psql(url, "SELECT t.finish(1, 1, 1, 'aborted')");
    cr_expect_str_eq(exec(db, SQL_abort_poll, 1, mine, 4), "");
    db_close(db);
}

static const char *write_stages(struct db *db, int64_t worker, int attempt,
                                struct db_value delivered, struct db_value acknowledged)
{
    struct db_value v[] = {db_int(1), db_int(worker), db_int(attempt), delivered,
                           acknowledged};

    return exec(db, SQL_abort_stages, 1, v, 1);
}

Test(statements, stages_are_written_once_and_only_those_that_were_told)
{
    const char *url = jobs_database();
    struct db *db = open_db(url);
    const char *stages = "SELECT delivered_at IS NOT NULL, acknowledged_at IS NOT NULL "
                         "FROM belay.cancellations";

    cluster_psql(url, "SELECT t.make('asked')");
    cr_expect_str_eq(write_stages(db, 2, 1, db_int(0), db_null()), "",
                     "of another worker");
    cr_expect_str_eq(write_stages(db, 1, 2, db_int(0), db_null()), "",
                     "of another attempt");
    cr_expect_str_eq(write_stages(db, 1, 1, db_int(0), db_null()), "1");
    jobs_expect(url, stages, "t|f");
    cluster_psql(url,
                 "CREATE TABLE seen AS SELECT delivered_at FROM belay.cancellations");
    cr_expect_str_eq(write_stages(db, 1, 1, db_int(0), db_int(0)), "1");
    jobs_expect(url, stages, "t|t");
    jobs_expect(
        url, "SELECT c.delivered_at = s.delivered_at FROM belay.cancellations c, seen s",
        "t");
    cluster_psql(url, "SELECT t.finish(1, 1, 1, 'aborted')");
    cr_expect_str_eq(write_stages(db, 1, 1, db_int(0), db_int(0)), "",
                     "of a closed receipt");
    jobs_check(url);
    db_close(db);
}

Test(statements, progress_is_taken_from_the_lease_only_and_the_newest_counts)
{
    const char *url = jobs_database();
    struct db *db = open_db(url);
    struct db_value v[] = {db_int(1),      db_int(1), db_int(1),     db_text("10"),
                           db_text("a"),   db_null(), db_null(),     db_int(1),
                           db_int(1),      db_int(1), db_text("20"), db_text("b"),
                           db_text("pay"), db_int(5), /* the newer of two */
                           db_int(2),      db_int(1), db_int(1),     db_text("30"),
                           db_null(),      db_null(), db_null(), /* not in this lease */
                           db_int(2),      db_int(2), db_int(1),     db_text("40"),
                           db_null(),      db_null(), db_null()}; /* not this worker's */

    cluster_psql(url, "SELECT t.make('doing'), t.make('doing')");
    cr_expect_str_eq(exec(db, SQL_job_progress, 4, v, 2), "1|t\n2|t\n3|f\n4|f");
    jobs_expect(url, "SELECT job_id, percent, message, shield FROM belay.progress",
                "1|20|b|pay");
    jobs_expect(url, "SELECT shield_at < at FROM belay.progress", "t");
    cluster_psql(url, "SELECT t.finish(1, 1, 1)");
    cr_expect_str_eq(exec(db, SQL_job_progress, 1, v, 2), "1|f");
    db_close(db);
}

Test(statements, a_status_tells_what_is_left_of_a_job)
{
    const char *url = jobs_database();
    struct db *db = open_db(url);
    struct db_value v[] = {db_int(1), db_int(2), db_int(3), db_int(4), db_int(99)};

    cluster_psql(
        url, "SELECT t.make(s) FROM unnest('{ready,asked,aborted,deleted}'::text[]) s");
    cr_expect_str_eq(
        exec(db, SQL_job_status, 5, v, 5),
        "1|1|todo||\n2|2|doing|1|\n3|3|aborted|1|aborted\n4|4|deleted|1|cancelled");
    db_close(db);
}

Test(statements, a_receipt_is_answered_when_its_job_has_gone)
{
    const char *url = jobs_database();
    struct db *db = open_db(url);
    struct db_value v[] = {db_int(1), db_int(1), db_int(2),
                           db_int(1), db_int(1), db_int(2)};

    cluster_psql(url, "SELECT t.make('doing'), t.make('asked'); SELECT t.del(1, true); "
                      "SELECT t.finish(1, 1, 1)");
    cr_expect_str_eq(exec(db, SQL_cancellation_outcome, 3, v, 3),
                     "1|completed|\n2|aborting|doing");
    cr_expect_str_eq(exec(db, SQL_cancellation_get, 1, v, 1), "1");
    cr_expect_str_eq(exec(db, SQL_cancellation_list, 1, v, 1), "1");
    db_close(db);
}

/* 5,000 jobs, and the plans of a hot connection that saw the tables empty. */
Test(statements, no_statement_walks_over_all_jobs)
{
    const char *url = jobs_database();
    struct session *s = session_open(url);

    session_run(s, "SELECT t.cancel(t.ins()); SELECT t.retry(1); SELECT t.del(1)");
    cluster_psql(
        url,
        "SELECT count(*) FROM belay.insert_jobs(array_fill(0, '{5000}'),"
        " array_fill('t'::text, '{5000}'), array_fill('q'::text, '{5000}'),"
        " array_fill(0, '{5000}'), array_fill('{}'::json, '{5000}'), array_fill(9, "
        "'{5000}'),"
        " array_fill('{}'::text, '{5000}'), array_fill('{}'::json, '{5000}'),"
        " array_fill(NULL::timestamptz, '{5000}'), array_fill(NULL::bigint, '{5000}'),"
        " array_fill(NULL::text, '{5000}'), array_fill(NULL::text, '{5000}'),"
        " array_fill(false, '{5000}'))");
    cr_expect_str_eq(
        session_run(
            s,
            "SELECT t.cancel(17); SELECT t.cancel(18, false, true); SELECT t.retry(17);"
            "SELECT t.claim(t.worker(), 5); SELECT t.cancel(2, true); SELECT "
            "t.finish_mine(2, 'aborted');"
            "SELECT t.back_mine(3, 'retry'); SELECT t.del(19); SELECT t.die(4); SELECT "
            "t.reap();"
            "SELECT count(*) FROM belay.job_events(2, NULL, 9);"
            "SELECT string_agg(concat_ws(' ', relname, seq_tup_read, idx_tup_fetch), '; "
            "')"
            " FROM pg_stat_xact_user_tables WHERE schemaname = 'belay'"
            " AND seq_tup_read + coalesce(idx_tup_fetch, 0) > 1000"),
        "");
    session_close(s);
}
