/* A step is one statement of bounded size, so that heartbeats and aborts go on between
 * two of them however many children there are. Rejected: a thread for it, which would
 * need a connection of its own for what is seldom there. */
#include "workers/families.h"

#include "server/core/clock.h"
#include "server/core/log.h"
#include "workers/parts.h"

#include <inttypes.h>
#include <string.h>

enum { SWEEP_MOST = 500 };

/* The columns of maintain_sweep.sql. */
enum { SWEPT_JOB, SWEPT_RESULT, SWEPT_RELEASED, SWEPT_MORE };

/* True for a job that was asked to stop; whoever waits for one that was cancelled is
 * told. */
static bool is_aborting(struct node *node, const struct db_rows *rows, int row)
{
    const char *result = row_text(rows, row, SWEPT_RESULT);
    int64_t id = row_int(rows, row, SWEPT_JOB);

    log_debug("maintain_sweep", "job=%" PRId64 " result=%s", id, result);
    if (strcmp(result, "cancelled") == 0 && node->options.on_ended != NULL)
        node->options.on_ended(node->options.arg, &id, 1);
    return strcmp(result, "aborting") == 0;
}

int64_t families_sweep(struct link *link, struct node *node, bool *out_aborting)
{
    int64_t next_ms = node->options.config->poll_seconds * MS_PER_SECOND;
    struct db_value values[] = {db_int(SWEEP_MOST)};
    struct db_rows rows;

    if (db_exec(link->db, SQL_maintain_sweep, 1, values, &rows) != ERR_OK) {
        link_complain(link, "maintain_sweep", db_errmsg(link->db));
        return next_ms;
    }
    int last = rows.count - 1; /* the row that has no job */
    for (int i = 0; i < last; i++)
        *out_aborting = is_aborting(node, &rows, i) || *out_aborting;
    int released = (int)row_int(&rows, last, SWEPT_RELEASED);
    if (row_bool(&rows, last, SWEPT_MORE))
        next_ms = 0;
    db_rows_free(&rows);
    if (last > 0 || released > 0)
        log_info("maintain_sweep", "ended=%d released=%d", last, released);
    if (released > 0)
        node_wake_scheduled(node);        /* some may have a time of their own */
    node_wake(node, "", last + released); /* a lock may have gone on to the next */
    return next_ms;
}
