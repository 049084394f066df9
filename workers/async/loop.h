/* loop: coroutines on one thread, and the libuv loop that wakes them.
 *
 * How an awaitable is written (sleep.c is the shortest, fd.c a whole one):
 *
 *     int await_thing(struct job_ctx *ctx, ..., int64_t timeout_ms)
 *     {
 *         int e = await_begin(ctx);          a cancel that waits is delivered here
 *         if (e != JOB_OK)
 *             return e;
 *         struct thing t = {.co = coroutine_self()};
 *         start_thing(&t);                   its completion calls coroutine_wake(t.co, x)
 *         return await_park(ctx, stop_thing, &t, timeout_ms);
 *     }
 *
 *     static void stop_thing(void *arg, int why)    JOB_CANCELLED or JOB_TIMEOUT
 *     {
 *         ... ends the operation, and sees to it that, now or later,
 *         coroutine_wake(t->co, why);
 *     }
 *
 * await_park() returns what the first coroutine_wake() says. The stop hook runs on the
 * loop's own stack or on another coroutine's; it must not await, may wake at once, and
 * has to bear a second call: a further cancel while the first one's clean-up is under way
 * (a good moment to be less polite). What libuv still uses after the wake, such as a
 * handle until its close callback, must not lie on the coroutine's stack. The result of
 * an operation that was faster than its cancel is returned, and the cancel is delivered
 * at the next await: neither is lost.
 *
 * Threads: all of it is called on the loop's thread, loop_poke() from any. */
#ifndef BELAY_WORKERS_ASYNC_LOOP_H
#define BELAY_WORKERS_ASYNC_LOOP_H

#include "server/core/err.h"
#include "workers/deadlines.h"
#include "workers/task.h"

#include <stdatomic.h>
#include <uv.h>

struct coroutine;
struct scope;
struct loop;

/* What an awaitable keeps on the loop for all of its calls, as its first member. Its
 * release function, called by loop_release(), is also its name. */
struct loop_part {
    struct loop_part *next;
    void (*release)(struct loop_part *part);
};

/* The part that awaitables and tests may look at. */
struct loop {
    uv_loop_t uv;
    struct deadlines deadlines;
    /* Called by loop_poke(), and after a coroutine has run for longer than STALL_US. */
    void (*on_poke)(struct loop *loop);
    void (*on_stall)(struct loop *loop, const struct scope *scope, int64_t since_us);
    void *arg;
    bool stopping; /* loop_run() returns when no coroutine is left */
    /* Calls on libuv's threads that may outlive their await, or their job. */
    _Atomic int n_loose;
    /* The coroutine that runs now, for a watcher in another thread: its name, and since
     * when, by clock_us(); 0: none. */
    _Atomic(const char *) running_name;
    _Atomic int64_t running_since_us;

    /* the loop's own */
    uv_async_t poke;
    uv_timer_t timer;
    uv_idle_t busy; /* active while a coroutine is ready */
    int64_t timer_us;
    struct stacks *stacks;
    struct coroutine *ready_first, *ready_last;
    struct deadline trim;
    struct loop_part *parts;
    struct loop_stack *own; /* where coroutines come back to */
    int n_coroutines;
};

enum { STALL_US = 100000 };

enum err loop_init(struct loop *loop) MUST_CHECK;
void loop_release(struct loop *loop);
/* Runs until `stopping` and the last coroutine has ended. */
void loop_run(struct loop *loop);
/* Makes loop_run() call on_poke() soon, once for many pokes. Any thread. */
void loop_poke(struct loop *loop);

/* NULL: it has none yet. */
struct loop_part *loop_part(const struct loop *loop,
                            void (*release)(struct loop_part *part));
void loop_add_part(struct loop *loop, struct loop_part *part);

/* -- coroutines ---------------------------------------------------------------------- */

/* What a coroutine is: run(arg) is called on a stack of its own, in the loop's next turn,
 * and ended(arg) on the loop's stack after that. */
struct coroutine_body {
    struct scope *scope; /* whose it is */
    const char *name;    /* of its task; valid as long as the loop */
    void (*run)(void *arg);
    void (*ended)(void *arg);
    void *arg;
};
/* NULL without memory. */
struct coroutine *coroutine_start(struct loop *loop, const struct coroutine_body *body);
/* The one that runs on this thread; NULL: none, as in a sync task. */
struct coroutine *coroutine_self(void);
struct loop *coroutine_loop(const struct coroutine *co);
struct scope *coroutine_scope(const struct coroutine *co);

/* Cancels the await that it is in, or else its next one. */
void coroutine_cancel(struct coroutine *co);
/* Ends its await with this result; without effect when it is in none. */
void coroutine_wake(struct coroutine *co, int result);
/* The stop hook has passed the cancel on, so that the result decides what becomes of it:
 * it is not delivered once more. */
void coroutine_passed_on(struct coroutine *co);
/* Forgets a cancel that no await has returned yet. */
void coroutine_forgive(struct coroutine *co);

/* -- awaiting ------------------------------------------------------------------------ */

typedef void stop_fn(void *arg, int why);

/* JOB_OK; JOB_CANCELLED when a cancel waits for its await; JOB_NO_ASYNC outside of a
 * coroutine. */
int await_begin(struct job_ctx *ctx);
/* Parks the coroutine. stop NULL: there is nothing to end. timeout_ms < 0: for ever. */
int await_park(struct job_ctx *ctx, stop_fn *stop, void *arg, int64_t timeout_ms);

#endif
