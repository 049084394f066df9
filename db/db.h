/* db: one connection to PostgreSQL, and its prepared statements.
 *
 * Only db/ includes libpq. A connection belongs to one thread. Every statement is a file
 * in db/sql/: job_cancel.sql is SQL_job_cancel, and is prepared under that name when the
 * connection opens, so a typo fails at start. Parameters and results are described by the
 * statement's own header comment, which the build reads (gen_sql.awk).
 *
 *     struct db *db;
 *     enum err e = db_open(&options, &db);
 *     struct db_value values[] = {db_int(33)};
 *     struct db_rows *rows;
 *     e = db_exec(db, SQL_job_get, 1, values, &rows);
 *
 * An array statement takes one array a parameter, and answers `ord` (1-based) as its
 * first column, ordered by it; db_exec() builds the arrays from `n_rows` rows of values.
 * A scalar statement has no array among its parameters and takes n_rows = 1. Every call
 * has a deadline: connect_timeout 2 s, statement_timeout, and TCP's own (about 5 s). */
#ifndef BELAY_DB_DB_H
#define BELAY_DB_DB_H

#include "server/core/err.h"

#include <stdbool.h>
#include <stdint.h>

enum sql {
#define SQL(name) SQL_##name,
#include "build/gen/sql_names.def" /* made from db/sql/ */
#undef SQL
    SQL_COUNT
};

/* One value for one parameter of one row. bigint, integer, smallint, boolean and
 * timestamptz (microseconds since 1970) use `num`; text, json and everything else use
 * `text` and `len`. `text` is borrowed until the call (or the op) is done. */
struct db_value {
    const char *text;
    int64_t num;
    int len;
    bool null;
};

static inline struct db_value db_int(int64_t num)
{
    return (struct db_value){.num = num};
}
static inline struct db_value db_null(void)
{
    return (struct db_value){.null = true};
}
struct db_value db_text(const char *text); /* NULL becomes SQL NULL */
struct db_value db_textn(const char *text, int len);

struct db;

struct db_options {
    const char *url; /* libpq URL or connection string */
    const char
        *application_name;    /* "belay control" and the like: seen in pg_stat_activity */
    int statement_timeout_ms; /* 0: 5000 */
    bool pin_plans;           /* hot connections: index scans and nested loops only */
    bool no_prepare;          /* migrate and listen: nothing to prepare */
    int stop_fd; /* 0: none. Once it is readable, all that is still waited for has 1 s;
                    what has not come breaks the connection */
};

/* Opens, sets the session up, prepares. On failure `out_db` is not written; the words are
 * in `why` where it is not NULL (cut at why_len). ERR_UNAVAILABLE: could not connect, or
 * it went away. ERR_INTERNAL: a statement did not prepare. */
enum err db_open(const struct db_options *options, struct db **out_db, char *why,
                 int why_len) MUST_CHECK;
void db_close(struct db *db);

/* What went wrong last on this connection: PostgreSQL's primary message, no newline.
 * Valid until the next call. */
const char *db_errmsg(const struct db *db);
/* The SQLSTATE of the last error, five characters, or "". */
const char *db_sqlstate(const struct db *db);
/* True when the connection has to be closed and opened again (25006, 57P01-03, 08xxx,
 * 53300, or libpq lost it). */
bool db_is_broken(const struct db *db);
/* True when it is broken because no answer came in time. */
bool db_is_silent(const struct db *db);
/* Looks, without sending anything, whether the server has hung up meanwhile. */
bool db_is_alive(struct db *db);
/* The process id of the server's end of the connection. */
int db_backend(const struct db *db);

/* The rows of a result. Values are text, NUL-terminated, valid until db_rows_free(). */
struct db_rows {
    void *result;
    int first, count; /* the part of the result that is meant */
};

enum err db_exec(struct db *db, enum sql sql, int n_rows, const struct db_value *values,
                 struct db_rows *out_rows) MUST_CHECK;

/* The answers to what is sent from now on have to be there by then (clock_ms()), also
 * when the server would have more time; 0: only its own deadline counts. What has not
 * come breaks the connection. */
void db_limit(struct db *db, int64_t end_ms);

/* Runs SQL text that is not one of ours (migrations, LISTEN), without parameters.
 * out_rows may be NULL. */
enum err db_run(struct db *db, const char *text, struct db_rows *out_rows) MUST_CHECK;

/* Several statements in one transaction and one round trip (libpq pipeline). results[i]
 * answers calls[i]; on error none of them has happened, and every result is empty. */
struct db_call {
    enum sql sql;
    int n_rows;
    const struct db_value *values;
};
enum err db_exec_all(struct db *db, int n_calls, const struct db_call *calls,
                     struct db_rows *out_rows) MUST_CHECK;

void db_rows_free(struct db_rows *rows);
bool row_is_null(const struct db_rows *rows, int row, int column);
const char *row_text(const struct db_rows *rows, int row, int column); /* "" for NULL */
int row_len(const struct db_rows *rows, int row, int column);
int64_t row_int(const struct db_rows *rows, int row, int column); /* 0 for NULL */
bool row_bool(const struct db_rows *rows, int row, int column);

/* Number of parameters of a statement; whether they are arrays; its name. */
int sql_params(enum sql sql);
bool sql_is_array(enum sql sql);
const char *sql_name(enum sql sql);

/* Waits at most timeout_ms for a notification, or for wake_fd (-1: none) to become
 * readable, and calls fn for each notification that is there. `sender` is the
 * db_backend() of the connection that sent it. ERR_OK also when nothing came. */
typedef void db_notify_fn(void *arg, const char *channel, const char *payload,
                          int sender);
enum err db_wait_notify(struct db *db, int wake_fd, int timeout_ms, db_notify_fn *fn,
                        void *arg) MUST_CHECK;

/* True when a pooler stands between us and the server, so that LISTEN cannot work. */
bool db_is_pooled(struct db *db);

/* The one place that turns SQLSTATE into an error; "" is ERR_UNAVAILABLE. */
enum err db_err_of_sqlstate(const char *sqlstate);

#endif
