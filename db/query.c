/* The asynchronous half of libpq. Rows come one at a time, so that a result that is too
 * large is noticed while it arrives, and not when it fills the memory.
 *
 * Rejected: struct db, whose calls wait, for the lanes and their prepared statements; to
 * let libpq look up names, which it does in the middle of PQconnectPoll(), and waits. */
#include "db/query.h"

#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHY_BYTES = 256, CELLS_FIRST = 64 };

struct query {
    PGconn *conn;
    enum query_state state;
    int wants;
    struct query_rows *rows;
    char sqlstate[6];
    char why[WHY_BYTES];
};

/* -- words --------------------------------------------------------------------------- */

static void ignore_notice(void *arg, const PGresult *notice)
{
    (void)arg, (void)notice;
}

/* The first line: what follows are hints and places. */
static void say_why(struct query *q, const char *words)
{
    snprintf(q->why, sizeof q->why, "%.*s", (int)strcspn(words, "\n"), words);
}

static enum query_state fail(struct query *q)
{
    say_why(q, PQerrorMessage(q->conn));
    q->wants = 0;
    return q->state = QUERY_BROKEN;
}

const char *query_sqlstate(const struct query *q)
{
    return q->sqlstate;
}

const char *query_why(const struct query *q)
{
    return q->why;
}

/* -- the connection ------------------------------------------------------------------ */

/* What stands before dbname, the URL can change; what stands behind it, it cannot. */
enum err query_open(const char *url, const struct query_names *names,
                    struct query **out_q)
{
    const char *keys[] = {"keepalives_idle",
                          "keepalives_interval",
                          "keepalives_count",
                          "tcp_user_timeout",
                          "client_encoding",
                          "fallback_application_name",
                          "dbname",
                          "host",
                          "hostaddr",
                          "port",
                          NULL};
    const char *values[] = {"5", "2",  "3",  "5000", "UTF8", "belay task",
                            url, NULL, NULL, NULL,   NULL};
    struct query *q = calloc(1, sizeof *q);

    if (q == NULL)
        return ERR_NO_MEMORY;
    if (names != NULL) {
        values[7] = names->host.text;
        values[8] = names->address.text;
        values[9] = names->port.len > 0 ? names->port.text : NULL;
    }
    q->conn = PQconnectStartParams(keys, values, 1);
    if (q->conn == NULL) {
        free(q);
        return ERR_NO_MEMORY;
    }
    PQsetNoticeReceiver(q->conn, ignore_notice, NULL);
    q->wants = QUERY_WRITES;
    if (PQstatus(q->conn) == CONNECTION_BAD)
        fail(q);
    *out_q = q;
    return ERR_OK;
}

void query_close(struct query *q)
{
    if (q == NULL)
        return;
    PQfinish(q->conn);
    free(q);
}

int query_fd(const struct query *q)
{
    return PQsocket(q->conn);
}

int query_wants(const struct query *q)
{
    return q->wants;
}

static enum query_state connect_on(struct query *q)
{
    switch (PQconnectPoll(q->conn)) {
    case PGRES_POLLING_OK:
        PQsetnonblocking(q->conn, 1);
        q->wants = 0;
        return q->state = QUERY_IDLE;
    case PGRES_POLLING_READING:
        q->wants = QUERY_READS;
        return q->state;
    case PGRES_POLLING_WRITING:
    case PGRES_POLLING_ACTIVE:
        q->wants = QUERY_WRITES;
        return q->state;
    case PGRES_POLLING_FAILED:
    default:
        return fail(q);
    }
}

/* Between statements a server has nothing to say but good-bye. */
bool query_is_clean(struct query *q)
{
    struct pollfd p = {.fd = PQsocket(q->conn), .events = POLLIN};

    return q->state == QUERY_IDLE && PQtransactionStatus(q->conn) == PQTRANS_IDLE &&
           poll(&p, 1, 0) == 0;
}

/* -- rows ---------------------------------------------------------------------------- */

void query_rows_release(struct query_rows *rows)
{
    buf_release(&rows->bytes);
    free(rows->cells);
    rows->cells = NULL;
    rows->n_cells = rows->room = 0;
}

static bool add_cell(struct query_rows *rows, const char *text, size_t len)
{
    if (rows->n_cells == rows->room) {
        size_t room = rows->room > 0 ? 2 * rows->room : CELLS_FIRST;
        size_t *cells = realloc(rows->cells, room * sizeof *cells);
        if (cells == NULL)
            return false;
        rows->cells = cells;
        rows->room = room;
    }
    rows->cells[rows->n_cells++] = text != NULL ? rows->bytes.len : QUERY_NULL;
    if (text != NULL)
        buf_add(&rows->bytes, text, len + 1); /* libpq's texts have a NUL behind */
    return !rows->bytes.failed;
}

