/* query: one statement at a time on a connection of somebody's own, for a caller that
 * must not wait.
 *
 *     e = query_open(url, &names, &q);
 *     for (;;) {
 *         switch (query_step(q)) {
 *         case QUERY_IDLE:    it is connected, or the statement has ended
 *             ... query_send(q, &statement, &rows) ...
 *         case QUERY_BROKEN:  query_why(q), query_close(q)
 *         default:            wait until query_fd(q) is ready for query_wants(q)
 *         }
 *     }
 *
 * Nothing here waits, but query_names_find() and query_cancel_run(), which are for
 * threads that may. While it connects, each step may replace the descriptor by another of
 * the same number: stop watching it before the step. A query belongs to one thread. */
#ifndef BELAY_DB_QUERY_H
#define BELAY_DB_QUERY_H

#include "server/core/buf.h"
#include "server/core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* -- names --------------------------------------------------------------------------- */

/* What a connection string says of hosts, with their addresses: lists with commas. */
struct query_names {
    struct buf host, address, port;
    int n;
};

/* Whether there is a name to be looked up. ERR_INVALID and words: not a connection
 * string. */
enum err query_names_needed(const char *url, bool *out_needed,
                            struct buf *why) MUST_CHECK;
/* Looks them up; may take as long as the system's resolver does. ERR_UNAVAILABLE and
 * words: none of the names is known. */
enum err query_names_find(const char *url, struct query_names *out,
                          struct buf *why) MUST_CHECK;
void query_names_release(struct query_names *names);

/* -- a connection -------------------------------------------------------------------- */

struct query;

/* Begins to connect. names NULL: there are none to look up. */
enum err query_open(const char *url, const struct query_names *names,
                    struct query **out_q) MUST_CHECK;
void query_close(struct query *q); /* NULL is fine */

enum query_state { QUERY_CONNECTING, QUERY_IDLE, QUERY_RUNNING, QUERY_BROKEN };
enum { QUERY_READS = 1, QUERY_WRITES = 2 };

/* Does what can be done now. */
enum query_state query_step(struct query *q);
int query_fd(const struct query *q);
int query_wants(const struct query *q); /* QUERY_READS, QUERY_WRITES, or both */

/* Whether it is connected, has no transaction open, and the server has not hung up. */
bool query_is_clean(struct query *q);

/* -- a statement --------------------------------------------------------------------- */

struct query_statement {
    const char *sql;
    const char *const *params; /* texts; NULL: SQL NULL */
    int n_params;
};

/* What came back: the columns' names, then the values row by row, each a text in `bytes`
 * that ends in NUL, from the place that `cells` says. */
struct query_rows {
    int rows_most;     /* set by the caller */
    size_t bytes_most; /* the same */
    struct buf bytes;
    size_t *cells; /* QUERY_NULL: SQL NULL */
    size_t n_cells, room;
    int n_columns, n_rows;
    int64_t affected;
    bool too_large; /* the rest was dropped */
    bool no_memory; /* the same */
};
#define QUERY_NULL SIZE_MAX
void query_rows_release(struct query_rows *rows);

/* Sends it; the rows are filled until query_step() says QUERY_IDLE. rows NULL: they are
 * dropped. False: the connection is broken. */
bool query_send(struct query *q, const struct query_statement *s,
                struct query_rows *rows);
/* What was wrong with the last statement, five characters, or ""; and in words, of the
 * connection too. */
#define QUERY_NOT_SUPPORTED "0A000" /* and broken: COPY */
const char *query_sqlstate(const struct query *q);
const char *query_why(const struct query *q);

/* -- to stop a statement ------------------------------------------------------------- */

struct query_cancel;

/* NULL: not connected. */
struct query_cancel *query_cancel_new(struct query *q);
/* Asks the server, over a connection of its own, to stop what the query is running; the
 * query goes on to its end, which is an error then, or not. Any thread, also when the
 * query is gone. Frees it. */
void query_cancel_run(struct query_cancel *cancel);
void query_cancel_free(struct query_cancel *cancel); /* without asking; NULL is fine */

#endif
