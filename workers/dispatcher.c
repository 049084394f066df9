/* Claims jobs and writes their ends, on one connection in one thread.
 *
 * Ends and the next claim go in one transaction and one round trip, so the claim's commit
 * costs nothing of its own. While one is under way the next ends collect: batches are of
 * one when idle and of hundreds under load, without a timer. Jobs that go back beside
 * others that have ended have a transaction of their own (ends.c). Stages and progress go
 * by themselves, because they lock rows in another order. Rejected: a connection a thread
 * (a commit for each end).
 *
 * When the connection is lost, ends are written again on the next one: the statement
 * takes a repeated end for the same. A claim whose answer was lost has made a lease that
 * nobody here knows; after each reconnect such leases are given back (job_recover). */
#include "db/link.h"
#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "server/core/config.h"
#include "server/core/log.h"
#include "server/core/monitor.h"
#include "workers/claims.h"
#include "workers/ends.h"
#include "workers/parts.h"
#include "workers/reports.h"
#include "workers/tally.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    ENDS_MOST = 1000, /* in one batch */
    TIMEOUT_MS = 2000,
    LATE_LOOK_MS = 100,
};

struct dispatcher {
    struct node *node;
    pthread_t thread;
    struct monitor monitor;
    struct job_list ends;      /* under monitor: to be written */
    struct claims_local local; /* under monitor: claimed, and not in `ends` yet */
    int n_unwritten;           /* under monitor: in `ends` or being written */
    unsigned wakes;            /* under monitor */
    bool poked, stopping;      /* under monitor */

    /* the thread's own */
    struct link link;
    int64_t late_at_ms;
    unsigned seen_wakes; /* written by it, under monitor */
    bool recovered;      /* leases that are not known here were given back */
    struct claims claims;
    struct job_list writing;
};

/* -- from other threads -------------------------------------------------------------- */

void dispatcher_wake(struct dispatcher *d)
{
    monitor_lock(&d->monitor);
    atomic_store(&d->node->nothing_left, false);
    if (d->wakes++ == d->seen_wakes) /* else it is awake, or about to be */
        monitor_signal(&d->monitor);
    monitor_unlock(&d->monitor);
}

void dispatcher_poke(struct dispatcher *d)
{
    monitor_lock(&d->monitor);
    d->poked = true;
    monitor_signal(&d->monitor);
    monitor_unlock(&d->monitor);
}

/* Under monitor. */
static int *local_of(struct dispatcher *d, const struct job *job)
{
    return job_is_async(job) ? &d->local.async : &d->local.sync;
}

void dispatcher_end(struct dispatcher *d, struct job *job)
{
    monitor_lock(&d->monitor);
    job_list_add(&d->ends, job);
    *local_of(d, job) -= 1;
    d->n_unwritten++;
    if (d->ends.n == 1)
        monitor_signal(&d->monitor);
    monitor_unlock(&d->monitor);
}

void dispatcher_end_all(struct dispatcher *d, struct job_list *jobs)
{
    struct job *job;

    while ((job = job_list_take(jobs)) != NULL)
        dispatcher_end(d, job);
}

int dispatcher_unwritten(struct dispatcher *d)
{
    monitor_lock(&d->monitor);
    int n = d->n_unwritten;
    monitor_unlock(&d->monitor);
    return n;
}

bool dispatcher_is_up(struct dispatcher *d)
{
    return link_is_up(&d->link);
}

/* -- writing ends -------------------------------------------------------------------- */

static void release_job(struct dispatcher *d, struct job *job)
{
    abort_watch_end(d->node->aborts, &job->watch);
    job_free(job);
    monitor_lock(&d->monitor);
    d->n_unwritten--;
    monitor_unlock(&d->monitor);
}

/* The lease was taken away. A job that has not started leaves nothing behind. */
static void note_stale(struct dispatcher *d, const struct job *job)
{
    if (job->fate == FATE_UNSTARTED)
        return;
    atomic_fetch_add(&d->node->stale_writes, 1);
    log_warn("job_finish", "job=%" PRId64 " attempt=%d stale=true hint=%s", job->id,
             job->attempt, log_quoted("its lease was taken away; the result is dropped"));
}

