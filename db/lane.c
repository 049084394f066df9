/* While one batch commits, the next collects: "take all that waits" makes a batch of one
 * when idle and of hundreds under load, without a timer. A second hand takes what has
 * collected when that is worth a statement of its own, or when the first is held up: so
 * one batch is worked on while another waits for the disk. Rejected: an asynchronous
 * libpq state machine in the HTTP loop (no faster, and its errors are everybody's), and a
 * pool of connections with a statement each (a fifth of the rate: each pays its own
 * commit).
 *
 * Answers go back as one list a batch with one wake-up. */
#include "db/lane.h"

#include "db/batch.h"
#include "db/link.h"
#include "server/core/clock.h"
#include "server/core/monitor.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    HANDS = 2, /* of each lane */
    WAITING_MAX = 20000,
    WORTH_A_HAND = 32,  /* rows that are not left to the hand that is at work */
    HELD_UP_MS = 5,     /* it is held up when its batch takes longer */
    PATIENCE_MS = 2000, /* that an operation waits for a connection */
    ANSWER_MS = 5200,   /* from an operation's submission to its answer, without a word */
    LEAST_MS = 500,     /* that PostgreSQL has for one that has waited for its turn */
    STATEMENT_MS = 4500, /* so that PostgreSQL says first that it takes too long */
    IDLE_LOOK_MS = 1000, /* between two looks whether an idle connection is still there */
};

struct lane_queue;

/* A thread with a connection. */
struct hand {
    struct lane_queue *lane;
    pthread_t thread;
    struct link link;
    int64_t heard_ms; /* when PostgreSQL answered last; 0: not yet on this connection */
};

struct lane_queue {
    struct lanes *lanes;
    bool changes; /* its statements: they may not be repeated */
    struct hand hand[HANDS];
    struct monitor monitor;
    struct pending_list waiting; /* under monitor */
    int n_busy;                  /* under monitor: hands that are at work */
    int64_t busy_since_ms;       /* under monitor: the last of them */
    bool stopping;               /* under monitor */
};

struct lanes {
    char *url;
    lane_wake_fn *wake;
    void *wake_arg;
    struct lane_queue lane[LANE_COUNT];
    _Atomic(int64_t) silent_ms; /* some connection had no answer then, for long */
    pthread_mutex_t done_mutex;
    struct pending_list done; /* under done_mutex */
};

static const char *const lane_names[LANE_COUNT] = {"belay control", "belay write",
                                                   "belay read"};

/* -- answers ------------------------------------------------------------------------- */

static void hand_back(struct lanes *lanes, struct pending **batch, int n)
{
    if (n == 0)
        return;
    pthread_mutex_lock(&lanes->done_mutex);
    for (int i = 0; i < n; i++)
        pending_add(&lanes->done, batch[i]);
    pthread_mutex_unlock(&lanes->done_mutex);
    lanes->wake(lanes->wake_arg);
}

void lanes_complete(struct lanes *lanes)
{
    struct pending_list done;

    pending_init(&done);
    pthread_mutex_lock(&lanes->done_mutex);
    pending_splice(&done, &lanes->done);
    pthread_mutex_unlock(&lanes->done_mutex);
    batch_complete(&done);
}

/* -- without a connection ------------------------------------------------------------ */

static bool lane_is_up(struct lane_queue *l)
{
    bool up = false;

    for (int i = 0; i < HANDS; i++)
        up = up || link_is_up(&l->hand[i].link);
    return up;
}

/* Answers those that have waited too long for a connection; false: there may be more. */
static bool fail_impatient(struct lane_queue *l)
{
    struct pending *batch[BATCH_OPS_MAX];
    int64_t since_ms = clock_ms() - PATIENCE_MS;
    int n = 0;

    monitor_lock(&l->monitor);
    while (l->waiting.head != NULL && n < BATCH_OPS_MAX && !lane_is_up(l) &&
           (l->stopping || l->waiting.head->since_ms <= since_ms))
        batch[n++] = pending_take(&l->waiting);
    monitor_unlock(&l->monitor);
    batch_fail(batch, n, ERR_UNAVAILABLE, "no connection to the database");
    hand_back(l->lanes, batch, n);
    return n < BATCH_OPS_MAX;
}

