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

#include "workers/outside.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct job_ctx;

#define JOB_OK        0
#define JOB_CANCELLED (-ECANCELED)
#define JOB_TIMEOUT   (-ETIMEDOUT)
#define JOB_NO_ASYNC  (-ENOTSUP)
#define JOB_NO_MEMORY (-ENOMEM)
#define JOB_CLOSED    (-ESHUTDOWN)
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

/* Waits for the end of all `n`. Their results are then taken with await_join(), which
 * returns at once. A cancel is passed on to all, whose ends are waited for:
 * JOB_CANCELLED. JOB_TIMEOUT: they go on. The handles stay valid. */
int await_all(struct job_ctx *ctx, struct job_child *const children[], int n,
              int64_t timeout_ms);

/* Waits for the end of one of `n` and returns its index. The same otherwise; the others
 * go on (await_cancel()). */
int await_any(struct job_ctx *ctx, struct job_child *const children[], int n,
              int64_t timeout_ms);

/* Waits for a child that a cancel must not reach: a part that has to be finished once it
 * was begun. JOB_OK: it has ended, take its result with await_join(). JOB_CANCELLED or
 * JOB_TIMEOUT come at once, and the child goes on; wait for it with await_join():
 *
 *     int e = await_shielded(ctx, child, "commit payment", JOB_FOREVER);
 *     if (e == JOB_CANCELLED)
 *         await_join(ctx, child, &result, JOB_FOREVER);
 *
 * `name` (copied) is what people see in GET /jobs/{id} while the section lasts. A further
 * cancel does reach the child, through that join. */
int await_shielded(struct job_ctx *ctx, struct job_child *child, const char *name,
                   int64_t timeout_ms);

/* Cancels the await that the child is in, or its next one. Does not wait. */
void await_cancel(struct job_ctx *ctx, struct job_child *child);

/* -- descriptors --------------------------------------------------------------------- */

/* `fd` is made non-blocking, and has to be one that can be waited for: a socket, a pipe,
 * a terminal, an eventfd; a regular file is -EPERM (its reads do not wait:
 * await_blocking()). Several may wait for one descriptor. */
enum { AWAIT_READABLE = 1, AWAIT_WRITABLE = 2 };

/* Waits until `fd` is ready for one of `events`; returns those that it is ready for. An
 * error or a hang-up of the other side counts as ready for both. */
int await_fd(struct job_ctx *ctx, int fd, int events, int64_t timeout_ms);

/* Reads what is there, at most `size` bytes, and waits until there is something; 0: the
 * end. */
int64_t await_read(struct job_ctx *ctx, int fd, void *buffer, size_t size,
                   int64_t timeout_ms);

/* Writes all of it, and returns `size`. After an error, a cancel or a timeout some of it
 * may have been written. No SIGPIPE: -EPIPE. */
int64_t await_write(struct job_ctx *ctx, int fd, const void *bytes, size_t size,
                    int64_t timeout_ms);

/* -- what blocks --------------------------------------------------------------------- */

/* Calls fn(arg) on one of a few threads (UV_THREADPOOL_SIZE in the environment, 4) and
 * returns what it returns, 0 or more, or a negative errno. `arg` is `size` bytes that are
 * copied, and copied back at the end: a thread cannot be stopped, so after a cancel or a
 * timeout `fn`, unless it had not begun, goes on with its copy, and nobody hears of its
 * end. size 0: `arg` itself is given to fn, and must live as long. fn must not await. */
int await_blocking(struct job_ctx *ctx, int (*fn)(void *arg), void *arg, size_t size,
                   int64_t timeout_ms);

/* -- among coroutines ---------------------------------------------------------------- */

/* All async jobs of a node share one thread, so these may be shared by the children of a
 * job and by jobs, but not with sync tasks. Whoever waits longest is first. They hold no
 * memory but a channel's; nobody may wait for one that goes away. */
struct job_waiting;
struct job_waitlist {
    struct job_waiting *first, *last;
};

/*     static struct job_mutex m;                         zero is unlocked */
struct job_mutex {
    bool locked;
    struct job_waitlist waiting;
};
int await_lock(struct job_ctx *ctx, struct job_mutex *m, int64_t timeout_ms);
void job_unlock(struct job_mutex *m);

/*     static struct job_semaphore three = {.free = 3};   at most three at a time */
struct job_semaphore {
    int free;
    struct job_waitlist waiting;
};
int await_acquire(struct job_ctx *ctx, struct job_semaphore *s, int64_t timeout_ms);
void job_release(struct job_semaphore *s);

/* A channel passes pointers, and holds up to `capacity` (1 or more) of them. */
struct job_channel;
struct job_channel *job_channel_new(int capacity); /* NULL without memory */
void job_channel_free(struct job_channel *ch);     /* NULL is fine */
/* Waits for room. JOB_CLOSED when the channel is, or becomes, closed. */
int await_send(struct job_ctx *ctx, struct job_channel *ch, void *item,
               int64_t timeout_ms);
/* Waits for an item. JOB_CLOSED when the channel is closed and empty. */
int await_receive(struct job_ctx *ctx, struct job_channel *ch, void **out_item,
                  int64_t timeout_ms);
/* Nothing more is sent; what is in it can be received. */
void job_channel_close(struct job_channel *ch);

/* -- on the way out ------------------------------------------------------------------ */

/* Runs on every way out of the task: after its function has returned and its children
 * have ended, the last one first. May await (in an async task). Works in sync tasks, too.
 * False without memory: `fn` was not, and will not be, called. */
bool job_defer(struct job_ctx *ctx, void (*fn)(struct job_ctx *ctx, void *arg),
               void *arg);

#ifdef __cplusplus
}
#endif

#endif
