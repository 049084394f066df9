/* jobs: brings jobs into every state, in SQL.
 *
 * jobs_database() is cluster_database() with a schema `t` of helpers (jobs.c says which),
 * so that a test reads as what happens:
 *
 *     const char *url = jobs_database();
 *     cr_expect_str_eq(cluster_psql(url, "SELECT t.cancel(t.make('doing'))"),
 * "job-running");
 *
 * t.check() names every broken invariant of the tables, and is empty when there is none.
 */
#ifndef BELAY_TESTS_DB_JOBS_H
#define BELAY_TESTS_DB_JOBS_H

const char *jobs_database(void);

/* Runs SQL and compares; the test fails with both texts. */
void jobs_expect(const char *url, const char *sql, const char *expected);

/* Fails the test when an invariant is broken. */
void jobs_check(const char *url);

#endif