/* Tries again when it is time, and keeps nobody waiting for longer than PATIENCE_MS. */
static void run_disconnected(struct hand *h)
{
    struct lane_queue *l = h->lane;
    int64_t wait_ms = h->link.next_try_ms - clock_ms();

    if (!link_connect(&h->link) && wait_ms > 0) {
        monitor_lock(&l->monitor);
        if (!l->stopping)
            monitor_wait(&l->monitor, clock_ms() + (wait_ms < 100 ? wait_ms : 100));
        monitor_unlock(&l->monitor);
    }
    while (!fail_impatient(l))
        ;
}

/* -- with a connection --------------------------------------------------------------- */

/* When a hand that is free should take what waits; INT64_MIN: now. Under monitor. */
static int64_t take_at_ms(const struct lane_queue *l)
{
    if (l->waiting.n == 0)
        return INT64_MAX;
    if (l->n_busy == 0 || l->waiting.rows >= WORTH_A_HAND || l->stopping)
        return INT64_MIN;
    return l->busy_since_ms + HELD_UP_MS;
}

/* A link or a server that swallows everything tells nobody: one call after the other
 * would have to find it out, each on its own connection and in its own 5 s. So a
 * connection that has not been heard of since then is not asked. */
static bool is_usable(struct hand *h)
{
    return h->heard_ms >= atomic_load(&h->lane->lanes->silent_ms) &&
           db_is_alive(h->link.db);
}

static void drop_connection(struct hand *h)
{
    h->heard_ms = 0;
    link_drop(&h->link);
}

/* What was sent then has its answer, or never will. PostgreSQL itself says after
 * STATEMENT_MS that it takes too long, so only a longer silence is one; whoever was
 * answered in its last second is not cut off by the same. */
static void note_answer(struct hand *h, int64_t sent_ms)
{
    int64_t now_ms = clock_ms();

    if (!db_is_broken(h->link.db)) {
        h->heard_ms = now_ms;
        return;
    }
    if (db_is_silent(h->link.db) && now_ms - sent_ms >= STATEMENT_MS)
        atomic_store(&h->lane->lanes->silent_ms, now_ms - IDLE_LOOK_MS);
    drop_connection(h);
}

/* Waits for work, for IDLE_LOOK_MS at most; 0: there is none. */
static int take_work(struct hand *h, struct pending **batch)
{
    struct lane_queue *l = h->lane;
    int64_t look_ms = clock_ms() + IDLE_LOOK_MS, at_ms;
    int n = 0;

    monitor_lock(&l->monitor);
    while ((at_ms = take_at_ms(l)) > clock_ms() && !l->stopping) {
        if (!monitor_wait(&l->monitor, at_ms < look_ms ? at_ms : look_ms) &&
            clock_ms() >= look_ms)
            break;
    }
    /* Asked once more, for the other hand may have taken it while this one slept. A
     * connection may have gone away while idle: then nothing has been sent yet. */
    if (take_at_ms(l) <= clock_ms() && is_usable(h)) {
        n = batch_take(&l->waiting, batch);
        l->n_busy++;
        l->busy_since_ms = clock_ms();
    }
    monitor_unlock(&l->monitor);
    return n;
}

/* A link that swallows everything holds up one batch, and whoever is in it, for so long
 * and no longer: nobody waits for more than 6 s. */
static int64_t limit_of(const struct pending *oldest)
{
    int64_t limit_ms = oldest->since_ms + ANSWER_MS, least_ms = clock_ms() + LEAST_MS;

    return limit_ms > least_ms ? limit_ms : least_ms;
}

static void run_connected(struct hand *h)
{
    struct lane_queue *l = h->lane;
    struct pending *batch[BATCH_OPS_MAX];
    int n;

    if (h->heard_ms == 0) /* it has been opened just now */
        h->heard_ms = clock_ms();
    n = take_work(h, batch);
    if (n == 0) {
        if (!is_usable(h))
            drop_connection(h);
        return;
    }
    int64_t sent_ms = clock_ms();
    db_limit(h->link.db, limit_of(batch[0]));
    batch_exec(&h->link, l->changes, batch, n);
    note_answer(h, sent_ms);
    monitor_lock(&l->monitor);
    l->n_busy--;
    monitor_unlock(&l->monitor);
    hand_back(l->lanes, batch, n);
}