/* Those ends that have been written: tells who waits, frees. The others stay. */
static void settle(struct dispatcher *d, struct job_list *jobs,
                   const struct ends_answer *answers)
{
    int64_t ended[ENDS_MOST];
    size_t n_ended = 0;
    struct job *next = jobs->first;

    for (const struct ends_answer *a = answers; next != NULL; a++) {
        struct job *job = next;
        next = job->next;
        if (!a->written)
            continue;
        job_list_remove(jobs, job);
        claims_learn(&d->claims, job);
        tally_end(node_tally(d->node, job->task), job, a);
        if (!a->taken)
            note_stale(d, job);
        else if (a->terminal)
            ended[n_ended++] = job->id;
        if (job->has_lock || (a->taken && !a->terminal))
            claims_wake(&d->claims); /* the next of its line, or itself */
        if (a->scheduled)
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

    while (d->link.db != NULL && !db_is_broken(d->link.db) &&
           (job = d->writing.first) != NULL) {
        struct job_list one = {.n = 0};
        struct ends_answer answer = {.taken = false};
        job_list_remove(&d->writing, job);
        job_list_add(&one, job);
        enum err e = ends_write(d->link.db, &one, NULL, NULL, &answer);
        if (e == ERR_INVALID || e == ERR_INTERNAL) {
            log_error("job_finish", "job=%" PRId64 " refused=%s", job->id,
                      log_quoted(db_errmsg(d->link.db)));
            ends_replace(job, db_errmsg(d->link.db));
            e = ends_write(d->link.db, &one, NULL, NULL, &answer);
        }
        if (e == ERR_OK) {
            settle(d, &one, &answer);
            continue;
        }
        job_list_move(&d->writing, &one);
        link_complain(&d->link, "job_finish", db_errmsg(d->link.db));
        return;
    }
}

static void on_refusal(struct dispatcher *d, enum err e)
{
    if (e == ERR_CONFLICT && !db_is_broken(d->link.db))
        return; /* the other side of a deadlock has won: again */
    link_complain(&d->link, "job_finish", db_errmsg(d->link.db));
    if (db_is_broken(d->link.db))
        return;
    if (e == ERR_UNAVAILABLE)
        link_rest(&d->link); /* for a reason that is not their own */
    else
        write_one_by_one(d);
}

static void take_claim(struct dispatcher *d, const struct claim *claim,
                       const struct db_rows *rows, unsigned wakes)
{
    struct job_list jobs = {.n = 0};

    monitor_lock(&d->monitor);
    bool woken = d->wakes != wakes;
    monitor_unlock(&d->monitor);
    claims_take(&d->claims, claim, rows, woken, &jobs);
    monitor_lock(&d->monitor);
    for (const struct job *job = jobs.first; job != NULL; job = job->next)
        *local_of(d, job) += 1;
    monitor_unlock(&d->monitor);
    if (jobs.n > 0)
        runs_give(d->node, &jobs);
}

/* Ends and the next claim. */
static void write_and_claim(struct dispatcher *d)
{
    struct ends_answer answers[ENDS_MOST];
    struct db_rows claimed = {.count = 0};
    CLEANUP(claim_release)
    struct claim claim = {.lows = BUF_INIT, .queues = BUF_INIT, .tasks = BUF_INIT};

    monitor_lock(&d->monitor);
    unsigned wakes = d->wakes;
    struct claims_local local = d->local;
    monitor_unlock(&d->monitor);
    struct claim_wish wish = claims_wish(&d->claims, &local);
    if (wish.n > 0)
        claims_prepare(&d->claims, &wish, &claim);
    else if (d->writing.n == 0)
        return;
    enum err e = ends_write(d->link.db, &d->writing, wish.n > 0 ? &claim.call : NULL,
                            &claimed, answers);
    settle(d, &d->writing, answers);
    if (e != ERR_OK) {
        on_refusal(d, e);
        return;
    }
    link_works(&d->link);
    if (wish.n > 0)
        take_claim(d, &claim, &claimed, wakes);
    db_rows_free(&claimed);
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
    runs_take_waiting(
        d->node, draining ? INT64_MAX : clock_us() - CLAIM_LATE_MS * US_PER_MS, &late);
    for (struct job *job = late.first; job != NULL; job = job->next) {
        job->fate = FATE_UNSTARTED;
        if (!draining)
            claims_learn_late(&d->claims, job);
    }
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
    if (known.failed ||
        db_exec(d->link.db, SQL_job_recover, 1, values, &rows) != ERR_OK) {
        link_complain(&d->link, "job_recover", db_errmsg(d->link.db));
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

/* When the thread has something to do that nobody will tell it. Under monitor. */
static int64_t next_look_ms(struct dispatcher *d)
{
    const struct config *config = d->node->options.config;
    int64_t at_ms = claims_next_ms(&d->claims, &d->local);

    if (d->link.db == NULL)
        return d->link.next_try_ms;
    at_ms = earlier(at_ms, progress_due_ms(d->node->progress));
    if (d->local.sync > config->concurrency || d->local.async > config->async_concurrency)
        at_ms = earlier(at_ms, d->late_at_ms);
    return at_ms;
}

/* Something has happened since `wakes` was read. Under monitor. */
static bool has_news(const struct dispatcher *d, unsigned wakes)
{
    return d->poked || d->stopping || d->wakes != wakes ||
           (d->link.db != NULL && d->ends.n > 0);
}

/* Sleeps until there is something to do. */
static void wait_for_news(struct dispatcher *d)
{
    monitor_lock(&d->monitor);
    bool busy = d->link.db != NULL &&
                (d->writing.n > 0 || claims_wish(&d->claims, &d->local).n > 0);
    while (!busy && !has_news(d, d->seen_wakes)) {
        if (!monitor_wait(&d->monitor, next_look_ms(d)))
            break;
    }
    if (d->wakes != d->seen_wakes)
        claims_wake(&d->claims);
    else
        claims_wake_if_due(&d->claims);
    d->seen_wakes = d->wakes;
    d->poked = false;
    monitor_unlock(&d->monitor);
}

/* Takes the ends that are there. */
static void take_ends(struct dispatcher *d)
{
    monitor_lock(&d->monitor);
    while (d->writing.n < ENDS_MOST && d->ends.n > 0) {
        struct job *job = job_list_take(&d->ends);
        if (quotas_leave(job)) /* the next claim is in the transaction of this end */
            claims_wake_tasks(&d->claims);
        job_list_add(&d->writing, job);
    }
    monitor_unlock(&d->monitor);
}

static bool is_stopping(struct dispatcher *d)
{
    monitor_lock(&d->monitor);
    bool stopping = d->stopping;
    monitor_unlock(&d->monitor);
    return stopping;
}

static void drop_connection(struct dispatcher *d)
{
    link_drop(&d->link);
    d->recovered = false;
    claims_wake(&d->claims);
}

static void work(struct dispatcher *d)
{
    if (!db_is_alive(d->link.db)) {
        drop_connection(d);
        return;
    }
    recover(d);
    give_back_late(d);
    if (!db_is_broken(d->link.db) && abort_has_stages(d->node->aborts))
        reports_write_stages(&d->link, d->node->aborts);
    if (!db_is_broken(d->link.db))
        reports_write_progress(&d->link, d->node->progress);
    take_ends(d);
    if (!db_is_broken(d->link.db))
        write_and_claim(d);
    if (db_is_broken(d->link.db))
        drop_connection(d);
}

static void *run(void *arg)
{
    struct dispatcher *d = arg;

    while (!is_stopping(d)) {
        wait_for_news(d);
        if (link_connect(&d->link))
            work(d);
    }
    d->late_at_ms = 0; /* what the last claim brought goes back: the pool has closed */
    if (d->link.db != NULL)
        work(d);
    link_drop(&d->link);
    return NULL;
}

enum err dispatcher_new(struct node *node, struct dispatcher **out_d)
{
    struct db_options options = {.url = node->options.url,
                                 .application_name = "belay worker",
                                 .statement_timeout_ms = TIMEOUT_MS,
                                 .pin_plans = true};
    struct dispatcher *d = calloc(1, sizeof *d);

    if (d == NULL)
        return ERR_NO_MEMORY;
    enum err e = claims_init(&d->claims, node);
    if (e != ERR_OK) {
        free(d);
        return e;
    }
    d->node = node;
    link_init(&d->link, &options, "dispatcher");
    monitor_init(&d->monitor);
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
    monitor_lock(&d->monitor);
    d->stopping = true;
    monitor_signal(&d->monitor);
    monitor_unlock(&d->monitor);
    pthread_join(d->thread, NULL);
}

void dispatcher_free(struct dispatcher *d)
{
    if (d == NULL)
        return;
    monitor_release(&d->monitor);
    claims_release(&d->claims);
    free(d);
}
