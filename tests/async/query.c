/* await_query(): databases that async tasks wait for, against a real one. */
#include "server/core/clock.h"
#include "tests/async/harness.h"
#include "tests/async/relay.h"
#include "tests/support/cluster.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *url;

static void set_up(void)
{
    url = cluster_empty_database();
}

TestSuite(query, .init = set_up, .timeout = 90);

static int ask(struct job_ctx *ctx, const char *sql, struct query_answer *out,
               int64_t timeout_ms)
{
    struct query_request request = {.url = url, .sql = sql};

    return await_query(ctx, &request, out, timeout_ms);
}

/* The only value of the answer as a number; -1: there is none. */
static int64_t number(struct job_ctx *ctx, const char *sql)
{
    struct query_answer answer;
    int64_t n = -1;
    int e = ask(ctx, sql, &answer, 10000);

    cr_expect_eq(e, JOB_OK, "%s: %d, %s", sql, e, answer.why);
    if (e == JOB_OK && answer.n_rows == 1 && query_value(&answer, 0, 0) != NULL)
        n = strtoll(query_value(&answer, 0, 0), NULL, 10);
    query_answer_release(&answer);
    return n;
}

/* -- what it answers ----------------------------------------------------------------- */

static void answers(struct job_ctx *ctx)
{
    const char *params[] = {"3", NULL, "Grüße"};
    struct query_request request = {.url = url,
                                    .sql =
                                        "SELECT n, $2::text AS nothing, $3 || n AS words"
                                        " FROM generate_series(1, $1::int) n",
                                    .params = params,
                                    .n_params = 3};
    struct query_answer answer;

    cr_expect_eq(await_query(ctx, &request, &answer, 10000), JOB_OK, "%s", answer.why);
    cr_expect_eq(answer.n_rows, 3);
    cr_expect_eq(answer.n_columns, 3);
    cr_expect_eq(answer.affected, 3);
    cr_expect_str_eq(query_column(&answer, 2), "words");
    cr_expect_str_eq(query_value(&answer, 0, 0), "1");
    cr_expect_null(query_value(&answer, 2, 1));
    cr_expect_str_eq(query_value(&answer, 2, 2), "Grüße3");
    query_answer_release(&answer);
    cr_expect_eq(
        ask(ctx, "CREATE TABLE t AS SELECT generate_series(1, 5) a", &answer, -1),
        JOB_OK);
    query_answer_release(&answer);
    cr_expect_eq(ask(ctx, "UPDATE t SET a = 0 WHERE a > 2", &answer, -1), JOB_OK);
    cr_expect_eq(answer.affected, 3);
    cr_expect_eq(answer.n_rows, 0);
    query_answer_release(&answer);
    cr_expect_eq(ask(ctx, "SELECT a FROM t WHERE a > 9", &answer, -1), JOB_OK);
    cr_expect_eq(answer.n_rows, 0);
    cr_expect_str_eq(query_column(&answer, 0), "a");
    query_answer_release(&answer);
}
Test(query, rows_names_and_counts_are_the_answer)
{
    run_async(answers);
}

static void refuses(struct job_ctx *ctx)
{
    static const char *const wrong[][2] = {
        {"SELEC 1", "42601"},
        {"SELECT * FROM nowhere", "42P01"},
        {"SELECT 1 / 0", "22012"},
        {"SELECT 1; SELECT 2", "42601"},
        {"COPY (SELECT 1) TO STDOUT", "0A000"},
    };
    struct query_answer answer;

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int e = ask(ctx, wrong[i][0], &answer, 10000);
        cr_expect_eq(e, JOB_SQL_ERROR, "%s: %d", wrong[i][0], e);
        cr_expect_str_eq(answer.sqlstate, wrong[i][1]);
        cr_expect_neq(answer.why[0], '\0');
        query_answer_release(&answer);
    }
    cr_expect_eq(number(ctx, "SELECT 7"), 7);
}
Test(query, a_wrong_statement_has_its_sqlstate)
{
    run_async(refuses);
}

