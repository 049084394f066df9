/* cluster: a throw-away PostgreSQL for the tests of one binary.
 *
 *     Test(job_cancel, a_todo_job_never_starts)
 *     {
 *         const char *url = cluster_database();
 *         ...
 *     }
 *
 * Including this header is the wish for one: a broker process is started before the first
 * test and ended after the last; it starts the cluster when a test first asks. Each
 * database is a copy of a migrated template and is dropped when its test's process ends,
 * however it ends. With BELAY_TEST_DATABASE_URL the databases are made on that server.
 * Nothing survives the binary, not even when it is killed. */
#ifndef BELAY_TESTS_SUPPORT_CLUSTER_H
#define BELAY_TESTS_SUPPORT_CLUSTER_H

#include <stdint.h>

#ifndef CLUSTER_IS_MADE_HERE
/* Whoever includes this header defines it, and the hook in cluster.c looks for it. */
__attribute__((weak)) const int cluster_is_wanted = 1;
#endif

/* The URL of a fresh database of this test with Belay's schema; and of an empty one.
 * Static strings of the process; the test fails when there is no PostgreSQL. */
const char *cluster_database(void);
const char *cluster_empty_database(void);

/* Runs SQL and returns its last result as psql -At would print it: rows on lines, columns
 * between `|`. Valid until 8 calls later. An SQL error fails the test; cluster_try()
 * answers "ERROR: ..." instead. */
const char *cluster_psql(const char *url, const char *sql);
const char *cluster_try(const char *url, const char *sql);
int64_t cluster_int(const char *url, const char *sql);

/* Ends the other sessions of this database whose application_name is LIKE `who`, for
 * good; returns how many. */
int cluster_kill_sessions(const char *url, const char *who);

/* A cluster of the test's own, to stop and start. The URL stays the same. */
struct cluster;
struct cluster *cluster_new(void);
const char *cluster_url(const struct cluster *c);
void cluster_stop(struct cluster *c);
void cluster_start(struct cluster *c);
void cluster_free(struct cluster *c);

#endif
