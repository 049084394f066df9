/* The threads of sync tasks, and the jobs that wait for one. One mutex: a job moves from
 * waiting to running under it, so that an abort finds it either here, not started, or in
 * the abort table, with a slot. */
#include "server/core/clock.h"
#include "server/core/config.h"
#include "workers/parts.h"
#include "workers/runner.h"

#include <pthread.h>
#include <stdlib.h>

enum { STACK_BYTES = 1 << 20, HELD_LOOK_MS = 200 };

struct pool {
    struct node *node;
    pthread_mutex_t mutex;
    pthread_cond_t work;
    struct job_list waiting;                   /* under mutex: by priority, then id */
    int n_threads, n_running, n_idle, n_ended; /* under mutex */
    bool stopping;                             /* under mutex */
    pthread_cond_t ended;
    pthread_t *threads;
    int next_slot; /* under mutex */
};

/* -- waiting jobs; under mutex ------------------------------------------------------- */

static bool comes_before(const struct job *a, const struct job *b)
{
    return a->priority != b->priority ? a->priority > b->priority : a->id < b->id;
}

/* From the end: what was claimed last mostly belongs there. */
static void insert(struct job_list *l, struct job *job)
{
    struct job *after = l->last;

    while (after != NULL && comes_before(job, after))
        after = after->previous;
    if (after == l->last) {
        job_list_add(l, job);
        return;
    }
    job->previous = after;
    job->next = after != NULL ? after->next : l->first;
    job->next->previous = job;
    if (after != NULL)
        after->next = job;
    else
        l->first = job;
    l->n++;
}

static bool may_start(const struct pool *p)
{
    return clock_ms() < atomic_load(&p->node->sure_until_ms);
}

/* -- the threads --------------------------------------------------------------------- */

/* Waits for a job; NULL: the pool ends. Under mutex. */
static struct job *next_job(struct pool *p)
{
    struct timespec until;

    while (!p->stopping) {
        if (p->waiting.n > 0 && may_start(p))
            return job_list_take(&p->waiting);
        p->n_idle++;
        if (p->waiting.n > 0) { /* held back until a heartbeat is answered */
            clock_gettime(CLOCK_MONOTONIC, &until);
            until.tv_nsec += HELD_LOOK_MS * 1000000L;
            until.tv_sec += until.tv_nsec / 1000000000;
            until.tv_nsec %= 1000000000;
            pthread_cond_timedwait(&p->work, &p->mutex, &until);
        } else {
            pthread_cond_wait(&p->work, &p->mutex);
        }
        p->n_idle--;
    }
    return NULL;
}

static void *run_thread(void *arg)
{
    struct pool *p = arg;
    struct job *job;

    pthread_mutex_lock(&p->mutex);
    struct abort_slot *slot = abort_slot(p->node->aborts, p->next_slot++);
    while ((job = next_job(p)) != NULL) {
        p->n_running++;
        pthread_mutex_unlock(&p->mutex);
        run_job(p->node, job, slot);
        dispatcher_end(p->node->dispatcher, job);
        pthread_mutex_lock(&p->mutex);
        p->n_running--;
    }
    p->n_ended++;
    pthread_cond_signal(&p->ended);
    pthread_mutex_unlock(&p->mutex);
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
    pthread_condattr_t monotonic;

    if (p == NULL || (p->threads = calloc((size_t)n + 1, sizeof *p->threads)) == NULL) {
        free(p);
        return ERR_NO_MEMORY;
    }
    p->node = node;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&p->work, &monotonic);
    pthread_cond_init(&p->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *out_pool = p;
    return start_threads(p, n) ? ERR_OK : ERR_NO_MEMORY;
}

/* -- what the dispatcher does -------------------------------------------------------- */

void pool_give(struct pool *p, struct job_list *jobs)
{
    struct job *job;

    pthread_mutex_lock(&p->mutex);
    while ((job = job_list_take(jobs)) != NULL)
        insert(&p->waiting, job);
    int wanted = p->waiting.n < p->n_idle ? p->waiting.n : p->n_idle;
    for (int i = 0; i < wanted; i++)
        pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->mutex);
}

struct job *pool_take_out(struct pool *p, int64_t job_id)
{
    pthread_mutex_lock(&p->mutex);
    struct job *job = p->waiting.first;
    while (job != NULL && job->id != job_id)
        job = job->next;
    if (job != NULL)
        job_list_remove(&p->waiting, job);
    pthread_mutex_unlock(&p->mutex);
    return job;
}

void pool_take_waiting(struct pool *p, int64_t claimed_before_us, struct job_list *out)
{
    pthread_mutex_lock(&p->mutex);
    for (struct job *job = p->waiting.first, *next; job != NULL; job = next) {
        next = job->next;
        if (job->claimed_us >= claimed_before_us)
            continue;
        job_list_remove(&p->waiting, job);
        job_list_add(out, job);
    }
    pthread_mutex_unlock(&p->mutex);
}

struct pool_count pool_count(struct pool *p)
{
    pthread_mutex_lock(&p->mutex);
    struct pool_count count = {
        .threads = p->n_threads, .running = p->n_running, .waiting = p->waiting.n};
    pthread_mutex_unlock(&p->mutex);
    return count;
}

void pool_poke(struct pool *p)
{
    pthread_mutex_lock(&p->mutex);
    if (p->waiting.n > 0)
        pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->mutex);
}

bool pool_close(struct pool *p)
{
    if (p == NULL)
        return true;
    pthread_mutex_lock(&p->mutex);
    p->stopping = true;
    pthread_cond_broadcast(&p->work);
    while (p->n_ended + p->n_running < p->n_threads)
        pthread_cond_wait(&p->ended, &p->mutex);
    bool all = p->n_ended == p->n_threads;
    pthread_mutex_unlock(&p->mutex);
    if (!all)
        return false; /* a thread is inside a task: it may not be killed */
    for (int i = 0; i < p->n_threads; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->ended);
    pthread_mutex_destroy(&p->mutex);
    free(p->threads);
    free(p);
    return true;
}
