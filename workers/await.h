/* await: what a task of kind TASK_ASYNC may wait for. Included by task.h.
 *
 * An async task is a plain C function. It runs on a stack of its own on the node's loop,
 * among thousands of others, and lets the others run while it waits in one of the calls
 * below, which may be called at any depth of its own functions:
 *
 *     static enum job_result nap(struct job_ctx *ctx)
 *     {
 *         if (await_sleep(ctx, 60000, JOB_FOREVER) == JOB_CANCELLED)
 *             return job_aborted(ctx, "woken early");
 *         return job_ok(ctx);
 *     }
 *     const struct task task_nap = {.name = "nap", .kind = TASK_ASYNC, .run = nap};
 *
 * An abort of the job cancels the await that the task's function is in: it cleans up what
 * it was waiting for, and returns JOB_CANCELLED. If the function is in none, its next one
 * returns that at once. The task may do as it pleases with it: return job_aborted(),
 * finish something first, or go on and succeed. A further request, and the end of the
 * grace (`grace_seconds`), cancel once more.
 *
 * Between two awaits nothing else of the loop runs: do not block (sleep(), a lock that a
 * thread holds, a long computation); that is what await_blocking() is for. The stack has
 * 60 KiB. Every call returns JOB_OK (0) or more, or one of the errors below, or another
 * -errno; timeout_ms is how long the call may wait, JOB_FOREVER for ever, 0 not at all.
 * Outside of an async task all of them return JOB_NO_ASYNC. */
#ifndef BELAY_AWAIT_H
#define BELAY_AWAIT_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

struct job_ctx;

#define JOB_OK        0
#define JOB_CANCELLED (-ECANCELED)
#define JOB_TIMEOUT   (-ETIMEDOUT)
#define JOB_NO_ASYNC  (-ENOTSUP)
#define JOB_NO_MEMORY (-ENOMEM)
#define JOB_FOREVER   (-1)

/* Sleeps for `ms`. With a timeout_ms that is shorter: JOB_TIMEOUT then. */
int await_sleep(struct job_ctx *ctx, int64_t ms, int64_t timeout_ms);

/* -- children ------------------------------------------------------------------------ */

/* A function that runs beside the one that spawned it, on the same loop, as a part of the
 * same job: the job ends only when all its children have ended. Those that still run when
 * the task returns are cancelled, and waited for: so what they use (`arg`) must outlive
 * the task's function; join them before you return, or free it with job_defer(). */
struct job_child;

/* Will run fn(ctx, arg), not before the next await; NULL without memory or outside of an
 * async task. The handle is valid until await_join() has taken it, or the job ends. */
struct job_child *await_spawn(struct job_ctx *ctx,
                              int (*fn)(struct job_ctx *ctx, void *arg), void *arg);

/* Waits for the child's end. JOB_OK: *out_result (NULL: not wanted) is what its function
 * returned. A cancel is passed on to the child, whose end is waited for: JOB_CANCELLED if
 * its function then returned that, and otherwise JOB_OK, for the child has swallowed the
 * cancel or was faster. In both cases the handle is not valid any more. JOB_TIMEOUT: the
 * child goes on. */
int await_join(struct job_ctx *ctx, struct job_child *child, int *out_result,
               int64_t timeout_ms);

/* Cancels the await that the child is in, or its next one. Does not wait. */
void await_cancel(struct job_ctx *ctx, struct job_child *child);

/* Runs on every way out of the task: after its function has returned and its children
 * have ended, the last one first. May await (in an async task). Works in sync tasks, too.
 * False without memory: `fn` was not, and will not be, called. */
bool job_defer(struct job_ctx *ctx, void (*fn)(struct job_ctx *ctx, void *arg),
               void *arg);

#endif