/* -- the thread ---------------------------------------------------------------------- */

static bool is_stopping(struct hand *h)
{
    struct lane_queue *l = h->lane;

    monitor_lock(&l->monitor);
    bool stopping = l->stopping && (l->waiting.n == 0 || h->link.db == NULL);
    monitor_unlock(&l->monitor);
    return stopping;
}

static void *run_hand(void *arg)
{
    struct hand *h = arg;

    while (!is_stopping(h)) {
        if (h->link.db == NULL)
            run_disconnected(h);
        else
            run_connected(h);
    }
    link_drop(&h->link);
    while (!fail_impatient(h->lane))
        ;
    return NULL;
}

static enum err start_lane(struct lanes *lanes, enum lane id)
{
    struct lane_queue *l = &lanes->lane[id];
    struct db_options options = {.url = lanes->url,
                                 .application_name = lane_names[id],
                                 .statement_timeout_ms = STATEMENT_MS,
                                 .pin_plans = id != LANE_READ};
    enum err e = ERR_OK;

    l->lanes = lanes;
    l->changes = id != LANE_READ;
    pending_init(&l->waiting);
    monitor_init(&l->monitor);
    for (int i = 0; i < HANDS; i++) {
        l->hand[i].lane = l;
        link_init(&l->hand[i].link, &options, "lane");
    }
    for (int i = 0; i < HANDS && e == ERR_OK; i++) {
        if (pthread_create(&l->hand[i].thread, NULL, run_hand, &l->hand[i]) != 0)
            e = ERR_NO_MEMORY;
    }
    return e;
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
    pending_init(&lanes->done);
    pthread_mutex_init(&lanes->done_mutex, NULL);
    for (enum lane id = 0; id < LANE_COUNT && e == ERR_OK; id++)
        e = start_lane(lanes, id);
    if (e == ERR_OK)
        *out_lanes = lanes;
    return e;
}

/* One is enough, but not one that has no connection. Under monitor. */
static void wake_a_hand(struct lane_queue *l)
{
    bool all_up = true;

    for (int i = 0; i < HANDS; i++)
        all_up = all_up && link_is_up(&l->hand[i].link);
    if (all_up)
        monitor_signal(&l->monitor);
    else
        monitor_broadcast(&l->monitor);
}

enum err db_submit(struct lanes *lanes, const struct db_op *op)
{
    struct lane_queue *l = &lanes->lane[op->lane];
    struct pending *p = malloc(sizeof *p);
    bool taken;

    if (p == NULL)
        return ERR_NO_MEMORY;
    *p = (struct pending){.op = *op, .since_ms = op->since_ms};
    if (p->since_ms == 0)
        p->since_ms = clock_ms();
    monitor_lock(&l->monitor);
    taken = l->waiting.n < WAITING_MAX && !l->stopping;
    if (taken) {
        int before = l->waiting.rows;
        pending_add(&l->waiting, p);
        if (before == 0 || (before < WORTH_A_HAND && l->waiting.rows >= WORTH_A_HAND))
            wake_a_hand(l);
    }
    monitor_unlock(&l->monitor);
    if (!taken)
        free(p);
    return taken ? ERR_OK : ERR_TOO_MANY_REQUESTS;
}

bool lanes_are_up(struct lanes *lanes)
{
    for (enum lane id = 0; id < LANE_COUNT; id++) {
        if (!lane_is_up(&lanes->lane[id]))
            return false;
    }
    return true;
}

void lanes_stop(struct lanes *lanes)
{
    for (enum lane id = 0; id < LANE_COUNT; id++) {
        struct lane_queue *l = &lanes->lane[id];
        monitor_lock(&l->monitor);
        l->stopping = true;
        monitor_broadcast(&l->monitor);
        monitor_unlock(&l->monitor);
    }
    for (enum lane id = 0; id < LANE_COUNT; id++) {
        for (int i = 0; i < HANDS; i++)
            pthread_join(lanes->lane[id].hand[i].thread, NULL);
    }
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
