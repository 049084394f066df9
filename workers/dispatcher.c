/* Claims jobs and writes their ends, on one connection in one thread.
 *
 * Ends and the next claim go in one transaction and one round trip, so the claim's commit
 * costs nothing of its own. While one is under way the next ends collect: batches are of
 * one when idle and of hundreds under load, without a timer. Stages and progress go by
 * themselves, because they lock rows in another order. Rejected: a connection a thread (a
 * commit for each end).
 *
 * When the connection is lost, ends are written again on the next one: the statement
 * takes a repeated end for the same. A claim whose answer was lost has made a lease that
 * nobody here knows; after each reconnect such leases are given back (job_recover). */
#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "server/core/config.h"
#include "server/core/log.h"
#include "workers/ends.h"
#include "workers/marks.h"
#include "workers/parts.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    ENDS_MOST = 1000, /* in one batch */
    STAGES_MOST = 256,
    PROGRESS_MOST = 256,
    TIMEOUT_MS = 2000,
    BACKOFF_BASE_MS = 50,
    BACKOFF_CAP_MS = 4000,
    AHEAD_MS = 100, /* claimed ahead: what the threads can do in this time */
    LATE_MS = 500,  /* a job that has waited so long goes back */
    LATE_LOOK_MS = 100,
};

struct dispatcher {
    struct node *node;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t news;
    struct job_list ends; /* under mutex: to be written */
    int n_local;          /* under mutex: claimed, and not in `ends` yet */
    int n_unwritten;      /* under mutex: in `ends` or being written */
    unsigned wakes;       /* under mutex */
    bool poked, stopping; /* under mutex */
    atomic_bool up;
    _Atomic(int64_t) complained_ms;

    /* the thread's own */
    struct db *db;
    int failures;
    int64_t next_try_ms, poll_at_ms, late_at_ms, average_us;
    bool more, recovered; /* there may be jobs; unknown leases were given back */
    int64_t claim_at_ms;  /* not before: what could be found was found */
    struct marks marks;
    struct job_list writing;
};

/* -- from other threads -------------------------------------------------------------- */

static void signal_news(struct dispatcher *d)
{
    pthread_cond_signal(&d->news);
}

void dispatcher_wake(struct dispatcher *d)
{
    pthread_mutex_lock(&d->mutex);
    d->wakes++;
    signal_news(d);
    pthread_mutex_unlock(&d->mutex);
}

void dispatcher_poke(struct dispatcher *d)
{
    pthread_mutex_lock(&d->mutex);
    d->poked = true;
    signal_news(d);
    pthread_mutex_unlock(&d->mutex);
}

void dispatcher_end(struct dispatcher *d, struct job *job)
{
    pthread_mutex_lock(&d->mutex);
    job_list_add(&d->ends, job);
    d->n_local--;
    d->n_unwritten++;
    if (d->ends.n == 1)
        signal_news(d);
    pthread_mutex_unlock(&d->mutex);
}

void dispatcher_end_all(struct dispatcher *d, struct job_list *jobs)
{
    struct job *job;

    while ((job = job_list_take(jobs)) != NULL)
        dispatcher_end(d, job);
}

int dispatcher_unwritten(struct dispatcher *d)
{
    pthread_mutex_lock(&d->mutex);
    int n = d->n_unwritten;
    pthread_mutex_unlock(&d->mutex);
    return n;
}

bool dispatcher_is_up(struct dispatcher *d)
{
    return atomic_load(&d->up);
}

/* -- the connection ------------------------------------------------------------------ */

static void disconnect(struct dispatcher *d)
{
    atomic_store(&d->up, false);
    db_close(d->db);
    d->db = NULL;
    d->recovered = false;
    d->next_try_ms =
        clock_ms() + backoff_ms(d->failures++, BACKOFF_BASE_MS, BACKOFF_CAP_MS);
}

static void complain(struct dispatcher *d, const char *what, const char *why)
{
    if (log_once_a_second(&d->complained_ms))
        log_warn("dispatcher", "failed=%s why=%s", what, log_quoted(why));
}

