/* Every state of a job against every statement: what is answered, and where the job
 * stands then. Each row names all thirteen states, so that none is forgotten. */
#include "server/core/buf.h"
#include "server/core/cleanup.h"
#include "tests/db/jobs.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(matrix, .timeout = 60);

enum { STATES = 13 };

static const char *const states[STATES] = {
    "ready",     "scheduled", "blocked",   "parked",  "held",    "doing",  "asked",
    "succeeded", "failed",    "cancelled", "aborted", "unknown", "deleted"};

/* Puts the job in for each `@` of the operation. */
static void add_call(struct buf *sql, const char *operation)
{
    for (const char *c = operation; *c != '\0'; c++) {
        if (*c == '@')
            buf_adds(sql, "(SELECT job FROM m WHERE n = currval('s'))");
        else
            buf_addc(sql, *c);
    }
}

/* Applies `operation` to a job in each state, each in a transaction of its own;
 * expected[] are "answer>status". */
static void expect_row(const char *operation, const char *const expected[STATES])
{
    CLEANUP(buf_release) struct buf sql = BUF_INIT;
    const char *url = jobs_database();
    char *answers, *rest;

    buf_adds(&sql, "CREATE TEMP SEQUENCE s;"
                   "CREATE TEMP TABLE m (n int, job bigint, answer text, after text);");
    for (int i = 0; i < STATES; i++) {
        buf_addf(&sql,
                 "BEGIN; INSERT INTO m SELECT nextval('s'), t.make('%s'); COMMIT;"
                 "BEGIN; UPDATE m SET answer = x.a FROM (SELECT ",
                 states[i]);
        add_call(&sql, operation);
        buf_adds(
            &sql,
            " AS a OFFSET 0) x WHERE n = currval('s'); COMMIT;"
            "UPDATE m SET after = t.status(job) || t.check() WHERE n = currval('s');");
    }
    buf_adds(&sql, "SELECT answer || '>' || after FROM m ORDER BY n");
    answers = rest = strdup(cluster_psql(url, sql.text));
    for (int i = 0; i < STATES; i++) {
        const char *answer = strsep(&rest, "\n");
        cr_expect_str_eq(answer, expected[i], "%s of a job that is %s: %s and not %s",
                         operation, states[i], answer, expected[i]);
    }
    free(answers);
}

Test(matrix, cancel)
{
    static const char *const expected[STATES] = {
        "cancelled>cancelled",         "cancelled>cancelled",     "cancelled>cancelled",
        "cancelled>cancelled",         "cancelled>cancelled",     "job-running>doing",
        "job-running>doing",           "job-finished>succeeded",  "job-finished>failed",
        "already_cancelled>cancelled", "already_aborted>aborted", "job-not-found>none",
        "job-not-found>none"};

    expect_row("t.cancel(@)", expected);
}

Test(matrix, cancel_with_abort)
{
    static const char *const expected[STATES] = {
        "cancelled>cancelled",     "cancelled>cancelled",
        "cancelled>cancelled",     "cancelled>cancelled",
        "cancelled>cancelled",     "aborting>doing",
        "aborting>doing",          "job-finished>succeeded",
        "job-finished>failed",     "already_cancelled>cancelled",
        "already_aborted>aborted", "job-not-found>none",
        "job-not-found>none"};

    expect_row("t.cancel(@, true)", expected);
}

Test(matrix, cancel_with_delete)
{
    static const char *const expected[STATES] = {
        "cancelled>none",         "cancelled>none",         "cancelled>none",
        "cancelled>none",         "cancelled>none",         "job-running>doing",
        "job-running>doing",      "job-finished>succeeded", "job-finished>failed",
        "already_cancelled>none", "already_aborted>none",   "job-not-found>none",
        "job-not-found>none"};

    expect_row("t.cancel(@, false, true)", expected);
}

