/* Every node may look at any time: a schedule's row is locked by the statement that makes
 * the job of a tick and moves the schedule on, and others pass it over. Rejected: a
 * leader, which would have to be found and replaced; and a clock in C, which would need
 * the time zones a second time. */
#include "workers/ticks.h"

#include "server/core/clock.h"
#include "server/core/log.h"
#include "workers/parts.h"

#include <string.h>

enum { TICK_MOST = 100 };

/* The columns of maintain_tick.sql. */
enum { TICK_SCHEDULE, TICK_AT, TICK_RESULT, TICK_JOB, TICK_NEXT };

/* True when it made a job. */
static bool tell(const struct db_rows *rows, int row)
{
    const char *result = row_text(rows, row, TICK_RESULT);
    const char *schedule = row_text(rows, row, TICK_SCHEDULE);
    const char *at = row_text(rows, row, TICK_AT);

    if (strcmp(result, "made") == 0) {
        log_info("maintain_tick", "schedule=%s at=%s job=%s", log_quoted(schedule), at,
                 row_text(rows, row, TICK_JOB));
        return true;
    }
    if (strcmp(result, "skipped") == 0)
        log_info("maintain_tick", "schedule=%s at=%s result=skipped hint=%s",
                 log_quoted(schedule), at, log_quoted("its queueing lock is taken"));
    else if (strcmp(result, "missed") == 0)
        log_warn("maintain_tick", "schedule=%s since=%s result=missed hint=%s",
                 log_quoted(schedule), at,
                 log_quoted("ticks older than max_delay_seconds are not caught up"));
    else
        log_error("maintain_tick", "schedule=%s at=%s result=%s hint=%s",
                  log_quoted(schedule), at, result,
                  log_quoted("the database cannot tell its next time; it is paused"));
    return false;
}

int64_t ticks_make(struct link *link, struct node *node)
{
    int64_t next_ms = node->options.config->poll_seconds * MS_PER_SECOND;
    struct db_value values[] = {db_int(TICK_MOST)};
    struct db_rows rows;
    int made = 0;

    if (db_exec(link->db, SQL_maintain_tick, 1, values, &rows) != ERR_OK) {
        link_complain(link, "maintain_tick", db_errmsg(link->db));
        return next_ms;
    }
    int last = rows.count - 1; /* the row that has no schedule */
    for (int i = 0; i < last; i++)
        made += tell(&rows, i);
    if (!row_is_null(&rows, last, TICK_NEXT) && row_int(&rows, last, TICK_NEXT) < next_ms)
        next_ms = row_int(&rows, last, TICK_NEXT);
    db_rows_free(&rows);
    if (made > 0)
        node_wake(node, "", made);
    return next_ms;
}
