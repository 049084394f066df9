/* A connection is opened, set up and given its prepared statements here; exec.c is what
 * goes over it. */
#include "db/db.h"

#include "db/connection.h"
#include "db/hosts.h"
#include "db/params.h"
#include "server/core/cleanup.h"
#include "server/core/clock.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STATEMENT_TIMEOUT_MS = 5000,
    CONNECT_MS = 2500,
};

/* -- statements ---------------------------------------------------------------------- */

int sql_params(enum sql sql)
{
    int n = 0;

    for (const char *c = statements[sql].types; *c != '\0'; c++)
        n += *c != 'g';
    return n;
}

bool sql_is_array(enum sql sql)
{
    return statements[sql].is_array;
}

const char *sql_name(enum sql sql)
{
    return statements[sql].name;
}

struct db_value db_textn(const char *text, int len)
{
    return (struct db_value){.text = text, .len = len, .null = text == NULL};
}

struct db_value db_text(const char *text)
{
    return db_textn(text, text != NULL ? (int)strlen(text) : 0);
}

const char *db_errmsg(const struct db *db)
{
    return db->message;
}

const char *db_sqlstate(const struct db *db)
{
    return db->sqlstate;
}

bool db_is_broken(const struct db *db)
{
    return db->broken || PQstatus(db->conn) != CONNECTION_OK;
}

bool db_is_silent(const struct db *db)
{
    return db->silent;
}

int db_backend(const struct db *db)
{
    return PQbackendPID(db->conn);
}

/* -- connecting ---------------------------------------------------------------------- */

static void ignore_notice(void *arg, const char *message)
{
    (void)arg;
    (void)message;
}

/* What the URL says comes later in the list than our defaults, and so wins over them; the
 * one host comes last, and what is empty of it changes nothing. A job service has to
 * write: of several hosts it wants the one that lets it. */
static PGconn *start_connection(const struct db_options *o, const struct host *one)
{
    const char *const keys[] = {"connect_timeout",
                                "keepalives_idle",
                                "keepalives_interval",
                                "keepalives_count",
                                "tcp_user_timeout",
                                "target_session_attrs",
                                "dbname",
                                "application_name",
                                "host",
                                "hostaddr",
                                "port",
                                NULL};
    const char *const values[] = {"2",
                                  "5",
                                  "2",
                                  "3",
                                  "5000",
                                  one != NULL ? "read-write" : "any",
                                  o->url,
                                  o->application_name,
                                  one != NULL ? one->name.text : "",
                                  one != NULL ? one->address.text : "",
                                  one != NULL ? one->port.text : "",
                                  NULL};

    return PQconnectStartParams(keys, values, 1);
}

/* PQconnectdb() with a deadline that also covers a server that accepts and says nothing.
 */
static bool finish_connection(struct db *db, int64_t end_ms)
{
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;
    short events;

    while (PQstatus(db->conn) != CONNECTION_BAD) {
        if (!db_wait_socket(db, state == PGRES_POLLING_READING ? POLLIN : POLLOUT, end_ms,
                            &events))
            return false;
        if (events == 0)
            continue;
        state = PQconnectPoll(db->conn);
        if (state == PGRES_POLLING_OK)
            return true;
        if (state == PGRES_POLLING_FAILED)
            return false;
    }
    return false;
}

/* libpq has said whom it tried, and then waits for the reason. */
static void fail_to_connect(struct db *db)
{
    CLEANUP(buf_release) struct buf said = BUF_INIT;

    if (db->conn != NULL)
        buf_adds(&said, PQerrorMessage(db->conn));
    if (said.len == 0 || said.text[said.len - 1] == ' ')
        buf_adds(&said, "PostgreSQL did not answer in time");
    (void)db_fail_connection(db, said.text);
}

/* one NULL: whatever the URL says. */
static bool connect_to(struct db *db, const struct db_options *o, const struct host *one,
                       int64_t end_ms)
{
    db->conn = start_connection(o, one);
    if (db->conn != NULL && finish_connection(db, end_ms))
        return true;
    fail_to_connect(db);
    return false;
}

/* Each host has its share of what time is left. All that was wrong with them is said. */
static enum err connect_to_one_of(struct db *db, const struct db_options *o, int n)
{
    CLEANUP(buf_release) struct buf said = BUF_INIT;
    int64_t end_ms = clock_ms() + CONNECT_MS;

    for (int i = 0; i < n; i++) {
        CLEANUP(host_release) struct host one = HOST_INIT;
        int64_t now_ms = clock_ms();
        enum err e = host_pick(o->url, i, &one);
        if (e != ERR_OK)
            return e;
        if (connect_to(db, o, &one, now_ms + (end_ms - now_ms) / (n - i))) {
            db->broken = db->silent = false;
            return ERR_OK;
        }
        PQfinish(db->conn);
        db->conn = NULL;
        buf_addf(&said, "%s%s", i > 0 ? "; " : "", db->message);
    }
    return db_fail_connection(db, said.text);
}

