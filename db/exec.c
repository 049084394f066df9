/* Every statement goes out without blocking and is waited for with poll() and a deadline
 * of our own. Rejected: PQexecPrepared(), which waits for ever for a server that has
 * stopped answering while its kernel still does (a frozen backend); neither TCP's
 * timeouts nor the server's statement_timeout end that. */
#include "db/connection.h"
#include "db/params.h"
#include "server/core/cleanup.h"
#include "server/core/clock.h"

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    STOP_MS = 1000,
    ANSWER_MARGIN_MS =
        1000 /* beyond statement_timeout: then the server is not answering */
};

/* -- errors -------------------------------------------------------------------------- */

struct sqlstate_row {
    const char *prefix;
    enum err e;
    bool broken;
};

/* The first prefix that fits. */
static const struct sqlstate_row sqlstates[] = {
    {"08", ERR_UNAVAILABLE, true},    /* connection exception */
    {"57P0", ERR_UNAVAILABLE, true},  /* shutdown, crash, cannot connect now */
    {"53300", ERR_UNAVAILABLE, true}, /* too many connections */
    {"53", ERR_UNAVAILABLE, false},   /* out of disk, memory */
    {"25006", ERR_UNAVAILABLE, true}, /* read-only: a standby, after a failover */
    {"3F000", ERR_UNAVAILABLE, true}, /* no schema yet: not migrated */
    {"42P01", ERR_UNAVAILABLE, true}, /* no table yet */
    {"42883", ERR_UNAVAILABLE, true}, /* no function yet */
    {"26000", ERR_UNAVAILABLE,
     true}, /* prepared statement is gone: another server behind the name */
    {"28", ERR_UNAVAILABLE, true},     /* not let in */
    {"3D000", ERR_UNAVAILABLE, true},  /* no such database */
    {"57014", ERR_UNAVAILABLE, false}, /* statement_timeout */
    {"55P03", ERR_UNAVAILABLE, false}, /* lock_timeout */
    {"25P03", ERR_UNAVAILABLE, true},  /* idle_in_transaction_session_timeout */
    {"40", ERR_CONFLICT, false},       /* deadlock, serialization failure */
    {"22", ERR_INVALID, false},        /* data exception */
    {"23", ERR_INVALID, false},        /* constraint */
    {"58", ERR_UNAVAILABLE, false},    /* the server's own I/O */
    {"", ERR_INTERNAL, false},
};

static const struct sqlstate_row *sqlstate_row_of(const char *sqlstate)
{
    const struct sqlstate_row *row = sqlstates;

    while (strncmp(sqlstate, row->prefix, strlen(row->prefix)) != 0)
        row++;
    return row;
}

enum err db_err_of_sqlstate(const char *sqlstate)
{
    return sqlstate[0] == '\0' ? ERR_UNAVAILABLE : sqlstate_row_of(sqlstate)->e;
}

/* libpq's messages are lines; ours are one line. */
static void copy_line(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
    for (char *c = out; *c != '\0'; c++) {
        if (*c == '\n' || *c == '\r')
            *c = c[1] == '\0' ? '\0' : ' ';
    }
}

enum err db_fail_connection(struct db *db, const char *what)
{
    db->broken = true;
    db->sqlstate[0] = '\0';
    copy_line(db->message, sizeof db->message, what);
    return ERR_UNAVAILABLE;
}

enum err db_fail_waiting(struct db *db)
{
    return db_fail_connection(db, PQstatus(db->conn) == CONNECTION_OK
                                      ? "PostgreSQL did not answer in time"
                                      : PQerrorMessage(db->conn));
}

/* Remembers what an error result says. */
enum err db_fail_result(struct db *db, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (state == NULL)
        return db_fail_connection(db, PQerrorMessage(db->conn));
    snprintf(db->sqlstate, sizeof db->sqlstate, "%s", state);
    copy_line(db->message, sizeof db->message, primary);
    if (sqlstate_row_of(state)->broken)
        db->broken = true;
    return db_err_of_sqlstate(state);
}

bool db_is_alive(struct db *db)
{
    struct pollfd p = {.fd = PQsocket(db->conn), .events = POLLIN};

    while (!db_is_broken(db) && poll(&p, 1, 0) > 0) {
        if (!PQconsumeInput(db->conn))
            db->broken = true;
    }
    return !db_is_broken(db);
}

/* -- waiting with a deadline --------------------------------------------------------- */

