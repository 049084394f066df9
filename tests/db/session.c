#include "tests/db/session.h"

#include "db/db.h"
#include "server/core/buf.h"
#include "server/core/clock.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { SQL_BYTES = 4000, WAIT_MS = 10000 };

struct session {
    const char *url;
    struct db *db;
    pthread_t thread;
    char sql[SQL_BYTES];
    int64_t pid;
    enum err e;
    struct buf answer;
    atomic_bool has_ended;
};

/* Every statement of a test answers one column; others are joined by SQL. */
static void run(struct session *s)
{
    struct db_rows rows;

    buf_clear(&s->answer);
    s->e = db_run(s->db, s->sql, &rows);
    if (s->e != ERR_OK) {
        buf_addf(&s->answer, "ERROR: %s %s", db_sqlstate(s->db), db_errmsg(s->db));
        return;
    }
    buf_adds(&s->answer, "");
    for (int i = 0; i < rows.count; i++)
        buf_addf(&s->answer, "%s%s", i > 0 ? "\n" : "", row_text(&rows, i, 0));
    db_rows_free(&rows);
}

static void *run_thread(void *arg)
{
    struct session *s = arg;

    run(s);
    atomic_store(&s->has_ended, true);
    return NULL;
}

struct session *session_open(const char *url)
{
    struct session *s = calloc(1, sizeof *s);
    struct db_options options = {.url = url,
                                 .application_name = "belay session",
                                 .pin_plans = true,
                                 .no_prepare = true};
    char why[200] = "";

    cr_assert_not_null(s);
    cr_assert_eq(db_open(&options, &s->db, why, sizeof why), ERR_OK, "%s", why);
    s->url = url;
    buf_init(&s->answer);
    s->pid = strtoll(session_run(s, "SELECT pg_backend_pid()"), NULL, 10);
    return s;
}

const char *session_run(struct session *s, const char *sql)
{
    snprintf(s->sql, sizeof s->sql, "%s", sql);
    run(s);
    cr_assert_eq(s->e, ERR_OK, "%s: %s", sql, s->answer.text);
    return s->answer.text;
}

void session_start(struct session *s, const char *sql)
{
    snprintf(s->sql, sizeof s->sql, "%s", sql);
    atomic_store(&s->has_ended, false);
    cr_assert_eq(pthread_create(&s->thread, NULL, run_thread, s), 0);
}

const char *session_end(struct session *s)
{
    pthread_join(s->thread, NULL);
    cr_assert_eq(s->e, ERR_OK, "%s: %s", s->sql, s->answer.text);
    return s->answer.text;
}

void session_wait_blocked(struct session *s)
{
    char sql[200];

    snprintf(sql, sizeof sql, "SELECT cardinality(pg_blocking_pids(%d)) > 0",
             (int)s->pid);
    for (int64_t end = clock_ms() + WAIT_MS; clock_ms() < end;) {
        if (cluster_psql(s->url, sql)[0] == 't')
            return;
    }
    cr_assert_fail("does not wait for anybody: %s", s->sql);
}

bool session_waits(struct session *s, const struct session *holder,
                   struct session *observer)
{
    char sql[200];

    snprintf(sql, sizeof sql, "SELECT %d = ANY(pg_blocking_pids(%d))", (int)holder->pid,
             (int)s->pid);
    while (!atomic_load(&s->has_ended)) {
        if (session_run(observer, sql)[0] == 't')
            return true;
    }
    return false;
}

void session_close(struct session *s)
{
    if (s == NULL)
        return;
    db_close(s->db);
    buf_release(&s->answer);
    free(s);
}
