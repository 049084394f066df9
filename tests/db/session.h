/* session: one of two sessions that meet at a lock.
 *
 *     struct session *a = session_open(url), *b = session_open(url);
 *     session_run(a, "BEGIN; SELECT t.claim(1)");
 *     session_start(b, "SELECT t.cancel(1)");
 *     session_wait_blocked(b);
 *     session_run(a, "COMMIT");
 *     cr_expect_str_eq(session_end(b), "job-running");
 *
 * Answers look like those of cluster_psql(), and are valid until the session's next one.
 */
#ifndef BELAY_TESTS_DB_SESSION_H
#define BELAY_TESTS_DB_SESSION_H

#include <stdbool.h>

struct session;

struct session *session_open(const char *url);
const char *session_run(struct session *s, const char *sql);

/* Runs on a thread of its own until session_end(), which fails the test on an error. */
void session_start(struct session *s, const char *sql);
const char *session_end(struct session *s);

/* Until the session waits for a lock of another one. */
void session_wait_blocked(struct session *s);

/* Until it waits for the holder of a lock, or has run to its end: false. The observer is
 * a third. That it waits for somebody else (autovacuum), for a moment, says nothing. */
bool session_waits(struct session *s, const struct session *holder,
                   struct session *observer);

void session_close(struct session *s);

#endif
