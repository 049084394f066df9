/* A hash of watched jobs under one mutex, and an array of cells that nobody locks. Each
 * thread of the pool has its own cell for its life, so starting a job allocates nothing.
 *
 * The race that matters: a request for job 33 arrives while the thread that ran job 33
 * has just begun job 34. The cell is therefore only written under the lock, after id and
 * attempt have been compared, and a watch gives its slot back under the same lock.
 * Rejected: a lock-free table (2 ns a look instead of 0.3, and nobody could prove it). */
#include "workers/abort.h"

#include "server/core/clock.h"
#include "workers/tombstones.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { BUCKETS = 4096 };

struct abort_table {
    pthread_mutex_t mutex; /* guards everything below, and every watch */
    struct abort_watch *buckets[BUCKETS];
    struct abort_watch *due;
    struct tombstones tombstones;
    int n_slots;
    int n_unseen;       /* watches with a request that their task has not seen */
    struct cells cells; /* shared with child processes */
    struct abort_slot *slots;
};

static struct abort_watch **bucket_of(struct abort_table *t, int64_t job_id)
{
    return &t->buckets[(uint64_t)job_id % BUCKETS];
}

static char *copy_of(const char *text)
{
    return text != NULL && *text != '\0' ? strdup(text) : NULL;
}

enum err abort_table_new(int n_slots, struct abort_table **out_table)
{
    struct abort_table *t = calloc(1, sizeof *t);

    if (t == NULL)
        return ERR_NO_MEMORY;
    t->n_slots = n_slots;
    t->slots = calloc((size_t)n_slots + 1, sizeof *t->slots);
    if (t->slots == NULL || cells_open(&t->cells, n_slots) != ERR_OK) {
        free(t->slots);
        free(t);
        return ERR_NO_MEMORY;
    }
    for (int i = 0; i < n_slots; i++)
        t->slots[i] = (struct abort_slot){.cell = &t->cells.cells[i], .fd = -1};
    pthread_mutex_init(&t->mutex, NULL);
    *out_table = t;
    return ERR_OK;
}

struct abort_slot *abort_slot(struct abort_table *t, int i)
{
    return &t->slots[i];
}

const struct cells *abort_cells(const struct abort_table *t)
{
    return &t->cells;
}

void abort_table_free(struct abort_table *t)
{
    if (t == NULL)
        return;
    tombstones_release(&t->tombstones);
    for (int i = 0; i < t->n_slots; i++) {
        if (t->slots[i].fd >= 0)
            close(t->slots[i].fd);
    }
    cells_close(&t->cells);
    pthread_mutex_destroy(&t->mutex);
    free(t->slots);
    free(t);
}

/* -- requests; all under the lock ---------------------------------------------------- */

static void make_due(struct abort_table *t, struct abort_watch *w)
{
    if (w->due)
        return;
    w->due = true;
    w->due_next = t->due;
    t->due = w;
}

/* The flag, and whoever waits for it. */
static void raise_flag(struct abort_watch *w)
{
    uint64_t one = 1;

    if (w->slot == NULL)
        return;
    atomic_store_explicit(&w->slot->cell->requested, 1 + (uint32_t)w->cause,
                          memory_order_release);
    if (w->slot->told != NULL)
        w->slot->told(w->slot);
    if (w->slot->fd >= 0 && write(w->slot->fd, &one, sizeof one) < 0)
        return; /* full: it is readable already */
}

/* A request that was only read once more is no further one. */
static void tell_again(struct abort_watch *w, const struct abort_order *order)
{
    if (order->requests <= w->requests && !order->again)
        return;
    if (order->requests > w->requests)
        w->requests = order->requests;
    if (w->slot != NULL && w->slot->told != NULL)
        w->slot->told(w->slot);
}

/* A later request may shorten the grace, and never lengthens it. */
static void strengthen(struct abort_watch *w, int64_t grace_ms)
{
    int64_t kill_at_us = clock_us() + grace_ms * US_PER_MS;

    if (w->grace_ms == INT64_MAX)
        return;
    if (kill_at_us < w->kill_at_us)
        w->kill_at_us = kill_at_us;
}