bool db_wait_socket(struct db *db, short events, int64_t end_ms, short *out_events)
{
    struct pollfd p[] = {{.fd = PQsocket(db->conn), .events = events},
                         {.fd = db->stop_fd > 0 ? db->stop_fd : -1, .events = POLLIN}};
    bool stops_first = db->stop_ms != 0 && db->stop_ms < end_ms;
    int64_t left_ms = (stops_first ? db->stop_ms : end_ms) - clock_ms();

    if (left_ms <= 0 || poll(p, 2, (int)left_ms) == 0) {
        db->silent = true;
        return false;
    }
    if (p[1].revents != 0) {
        db->stop_ms = clock_ms() + STOP_MS;
        db->stop_fd = 0;
    }
    *out_events = p[0].revents;
    return true;
}

/* Sends what is buffered and reads until a result can be taken without blocking. */
static bool wait_readable(struct db *db, int64_t end_ms)
{
    short events;

    for (;;) {
        int unsent = PQflush(db->conn);
        if (unsent < 0)
            return false;
        if (unsent == 0 && !PQisBusy(db->conn))
            return true;
        if (!db_wait_socket(db, (short)(POLLIN | (unsent ? POLLOUT : 0)), end_ms,
                            &events))
            return false;
        if ((events & ~POLLOUT) != 0 && !PQconsumeInput(db->conn))
            return false;
    }
}

PGresult *db_next_result(struct db *db, int64_t end_ms)
{
    return wait_readable(db, end_ms) ? PQgetResult(db->conn) : NULL;
}

int64_t db_deadline_ms(const struct db *db)
{
    int64_t end_ms = clock_ms() + db->statement_timeout_ms + ANSWER_MARGIN_MS;

    return db->limit_ms != 0 && db->limit_ms < end_ms ? db->limit_ms : end_ms;
}

void db_limit(struct db *db, int64_t end_ms)
{
    db->limit_ms = end_ms;
}

static bool result_is_good(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK ||
           status == PGRES_EMPTY_QUERY;
}

static void give_rows(PGresult *result, struct db_rows *out_rows)
{
    if (out_rows == NULL)
        PQclear(result);
    else
        *out_rows = (struct db_rows){.result = result, .count = PQntuples(result)};
}

/* An error that ends the session and comes behind a good result tells nothing about the
 * commit, which came between the two: then there is no word of PostgreSQL's to go by. */
static enum err fail_after(struct db *db, const PGresult *before, const PGresult *result)
{
    enum err e = db_fail_result(db, result);

    if (before != NULL && db->broken)
        db->sqlstate[0] = '\0';
    return e;
}

/* All results of what has been sent; the last one counts, the first error wins. */
static enum err collect(struct db *db, struct db_rows *out_rows)
{
    int64_t end_ms = db_deadline_ms(db);
    PGresult *last = NULL, *result;
    enum err e = ERR_OK;

    for (;;) {
        if (!wait_readable(db, end_ms)) {
            PQclear(last);
            if (e != ERR_OK) { /* it said why before it went */
                db->broken = true;
                return e;
            }
            return db_fail_waiting(db);
        }
        result = PQgetResult(db->conn);
        if (result == NULL)
            break;
        if (!result_is_good(result) && e == ERR_OK)
            e = fail_after(db, last, result);
        PQclear(last);
        last = result;
    }
    if (e == ERR_OK && last == NULL)
        e = db_fail_connection(db, PQerrorMessage(db->conn));
    if (e == ERR_OK)
        give_rows(last, out_rows);
    else
        PQclear(last);
    return e;
}

/* -- statements ---------------------------------------------------------------------- */

enum err db_run(struct db *db, const char *text, struct db_rows *out_rows)
{
    if (!PQsendQuery(db->conn, text))
        return db_fail_connection(db, PQerrorMessage(db->conn));
    return collect(db, out_rows);
}

/* Puts one statement on the wire, prepared or, behind a pooler, with its text. */
static enum err send_statement(struct db *db, enum sql sql, int n_parts,
                               const struct db_part *parts)
{
    const struct statement *s = &statements[sql];
    CLEANUP(params_release) struct params p;
    unsigned oids[PARAMS_MAX];
    enum err e = params_pack(&p, s, n_parts, parts);
    int sent;

    if (e != ERR_OK)
        return e;
    if (db->prepared) {
        sent = PQsendQueryPrepared(db->conn, s->name, p.count, p.values, p.lengths,
                                   p.formats, 0);
    } else {
        params_types(s, oids);
        sent = PQsendQueryParams(db->conn, s->text, p.count, oids, p.values, p.lengths,
                                 p.formats, 0);
    }
    return sent ? ERR_OK : db_fail_connection(db, PQerrorMessage(db->conn));
}

