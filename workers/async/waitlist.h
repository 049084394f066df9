/* waitlist: coroutines that wait in a line for the same thing.
 *
 *     struct job_waiting me;
 *     return waitlist_wait(ctx, &m->waiting, &me, timeout_ms);
 *
 *     struct job_waiting *w = waitlist_take(&m->waiting);
 *     if (w != NULL)
 *         coroutine_wake(w->co, JOB_OK);    it has it now
 *
 * Whoever is taken out has got what it waited for, even when its cancel comes before it
 * runs: the cancel is then its next await's. */
#ifndef BELAY_WORKERS_ASYNC_WAITLIST_H
#define BELAY_WORKERS_ASYNC_WAITLIST_H

#include "workers/async/loop.h"

/* On the stack of the coroutine that waits. */
struct job_waiting {
    struct job_waiting *next, *previous;
    struct job_waitlist *list;
    struct coroutine *co;
    void *item; /* what is handed over, in either direction */
};

/* Parks at the end of the line, after await_begin(). JOB_OK: somebody has taken it out.
 */
int waitlist_wait(struct job_ctx *ctx, struct job_waitlist *list, struct job_waiting *w,
                  int64_t timeout_ms);
/* The first of the line; NULL: nobody waits. */
struct job_waiting *waitlist_take(struct job_waitlist *list);

#endif