Test(matrix, cancel_with_abort_and_delete)
{
    static const char *const expected[STATES] = {
        "cancelled>none",         "cancelled>none",         "cancelled>none",
        "cancelled>none",         "cancelled>none",         "aborting>doing",
        "aborting>doing",         "job-finished>succeeded", "job-finished>failed",
        "already_cancelled>none", "already_aborted>none",   "job-not-found>none",
        "job-not-found>none"};

    expect_row("t.cancel(@, true, true)", expected);
}

Test(matrix, cancel_of_another_attempt)
{
    static const char *const expected[STATES] = {
        "precondition-failed>todo",    "precondition-failed>todo",
        "precondition-failed>todo",    "precondition-failed>todo",
        "precondition-failed>todo",    "precondition-failed>doing",
        "precondition-failed>doing",   "precondition-failed>succeeded",
        "precondition-failed>failed",  "precondition-failed>cancelled",
        "precondition-failed>aborted", "job-not-found>none",
        "job-not-found>none"};

    expect_row("t.cancel(@, true, true, NULL, 99)", expected);
}

Test(matrix, cancel_only_if_todo)
{
    static const char *const expected[STATES] = {
        "cancelled>cancelled",         "cancelled>cancelled",
        "cancelled>cancelled",         "cancelled>cancelled",
        "cancelled>cancelled",         "precondition-failed>doing",
        "precondition-failed>doing",   "precondition-failed>succeeded",
        "precondition-failed>failed",  "precondition-failed>cancelled",
        "precondition-failed>aborted", "job-not-found>none",
        "job-not-found>none"};

    expect_row("t.cancel(@, true, false, '{todo}')", expected);
}

Test(matrix, delete)
{
    static const char *const expected[STATES] = {
        "deleted>none",      "deleted>none", "deleted>none",
        "deleted>none",      "deleted>none", "job-running>doing",
        "job-running>doing", "deleted>none", "deleted>none",
        "deleted>none",      "deleted>none", "job-not-found>none",
        "job-not-found>none"};

    expect_row("t.del(@)", expected);
}

Test(matrix, delete_with_abort)
{
    static const char *const expected[STATES] = {
        "deleted>none",      "deleted>none",   "deleted>none",   "deleted>none",
        "deleted>none",      "aborting>doing", "aborting>doing", "deleted>none",
        "deleted>none",      "deleted>none",   "deleted>none",   "job-not-found>none",
        "job-not-found>none"};

    expect_row("t.del(@, true)", expected);
}

Test(matrix, delete_of_another_version)
{
    static const char *const expected[STATES] = {
        "precondition-failed>todo",    "precondition-failed>todo",
        "precondition-failed>todo",    "precondition-failed>todo",
        "precondition-failed>todo",    "precondition-failed>doing",
        "precondition-failed>doing",   "precondition-failed>succeeded",
        "precondition-failed>failed",  "precondition-failed>cancelled",
        "precondition-failed>aborted", "job-not-found>none",
        "job-not-found>none"};

    expect_row("t.del(@, true, 'ann', 'f00')", expected);
}

Test(matrix, retry)
{
    static const char *const expected[STATES] = {
        "job-not-finished>todo",  "job-not-finished>todo", "job-not-finished>todo",
        "job-not-finished>todo",  "job-not-finished>todo", "job-not-finished>doing",
        "job-not-finished>doing", "retried>todo",          "retried>todo",
        "retried>todo",           "retried>todo",          "job-not-found>none",
        "job-not-found>none"};

    expect_row("t.retry(@)", expected);
}

Test(matrix, restore)
{
    static const char *const expected[STATES] = {
        "job-not-cancelled>todo",    "job-not-cancelled>todo",
        "job-not-cancelled>todo",    "job-not-cancelled>todo",
        "job-not-cancelled>todo",    "job-not-cancelled>doing",
        "job-not-cancelled>doing",   "job-not-cancelled>succeeded",
        "job-not-cancelled>failed",  "restored>todo",
        "job-not-cancelled>aborted", "job-not-found>none",
        "job-not-found>none"};

    expect_row("(SELECT result FROM belay.restore_jobs(ARRAY[@], '{ann}', '{NULL}'))",
               expected);
}

