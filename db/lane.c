/* While one batch commits, the next collects: "take all that waits" makes a batch of one
 * when idle and of hundreds under load, without a timer. Rejected: an asynchronous libpq
 * state machine in the HTTP loop (no faster, and its errors are everybody's), and a pool
 * of connections with a statement each (a fifth of the rate: each pays its own commit).
 *
 * Answers go back as one list a batch with one wake-up. The rows of a batch are one
 * result that its operations share. */
#include "db/lane.h"

#include "db/link.h"
#include "db/params.h"
#include "server/core/clock.h"
#include "server/core/log.h"
#include "server/core/monitor.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WAITING_MAX = 20000,
    BATCH_OPS_MAX = 1000,
    BATCH_ROWS_MAX = 1000, /* of operations together; one alone may have more */
    BATCH_BYTES_MAX = 4 << 20,
    PATIENCE_MS = 2000,  /* that an operation waits for a connection */
    IDLE_LOOK_MS = 1000, /* between two looks whether an idle connection is still there */
    CONFLICT_TRIES = 3,
    MESSAGE_BYTES = 200,
};

/* The result of one batch; freed with its last user, on the completing thread. */
struct shared_rows {
    struct db_rows rows;
    int users;
};

struct pending {
    struct db_op op;
    struct pending *next;
    int64_t since_ms;
    enum err why;
    struct shared_rows *shared;
    int first, count;
    char message[MESSAGE_BYTES];
};

struct list {
    struct pending *head, **tail;
};

struct lane_thread {
    struct lanes *lanes;
    bool is_read; /* statements change nothing: they may be repeated */
    pthread_t thread;
    struct monitor monitor;
    struct list waiting; /* under monitor */
    int n_waiting;       /* under monitor */
    bool stopping;       /* under monitor */
    struct link link;    /* of the lane's thread */
};

struct lanes {
    char *url;
    lane_wake_fn *wake;
    void *wake_arg;
    struct lane_thread lane[LANE_COUNT];
    pthread_mutex_t done_mutex;
    struct list done; /* under done_mutex */
};

static const char *const lane_names[LANE_COUNT] = {"belay control", "belay write",
                                                   "belay read"};

/* -- lists --------------------------------------------------------------------------- */

static void list_init(struct list *l)
{
    *l = (struct list){.head = NULL, .tail = &l->head};
}

static void list_add(struct list *l, struct pending *p)
{
    p->next = NULL;
    *l->tail = p;
    l->tail = &p->next;
}

/* Moves all of `from` to the end of `to`. */
static void list_splice(struct list *to, struct list *from)
{
    if (from->head == NULL)
        return;
    *to->tail = from->head;
    to->tail = from->tail;
    list_init(from);
}

/* -- answers ------------------------------------------------------------------------- */

static void hand_back(struct lanes *lanes, struct list *answered)
{
    if (answered->head == NULL)
        return;
    pthread_mutex_lock(&lanes->done_mutex);
    list_splice(&lanes->done, answered);
    pthread_mutex_unlock(&lanes->done_mutex);
    lanes->wake(lanes->wake_arg);
}

static void fail_all(struct pending **batch, int n, enum err e, const char *message)
{
    for (int i = 0; i < n; i++) {
        batch[i]->why = e;
        snprintf(batch[i]->message, sizeof batch[i]->message, "%s", message);
    }
}

/* Cuts the result into the parts of its operations: rows are in the order of `ord`, the
 * number of the input row. */
static enum err share_rows(struct pending **batch, int n, struct db_rows *rows)
{
    struct shared_rows *shared = malloc(sizeof *shared);
    int row = 0, last_ord = 0;

    if (shared == NULL) {
        db_rows_free(rows);
        return ERR_NO_MEMORY;
    }
    *shared = (struct shared_rows){.rows = *rows, .users = n};
    for (int i = 0; i < n; i++) {
        struct pending *p = batch[i];
        p->shared = shared;
        p->first = row;
        last_ord += p->op.n_rows;
        if (!sql_is_array(p->op.sql))
            row = rows->count;
        while (row < rows->count && row_int(rows, row, 0) <= last_ord)
            row++;
        p->count = row - p->first;
    }
    return ERR_OK;
}

void lanes_complete(struct lanes *lanes)
{
    struct list done;

    list_init(&done);
    pthread_mutex_lock(&lanes->done_mutex);
    list_splice(&done, &lanes->done);
    pthread_mutex_unlock(&lanes->done_mutex);
    for (struct pending *p = done.head, *next; p != NULL; p = next) {
        struct db_rows none = {.result = NULL}, rows = none;
        next = p->next;
        if (p->shared != NULL)
            rows = (struct db_rows){
                .result = p->shared->rows.result, .first = p->first, .count = p->count};
        p->op.done(p->op.arg, p->why == ERR_OK ? &rows : &none, p->why, p->message);
        if (p->shared != NULL && --p->shared->users == 0) {
            db_rows_free(&p->shared->rows);
            free(p->shared);
        }
        free(p);
    }
}

