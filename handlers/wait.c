/* Each waiting request has one timer. It fires every POLL_MS to ask for the job's status
 * in the batch of the read lane (many requests, one statement), and once more when the
 * time is up. Rejected: a NOTIFY for each end, which would put the cluster-wide lock of
 * NOTIFY into every finish for the few that wait. */
#include "handlers/wait.h"

#include "handlers/submit.h"
#include "server/core/clock.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { POLL_MS = 250, ENDED_MAX = 4096, BUCKETS = 256 };

/* Lives in its request, which cannot be freed before it is answered: so no waiter is left
 * behind in a bucket. */
struct waiter {
    struct request *req;
    struct waiter *next; /* in its bucket */
    int64_t job_id, end_ms;
    wait_fn *then;
    const struct first_answer *first;
    bool asking; /* a status statement is under way: its reply goes on */
    bool ended;  /* heard of the end while asking */
    struct db_value id;
};

struct waiters {
    struct app *app;
    struct waiter *buckets[BUCKETS]; /* by job id; HTTP thread */
    atomic_int n;
    atomic_bool released;
    pthread_mutex_t mutex;
    int64_t ended[ENDED_MAX]; /* under mutex: heard of, not looked up yet */
    size_t n_ended;           /* under mutex; what does not fit is found by asking */
};

static struct waiter **bucket_of(struct waiters *w, int64_t job_id)
{
    return &w->buckets[(uint64_t)job_id % BUCKETS];
}

static void forget(struct waiters *w, const struct waiter *waiter)
{
    struct waiter **link = bucket_of(w, waiter->job_id);

    while (*link != waiter)
        link = &(*link)->next;
    *link = waiter->next;
    atomic_fetch_sub(&w->n, 1);
}

/* The wait is over: hands the request back to its handler. First out of the list and the
 * timer off, then `then`: it may answer at once, and an answered request may be freed in
 * the next turn of the loop. */
static void settle(struct waiter *waiter)
{
    forget(req_app(waiter->req)->waiters, waiter);
    req_timer_stop(waiter->req);
    waiter->then(waiter->req, waiter->job_id, waiter->first);
}

static bool is_terminal(const char *status)
{
    return strcmp(status, "todo") != 0 && strcmp(status, "doing") != 0;
}

/* Whether this is the end that the request waits for. The attempt that a cancel has
 * stopped may be over while its job waits to start again. */
static bool is_over(const struct waiter *waiter, const struct db_rows *rows)
{
    if (rows->count == 0 || is_terminal(row_text(rows, 0, 2)))
        return true;
    return strcmp(req_operation(waiter->req), "cancelJob") == 0 &&
           strcmp(row_text(rows, 0, 4), "requeued") == 0;
}

static void arm(struct waiter *waiter);

/* On the HTTP thread. An error of the database does not end the wait: the next look may
 * find it back. */
static void on_status(void *arg, const struct db_rows *rows, enum err why,
                      const char *message)
{
    struct waiter *waiter = arg;

    (void)message;
    waiter->asking = false;
    bool ended = waiter->ended || (why == ERR_OK && is_over(waiter, rows));
    if (ended || clock_ms() >= waiter->end_ms || req_is_gone(waiter->req) ||
        atomic_load(&req_app(waiter->req)->waiters->released))
        settle(waiter);
    else
        arm(waiter);
}

/* At most one statement a waiter is under way. While it is, `id` and the waiter are the
 * lane's to read, so nobody but on_status() may settle it. */
static void ask(struct waiter *waiter)
{
    struct db_op op = {.lane = LANE_READ,
                       .sql = SQL_job_status,
                       .n_rows = 1,
                       .values = &waiter->id,
                       .done = on_status,
                       .arg = waiter};

    waiter->asking = db_submit(req_app(waiter->req)->lanes, &op) == ERR_OK;
    if (!waiter->asking)
        settle(waiter);
}

/* Also called early, when the client has hung up or the server stops
 * (request_end_wait()). */
