#include "workers/limits.h"

#include "server/core/clock.h"
#include "server/core/log.h"
#include "workers/parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { KEYS_MOST = 1000, EXPIRE_MOST = 100, REASON_BYTES = 64 };

/* -- timeouts ------------------------------------------------------------------------ */

/* The parameters of job_cancel.sql, and the columns of its answer that are read. */
enum { CANCEL_PARAMS = 11, CANCELLED_ORD = 0, CANCELLED_RESULT = 1 };

/* An abort of this attempt, while it runs, and of nothing else. */
static void put_late(const struct timeouts_late *late, const char *reason,
                     struct db_value *v)
{
    const struct db_value row[CANCEL_PARAMS] = {
        db_int(late->job_id),
        db_int(1),
        db_int(0),
        db_text(reason),
        db_null(),
        db_text("timeout"),
        db_null(),
        db_text("{doing}"),
        db_int(late->attempt),
        db_null(),
        db_null(),
    };

    memcpy(v, row, sizeof row);
}

/* The receipt is committed: the task is told without another round trip. */
static void tell(struct node *node, const struct timeouts_late *late, const char *reason)
{
    struct abort_order order = {.job_id = late->job_id,
                                .worker_id = late->worker_id,
                                .attempt = late->attempt,
                                .cause = ABORT_TIMEOUT,
                                .reason = reason,
                                .grace_ms = -1};

    node_deliver(node, &order);
}

void limits_abort_late(struct limits *l, struct link *link, struct node *node)
{
    struct db_value values[LIMITS_LATE_MOST * CANCEL_PARAMS];
    char reasons[LIMITS_LATE_MOST][REASON_BYTES];
    struct db_rows rows;

    if (l->n_late == 0)
        l->n_late = timeouts_take(node->timeouts, l->late, LIMITS_LATE_MOST);
    if (l->n_late == 0)
        return;
    for (int i = 0; i < l->n_late; i++) {
        snprintf(reasons[i], REASON_BYTES, "it took longer than %g s",
                 (double)l->late[i].timeout_ms / MS_PER_SECOND);
        put_late(&l->late[i], reasons[i], values + (size_t)i * CANCEL_PARAMS);
    }
    if (db_exec(link->db, SQL_job_cancel, l->n_late, values, &rows) != ERR_OK) {
        link_complain(link, "job_cancel", db_errmsg(link->db));
        return;
    }
    for (int i = 0; i < rows.count; i++) {
        int64_t at = row_int(&rows, i, CANCELLED_ORD) - 1;
        if (strcmp(row_text(&rows, i, CANCELLED_RESULT), "aborting") == 0)
            tell(node, &l->late[at], reasons[at]);
    }
    db_rows_free(&rows);
    l->n_late = 0;
}

/* -- deadlines, and cancels that could be undone ------------------------------------- */

/* The columns of maintain_expire.sql and maintain_undo.sql. */
enum { EXPIRED_JOB, EXPIRED_RESULT, EXPIRED_NEXT };

/* Tells who waits for a job that was cancelled; one that runs is told by its own node. */
static bool is_aborting(struct node *node, enum sql sql, const struct db_rows *rows,
                        int row)
{
    const char *result = row_text(rows, row, EXPIRED_RESULT);
    int64_t id = row_int(rows, row, EXPIRED_JOB);

    log_info(sql_name(sql), "job=%" PRId64 " result=%s hint=%s", id, result,
             log_quoted(sql == SQL_maintain_undo ? "its cancel can be undone no more"
                                                 : "it is past its deadline"));
    if (strcmp(result, "cancelled") == 0 && node->options.on_ended != NULL)
        node->options.on_ended(node->options.arg, &id, 1);
    return strcmp(result, "aborting") == 0;
}

static int64_t cancel_due(struct link *link, struct node *node, enum sql sql,
                          bool *out_aborting)
{
    int64_t next_ms = node->options.config->poll_seconds * MS_PER_SECOND;
    struct db_value values[] = {db_int(EXPIRE_MOST)};
    struct db_rows rows;

    if (db_exec(link->db, sql, 1, values, &rows) != ERR_OK) {
        link_complain(link, sql_name(sql), db_errmsg(link->db));
        return next_ms;
    }
    int last = rows.count - 1; /* the row that has no job */
    for (int i = 0; i < last; i++)
        *out_aborting = is_aborting(node, sql, &rows, i) || *out_aborting;
    if (!row_is_null(&rows, last, EXPIRED_NEXT) &&
        row_int(&rows, last, EXPIRED_NEXT) < next_ms)
        next_ms = row_int(&rows, last, EXPIRED_NEXT);
    db_rows_free(&rows);
    if (last > 0) /* a lock may have gone on to the next of its line */
        node_wake(node, "", last);
    return next_ms;
}

int64_t limits_expire(struct link *link, struct node *node, bool *out_aborting)
{
    int64_t deadline_ms = cancel_due(link, node, SQL_maintain_expire, out_aborting);
    int64_t undo_ms = cancel_due(link, node, SQL_maintain_undo, out_aborting);

    return undo_ms < deadline_ms ? undo_ms : deadline_ms;
}

bool limits_expire_keys(struct link *link)
{
    struct db_value values[] = {db_int(KEYS_MOST)};
    struct db_rows rows;

    if (db_exec(link->db, SQL_maintain_keys, 1, values, &rows) != ERR_OK) {
        link_complain(link, "maintain_keys", db_errmsg(link->db));
        return false;
    }
    bool more = row_int(&rows, 0, 0) == KEYS_MOST;
    db_rows_free(&rows);
    return more;
}
