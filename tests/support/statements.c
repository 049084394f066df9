/* One statement after the other against a test's database; cluster.h says how. */
#include "server/core/buf.h"
#include "tests/support/cluster.h"
#include "tests/support/cluster_private.h"

#include <criterion/criterion.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>
#include <unistd.h>

enum { URL_BYTES = 1024, ANSWERS = 8 };

static void add_rows(struct buf *out, const PGresult *result)
{
    for (int row = 0; row < PQntuples(result); row++) {
        if (row > 0)
            buf_addc(out, '\n');
        for (int column = 0; column < PQnfields(result); column++) {
            if (column > 0)
                buf_addc(out, '|');
            buf_adds(out, PQgetvalue(result, row, column));
        }
    }
}

static tss_t session_of_thread;

static void close_session(void *conn)
{
    PQfinish(conn);
}

static void make_key(void)
{
    cr_assert_eq(tss_create(&session_of_thread, close_session), thrd_success);
}

/* It ends with its thread. */
static void keep_for_thread(PGconn *conn)
{
    static once_flag made = ONCE_FLAG_INIT;

    call_once(&made, make_key);
    cr_assert_eq(tss_set(session_of_thread, conn), thrd_success);
}

/* A session is used again by the next statement, because a new one would read the
 * catalogue and compile every function anew. It is as good as new: nothing of it is left.
 */
static PGconn *session_for(const char *url)
{
    static _Thread_local PGconn *conn;
    static _Thread_local char of[URL_BYTES];
    static _Thread_local pid_t owner;

    if (conn != NULL && owner == getpid() && strcmp(of, url) == 0 &&
        PQtransactionStatus(conn) == PQTRANS_IDLE) {
        PGresult *result = PQexec(conn, "RESET SESSION AUTHORIZATION; RESET ALL; "
                                        "DISCARD TEMP; UNLISTEN *");
        bool is_new = PQresultStatus(result) == PGRES_COMMAND_OK;

        PQclear(result);
        if (is_new)
            return conn;
    }
    if (owner == getpid())
        PQfinish(conn);
    conn = PQconnectdb(url);
    owner = getpid();
    keep_for_thread(conn);
    snprintf(of, sizeof of, "%s", url);
    PQsetNoticeProcessor(conn, cluster_ignore_notice, NULL);
    return conn;
}

const char *cluster_try(const char *url, const char *sql)
{
    static struct buf answers[ANSWERS];
    static int next;
    struct buf *out = &answers[next++ % ANSWERS];
    PGconn *conn = session_for(url);
    PGresult *result;

    if (out->text == NULL)
        buf_init(out);
    buf_clear(out);
    result = PQstatus(conn) == CONNECTION_OK ? PQexec(conn, sql) : NULL;
    if (result == NULL || PQresultStatus(result) == PGRES_FATAL_ERROR)
        buf_addf(out, "ERROR: %s", PQerrorMessage(conn));
    else
        add_rows(out, result);
    PQclear(result);
    return out->text;
}

const char *cluster_psql(const char *url, const char *sql)
{
    const char *answer = cluster_try(url, sql);

    cr_assert_neq(strncmp(answer, "ERROR: ", 7), 0, "%s: %s", sql, answer);
    return answer;
}

int64_t cluster_int(const char *url, const char *sql)
{
    return strtoll(cluster_psql(url, sql), NULL, 10);
}

int cluster_kill_sessions(const char *url, const char *who)
{
    char sql[400];

    snprintf(sql, sizeof sql,
             "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
             "WHERE datname = current_database() AND pid <> pg_backend_pid() "
             "AND application_name LIKE '%s'",
             who);
    return (int)cluster_int(url, sql);
}