static void connect_if_due(struct dispatcher *d)
{
    struct db_options options = {.url = d->node->options.url,
                                 .application_name = "belay worker",
                                 .statement_timeout_ms = TIMEOUT_MS,
                                 .pin_plans = true};
    char why[200];

    if (clock_ms() < d->next_try_ms)
        return;
    if (db_open(&options, &d->db, why, sizeof why) == ERR_OK) {
        if (d->failures > 0)
            log_info("dispatcher", "connected=true attempts=%d", d->failures + 1);
        d->failures = 0;
        d->more = true;
        atomic_store(&d->up, true);
        return;
    }
    d->db = NULL;
    d->next_try_ms =
        clock_ms() + backoff_ms(d->failures++, BACKOFF_BASE_MS, BACKOFF_CAP_MS);
    complain(d, "connect", why);
}

/* -- stages and progress ------------------------------------------------------------- */

static void write_stages(struct dispatcher *d)
{
    struct abort_stage stages[STAGES_MOST];
    struct db_rows rows;
    int n;

    while ((n = abort_take_stages(d->node->aborts, stages, STAGES_MOST)) > 0) {
        if (ends_write_stages(d->db, stages, n, &rows) != ERR_OK) {
            complain(d, "abort_stages", db_errmsg(d->db));
            return; /* the receipt's end tells the times once more */
        }
        db_rows_free(&rows);
    }
}

static void write_progress(struct dispatcher *d)
{
    static _Thread_local struct progress reports[PROGRESS_MOST];
    struct db_rows rows;
    int n;

    if (progress_due_ms(d->node->progress) > clock_ms())
        return;
    while ((n = progress_take(d->node->progress, reports, PROGRESS_MOST)) > 0) {
        if (ends_write_progress(d->db, reports, n, &rows) != ERR_OK) {
            complain(d, "job_progress", db_errmsg(d->db));
            return; /* the next report tells more */
        }
        db_rows_free(&rows);
    }
}

/* -- claiming ------------------------------------------------------------------------ */

/* How many jobs to claim: those that threads are free for, and as many ahead as they do
 * in AHEAD_MS. Nothing ahead while nothing is known. */
static int claim_size(struct dispatcher *d, int *out_sure)
{
    const struct config *c = d->node->options.config;
    int threads = (int)c->concurrency, ahead = 0;

    if (!d->more || clock_ms() < d->claim_at_ms || atomic_load(&d->node->draining) ||
        atomic_load(&d->node->worker_id) == 0 ||
        clock_ms() >= atomic_load(&d->node->sure_until_ms))
        return 0;
    if (d->average_us > 0 && d->average_us < AHEAD_MS * US_PER_MS)
        ahead = (int)(threads * AHEAD_MS * US_PER_MS / d->average_us);
    if (ahead > c->prefetch)
        ahead = (int)c->prefetch;
    pthread_mutex_lock(&d->mutex);
    int local = d->n_local;
    pthread_mutex_unlock(&d->mutex);
    int open = threads + ahead - local;
    *out_sure = threads > local ? threads - local : 0;
    return *out_sure > 0 || open > ahead / 2 ? open : 0;
}

struct claim {
    struct db_value values[5];
    struct db_call call;
    struct buf lows;
    int n, sure;
    bool full;
    unsigned wakes;
    int64_t worker_id, began_us;
};

static bool prepare_claim(struct dispatcher *d, struct claim *c)
{
    const char *queues = d->node->options.config->queues;

    *c = (struct claim){.lows = BUF_INIT};
    c->n = claim_size(d, &c->sure);
    if (c->n <= 0)
        return false;
    c->worker_id = atomic_load(&d->node->worker_id);
    c->full = marks_want_full(&d->marks, clock_ms());
    if (!c->full)
        marks_add_json(&d->marks, &c->lows);
    c->values[0] = db_int(c->worker_id);
    c->values[1] = db_int(c->n);
    c->values[2] = db_int(c->sure);
    c->values[3] = queues[0] != '\0' ? db_text(queues) : db_null();
    c->values[4] = c->full ? db_null() : db_textn(c->lows.text, (int)c->lows.len);
    c->call = (struct db_call){.sql = SQL_job_claim, .n_rows = 1, .values = c->values};
    pthread_mutex_lock(&d->mutex);
    c->wakes = d->wakes;
    pthread_mutex_unlock(&d->mutex);
    c->began_us = clock_us();
    return true;
}