static void on_timer(struct request *req, void *arg)
{
    struct waiter *waiter = arg;

    if (req_is_gone(req) || clock_ms() >= waiter->end_ms)
        settle(waiter);
    else
        ask(waiter);
}

static void arm(struct waiter *waiter)
{
    int64_t left_ms = waiter->end_ms - clock_ms();

    req_timer_start(waiter->req, left_ms < POLL_MS ? left_ms : POLL_MS, on_timer, waiter);
}

void wait_for_end(struct request *req, int64_t job_id, int64_t seconds, wait_fn *then,
                  const struct first_answer *first)
{
    struct waiters *w = req_app(req)->waiters;
    struct waiter *waiter = req_alloc(req, sizeof *waiter);
    struct waiter **bucket = bucket_of(w, job_id);

    *waiter = (struct waiter){.req = req,
                              .next = *bucket,
                              .job_id = job_id,
                              .id = db_int(job_id),
                              .end_ms = clock_ms() + seconds * MS_PER_SECOND,
                              .then = then,
                              .first = first};
    *bucket = waiter;
    atomic_fetch_add(&w->n, 1);
    /* The statement that is asked now is then its last. */
    if (atomic_load(&w->released))
        waiter->end_ms = 0;
    ask(waiter); /* it may have ended between the answer that brought us here and now */
}

enum err waiters_new(struct app *app, struct waiters **out_waiters)
{
    struct waiters *w = calloc(1, sizeof *w);

    if (w == NULL)
        return ERR_NO_MEMORY;
    w->app = app;
    pthread_mutex_init(&w->mutex, NULL);
    *out_waiters = w;
    return ERR_OK;
}

/* Called by the dispatcher after a batch of ends: the common case, nobody waits, costs
 * one load. A waiter that is added just behind that load asks for the status by itself,
 * at once, and sees the end, which is committed. */
bool waiters_ended(struct waiters *w, const int64_t *ids, size_t n)
{
    if (atomic_load(&w->n) == 0)
        return false;
    pthread_mutex_lock(&w->mutex);
    size_t room = ENDED_MAX - w->n_ended;
    n = n > room ? room : n;
    memcpy(w->ended + w->n_ended, ids, n * sizeof *ids);
    w->n_ended += n;
    pthread_mutex_unlock(&w->mutex);
    return true;
}

/* Of those that are asking only the flag is set: the reply that is under way may be older
 * than the end. */
static void settle_job(struct waiters *w, int64_t job_id)
{
    for (struct waiter *waiter = *bucket_of(w, job_id), *next; waiter != NULL;
         waiter = next) {
        next = waiter->next;
        if (waiter->job_id != job_id)
            continue;
        waiter->ended = true;
        if (!waiter->asking)
            settle(waiter);
    }
}

static void settle_everything(struct waiters *w)
{
    for (int i = 0; i < BUCKETS; i++) {
        for (struct waiter *waiter = w->buckets[i], *next; waiter != NULL;
             waiter = next) {
            next = waiter->next;
            waiter->end_ms = 0;
            if (!waiter->asking)
                settle(waiter);
        }
    }
}

/* Copied out first: settling a waiter submits a statement, which must not happen under
 * the mutex that the dispatcher needs. 32 KiB of stack; only the HTTP thread calls
 * this. */
void waiters_run(struct waiters *w)
{
    int64_t ids[ENDED_MAX];

    pthread_mutex_lock(&w->mutex);
    size_t n = w->n_ended;
    memcpy(ids, w->ended, n * sizeof *ids);
    w->n_ended = 0;
    pthread_mutex_unlock(&w->mutex);
    for (size_t i = 0; i < n; i++)
        settle_job(w, ids[i]);
    if (atomic_load(&w->released))
        settle_everything(w);
}

void waiters_release(struct waiters *w)
{
    if (w != NULL)
        atomic_store(&w->released, true);
}

void waiters_free(struct waiters *w)
{
    if (w == NULL)
        return;
    pthread_mutex_destroy(&w->mutex);
    free(w);
}