Test(matrix, finish_with_success)
{
    static const char *const expected[STATES] = {"stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "succeeded>succeeded",
                                                 "succeeded/completed>succeeded",
                                                 "stale>succeeded",
                                                 "stale>failed",
                                                 "stale>cancelled",
                                                 "stale>aborted",
                                                 "stale>none",
                                                 "stale>none"};

    expect_row("coalesce(t.finish_mine(@), 'stale')", expected);
}

Test(matrix, finish_with_failure)
{
    static const char *const expected[STATES] = {
        "stale>todo",   "stale>todo",      "stale>todo",           "stale>todo",
        "stale>todo",   "failed>failed",   "failed/failed>failed", "stale>succeeded",
        "stale>failed", "stale>cancelled", "stale>aborted",        "stale>none",
        "stale>none"};

    expect_row("coalesce(t.finish_mine(@, 'failed'), 'stale')", expected);
}

Test(matrix, finish_as_aborted)
{
    static const char *const expected[STATES] = {"stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "failed>failed",
                                                 "aborted/aborted>aborted",
                                                 "stale>succeeded",
                                                 "stale>failed",
                                                 "stale>cancelled",
                                                 "stale>aborted",
                                                 "stale>none",
                                                 "stale>none"};

    expect_row("coalesce(t.finish_mine(@, 'aborted'), 'stale')", expected);
}

Test(matrix, finish_as_killed)
{
    static const char *const expected[STATES] = {"stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "failed>failed",
                                                 "aborted/killed>aborted",
                                                 "stale>succeeded",
                                                 "stale>failed",
                                                 "stale>cancelled",
                                                 "stale>aborted",
                                                 "stale>none",
                                                 "stale>none"};

    expect_row("coalesce((SELECT t.finish(@, l.id, l.worker_id, 'aborted', 1, true) "
               "FROM (SELECT (t.lease(@)).*) l WHERE l.id > 0), 'stale')",
               expected);
}

Test(matrix, finish_by_another_worker)
{
    static const char *const expected[STATES] = {
        "stale>todo",   "stale>todo",      "stale>todo",    "stale>todo",
        "stale>todo",   "stale>doing",     "stale>doing",   "stale>succeeded",
        "stale>failed", "stale>cancelled", "stale>aborted", "stale>none",
        "stale>none"};

    expect_row("coalesce((SELECT t.finish(@, l.id, l.worker_id + 1) FROM (SELECT "
               "(t.lease(@)).*) l WHERE l.id > 0), 'stale')",
               expected);
}

Test(matrix, finish_under_another_lease)
{
    static const char *const expected[STATES] = {
        "stale>todo",   "stale>todo",      "stale>todo",    "stale>todo",
        "stale>todo",   "stale>doing",     "stale>doing",   "stale>succeeded",
        "stale>failed", "stale>cancelled", "stale>aborted", "stale>none",
        "stale>none"};

    expect_row("coalesce((SELECT t.finish(@, l.id - 1, l.worker_id) FROM (SELECT "
               "(t.lease(@)).*) l WHERE l.id > 0), 'stale')",
               expected);
}

Test(matrix, give_back_after_the_last_attempt)
{
    static const char *const expected[STATES] = {
        "stale>todo",   "stale>todo",      "stale>todo",           "stale>todo",
        "stale>todo",   "failed>failed",   "failed/failed>failed", "stale>succeeded",
        "stale>failed", "stale>cancelled", "stale>aborted",        "stale>none",
        "stale>none"};

    expect_row("coalesce(t.back_mine(@, 'retry'), 'stale')", expected);
}

