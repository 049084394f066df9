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
#include "workers/limits.h"
#include "workers/orders.h"
#include "workers/parts.h"
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
    NAME_BYTES = 128,
};

enum chore {
    HEARTBEAT,
    ABORTS,
    DUE,
    EXPIRE,
    TICKS,
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
    bool stopping, aborts_wanted, due_wanted, timeouts_wanted; /* under monitor */
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

static void be_sure_until(struct janitor *j, int64_t ms)
{
    atomic_store(&j->node->sure_until_ms, ms);
    runs_poke(j->node);
}

static void register_worker(struct janitor *j)
{
    const struct config *c = j->node->options.config;
    char host[64] = "", name[NAME_BYTES];
    CLEANUP(buf_release) struct buf queues = BUF_INIT;
    struct db_rows rows;
    int64_t sent_ms = clock_ms();

    gethostname(host, sizeof host - 1);
    if (c->node_name[0] != '\0')
        snprintf(name, sizeof name, "%s", c->node_name);
    else
        snprintf(name, sizeof name, "%s:%d", host, (int)getpid());
    buf_addf(&queues, "{%s}", c->queues);
    struct db_value values[] = {
        db_text(name),          db_text(host),
        db_int(getpid()),       db_text(BELAY_VERSION),
        db_int(c->concurrency), c->queues[0] != '\0' ? db_text(queues.text) : db_null()};
    if (!ask(j, SQL_worker_register, values, &rows))
        return;
    atomic_store(&j->node->worker_id, row_int(&rows, 0, 0));
    db_rows_free(&rows);
    log_info("worker_register", "worker=%" PRId64 " name=%s",
             atomic_load(&j->node->worker_id), log_quoted(name));
    be_sure_until(j, sent_ms + lease_ms(j));
    dispatcher_wake(j->node->dispatcher);
}

/* Others have taken its jobs: what runs is stopped, what waits is forgotten. */
static void give_up_worker(struct janitor *j, int64_t worker_id)
{
    struct job_list waiting = {.n = 0};
    int running;

    atomic_store(&j->node->worker_id, 0);
    runs_take_waiting(j->node, INT64_MAX, &waiting);
    for (struct job *job = waiting.first; job != NULL; job = job->next)
        job->fate = FATE_UNSTARTED; /* the fence will refuse it */
    log_warn("worker_heartbeat", "worker=%" PRId64 " lost=true waiting=%d hint=%s",
             worker_id, waiting.n,
             log_quoted("it was not heard of for longer than its lease; its jobs are "
                        "with other workers now"));
    dispatcher_end_all(j->node->dispatcher, &waiting);
    running = abort_request_all(j->node->aborts, worker_id, ABORT_WORKER_LOST);
    if (running > 0)
        log_warn("worker_heartbeat", "told_to_stop=%d", running);
}

static void heartbeat(struct janitor *j)
{
    int64_t worker_id = atomic_load(&j->node->worker_id), sent_ms = clock_ms();
    struct pool_count count = runs_count(j->node);
    struct db_value values[] = {db_int(worker_id), db_int(count.running)};
    struct db_rows rows;

    j->at_ms[HEARTBEAT] = sent_ms + lease_ms(j) / 3;
    if (worker_id == 0) {
        register_worker(j);
        return;
    }
    if (!ask(j, SQL_worker_heartbeat, values, &rows))
        return;
    bool alive = row_bool(&rows, 0, 0);
    if (row_int(&rows, 0, 1) > 0)
        j->at_ms[ABORTS] = 0;
    db_rows_free(&rows);
    if (alive) {
        be_sure_until(j, sent_ms + lease_ms(j));
        return;
    }
    give_up_worker(j, worker_id);
    register_worker(j);
}

/* -- aborts -------------------------------------------------------------------------- */

static void poll_aborts(struct janitor *j)
{
    int64_t worker_id = atomic_load(&j->node->worker_id);
    struct db_value values[] = {db_int(worker_id)};
    struct db_rows rows;

    j->at_ms[ABORTS] =
        clock_ms() + j->node->options.config->abort_poll_seconds * MS_PER_SECOND;
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
    [EXPIRE] = expire,       [TICKS] = tick,         [TIMEOUTS] = abort_late,
    [REAP] = reap,           [UPKEEP] = keep_up,     [WATCH] = watch};

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
    if (j->aborts_wanted)
        j->at_ms[ABORTS] = 0;
    if (j->due_wanted)
        j->at_ms[DUE] = j->at_ms[EXPIRE] = j->at_ms[TICKS] = 0;
    bool asked = j->aborts_wanted;
    j->aborts_wanted = j->due_wanted = j->timeouts_wanted = false;
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
            j->at_ms[chore] = clock_ms() + MS_PER_SECOND;
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

/* False: the janitor is to stop. */
static bool wait_for_chore(struct janitor *j)
{
    int64_t at_ms = next_chore_ms(j);

    monitor_lock(&j->monitor);
    while (!j->stopping &&
           (j->link.db == NULL ||
            (!j->aborts_wanted && !j->due_wanted && !j->timeouts_wanted)) &&
           monitor_wait(&j->monitor, at_ms))
        ;
    bool goes_on = !j->stopping;
    monitor_unlock(&j->monitor);
    return goes_on;
}

static void leave(struct janitor *j)
{
    struct db_value values[] = {db_int(atomic_load(&j->node->worker_id))};
    struct db_rows rows;

    if (j->link.db != NULL && values[0].num != 0 &&
        ask(j, SQL_worker_stop, values, &rows))
        db_rows_free(&rows);
    link_drop(&j->link);
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
    leave(j);
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
    free(j);
    return ERR_NO_MEMORY;
}

/* -- from other threads -------------------------------------------------------------- */

static void want(struct janitor *j, bool *wish)
{
    monitor_lock(&j->monitor);
    *wish = true;
    monitor_signal(&j->monitor);
    monitor_unlock(&j->monitor);
}

void janitor_poll_aborts(struct janitor *j)
{
    want(j, &j->aborts_wanted);
}

void janitor_look_at_schedule(struct janitor *j)
{
    want(j, &j->due_wanted);
}

void janitor_look_at_timeouts(struct janitor *j)
{
    want(j, &j->timeouts_wanted);
}

bool janitor_is_up(struct janitor *j)
{
    return link_is_up(&j->link);
}

void janitor_close(struct janitor *j)
{
    bool unused;

    if (j == NULL)
        return;
    monitor_lock(&j->monitor);
    j->stopping = true;
    monitor_unlock(&j->monitor);
    want(j, &unused);
    pthread_join(j->thread, NULL);
}

void janitor_free(struct janitor *j)
{
    if (j == NULL)
        return;
    monitor_release(&j->monitor);
    free(j);
}