/* Sessions of this database that are at work on something else than this. */
static const char busy[] =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND state <> 'idle'";

/* Within a second; how many are left. */
static int64_t still_busy(struct job_ctx *ctx)
{
    int64_t began_ms = clock_ms(), n;

    while ((n = number(ctx, busy)) > 0 && ms_since(began_ms) < 1000)
        await_sleep(ctx, 10, JOB_FOREVER);
    return n;
}

static void is_limited(struct job_ctx *ctx)
{
    struct query_request request = {.url = url,
                                    .sql = "SELECT generate_series(1, 1000000000)"};
    struct query_answer answer;
    int64_t began_ms = clock_ms();

    cr_expect_eq(await_query(ctx, &request, &answer, 30000), -EMSGSIZE);
    cr_expect(strstr(answer.why, "larger") != NULL, "%s", answer.why);
    cr_expect_eq(answer.n_rows, 0);
    query_answer_release(&answer);
    cr_expect_lt(ms_since(began_ms), 10000);
    cr_expect_eq(still_busy(ctx), 0, "the server goes on with it");
    request.sql = "SELECT repeat('x', 1000) FROM generate_series(1, 10)";
    request.bytes_most = 11000;
    cr_expect_eq(await_query(ctx, &request, &answer, 10000), JOB_OK, "%s", answer.why);
    query_answer_release(&answer);
    request.bytes_most = 9000;
    cr_expect_eq(await_query(ctx, &request, &answer, 10000), -EMSGSIZE);
    query_answer_release(&answer);
    request.bytes_most = 0;
    request.rows_most = 9;
    cr_expect_eq(await_query(ctx, &request, &answer, 10000), -EMSGSIZE);
    query_answer_release(&answer);
    request.rows_most = 10;
    cr_expect_eq(await_query(ctx, &request, &answer, 10000), JOB_OK, "%s", answer.why);
    query_answer_release(&answer);
}
Test(query, a_result_over_the_limit_is_an_error_and_the_server_stops)
{
    run_async(is_limited);
}

/* -- connections --------------------------------------------------------------------- */

static void expect_error(struct job_ctx *ctx, const char *where, int error)
{
    struct query_request request = {.url = where, .sql = "SELECT 1"};
    struct query_answer answer;
    int e = await_query(ctx, &request, &answer, 10000);

    cr_expect_eq(e, error, "%s: %d, %s", where, e, answer.why);
    cr_expect_neq(answer.why[0], '\0', "%s", where);
    query_answer_release(&answer);
}

static void fails(struct job_ctx *ctx)
{
    expect_error(ctx, "postgresql://127.0.0.1:1/x", -ECONNREFUSED);
    expect_error(ctx, "postgresql://localhost:1/x", -ECONNREFUSED);
    expect_error(ctx, "host=/no/such/directory", -ECONNREFUSED);
    expect_error(ctx, "postgresql://no-such-name.invalid/x", -EHOSTUNREACH);
    expect_error(ctx, "postgresql://[", -EINVAL);
    expect_error(ctx, "colour=blue", -EINVAL);
    expect_error(ctx, text_of("%s&dbname=no_such_database", relay_url("127.0.0.1")),
                 -ECONNREFUSED);
    cr_expect_eq(number(ctx, "SELECT 7"), 7, "it goes on working");
}
Test(query, a_server_that_cannot_be_reached_has_an_error_and_words)
{
    relay_open(url);
    run_async(fails);
}