/* -- a batch ------------------------------------------------------------------------- */

static enum err exec_once(struct lane_thread *l, struct pending **batch, int n)
{
    struct db_part parts[BATCH_OPS_MAX];
    struct db_rows rows;

    for (int i = 0; i < n; i++)
        parts[i] = (struct db_part){.n_rows = batch[i]->op.n_rows,
                                    .values = batch[i]->op.values};
    enum err e = db_exec_parts(l->link.db, batch[0]->op.sql, n, parts, &rows);
    return e == ERR_OK ? share_rows(batch, n, &rows) : e;
}

/* The connection failed with the statement on its way: only PostgreSQL's own word says
 * that nothing happened. */
static enum err fate_of_lost(const struct lane_thread *l, enum err e)
{
    bool said = db_sqlstate(l->link.db)[0] != '\0';

    return db_is_broken(l->link.db) && !said && !l->is_read ? ERR_OUTCOME_UNKNOWN : e;
}

static void exec_batch(struct lane_thread *l, struct pending **batch, int n)
{
    enum err e = ERR_CONFLICT;

    for (int i = 0; i < CONFLICT_TRIES && e == ERR_CONFLICT && !db_is_broken(l->link.db);
         i++)
        e = exec_once(l, batch, n);
    if (e == ERR_OK)
        return;
    e = fate_of_lost(l, e);
    if (n == 1 || db_is_broken(l->link.db) || e == ERR_UNAVAILABLE) {
        fail_all(batch, n, e == ERR_CONFLICT ? ERR_UNAVAILABLE : e,
                 db_errmsg(l->link.db));
        return;
    }
    exec_batch(l, batch, n / 2); /* one of them is bad: find it, spare the others */
    if (db_is_broken(l->link.db))
        fail_all(batch + n / 2, n - n / 2, ERR_UNAVAILABLE, db_errmsg(l->link.db));
    else
        exec_batch(l, batch + n / 2, n - n / 2);
}

static size_t bytes_of(const struct db_op *op)
{
    int n = op->n_rows * sql_params(op->sql);
    size_t bytes = 0;

    for (int i = 0; i < n; i++)
        bytes += 12 + (size_t)op->values[i].len;
    return bytes;
}

/* Takes the first operation and all others of its statement, up to the limits, in their
 * order. Under monitor. */
static int take_batch(struct lane_thread *l, struct pending **batch)
{
    struct pending **link = &l->waiting.head, *p;
    enum sql sql = l->waiting.head->op.sql;
    int n = 0, rows = 0, most = sql_is_array(sql) ? BATCH_OPS_MAX : 1;
    size_t bytes = 0;

    while ((p = *link) != NULL && n < most) {
        if (p->op.sql != sql) {
            link = &p->next;
            continue;
        }
        rows += p->op.n_rows;
        bytes += bytes_of(&p->op);
        if (n > 0 && (rows > BATCH_ROWS_MAX || bytes > BATCH_BYTES_MAX))
            break;
        *link = p->next;
        batch[n++] = p;
    }
    l->n_waiting -= n;
    for (link = &l->waiting.head; *link != NULL; link = &(*link)->next)
        ;
    l->waiting.tail = link;
    return n;
}

static void finish_batch(struct lane_thread *l, struct pending **batch, int n)
{
    struct list answered;

    list_init(&answered);
    for (int i = 0; i < n; i++)
        list_add(&answered, batch[i]);
    hand_back(l->lanes, &answered);
}

/* -- the connection ------------------------------------------------------------------ */

/* Answers those that have waited too long for a connection; false: there may be more. */
static bool fail_impatient(struct lane_thread *l)
{
    struct pending *batch[BATCH_OPS_MAX];
    int64_t since_ms = clock_ms() - PATIENCE_MS;
    int n = 0;

    monitor_lock(&l->monitor);
    while (l->waiting.head != NULL && n < BATCH_OPS_MAX &&
           (l->stopping || l->waiting.head->since_ms <= since_ms)) {
        batch[n] = l->waiting.head;
        l->waiting.head = batch[n++]->next;
        l->n_waiting--;
    }
    if (l->waiting.head == NULL)
        l->waiting.tail = &l->waiting.head;
    monitor_unlock(&l->monitor);
    fail_all(batch, n, ERR_UNAVAILABLE, "no connection to the database");
    finish_batch(l, batch, n);
    return n < BATCH_OPS_MAX;
}

/* -- the thread ---------------------------------------------------------------------- */

/* Without a connection: tries again when it is time, and keeps nobody waiting for longer
 * than PATIENCE_MS. */