/* What the registry needs to know of a claimed job. */
static void watch(struct dispatcher *d, struct job *job, int64_t worker_id)
{
    const struct config *c = d->node->options.config;
    int64_t grace = c->grace_seconds;

    job->worker_id = worker_id;
    job->task = node_task(d->node, job->task_name);
    if (job->task != NULL && job->task->grace_seconds > 0)
        grace = job->task->grace_seconds;
    job->watch = (struct abort_watch){
        .job_id = job->id,
        .lease = job->lease,
        .worker_id = worker_id,
        .attempt = job->attempt,
        .grace_ms = job->task != NULL && job->task->escalation == ESCALATE_KILL
                        ? grace * MS_PER_SECOND
                        : INT64_MAX,
    };
    abort_watch_begin(d->node->aborts, &job->watch);
}

static void take_claim(struct dispatcher *d, const struct claim *c,
                       const struct db_rows *rows)
{
    struct job_list jobs = {.n = 0};

    for (int i = 0; i < rows->count; i++) {
        struct job *job = job_of_row(rows, i);
        if (job == NULL)
            abort(); /* claimed and not to be held: the lease brings it back */
        watch(d, job, c->worker_id);
        marks_saw(&d->marks, job->priority, job->id);
        job_list_add(&jobs, job);
    }
    marks_note(&d->marks, c->full, clock_us() - c->began_us, clock_ms());
    pthread_mutex_lock(&d->mutex);
    d->n_local += jobs.n;
    bool woken = d->wakes != c->wakes, all = rows->count >= c->n;
    pthread_mutex_unlock(&d->mutex);
    d->more = all || !c->full || woken;
    d->claim_at_ms = all || c->full || woken ? 0 : d->marks.full_at_ms;
    d->poll_at_ms = clock_ms() + d->node->options.config->poll_seconds * MS_PER_SECOND;
    if (jobs.n > 0)
        pool_give(d->node->pool, &jobs);
}

/* -- writing ends -------------------------------------------------------------------- */

/* Exponentially weighted, so that a few long jobs among many are soon felt. */
static void learn(struct dispatcher *d, const struct job *job)
{
    if (job->started_us == 0)
        return;
    int64_t took_us = job->ended_us - job->started_us + 1;
    d->average_us =
        d->average_us == 0 ? took_us : (d->average_us * 15 + took_us) / 16 + 1;
}

static void release_job(struct dispatcher *d, struct job *job)
{
    abort_watch_end(d->node->aborts, &job->watch);
    job_free(job);
    pthread_mutex_lock(&d->mutex);
    d->n_unwritten--;
    pthread_mutex_unlock(&d->mutex);
}

/* The ends have been written, or refused: tells who waits, frees. */
static void settle(struct dispatcher *d, struct job_list *written,
                   const struct ends_answer *answers)
{
    int64_t ended[ENDS_MOST];
    size_t n_ended = 0;
    struct job *job;

    for (int i = 0; (job = job_list_take(written)) != NULL; i++) {
        learn(d, job);
        if (!answers[i].taken) {
            atomic_fetch_add(&d->node->stale_writes, 1);
            log_warn("job_finish", "job=%" PRId64 " attempt=%d stale=true hint=%s",
                     job->id, job->attempt,
                     log_quoted("its lease was taken away; the result is dropped"));
        } else if (answers[i].terminal) {
            ended[n_ended++] = job->id;
        }
        d->more = d->more || job->has_lock || (answers[i].taken && !answers[i].terminal);
        if (answers[i].scheduled)
            janitor_look_at_schedule(d->node->janitor);
        release_job(d, job);
    }
    if (n_ended > 0 && d->node->options.on_ended != NULL)
        d->node->options.on_ended(d->node->options.arg, ended, n_ended);
}