static void is_used_again(struct job_ctx *ctx)
{
    int64_t pid = number(ctx, "SELECT pg_backend_pid()");

    cr_expect_eq(number(ctx, "SELECT set_config('my.number', '5', false)"), 5);
    cr_expect_eq(number(ctx, "SELECT 1 FROM pg_advisory_lock(1)"), 1);
    cr_expect_neq(number(ctx, "SELECT current_setting('my.number', true)"), 5);
    cr_expect_eq(number(ctx, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"),
                 0);
    cr_expect_eq(number(ctx, "SELECT pg_backend_pid()"), pid, "another connection");
}
Test(query, a_connection_is_used_again_and_has_forgotten_all)
{
    run_async(is_used_again);
}

static void opens_transaction(struct job_ctx *ctx)
{
    struct query_answer answer;

    cr_expect_eq(ask(ctx, "BEGIN", &answer, 10000), JOB_OK);
    query_answer_release(&answer);
    cr_expect_eq(number(ctx, "SELECT count(*) FROM pg_stat_activity WHERE state LIKE"
                             " 'idle in%' AND datname = current_database()"),
                 0);
}
Test(query, no_transaction_outlives_its_call)
{
    run_async(opens_transaction);
}

static void is_cut_off(struct job_ctx *ctx)
{
    struct query_answer answer;

    cr_expect_eq(number(ctx, "SELECT 7"), 7);
    cr_expect_eq(
        ask(ctx, "SELECT pg_terminate_backend(pg_backend_pid())", &answer, 10000),
        -ECONNRESET);
    cr_expect_str_eq(answer.sqlstate, "57P01");
    query_answer_release(&answer);
    cr_expect_eq(number(ctx, "SELECT 7"), 7, "with a new connection");
}
Test(query, a_connection_that_breaks_is_an_error_of_its_own)
{
    run_async(is_cut_off);
}

static void notices(struct job_ctx *ctx)
{
    int64_t pid = number(ctx, "SELECT pg_backend_pid()");
    const char *own = url;

    url = relay_url("127.0.0.1");
    cr_expect_eq(
        number(ctx, text_of("SELECT pg_terminate_backend(%ld, 5000)::int", (long)pid)),
        1);
    url = own;
    cr_expect_neq(number(ctx, "SELECT pg_backend_pid()"), pid);
}
Test(query, a_kept_connection_that_the_server_has_closed_is_passed_over)
{
    relay_open(url);
    run_async(notices);
}

static void asks_by_name(struct job_ctx *ctx)
{
    url = relay_url("localhost");
    cr_expect_eq(number(ctx, "SELECT 7"), 7);
    url = relay_url("no-such-name.invalid,127.0.0.1,localhost");
    cr_expect_eq(number(ctx, "SELECT 8"), 8);
}
Test(query, a_server_is_found_by_its_name)
{
    relay_open(url);
    run_async(asks_by_name);
}

static void looks_up(struct job_ctx *ctx)
{
    struct query_request request = {.url = "postgresql://slow.test/x", .sql = "SELECT 1"};
    struct query_answer answer;
    int64_t began_ms = clock_ms();

    cr_expect_eq(await_query(ctx, &request, &answer, 50), JOB_TIMEOUT);
    query_answer_release(&answer);
    cr_expect_eq(number(ctx, "SELECT 7"), 7);
    cr_expect_lt(ms_since(began_ms), 2500, "%d ms", (int)ms_since(began_ms));
}
Test(query, a_name_that_is_looked_up_slowly_holds_up_nobody)
{
    run_async(looks_up);
}

/* -- how it is stopped --------------------------------------------------------------- */

static const char sleeps[] = "SELECT pg_sleep(600)";

/* Cancels the job so many times, from when the server is at work for it. */
static int cancel_when_busy(struct job_ctx *ctx, void *arg)
{
    int times = *(const int *)arg;

    while (number(ctx, busy) == 0)
        await_sleep(ctx, 10, JOB_FOREVER);
    for (int i = 0; i < times; i++) {
        test_cancel();
        await_sleep(ctx, 200, JOB_FOREVER);
    }
    return 0;
}

static int once = 1, twice = 2;

static void stops_the_server(struct job_ctx *ctx)
{
    struct query_answer answer;

    await_spawn(ctx, cancel_when_busy, &once);
    cr_expect_eq(ask(ctx, sleeps, &answer, JOB_FOREVER), JOB_CANCELLED);
    cr_expect_str_eq(answer.sqlstate, "57014");
    query_answer_release(&answer);
    cr_expect_eq(still_busy(ctx), 0, "the server goes on with it");
    cr_expect_eq(ask(ctx, sleeps, &answer, 100), JOB_TIMEOUT);
    query_answer_release(&answer);
    cr_expect_eq(still_busy(ctx), 0, "the server goes on with it");
}
Test(query, a_cancelled_statement_stops_on_the_server)
{
    run_async(stops_the_server);
}

static void is_faster(struct job_ctx *ctx)
{
    struct query_answer answer;

    await_spawn(ctx, cancel_when_busy, &once);
    cr_expect_eq(ask(ctx,
                     "DO $$ BEGIN PERFORM pg_sleep(600); EXCEPTION"
                     " WHEN query_canceled THEN NULL; END $$",
                     &answer, JOB_FOREVER),
                 JOB_OK, "it was carried out");
    query_answer_release(&answer);
    cr_expect_eq(await_sleep(ctx, 1, JOB_FOREVER), JOB_CANCELLED,
                 "and this not forgotten");
}
Test(query, a_statement_that_was_carried_out_says_so)
{
    run_async(is_faster);
}

static void does_not_wait_for_ever(struct job_ctx *ctx)
{
    struct query_answer answer;
    int64_t began_ms = clock_ms();

    await_spawn(ctx, cancel_when_busy, &twice);
    cr_expect_eq(ask(ctx,
                     "DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(600); EXCEPTION"
                     " WHEN query_canceled THEN NULL; END; END LOOP; END $$",
                     &answer, JOB_FOREVER),
                 JOB_CANCELLED);
    query_answer_release(&answer);
    cr_expect_lt(ms_since(began_ms), 4500, "%d ms", (int)ms_since(began_ms));
}
Test(query, a_second_cancel_waits_for_no_word_of_the_server)
{
    run_async(does_not_wait_for_ever);
    cr_expect_eq(cluster_kill_sessions(url, "belay task"), 1);
}

static void gives_up(struct job_ctx *ctx)
{
    struct query_answer answer;
    int64_t began_ms;

    url = relay_url("127.0.0.1");
    cr_expect_eq(number(ctx, "SELECT 7"), 7);
    relay_freeze(true);
    test_cancel_in(50);
    began_ms = clock_ms();
    cr_expect_eq(ask(ctx, sleeps, &answer, JOB_FOREVER), JOB_CANCELLED);
    cr_expect_geq(ms_since(began_ms), 5000, "it has waited for the server's word");
    query_answer_release(&answer);
    began_ms = clock_ms();
    test_cancel_in(50);
    cr_expect_eq(ask(ctx, sleeps, &answer, JOB_FOREVER), JOB_CANCELLED,
                 "a connection that comes to nothing");
    query_answer_release(&answer);
    cr_expect_lt(ms_since(began_ms), 3000);
    relay_freeze(false);
}
Test(query, a_server_that_is_frozen_is_given_up)
{
    relay_open(url);
    run_async(gives_up);
}

static int one_of_many(struct job_ctx *ctx, void *arg)
{
    (void)arg;
    return (int)number(ctx, "SELECT 7 FROM pg_sleep(0.05)");
}

static void asks_at_once(struct job_ctx *ctx)
{
    struct job_child *children[20];
    int result;

    for (int i = 0; i < 20; i++)
        children[i] = await_spawn(ctx, one_of_many, NULL);
    for (int i = 0; i < 20; i++) {
        cr_expect_eq(await_join(ctx, children[i], &result, JOB_FOREVER), JOB_OK);
        cr_expect_eq(result, 7);
    }
}
Test(query, statements_run_beside_each_other)
{
    run_async(asks_at_once);
}
