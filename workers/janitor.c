/* All periodic work of a node, on one connection in one thread: heartbeat, looking for
 * aborts, what is due, deadlines, schedules, timeouts, the jobs of lost workers,
 * partitions.
 *
 * Every chore is one statement that every node may run at any time (SKIP LOCKED), so
 * there is no leader. A node that has just connected lets SETTLE_MS go by before it
 * rescues: after an outage all workers look dead until they have reconnected. */
#include "db/link.h"
#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "server/core/config.h"
#include "server/core/log.h"
#include "server/core/monitor.h"
#include "workers/families.h"
#include "workers/limits.h"
#include "workers/orders.h"
#include "workers/parts.h"
#include "workers/presence.h"
#include "workers/ticks.h"
#include "workers/upkeep.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SETTLE_MS = 5000,
    WATCH_MS = 500,
    DUE_MOST = 1000,
    REAP_MOST = 100,
};

enum chore {
    HEARTBEAT,
    ABORTS,
    DUE,
    EXPIRE,
    TICKS,
    SWEEP,
    TIMEOUTS,
    REAP,
    UPKEEP,
    WATCH,
    CHORES
};

struct janitor {
    struct node *node;
    pthread_t thread;
    struct monitor monitor;
    bool stopping, wanted[CHORES]; /* under monitor */
    /* the thread's own */
    struct link link;
    int64_t at_ms[CHORES];
    struct limits limits;
    struct upkeep upkeep;
};

static int64_t lease_ms(const struct janitor *j)
{
    return j->node->options.config->lease_seconds * MS_PER_SECOND;
}

static int64_t poll_ms(const struct janitor *j)
{
    return j->node->options.config->abort_poll_seconds * MS_PER_SECOND;
}

/* False when the statement failed; said once a second. */
static bool ask(struct janitor *j, enum sql sql, const struct db_value *values,
                struct db_rows *rows)
{
    if (db_exec(j->link.db, sql, 1, values, rows) == ERR_OK)
        return true;
    link_complain(&j->link, sql_name(sql), db_errmsg(j->link.db));
    return false;
}

/* -- this worker --------------------------------------------------------------------- */

static void heartbeat(struct janitor *j)
{
    bool aborts = false;

    j->at_ms[HEARTBEAT] = clock_ms() + lease_ms(j) / 3;
    presence_tell(&j->link, j->node, &aborts);
    if (aborts)
        j->at_ms[ABORTS] = 0;
}

/* -- aborts -------------------------------------------------------------------------- */

static void poll_aborts(struct janitor *j)
{
    int64_t worker_id = atomic_load(&j->node->worker_id);
    struct db_value values[] = {db_int(worker_id)};
    struct db_rows rows;

    j->at_ms[ABORTS] = clock_ms() + poll_ms(j);
    if (worker_id == 0 || !ask(j, SQL_abort_poll, values, &rows))
        return;
    for (int i = 0; i < rows.count; i++) {
        struct abort_order order = order_of_row(&rows, i, worker_id);
        node_deliver(j->node, &order);
    }
    db_rows_free(&rows);
}

/* -- chores for all nodes ------------------------------------------------------------ */

static void move_due(struct janitor *j)
{
    int64_t most_ms = j->node->options.config->poll_seconds * MS_PER_SECOND;
    struct db_value values[] = {db_int(DUE_MOST)};
    struct db_rows rows;

    j->at_ms[DUE] = clock_ms() + most_ms;
    if (!ask(j, SQL_maintain_due, values, &rows))
        return;
    int64_t moved = row_int(&rows, 0, 0), next_ms = row_int(&rows, 0, 2);
    if (!row_is_null(&rows, 0, 2) && next_ms < most_ms)
        j->at_ms[DUE] = clock_ms() + next_ms;
    db_rows_free(&rows);
    if (moved > 0)
        node_wake(j->node, "", (int)moved);
}

static void abort_late(struct janitor *j)
{
    j->at_ms[TIMEOUTS] = clock_ms() + MS_PER_SECOND;
    limits_abort_late(&j->limits, &j->link, j->node);
}

