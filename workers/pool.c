/* The threads of sync tasks, and the jobs that wait for one. One mutex: a job moves from
 * waiting to running under it, so that an abort finds it either here, not started, or in
 * the abort table, with a slot. */
#include "server/core/clock.h"
#include "server/core/config.h"
#include "server/core/monitor.h"
#include "workers/parts.h"
#include "workers/runner.h"

#include <pthread.h>
#include <stdlib.h>

enum { STACK_BYTES = 1 << 20, HELD_LOOK_MS = 200 };

struct pool {
    struct node *node;
    struct monitor monitor;
    struct job_list waiting;                   /* under monitor: by priority, then id */
    int n_threads, n_running, n_idle, n_ended; /* under monitor */
    bool stopping;                             /* under monitor */
    pthread_t *threads;
    int next_slot; /* under monitor */
};

/* -- the threads --------------------------------------------------------------------- */

/* Waits for a job; NULL: the pool ends. Under monitor. */
static struct job *next_job(struct pool *p)
{
    while (!p->stopping) {
        if (p->waiting.n > 0 && runs_may_start(p->node))
            return job_list_take(&p->waiting);
        p->n_idle++;
        /* With jobs that wait it is held back until a heartbeat is answered. */
        monitor_wait(&p->monitor,
                     p->waiting.n > 0 ? clock_ms() + HELD_LOOK_MS : INT64_MAX);
        p->n_idle--;
    }
    return NULL;
}

static void *run_thread(void *arg)
{
    struct pool *p = arg;
    struct job *job;

    monitor_lock(&p->monitor);
    struct abort_slot *slot = abort_slot(p->node->aborts, p->next_slot++);
    while ((job = next_job(p)) != NULL) {
        p->n_running++;
        monitor_unlock(&p->monitor);
        run_job(p->node, job, slot);
        dispatcher_end(p->node->dispatcher, job);
        monitor_lock(&p->monitor);
        p->n_running--;
    }
    p->n_ended++;
    monitor_broadcast(&p->monitor);
    monitor_unlock(&p->monitor);
    return NULL;
}

static bool start_threads(struct pool *p, int n)
{
    pthread_attr_t attr;
    bool started = true;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    for (int i = 0; i < n && started; i++) {
        started = pthread_create(&p->threads[i], &attr, run_thread, p) == 0;
        p->n_threads += started;
    }
    pthread_attr_destroy(&attr);
    return started;
}

enum err pool_open(struct node *node, struct pool **out_pool)
{
    int n = (int)node->options.config->concurrency;
    struct pool *p = calloc(1, sizeof *p);

    if (p == NULL || (p->threads = calloc((size_t)n + 1, sizeof *p->threads)) == NULL) {
        free(p);
        return ERR_NO_MEMORY;
    }
    p->node = node;
    monitor_init(&p->monitor);
    *out_pool = p;
    return start_threads(p, n) ? ERR_OK : ERR_NO_MEMORY;
}

/* -- what the dispatcher does -------------------------------------------------------- */

void pool_give(struct pool *p, struct job_list *jobs)
{
    struct job *job;

    monitor_lock(&p->monitor);
    while ((job = job_list_take(jobs)) != NULL)
        job_list_insert(&p->waiting, job);
    int wanted = p->waiting.n < p->n_idle ? p->waiting.n : p->n_idle;
    for (int i = 0; i < wanted; i++)
        monitor_signal(&p->monitor);
    monitor_unlock(&p->monitor);
}

struct job *pool_take_out(struct pool *p, int64_t job_id)
{
    monitor_lock(&p->monitor);
    struct job *job = job_list_take_id(&p->waiting, job_id);
    monitor_unlock(&p->monitor);
    return job;
}

void pool_take_waiting(struct pool *p, int64_t claimed_before_us, struct job_list *out)
{
    monitor_lock(&p->monitor);
    job_list_take_old(&p->waiting, claimed_before_us, out);
    monitor_unlock(&p->monitor);
}

struct pool_count pool_count(struct pool *p)
{
    monitor_lock(&p->monitor);
    struct pool_count count = {
        .threads = p->n_threads, .running = p->n_running, .waiting = p->waiting.n};
    monitor_unlock(&p->monitor);
    return count;
}

void pool_poke(struct pool *p)
{
    monitor_lock(&p->monitor);
    if (p->waiting.n > 0)
        monitor_broadcast(&p->monitor);
    monitor_unlock(&p->monitor);
}

bool pool_close(struct pool *p)
{
    if (p == NULL)
        return true;
    monitor_lock(&p->monitor);
    p->stopping = true;
    monitor_broadcast(&p->monitor);
    while (p->n_ended + p->n_running < p->n_threads)
        monitor_wait(&p->monitor, INT64_MAX);
    bool all = p->n_ended == p->n_threads;
    monitor_unlock(&p->monitor);
    if (!all)
        return false; /* a thread is inside a task: it may not be killed */
    for (int i = 0; i < p->n_threads; i++)
        pthread_join(p->threads[i], NULL);
    return true;
}

void pool_free(struct pool *p)
{
    if (p == NULL)
        return;
    monitor_release(&p->monitor);
    free(p->threads);
    free(p);
}