/* One by one, because the batch was refused: the bad one must not keep the others. */
static void write_one_by_one(struct dispatcher *d)
{
    struct job *job;

    while (d->db != NULL && !db_is_broken(d->db) && (job = d->writing.first) != NULL) {
        struct job_list one = {.n = 0};
        struct ends_answer answer = {.taken = false};
        job_list_remove(&d->writing, job);
        job_list_add(&one, job);
        enum err e = ends_write(d->db, &one, NULL, NULL, &answer);
        if (e == ERR_INVALID || e == ERR_INTERNAL) {
            log_error("job_finish", "job=%" PRId64 " refused=%s", job->id,
                      log_quoted(db_errmsg(d->db)));
            ends_replace(job, db_errmsg(d->db));
            e = ends_write(d->db, &one, NULL, NULL, &answer);
        }
        if (e == ERR_OK) {
            settle(d, &one, &answer);
            continue;
        }
        job_list_move(&d->writing, &one);
        complain(d, "job_finish", db_errmsg(d->db));
        return;
    }
}

/* Ends and claim in one transaction. */
static void write_and_claim(struct dispatcher *d)
{
    struct ends_answer answers[ENDS_MOST];
    struct claim claim;
    struct db_rows claimed = {.count = 0};
    bool claims = prepare_claim(d, &claim);
    enum err e = ERR_OK;

    if (d->writing.n > 0 || claims)
        e = ends_write(d->db, &d->writing, claims ? &claim.call : NULL, &claimed,
                       answers);
    buf_release(&claim.lows);
    if (e == ERR_OK) {
        d->failures = 0;
        settle(d, &d->writing, answers);
        if (claims)
            take_claim(d, &claim, &claimed);
        db_rows_free(&claimed);
        return;
    }
    if (e == ERR_CONFLICT && !db_is_broken(d->db))
        return; /* the other side has won: again */
    complain(d, "job_finish", db_errmsg(d->db));
    if (!db_is_broken(d->db) && e != ERR_UNAVAILABLE)
        write_one_by_one(d);
    else if (!db_is_broken(d->db))
        sleep_ms(backoff_ms(d->failures++, BACKOFF_BASE_MS, BACKOFF_CAP_MS));
}

/* -- the thread ---------------------------------------------------------------------- */

/* Jobs that were claimed ahead and have waited for too long go back to the others. */
static void give_back_late(struct dispatcher *d)
{
    struct job_list late = {.n = 0};
    int64_t now_ms = clock_ms();

    if (now_ms < d->late_at_ms)
        return;
    d->late_at_ms = now_ms + LATE_LOOK_MS;
    bool draining = atomic_load(&d->node->draining);
    pool_take_waiting(d->node->pool,
                      draining ? INT64_MAX : clock_us() - LATE_MS * US_PER_MS, &late);
    if (late.n == 0)
        return;
    if (!draining)
        d->average_us = AHEAD_MS * US_PER_MS; /* they are not as short as was thought */
    for (struct job *job = late.first; job != NULL; job = job->next)
        job->fate = FATE_UNSTARTED;
    dispatcher_end_all(d, &late);
}