enum err db_exec_parts(struct db *db, enum sql sql, int n_parts,
                       const struct db_part *parts, struct db_rows *out_rows)
{
    enum err e = send_statement(db, sql, n_parts, parts);

    return e == ERR_OK ? collect(db, out_rows) : e;
}

enum err db_exec(struct db *db, enum sql sql, int n_rows, const struct db_value *values,
                 struct db_rows *out_rows)
{
    struct db_part part = {.n_rows = n_rows, .values = values};

    return db_exec_parts(db, sql, 1, &part, out_rows);
}

/* Reads one answer a call, and then the sync that ends the pipeline. */
static enum err collect_all(struct db *db, int n_calls, struct db_rows *out_rows)
{
    int64_t end_ms = db_deadline_ms(db);
    enum err e = ERR_OK;

    for (int i = 0;; i++) {
        PGresult *result = db_next_result(db, end_ms);
        ExecStatusType status = PQresultStatus(result);
        if (result == NULL)
            return db_fail_waiting(db);
        if (status == PGRES_PIPELINE_SYNC) {
            PQclear(result);
            return e;
        }
        if (status == PGRES_FATAL_ERROR && e == ERR_OK)
            e = db_fail_result(db, result);
        if (i < n_calls && result_is_good(result))
            give_rows(result, &out_rows[i]);
        else
            PQclear(result);
        PQclear(
            db_next_result(db, end_ms)); /* the NULL that ends each statement's results */
    }
}

enum err db_exec_all(struct db *db, int n_calls, const struct db_call *calls,
                     struct db_rows *out_rows)
{
    enum err e = ERR_OK;

    memset(out_rows, 0, (size_t)n_calls * sizeof *out_rows);
    if (!PQenterPipelineMode(db->conn))
        return db_fail_connection(db, PQerrorMessage(db->conn));
    for (int i = 0; i < n_calls && e == ERR_OK; i++) {
        struct db_part part = {.n_rows = calls[i].n_rows, .values = calls[i].values};
        e = send_statement(db, calls[i].sql, 1, &part);
    }
    if (e !=
        ERR_OK) { /* some may be on the wire: this connection cannot be used any more */
        db->broken = true;
        return e;
    }
    e = PQpipelineSync(db->conn) ? collect_all(db, n_calls, out_rows)
                                 : db_fail_connection(db, PQerrorMessage(db->conn));
    if (!db->broken && !PQexitPipelineMode(db->conn))
        db->broken = true;
    for (int i = 0; i < n_calls && e != ERR_OK; i++)
        db_rows_free(&out_rows[i]);
    return e;
}

/* -- rows ---------------------------------------------------------------------------- */

void db_rows_free(struct db_rows *rows)
{
    if (rows == NULL)
        return;
    PQclear(rows->result);
    *rows = (struct db_rows){.result = NULL};
}

bool row_is_null(const struct db_rows *rows, int row, int column)
{
    assert(row >= 0 && row < rows->count);
    return PQgetisnull(rows->result, rows->first + row, column);
}

const char *row_text(const struct db_rows *rows, int row, int column)
{
    assert(row >= 0 && row < rows->count);
    return PQgetvalue(rows->result, rows->first + row, column);
}

int row_len(const struct db_rows *rows, int row, int column)
{
    return PQgetlength(rows->result, rows->first + row, column);
}

int64_t row_int(const struct db_rows *rows, int row, int column)
{
    return strtoll(row_text(rows, row, column), NULL, 10);
}

bool row_bool(const struct db_rows *rows, int row, int column)
{
    return row_text(rows, row, column)[0] == 't';
}

/* -- notifications ------------------------------------------------------------------- */

static int give_notifications(struct db *db, db_notify_fn *fn, void *arg)
{
    PGnotify *n;
    int given = 0;

    while ((n = PQnotifies(db->conn)) != NULL) {
        fn(arg, n->relname, n->extra, n->be_pid);
        PQfreemem(n);
        given++;
    }
    return given;
}

enum err db_wait_notify(struct db *db, int wake_fd, int timeout_ms, db_notify_fn *fn,
                        void *arg)
{
    struct pollfd p[2] = {{.fd = PQsocket(db->conn), .events = POLLIN},
                          {.fd = wake_fd, .events = POLLIN}};

    /* Some may have come with the answer to a statement; then the socket stays silent. */
    if (give_notifications(db, fn, arg) > 0)
        return ERR_OK;
    if (poll(p, 2, timeout_ms) <= 0 || p[0].revents == 0)
        return ERR_OK;
    if (!PQconsumeInput(db->conn))
        return db_fail_connection(db, PQerrorMessage(db->conn));
    give_notifications(db, fn, arg);
    return ERR_OK;
}