/* A wish outlives a shutdown and a timeout: it decides what the job becomes. */
static bool outranks(enum abort_cause later, enum abort_cause earlier)
{
    if (later == ABORT_SHUTDOWN)
        return false;
    return earlier == ABORT_SHUTDOWN ||
           (earlier == ABORT_TIMEOUT && later != ABORT_TIMEOUT);
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
/* The copies are the watch's, which abort_watch_end() frees; the analyzer forgets who has
 * the watch as soon as the table's list is left. */
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif
static enum abort_reached order_watch(struct abort_table *t, struct abort_watch *w,
                                      const struct abort_order *order)
{
    if (w->requested) {
        if (order->grace_ms >= 0)
            strengthen(w, order->grace_ms);
        tell_again(w, order);
        if (outranks(order->cause, w->cause)) {
            w->cause = order->cause;
            make_due(t, w);
        }
        return ABORT_TOLD_BEFORE;
    }
    w->requested = true;
    w->requests = order->requests > 0 ? order->requests : 1;
    t->n_unseen++;
    w->cause = order->cause;
    w->reason = copy_of(order->reason);
    w->actor = copy_of(order->actor);
    w->requested_us = clock_us();
    w->asked_us = order->asked_us > 0 ? order->asked_us : w->requested_us;
    w->kill_at_us = INT64_MAX;
    if (order->grace_ms >= 0 || w->grace_ms != INT64_MAX)
        strengthen(w, order->grace_ms >= 0 ? order->grace_ms : w->grace_ms);
    make_due(t, w);
    raise_flag(w);
    return w->slot != NULL ? ABORT_TOLD : ABORT_WAITING;
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

enum abort_reached abort_request(struct abort_table *t, const struct abort_order *order)
{
    enum abort_reached reached = ABORT_UNKNOWN;
    struct abort_watch *w;

    pthread_mutex_lock(&t->mutex);
    w = *bucket_of(t, order->job_id);
    while (w != NULL && (w->job_id != order->job_id || w->attempt != order->attempt))
        w = w->next;
    if (w != NULL)
        reached = order_watch(t, w, order);
    else
        tombstones_keep(&t->tombstones, order);
    pthread_mutex_unlock(&t->mutex);
    return reached;
}

int abort_request_all(struct abort_table *t, int64_t worker_id, enum abort_cause cause)
{
    struct abort_order order = {.cause = cause, .grace_ms = -1, .again = true};
    int n = 0;

    pthread_mutex_lock(&t->mutex);
    for (int i = 0; i < BUCKETS; i++) {
        for (struct abort_watch *w = t->buckets[i]; w != NULL; w = w->next) {
            if (w->worker_id != worker_id || w->slot == NULL)
                continue;
            order_watch(t, w, &order);
            n++;
        }
    }
    pthread_mutex_unlock(&t->mutex);
    return n;
}

/* -- watches ------------------------------------------------------------------------- */

void abort_watch_begin(struct abort_table *t, struct abort_watch *w)
{
    struct abort_watch **bucket = bucket_of(t, w->job_id);

    pthread_mutex_lock(&t->mutex);
    w->next = *bucket;
    *bucket = w;
    struct tombstone *stone = tombstones_take(&t->tombstones, w->job_id, w->attempt);
    if (stone != NULL)
        order_watch(t, w, &stone->order);
    pthread_mutex_unlock(&t->mutex);
    if (stone != NULL)
        tombstone_free(stone);
}

bool abort_watch_start(struct abort_table *t, struct abort_watch *w,
                       struct abort_slot *slot)
{
    uint64_t count;

    atomic_store_explicit(&slot->cell->requested, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->cell->seen, 0, memory_order_relaxed);
    while (slot->fd >= 0 && read(slot->fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&t->mutex);
    bool may_start = !w->requested;
    if (may_start)
        w->slot = slot;
    pthread_mutex_unlock(&t->mutex);
    return may_start;
}

/* A shutdown or a lost lease is nobody's receipt. */
static bool has_receipt(const struct abort_watch *w)
{
    return w->requested && w->cause != ABORT_SHUTDOWN && w->cause != ABORT_WORKER_LOST;
}

void abort_watch_stop(struct abort_table *t, struct abort_watch *w,
                      int64_t *out_delivered_us, int64_t *out_acknowledged_us)
{
    pthread_mutex_lock(&t->mutex);
    w->slot = NULL;
    *out_delivered_us = has_receipt(w) ? w->requested_us : 0;
    *out_acknowledged_us = has_receipt(w) ? w->acknowledged_us : 0;
    pthread_mutex_unlock(&t->mutex);
}

static void forget_due(struct abort_table *t, struct abort_watch *w)
{
    struct abort_watch **link = &t->due;

    if (!w->due)
        return;
    while (*link != w)
        link = &(*link)->due_next;
    *link = w->due_next;
    w->due = false;
}

void abort_watch_end(struct abort_table *t, struct abort_watch *w)
{
    struct abort_watch **link = bucket_of(t, w->job_id);

    pthread_mutex_lock(&t->mutex);
    while (*link != w)
        link = &(*link)->next;
    *link = w->next;
    t->n_unseen -= w->requested && w->acknowledged_us == 0;
    forget_due(t, w);
    pthread_mutex_unlock(&t->mutex);
    free(w->reason);
    free(w->actor);
    w->reason = w->actor = NULL;
}

int abort_watch_fd(struct abort_table *t, struct abort_watch *w)
{
    int fd = -1;

    pthread_mutex_lock(&t->mutex);
    if (w->slot != NULL) {
        if (w->slot->fd < 0)
            w->slot->fd = eventfd(w->requested ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK);
        fd = w->slot->fd;
    }
    pthread_mutex_unlock(&t->mutex);
    return fd;
}

void abort_watch_acknowledge(struct abort_table *t, struct abort_watch *w)
{
    pthread_mutex_lock(&t->mutex);
    if (w->acknowledged_us == 0) {
        w->acknowledged_us = clock_us();
        t->n_unseen -= w->requested;
        make_due(t, w);
    }
    pthread_mutex_unlock(&t->mutex);
}

bool abort_watch_info(struct abort_table *t, const struct abort_watch *w,
                      struct abort_info *out_info)
{
    int64_t now_us = clock_us();
    bool requested;

    pthread_mutex_lock(&t->mutex);
    requested = w->requested;
    if (requested) {
        int64_t left_us = w->kill_at_us - now_us;
        *out_info = (struct abort_info){
            .cause = w->cause,
            .reason = w->reason != NULL ? w->reason : "",
            .actor = w->actor != NULL ? w->actor : "",
            .grace_left_ms = w->kill_at_us == INT64_MAX ? INT64_MAX
                             : left_us > 0              ? left_us / US_PER_MS
                                                        : 0,
            .since_request_ms = (now_us - w->requested_us) / US_PER_MS,
        };
    }
    pthread_mutex_unlock(&t->mutex);
    return requested;
}

int abort_take_ignored(struct abort_table *t, int64_t before_us,
                       struct abort_ignored *out_ignored, int most)
{
    int n = 0;

    pthread_mutex_lock(&t->mutex);
    for (int i = 0; i < BUCKETS && t->n_unseen > 0 && n < most; i++) {
        for (struct abort_watch *w = t->buckets[i]; w != NULL && n < most; w = w->next) {
            if (!w->requested || w->acknowledged_us != 0 || w->slot == NULL ||
                w->ignored || w->requested_us > before_us)
                continue;
            w->ignored = true;
            out_ignored[n++] = (struct abort_ignored){
                .job_id = w->job_id, .attempt = w->attempt, .task = w->task};
        }
    }
    pthread_mutex_unlock(&t->mutex);
    return n;
}

/* -- what is to be written ----------------------------------------------------------- */

int abort_take_stages(struct abort_table *t, struct abort_stage *out_stages, int most)
{
    int n = 0;

    pthread_mutex_lock(&t->mutex);
    while (t->due != NULL && n < most) {
        struct abort_watch *w = t->due;
        t->due = w->due_next;
        w->due = false;
        if (!has_receipt(w))
            continue;
        out_stages[n++] = (struct abort_stage){.job_id = w->job_id,
                                               .worker_id = w->worker_id,
                                               .attempt = w->attempt,
                                               .delivered_us = w->requested_us,
                                               .acknowledged_us = w->acknowledged_us};
    }
    pthread_mutex_unlock(&t->mutex);
    return n;
}

bool abort_has_stages(struct abort_table *t)
{
    pthread_mutex_lock(&t->mutex);
    bool has = t->due != NULL;
    pthread_mutex_unlock(&t->mutex);
    return has;
}

void abort_add_leases(struct abort_table *t, int64_t worker_id, struct buf *b)
{
    int64_t last = 0;

    buf_addc(b, '{');
    pthread_mutex_lock(&t->mutex);
    for (int i = 0; i < BUCKETS; i++) {
        for (const struct abort_watch *w = t->buckets[i]; w != NULL; w = w->next) {
            if (w->worker_id != worker_id || w->lease == last)
                continue; /* a batch has one lease: this leaves out most repetitions */
            buf_addf(b, last != 0 ? ",%" PRId64 : "%" PRId64, w->lease);
            last = w->lease;
        }
    }
    pthread_mutex_unlock(&t->mutex);
    buf_addc(b, '}');
}