Test(matrix, give_back_at_shutdown)
{
    static const char *const expected[STATES] = {"stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "todo>todo",
                                                 "aborted/aborted>aborted",
                                                 "stale>succeeded",
                                                 "stale>failed",
                                                 "stale>cancelled",
                                                 "stale>aborted",
                                                 "stale>none",
                                                 "stale>none"};

    expect_row("coalesce(t.back_mine(@, 'shutdown'), 'stale')", expected);
}

Test(matrix, give_back_after_it_took_too_long)
{
    static const char *const expected[STATES] = {"stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "failed>failed",
                                                 "aborted/aborted>aborted",
                                                 "stale>succeeded",
                                                 "stale>failed",
                                                 "stale>cancelled",
                                                 "stale>aborted",
                                                 "stale>none",
                                                 "stale>none"};

    expect_row("coalesce(t.back_mine(@, 'timeout'), 'stale')", expected);
}

Test(matrix, give_back_after_it_took_too_long_and_was_killed)
{
    static const char *const expected[STATES] = {"stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "failed>failed",
                                                 "aborted/killed>aborted",
                                                 "stale>succeeded",
                                                 "stale>failed",
                                                 "stale>cancelled",
                                                 "stale>aborted",
                                                 "stale>none",
                                                 "stale>none"};

    expect_row("coalesce(t.back_mine(@, 'killed'), 'stale')", expected);
}

Test(matrix, timeout_of_an_attempt)
{
    static const char *const expected[STATES] = {"precondition-failed>todo",
                                                 "precondition-failed>todo",
                                                 "precondition-failed>todo",
                                                 "precondition-failed>todo",
                                                 "precondition-failed>todo",
                                                 "aborting>doing",
                                                 "aborting>doing",
                                                 "precondition-failed>succeeded",
                                                 "precondition-failed>failed",
                                                 "precondition-failed>cancelled",
                                                 "precondition-failed>aborted",
                                                 "job-not-found>none",
                                                 "job-not-found>none"};

    expect_row("t.late(@)", expected);
}

Test(matrix, deadline)
{
    static const char *const expected[STATES] = {
        "cancelled>cancelled", "cancelled>cancelled", "cancelled>cancelled",
        "cancelled>cancelled", "cancelled>cancelled", "aborting>doing",
        "aborting>doing",      "nothing>succeeded",   "nothing>failed",
        "nothing>cancelled",   "nothing>aborted",     "nothing>none",
        "nothing>none"};

    expect_row("coalesce(t.expire(@), 'nothing')", expected);
}

Test(matrix, give_back_unstarted)
{
    static const char *const expected[STATES] = {"stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "stale>todo",
                                                 "todo>todo",
                                                 "cancelled/cancelled>cancelled",
                                                 "stale>succeeded",
                                                 "stale>failed",
                                                 "stale>cancelled",
                                                 "stale>aborted",
                                                 "stale>none",
                                                 "stale>none"};

    expect_row("coalesce(t.back_mine(@, 'unstarted'), 'stale')", expected);
}

Test(matrix, reap_of_a_live_worker)
{
    static const char *const expected[STATES] = {
        "nothing>todo",   "nothing>todo",      "nothing>todo",    "nothing>todo",
        "nothing>todo",   "nothing>doing",     "nothing>doing",   "nothing>succeeded",
        "nothing>failed", "nothing>cancelled", "nothing>aborted", "nothing>none",
        "nothing>none"};

    expect_row("coalesce(t.reap(), 'nothing')", expected);
}

Test(matrix, reap_of_a_dead_worker)
{
    static const char *const expected[STATES] = {
        "nothing>todo",   "nothing>todo",      "nothing>todo",    "nothing>todo",
        "nothing>todo",   "failed>failed",     "aborted>aborted", "nothing>succeeded",
        "nothing>failed", "nothing>cancelled", "nothing>aborted", "nothing>none",
        "nothing>none"};

    expect_row("coalesce(t.die(@)::text, '') || coalesce(split_part(t.reap(), ':', 2), "
               "'nothing')",
               expected);
}