static void add_names(struct query_rows *rows, const PGresult *result)
{
    rows->n_columns = PQnfields(result);
    for (int i = 0; i < rows->n_columns && !rows->no_memory; i++) {
        const char *name = PQfname(result, i);
        rows->no_memory = !add_cell(rows, name, strlen(name));
    }
}

static void add_row(struct query_rows *rows, const PGresult *result)
{
    size_t bytes = 0;

    for (int i = 0; i < rows->n_columns; i++)
        bytes += (size_t)PQgetlength(result, 0, i);
    if (rows->n_rows == rows->rows_most || rows->bytes.len + bytes > rows->bytes_most) {
        rows->too_large = true;
        return;
    }
    for (int i = 0; i < rows->n_columns && !rows->no_memory; i++) {
        bool null = PQgetisnull(result, 0, i) != 0;
        rows->no_memory = !add_cell(rows, null ? NULL : PQgetvalue(result, 0, i),
                                    (size_t)PQgetlength(result, 0, i));
    }
    rows->n_rows++;
}

static void take_rows(struct query_rows *rows, PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    if (rows == NULL || rows->too_large || rows->no_memory)
        return;
    if (rows->n_columns == 0 && PQnfields(result) > 0)
        add_names(rows, result);
    if (status == PGRES_SINGLE_TUPLE)
        add_row(rows, result);
    else
        rows->affected = strtoll(PQcmdTuples(result), NULL, 10);
}

/* -- statements ---------------------------------------------------------------------- */

bool query_send(struct query *q, const struct query_statement *s, struct query_rows *rows)
{
    q->rows = rows;
    q->sqlstate[0] = q->why[0] = '\0';
    if (PQsendQueryParams(q->conn, s->sql, s->n_params, NULL, s->params, NULL, NULL, 0) !=
            1 ||
        PQsetSingleRowMode(q->conn) != 1) {
        fail(q);
        return false;
    }
    q->wants = QUERY_READS | QUERY_WRITES;
    q->state = QUERY_RUNNING;
    return true;
}

/* False: the connection is of no use any more. */
static bool take_result(struct query *q, PGresult *result)
{
    const char *sqlstate;

    switch (PQresultStatus(result)) {
    case PGRES_SINGLE_TUPLE:
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
    case PGRES_EMPTY_QUERY:
        take_rows(q->rows, result);
        return true;
    case PGRES_FATAL_ERROR:
        sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        snprintf(q->sqlstate, sizeof q->sqlstate, "%s", sqlstate != NULL ? sqlstate : "");
        say_why(q, sqlstate != NULL ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY)
                                    : PQresultErrorMessage(result));
        return true;
    case PGRES_BAD_RESPONSE:
    case PGRES_NONFATAL_ERROR:
    case PGRES_COPY_OUT:
    case PGRES_COPY_IN:
    case PGRES_COPY_BOTH:
    case PGRES_PIPELINE_SYNC:
    case PGRES_PIPELINE_ABORTED:
#ifdef LIBPQ_HAS_CHUNK_MODE /* 17: asked for by nobody here */
    case PGRES_TUPLES_CHUNK:
#endif
    default:
        snprintf(q->sqlstate, sizeof q->sqlstate, "%s", QUERY_NOT_SUPPORTED);
        say_why(q, "COPY has no rows to answer with");
        return false;
    }
}

static enum query_state run_on(struct query *q)
{
    PGresult *result;
    int unsent = PQflush(q->conn);

    if (unsent < 0 || PQconsumeInput(q->conn) != 1)
        return fail(q);
    q->wants = QUERY_READS | (unsent > 0 ? QUERY_WRITES : 0);
    while (PQisBusy(q->conn) == 0) {
        result = PQgetResult(q->conn);
        if (result == NULL) {
            q->wants = 0;
            if (PQstatus(q->conn) != CONNECTION_OK)
                return q->state = QUERY_BROKEN;
            return q->state = QUERY_IDLE;
        }
        bool good = take_result(q, result);
        PQclear(result);
        if (!good) {
            q->wants = 0;
            return q->state = QUERY_BROKEN;
        }
    }
    return q->state;
}

enum query_state query_step(struct query *q)
{
    switch (q->state) {
    case QUERY_CONNECTING:
        return connect_on(q);
    case QUERY_RUNNING:
        return run_on(q);
    case QUERY_IDLE:
    case QUERY_BROKEN:
        break;
    }
    return q->state;
}

/* -- to stop a statement ------------------------------------------------------------- */

struct query_cancel *query_cancel_new(struct query *q)
{
    return (struct query_cancel *)(void *)PQgetCancel(q->conn);
}

void query_cancel_run(struct query_cancel *cancel)
{
    PGcancel *c = (PGcancel *)(void *)cancel;
    char words[WHY_BYTES];

    (void)PQcancel(c, words,
                   sizeof words); /* the query's own end says what became of it */
    PQfreeCancel(c);
}

void query_cancel_free(struct query_cancel *cancel)
{
    PQfreeCancel((PGcancel *)(void *)cancel);
}