static void expire(struct janitor *j)
{
    bool aborting = false;

    j->at_ms[EXPIRE] = clock_ms() + limits_expire(&j->link, j->node, &aborting);
    if (aborting)
        j->at_ms[ABORTS] = 0; /* it may run here */
}

static void tick(struct janitor *j)
{
    j->at_ms[TICKS] = ticks_make(&j->link, j->node) + clock_ms();
}

static void sweep(struct janitor *j)
{
    bool aborting = false;

    j->at_ms[SWEEP] = clock_ms() + families_sweep(&j->link, j->node, &aborting);
    if (aborting)
        j->at_ms[ABORTS] = 0;
}

static void reap(struct janitor *j)
{
    struct db_value values[] = {db_int(lease_ms(j)), db_int(REAP_MOST)};
    struct db_rows rows;
    int todo = 0;

    j->at_ms[REAP] = clock_ms() + lease_ms(j) / 3;
    if (!ask(j, SQL_maintain_reap, values, &rows))
        return;
    for (int i = 0; i < rows.count; i++) {
        const char *status = row_text(&rows, i, 2);
        log_warn("maintain_reap", "job=%s worker=%s status=%s hint=%s",
                 row_text(&rows, i, 0), row_text(&rows, i, 1), status,
                 log_quoted("its worker was not heard of for longer than its lease"));
        int64_t id = row_int(&rows, i, 0);
        if (strcmp(status, "todo") == 0)
            todo++;
        else if (j->node->options.on_ended != NULL)
            j->node->options.on_ended(j->node->options.arg, &id, 1);
    }
    atomic_fetch_add(&j->node->rescued, rows.count);
    if (rows.count > 0)
        j->at_ms[REAP] = 0; /* there may be more */
    db_rows_free(&rows);
    if (todo > 0)
        node_wake(j->node, "", todo);
}

static void keep_up(struct janitor *j)
{
    j->at_ms[UPKEEP] = clock_ms() + upkeep_step(&j->upkeep, &j->link, j->node);
}

static void watch(struct janitor *j)
{
    j->at_ms[WATCH] = clock_ms() + WATCH_MS;
    neglect_look(j->node);
}

static void (*const chores[CHORES])(struct janitor *) = {
    [HEARTBEAT] = heartbeat, [ABORTS] = poll_aborts, [DUE] = move_due,
    [EXPIRE] = expire,       [TICKS] = tick,         [SWEEP] = sweep,
    [TIMEOUTS] = abort_late, [REAP] = reap,          [UPKEEP] = keep_up,
    [WATCH] = watch};

/* -- the thread ---------------------------------------------------------------------- */

/* Heartbeat first, then what was missed. */
static void begin_anew(struct janitor *j)
{
    int64_t settle_ms = SETTLE_MS < lease_ms(j) ? SETTLE_MS : lease_ms(j);

    memset(j->at_ms, 0, sizeof j->at_ms);
    j->at_ms[REAP] = clock_ms() + settle_ms;
}

/* Aborts and tasks are looked at only while there is a job to abort. */
static bool is_wanted(struct janitor *j, enum chore chore)
{
    if (chore != ABORTS && chore != WATCH)
        return true;
    struct pool_count count = runs_count(j->node);
    return count.running + count.waiting > 0;
}

/* What is late already and not written is tried again at its time. */
static int64_t due_ms(const struct janitor *j, enum chore chore)
{
    if (chore != TIMEOUTS || j->limits.n_late > 0)
        return j->at_ms[chore];
    return timeouts_next_ms(j->node->timeouts);
}

static void take_wishes(struct janitor *j)
{
    monitor_lock(&j->monitor);
    bool asked = j->wanted[ABORTS];
    for (enum chore chore = 0; chore < CHORES; chore++) {
        if (j->wanted[chore])
            j->at_ms[chore] = 0;
        j->wanted[chore] = false;
    }
    monitor_unlock(&j->monitor);
    if (asked)
        poll_aborts(j); /* also for a job whose claim is on its way: a tombstone */
}