static enum err connect_somewhere(struct db *db, const struct db_options *o)
{
    int n = hosts_count(o->url);

    if (n > 1)
        return connect_to_one_of(db, o, n);
    return connect_to(db, o, NULL, clock_ms() + CONNECT_MS) ? ERR_OK : ERR_UNAVAILABLE;
}

static enum err set_session(struct db *db, const struct db_options *o)
{
    char text[640];

    snprintf(
        text, sizeof text,
        "SET statement_timeout = %d; SET lock_timeout = 2000;"
        "SET idle_in_transaction_session_timeout = 10000;"
        "SET client_min_messages = warning; SET DateStyle = ISO; SET TimeZone = 'UTC';"
        /* To plan the look at one job takes longer than the look: 1.3 ms of 1.6. */
        "SET plan_cache_mode = force_generic_plan; SET jit = off%s",
        db->statement_timeout_ms,
        o->pin_plans ? ";SET enable_seqscan = off; SET enable_hashjoin = off;"
                       "SET enable_mergejoin = off; SET enable_bitmapscan = off"
                     : "");
    return db_run(db, text, NULL);
}

static bool send_prepare(struct db *db, enum sql sql)
{
    unsigned oids[PARAMS_MAX];
    int n = params_types(&statements[sql], oids);

    return PQsendPrepare(db->conn, statements[sql].name, statements[sql].text, n, oids) ==
           1;
}

/* All in one round trip, so that a connection opens in milliseconds. */
static enum err prepare_all(struct db *db)
{
    int64_t end_ms = db_deadline_ms(db);
    enum err e = ERR_OK;

    if (!PQenterPipelineMode(db->conn))
        return db_fail_connection(db, PQerrorMessage(db->conn));
    for (enum sql sql = 0; sql < SQL_COUNT; sql++) {
        if (!send_prepare(db, sql))
            return db_fail_connection(db, PQerrorMessage(db->conn));
    }
    if (!PQpipelineSync(db->conn))
        return db_fail_connection(db, PQerrorMessage(db->conn));
    for (int statement = 0;; statement++) {
        PGresult *result = db_next_result(db, end_ms);
        ExecStatusType status = PQresultStatus(result);
        if (result == NULL)
            return db_fail_waiting(db);
        if (status == PGRES_FATAL_ERROR && e == ERR_OK) {
            e = db_fail_result(db, result);
            size_t used = strlen(db->message);
            snprintf(db->message + used, sizeof db->message - used, " (preparing %s)",
                     statement < SQL_COUNT ? statements[statement].name : "?");
        }
        PQclear(result);
        if (status == PGRES_PIPELINE_SYNC)
            break;
        PQclear(
            db_next_result(db, end_ms)); /* the NULL that ends each statement's results */
    }
    PQexitPipelineMode(db->conn);
    db->prepared = e == ERR_OK;
    return e;
}

bool db_is_pooled(struct db *db)
{
    struct db_rows rows;
    bool pooled = false;

    if (db_run(db, "SELECT pg_backend_pid()", &rows) == ERR_OK) {
        pooled = row_int(&rows, 0, 0) != db_backend(db);
        db_rows_free(&rows);
    }
    return pooled;
}

static enum err set_up(struct db *db, const struct db_options *o)
{
    enum err e;

    PQsetNoticeProcessor(db->conn, ignore_notice, NULL);
    if (PQsetnonblocking(db->conn, 1) != 0)
        return db_fail_connection(db, PQerrorMessage(db->conn));
    if (db_is_pooled(db)) /* session state would leak to others, and ours would be lost */
        return ERR_OK;
    e = set_session(db, o);
    return e == ERR_OK && !o->no_prepare ? prepare_all(db) : e;
}

enum err db_open(const struct db_options *options, struct db **out_db, char *why,
                 int why_len)
{
    struct db *db = calloc(1, sizeof *db);
    enum err e;

    if (db == NULL)
        return ERR_NO_MEMORY;
    db->statement_timeout_ms = options->statement_timeout_ms > 0
                                   ? options->statement_timeout_ms
                                   : STATEMENT_TIMEOUT_MS;
    db->stop_fd = options->stop_fd;
    e = connect_somewhere(db, options);
    if (e == ERR_OK)
        e = set_up(db, options);
    if (e == ERR_OK) {
        *out_db = db;
        return ERR_OK;
    }
    if (why != NULL)
        snprintf(why, (size_t)why_len, "%s", db->message);
    db_close(db);
    return e;
}

void db_close(struct db *db)
{
    if (db == NULL)
        return;
    PQfinish(db->conn);
    free(db);
}