static void run_disconnected(struct lane_thread *l)
{
    int64_t wait_ms = l->link.next_try_ms - clock_ms();

    if (!link_connect(&l->link) && wait_ms > 0) {
        monitor_lock(&l->monitor);
        if (!l->stopping)
            monitor_wait(&l->monitor, clock_ms() + (wait_ms < 100 ? wait_ms : 100));
        monitor_unlock(&l->monitor);
    }
    while (!fail_impatient(l))
        ;
}

static void run_connected(struct lane_thread *l)
{
    struct pending *batch[BATCH_OPS_MAX];
    int n = 0;

    monitor_lock(&l->monitor);
    if (l->waiting.head == NULL && !l->stopping)
        monitor_wait(&l->monitor, clock_ms() + IDLE_LOOK_MS);
    if (!db_is_alive(l->link.db)) { /* went away while idle: nothing has been sent yet */
        monitor_unlock(&l->monitor);
        link_drop(&l->link);
        return;
    }
    if (l->waiting.head != NULL)
        n = take_batch(l, batch);
    monitor_unlock(&l->monitor);
    if (n == 0)
        return;
    exec_batch(l, batch, n);
    if (db_is_broken(l->link.db))
        link_drop(&l->link);
    finish_batch(l, batch, n);
}

static bool is_stopping(struct lane_thread *l)
{
    monitor_lock(&l->monitor);
    bool stopping = l->stopping && (l->waiting.head == NULL || l->link.db == NULL);
    monitor_unlock(&l->monitor);
    return stopping;
}

static void *run_lane(void *arg)
{
    struct lane_thread *l = arg;

    while (!is_stopping(l)) {
        if (l->link.db == NULL)
            run_disconnected(l);
        else
            run_connected(l);
    }
    while (!fail_impatient(l))
        ;
    link_drop(&l->link);
    return NULL;
}

static enum err start_lane(struct lanes *lanes, enum lane id)
{
    struct lane_thread *l = &lanes->lane[id];
    struct db_options options = {.url = lanes->url,
                                 .application_name = lane_names[id],
                                 .pin_plans = id != LANE_READ};

    l->lanes = lanes;
    l->is_read = id == LANE_READ;
    link_init(&l->link, &options, "lane");
    list_init(&l->waiting);
    monitor_init(&l->monitor);
    return pthread_create(&l->thread, NULL, run_lane, l) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

enum err lanes_open(const char *url, lane_wake_fn *wake, void *wake_arg,
                    struct lanes **out_lanes)
{
    struct lanes *lanes = calloc(1, sizeof *lanes);
    enum err e = ERR_OK;

    if (lanes == NULL || (lanes->url = strdup(url)) == NULL) {
        free(lanes);
        return ERR_NO_MEMORY;
    }
    lanes->wake = wake;
    lanes->wake_arg = wake_arg;
    list_init(&lanes->done);
    pthread_mutex_init(&lanes->done_mutex, NULL);
    for (enum lane id = 0; id < LANE_COUNT && e == ERR_OK; id++)
        e = start_lane(lanes, id);
    if (e == ERR_OK)
        *out_lanes = lanes;
    return e;
}

enum err db_submit(struct lanes *lanes, const struct db_op *op)
{
    struct lane_thread *l = &lanes->lane[op->lane];
    struct pending *p = malloc(sizeof *p);
    bool taken;

    if (p == NULL)
        return ERR_NO_MEMORY;
    *p = (struct pending){.op = *op, .since_ms = clock_ms()};
    monitor_lock(&l->monitor);
    taken = l->n_waiting < WAITING_MAX && !l->stopping;
    if (taken) {
        list_add(&l->waiting, p);
        if (l->n_waiting++ == 0)
            monitor_signal(&l->monitor);
    }
    monitor_unlock(&l->monitor);
    if (!taken)
        free(p);
    return taken ? ERR_OK : ERR_TOO_MANY_REQUESTS;
}

bool lanes_are_up(struct lanes *lanes)
{
    for (enum lane id = 0; id < LANE_COUNT; id++) {
        if (!link_is_up(&lanes->lane[id].link))
            return false;
    }
    return true;
}

void lanes_stop(struct lanes *lanes)
{
    for (enum lane id = 0; id < LANE_COUNT; id++) {
        struct lane_thread *l = &lanes->lane[id];
        monitor_lock(&l->monitor);
        l->stopping = true;
        monitor_signal(&l->monitor);
        monitor_unlock(&l->monitor);
    }
    for (enum lane id = 0; id < LANE_COUNT; id++)
        pthread_join(lanes->lane[id].thread, NULL);
}

void lanes_free(struct lanes *lanes)
{
    if (lanes == NULL)
        return;
    for (enum lane id = 0; id < LANE_COUNT; id++)
        monitor_release(&lanes->lane[id].monitor);
    pthread_mutex_destroy(&lanes->done_mutex);
    free(lanes->url);
    free(lanes);
}