static void do_chores(struct janitor *j)
{
    take_wishes(j);
    for (enum chore chore = 0; chore < CHORES; chore++) {
        if (db_is_broken(j->link.db) || !db_is_alive(j->link.db)) {
            link_drop(&j->link);
            return;
        }
        if (clock_ms() < due_ms(j, chore))
            continue;
        if (is_wanted(j, chore))
            chores[chore](j);
        else
            j->at_ms[chore] = clock_ms() + (chore == ABORTS ? poll_ms(j) : MS_PER_SECOND);
    }
    atomic_store(&j->node->nothing_due, clock_ms() < j->at_ms[DUE]);
}

static int64_t next_chore_ms(const struct janitor *j)
{
    int64_t at_ms = INT64_MAX;

    if (j->link.db == NULL)
        return j->link.next_try_ms;
    for (enum chore chore = 0; chore < CHORES; chore++)
        at_ms = due_ms(j, chore) < at_ms ? due_ms(j, chore) : at_ms;
    return at_ms;
}

/* Something is wished for that can be done. Under monitor. */
static bool has_wishes(const struct janitor *j)
{
    bool any = false;

    for (enum chore chore = 0; chore < CHORES; chore++)
        any = any || j->wanted[chore];
    return any && j->link.db != NULL;
}

/* False: the janitor is to stop. */
static bool wait_for_chore(struct janitor *j)
{
    int64_t at_ms = next_chore_ms(j);

    monitor_lock(&j->monitor);
    while (!j->stopping && !has_wishes(j) && monitor_wait(&j->monitor, at_ms))
        ;
    bool goes_on = !j->stopping;
    monitor_unlock(&j->monitor);
    return goes_on;
}

static void *run(void *arg)
{
    struct janitor *j = arg;

    while (wait_for_chore(j)) {
        bool is_new = j->link.db == NULL;
        if (!link_connect(&j->link))
            continue;
        if (is_new)
            begin_anew(j);
        do_chores(j);
    }
    presence_end(&j->link, j->node);
    link_drop(&j->link);
    return NULL;
}

enum err janitor_open(struct node *node, struct janitor **out_j)
{
    struct db_options options = {
        .url = node->options.url, .application_name = "belay janitor", .pin_plans = true};
    struct janitor *j = calloc(1, sizeof *j);

    if (j == NULL)
        return ERR_NO_MEMORY;
    j->node = node;
    link_init(&j->link, &options, "janitor");
    monitor_init(&j->monitor);
    *out_j = j;
    if (pthread_create(&j->thread, NULL, run, j) == 0)
        return ERR_OK;
    *out_j = NULL;
    janitor_free(j);
    return ERR_NO_MEMORY;
}

/* -- from other threads -------------------------------------------------------------- */

static void want(struct janitor *j, enum chore chore)
{
    monitor_lock(&j->monitor);
    j->wanted[chore] = true;
    monitor_signal(&j->monitor);
    monitor_unlock(&j->monitor);
}

void janitor_poll_aborts(struct janitor *j)
{
    want(j, ABORTS);
}

void janitor_look_at_schedule(struct janitor *j)
{
    want(j, DUE);
    want(j, EXPIRE);
    want(j, TICKS);
}

void janitor_look_at_timeouts(struct janitor *j)
{
    want(j, TIMEOUTS);
}

void janitor_look_at_families(struct janitor *j)
{
    want(j, SWEEP);
}

bool janitor_is_up(struct janitor *j)
{
    return link_is_up(&j->link);
}

void janitor_close(struct janitor *j)
{
    if (j == NULL)
        return;
    monitor_lock(&j->monitor);
    j->stopping = true;
    monitor_signal(&j->monitor);
    monitor_unlock(&j->monitor);
    pthread_join(j->thread, NULL);
}

void janitor_free(struct janitor *j)
{
    if (j == NULL)
        return;
    monitor_release(&j->monitor);
    free(j);
}