static void recover(struct dispatcher *d)
{
    CLEANUP(buf_release) struct buf known = BUF_INIT;
    int64_t worker_id = atomic_load(&d->node->worker_id);
    struct db_rows rows;

    if (d->recovered || worker_id == 0)
        return;
    abort_add_leases(d->node->aborts, worker_id, &known);
    struct db_value values[] = {db_int(worker_id), db_textn(known.text, (int)known.len)};
    if (known.failed || db_exec(d->db, SQL_job_recover, 1, values, &rows) != ERR_OK) {
        complain(d, "job_recover", db_errmsg(d->db));
        return;
    }
    if (rows.count > 0 && row_int(&rows, 0, 0) > 0)
        log_info("job_recover", "given_back=%s", row_text(&rows, 0, 0));
    db_rows_free(&rows);
    d->recovered = true;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* When the thread has something to do that nobody will tell it. */
static int64_t next_look_ms(struct dispatcher *d)
{
    int64_t at_ms = d->poll_at_ms;

    if (d->db == NULL)
        return d->next_try_ms;
    at_ms = earlier(at_ms, progress_due_ms(d->node->progress));
    if (d->n_local > (int)d->node->options.config->concurrency)
        at_ms = earlier(at_ms, d->late_at_ms);
    if (d->more && d->claim_at_ms > 0)
        at_ms = earlier(at_ms, d->claim_at_ms);
    return at_ms;
}

static void wait_until(struct dispatcher *d, int64_t at_ms)
{
    struct timespec until = {.tv_sec = at_ms / MS_PER_SECOND,
                             .tv_nsec = at_ms % MS_PER_SECOND * 1000000};

    pthread_cond_timedwait(&d->news, &d->mutex, &until);
}

/* Sleeps until there is something to do, and takes the ends that are there. */
static void wait_for_news(struct dispatcher *d)
{
    int sure = 0, size = d->db != NULL ? claim_size(d, &sure) : 0;
    bool waits = d->writing.n > 0 || size > 0;

    pthread_mutex_lock(&d->mutex);
    unsigned wakes = d->wakes;
    while ((d->db == NULL || (d->ends.n == 0 && !waits)) && !d->poked && !d->stopping &&
           wakes == d->wakes) {
        int64_t at_ms = next_look_ms(d);
        if (at_ms <= clock_ms())
            break;
        wait_until(d, at_ms);
    }
    if (clock_ms() >= d->poll_at_ms || wakes != d->wakes) {
        d->more = true;
        d->claim_at_ms = 0;
    }
    d->poked = false;
    while (d->db != NULL && d->writing.n < ENDS_MOST && d->ends.n > 0)
        job_list_add(&d->writing, job_list_take(&d->ends));
    pthread_mutex_unlock(&d->mutex);
}

static bool is_done(struct dispatcher *d)
{
    pthread_mutex_lock(&d->mutex);
    bool done = d->stopping && (d->db == NULL || d->n_unwritten == 0);
    pthread_mutex_unlock(&d->mutex);
    return done;
}

static void work(struct dispatcher *d)
{
    if (!db_is_alive(d->db)) {
        disconnect(d);
        return;
    }
    recover(d);
    give_back_late(d);
    if (!db_is_broken(d->db) && abort_has_stages(d->node->aborts))
        write_stages(d);
    if (!db_is_broken(d->db))
        write_progress(d);
    if (!db_is_broken(d->db))
        write_and_claim(d);
    if (db_is_broken(d->db))
        disconnect(d);
}

static void *run(void *arg)
{
    struct dispatcher *d = arg;

    while (!is_done(d)) {
        wait_for_news(d);
        if (d->db == NULL)
            connect_if_due(d);
        else
            work(d);
    }
    if (d->db != NULL)
        disconnect(d);
    return NULL;
}

enum err dispatcher_new(struct node *node, struct dispatcher **out_d)
{
    struct dispatcher *d = calloc(1, sizeof *d);
    pthread_condattr_t monotonic;

    if (d == NULL)
        return ERR_NO_MEMORY;
    d->node = node;
    pthread_mutex_init(&d->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&d->news, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *out_d = d;
    return ERR_OK;
}

enum err dispatcher_start(struct dispatcher *d)
{
    return pthread_create(&d->thread, NULL, run, d) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

void dispatcher_close(struct dispatcher *d)
{
    if (d == NULL)
        return;
    pthread_mutex_lock(&d->mutex);
    d->stopping = true;
    signal_news(d);
    pthread_mutex_unlock(&d->mutex);
    pthread_join(d->thread, NULL);
}

void dispatcher_free(struct dispatcher *d)
{
    if (d == NULL)
        return;
    pthread_cond_destroy(&d->news);
    pthread_mutex_destroy(&d->mutex);
    free(d);
}
