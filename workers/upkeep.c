/* Old jobs go in small statements that pass over what somebody holds, with a pause after
 * each: a node that removes a million does nothing else slower. A walk by id, which is
 * the order of creation, ends at the first job that is younger than every retention.
 * Rejected: an index over the times of ends (each end would pay for it); DROP of
 * partitions (one job that is kept keeps five million). */
#include "workers/upkeep.h"

#include "server/core/clock.h"
#include "server/core/config.h"
#include "server/core/log.h"
#include "workers/limits.h"
#include "workers/parts.h"

#include <inttypes.h>
#include <stdio.h>

enum { STEP_MOST = 1000, STEP_MS = 200, WALK_MS = 60000 };

/* The columns of maintain_retain.sql and maintain_trail.sql. */
enum { RETAIN_REMOVED, RETAIN_NEXT };

static void make_partitions(struct link *link)
{
    struct db_rows rows;

    if (db_exec(link->db, SQL_maintain_partitions, 1, NULL, &rows) != ERR_OK) {
        link_complain(link, "maintain_partitions", db_errmsg(link->db));
        return;
    }
    if (row_int(&rows, 0, 0) > 0)
        log_info("maintain_partitions", "created=%s", row_text(&rows, 0, 0));
    db_rows_free(&rows);
}

/* One step of a walk. True: it goes on behind *after; false: it has begun anew. */
static bool step(struct link *link, enum sql sql, struct db_value age, int64_t *after,
                 int64_t *removed)
{
    struct db_value values[] = {age, db_int(*after), db_int(STEP_MOST)};
    struct db_rows rows;

    if (db_exec(link->db, sql, 1, values, &rows) != ERR_OK) {
        link_complain(link, sql_name(sql), db_errmsg(link->db));
        return false;
    }
    *removed += row_int(&rows, 0, RETAIN_REMOVED);
    bool goes_on = !row_is_null(&rows, 0, RETAIN_NEXT);
    *after = goes_on ? row_int(&rows, 0, RETAIN_NEXT) : 0;
    db_rows_free(&rows);
    if (!goes_on && *removed > 0)
        log_info(sql_name(sql), "removed=%" PRId64, *removed);
    if (!goes_on)
        *removed = 0;
    return goes_on;
}

static bool remove_old(struct upkeep *u, struct link *link, const struct config *c)
{
    char ages[128];
    bool goes_on = false;

    snprintf(ages, sizeof ages, "{%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 "}",
             c->retention_succeeded, c->retention_failed, c->retention_cancelled,
             c->retention_aborted);
    if ((c->retention_succeeded | c->retention_failed | c->retention_cancelled |
         c->retention_aborted) != 0)
        goes_on = step(link, SQL_maintain_retain, db_text(ages), &u->jobs_after,
                       &u->jobs_removed);
    if (c->retention_events != 0)
        goes_on = step(link, SQL_maintain_trail, db_int(c->retention_events),
                       &u->trail_after, &u->events_removed) ||
                  goes_on;
    return goes_on;
}

int64_t upkeep_step(struct upkeep *u, struct link *link, const struct node *node)
{
    bool more = remove_old(u, link, node->options.config);

    if (clock_ms() >= u->often_at_ms) {
        make_partitions(link);
        u->often_at_ms = limits_expire_keys(link) ? 0 : clock_ms() + WALK_MS;
    }
    return more || u->often_at_ms == 0 ? STEP_MS : WALK_MS;
}
