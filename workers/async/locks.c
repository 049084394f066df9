/* A lock that is given up goes to whoever waits first, rather than to whoever comes by:
 * nobody starves. */
#include "workers/async/waitlist.h"

#include <assert.h>

int await_lock(struct job_ctx *ctx, struct job_mutex *m, int64_t timeout_ms)
{
    struct job_waiting w;
    int e = await_begin(ctx);

    if (e != JOB_OK)
        return e;
    if (m->locked)
        return waitlist_wait(ctx, &m->waiting, &w, timeout_ms);
    m->locked = true;
    return JOB_OK;
}

void job_unlock(struct job_mutex *m)
{
    struct job_waiting *w = waitlist_take(&m->waiting);

    assert(m->locked);
    if (w != NULL)
        coroutine_wake(w->co, JOB_OK);
    else
        m->locked = false;
}

int await_acquire(struct job_ctx *ctx, struct job_semaphore *s, int64_t timeout_ms)
{
    struct job_waiting w;
    int e = await_begin(ctx);

    if (e != JOB_OK)
        return e;
    if (s->free <= 0)
        return waitlist_wait(ctx, &s->waiting, &w, timeout_ms);
    s->free--;
    return JOB_OK;
}

void job_release(struct job_semaphore *s)
{
    struct job_waiting *w = waitlist_take(&s->waiting);

    if (w != NULL)
        coroutine_wake(w->co, JOB_OK);
    else
        s->free++;
}
