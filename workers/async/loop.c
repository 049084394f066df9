/* A coroutine is at the top of its own stack, so that a sleeping one costs one page. The
 * loop runs all that are ready, then lets libuv look for events: without waiting while
 * any is ready, otherwise until the next deadline.
 *
 * A cancel is a wish that stays until an await has returned it. While the coroutine is
 * parked the wish goes to the await's stop hook; otherwise the next await finds it.
 * Rejected: to unwind the stack (C has no destructors, and a task has to be able to say
 * no); a flag that tasks must look at (that is what sync tasks have). */
#include "workers/async/loop.h"

#include "server/core/clock.h"
#include "server/core/log.h"
#include "workers/async/overflow.h"
#include "workers/async/stacks.h"
#include "workers/async/switch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { TRIM_US = 2 * US_PER_SECOND };

enum state { READY, RUNNING, PARKED, ENDED };

struct coroutine {
    struct switch_point point;
    struct loop *loop;
    struct coroutine_body body;
    char *stack;
    struct coroutine *next_ready;
    enum state state;
    bool cancelled; /* a wish that no await has returned yet */
    /* of its await */
    bool cancel_sent, passed_on;
    int result;
    stop_fn *stop;
    void *stop_arg;
    struct deadline deadline;
};

struct loop_stack {
    struct switch_point point;
};

static _Thread_local struct coroutine *current;

/* -- coroutines ---------------------------------------------------------------------- */

static void on_idle(uv_idle_t *busy)
{
    (void)busy;
}

static void make_ready(struct coroutine *co)
{
    struct loop *loop = co->loop;

    if (loop->ready_first == NULL)
        uv_idle_start(&loop->busy, on_idle); /* libuv does not wait for events then */
    co->state = READY;
    co->next_ready = NULL;
    if (loop->ready_last != NULL)
        loop->ready_last->next_ready = co;
    else
        loop->ready_first = co;
    loop->ready_last = co;
}

static void begin(void *arg)
{
    struct coroutine *co = arg;

    co->body.run(co->body.arg);
    co->state = ENDED;
    switch_to(&co->point, &co->loop->own->point, true);
    abort(); /* nobody goes on with what has ended */
}

static void on_deadline(struct deadline *d)
{
    struct coroutine *co =
        (struct coroutine *)(void *)((char *)d - offsetof(struct coroutine, deadline));

    if (co->stop != NULL)
        co->stop(co->stop_arg, JOB_TIMEOUT);
    else
        coroutine_wake(co, JOB_TIMEOUT);
}

struct coroutine *coroutine_start(struct loop *loop, const struct coroutine_body *body)
{
    size_t room = (sizeof(struct coroutine) + 63) / 64 * 64;
    char *stack = stacks_get(loop->stacks);

    if (stack == NULL)
        return NULL;
    size_t bytes = STACK_BYTES - STACK_GUARD_BYTES - room;
    struct coroutine *co = (struct coroutine *)(void *)(stack + bytes);
    memset(co, 0, sizeof *co);
    co->loop = loop;
    co->body = *body;
    co->stack = stack;
    co->deadline.due = on_deadline;
    switch_prepare(&co->point, stack, bytes, begin, co);
    loop->n_coroutines++;
    make_ready(co);
    return co;
}

struct coroutine *coroutine_self(void)
{
    return current;
}

struct loop *coroutine_loop(const struct coroutine *co)
{
    return co->loop;
}

struct scope *coroutine_scope(const struct coroutine *co)
{
    return co->body.scope;
}

void coroutine_wake(struct coroutine *co, int result)
{
    if (co->state != PARKED)
        return;
    co->result = result;
    deadline_clear(&co->loop->deadlines, &co->deadline);
    make_ready(co);
}

void coroutine_cancel(struct coroutine *co)
{
    if (co->state != PARKED) {
        co->cancelled = true;
        return;
    }
    co->cancel_sent = true;
    deadline_clear(&co->loop->deadlines, &co->deadline);
    if (co->stop != NULL)
        co->stop(co->stop_arg, JOB_CANCELLED);
    else
        coroutine_wake(co, JOB_CANCELLED);
}

void coroutine_passed_on(struct coroutine *co)
{
    co->passed_on = true;
}

void coroutine_forgive(struct coroutine *co)
{
    co->cancelled = false;
}

/* -- awaiting ------------------------------------------------------------------------ */

int await_begin(struct job_ctx *ctx)
{
    if (current == NULL)
        return JOB_NO_ASYNC;
    if (!current->cancelled)
        return JOB_OK;
    current->cancelled = false;
    (void)job_should_abort(ctx); /* it has seen it now */
    return JOB_CANCELLED;
}

int await_park(struct job_ctx *ctx, stop_fn *stop, void *arg, int64_t timeout_ms)
{
    struct coroutine *co = current;
    struct loop *loop = co->loop;

    co->state = PARKED;
    co->stop = stop;
    co->stop_arg = arg;
    co->cancel_sent = co->passed_on = false;
    if (timeout_ms >= 0 && timeout_ms < INT64_MAX / US_PER_MS / 2 &&
        !deadline_set(&loop->deadlines, &co->deadline,
                      clock_us() + timeout_ms * US_PER_MS))
        abort(); /* without memory for a pointer nothing goes on */
    switch_to(&co->point, &loop->own->point, false);
    if (co->result == JOB_CANCELLED && co->cancel_sent)
        (void)job_should_abort(ctx);
    else if (co->cancel_sent && !co->passed_on)
        co->cancelled = true; /* the operation was faster */
    return co->result;
}

/* -- the loop ------------------------------------------------------------------------ */

static void trim_later(struct loop *loop)
{
    if (loop->trim.place == 0 &&
        !deadline_set(&loop->deadlines, &loop->trim, clock_us() + TRIM_US))
        abort();
}

static void on_trim(struct deadline *d)
{
    struct loop *loop = (struct loop *)(void *)((char *)d - offsetof(struct loop, trim));

    if (stacks_trim(loop->stacks))
        trim_later(loop);
}

static void end(struct coroutine *co)
{
    struct loop *loop = co->loop;
    struct coroutine_body body = co->body;

    loop->n_coroutines--;
    stacks_put(loop->stacks, co->stack);
    trim_later(loop);
    body.ended(body.arg);
}

static void resume(struct loop *loop, struct coroutine *co)
{
    int64_t began_us = clock_us();

    atomic_store_explicit(&loop->running_name, co->body.name, memory_order_relaxed);
    atomic_store_explicit(&loop->running_since_us, began_us, memory_order_release);
    co->state = RUNNING;
    current = co;
    switch_to(&loop->own->point, &co->point, false);
    current = NULL;
    atomic_store_explicit(&loop->running_since_us, 0, memory_order_release);
    if (stacks_overrun(loop->stacks, co->stack)) {
        log_error("async", "hint=%s",
                  log_quoted("a task has used more than its stack of 64 KiB"));
        abort();
    }
    if (clock_us() - began_us > STALL_US && loop->on_stall != NULL)
        loop->on_stall(loop, co->body.scope, began_us);
    if (co->state == ENDED)
        end(co);
}

/* Those that are ready now; what they make ready has to let events through first. */
static void run_ready(struct loop *loop)
{
    struct coroutine *co = loop->ready_first;

    loop->ready_first = loop->ready_last = NULL;
    uv_idle_stop(&loop->busy);
    while (co != NULL) {
        struct coroutine *next = co->next_ready;
        resume(loop, co);
        co = next;
    }
}

static void on_timer(uv_timer_t *timer);

static void set_timer(struct loop *loop)
{
    int64_t next_us = deadlines_next_us(&loop->deadlines);

    if (next_us == loop->timer_us)
        return;
    loop->timer_us = next_us;
    if (next_us == INT64_MAX) {
        uv_timer_stop(&loop->timer);
        return;
    }
    uv_update_time(&loop->uv);
    int64_t left_us = next_us - clock_us();
    uv_timer_start(&loop->timer, on_timer,
                   left_us > 0 ? (uint64_t)(left_us + US_PER_MS - 1) / US_PER_MS : 0, 0);
}

/* Here and not before uv_run(), which calls timers first and then would wait for events
 * although a coroutine is ready. */
static void on_timer(uv_timer_t *timer)
{
    struct loop *loop = timer->data;
    struct deadline *d;
    int64_t now_us = clock_us();

    while ((d = deadlines_due(&loop->deadlines, now_us)) != NULL)
        d->due(d);
    loop->timer_us = INT64_MAX;
    set_timer(loop); /* by libuv's clock it was perhaps not yet time */
}

void loop_run(struct loop *loop)
{
    overflow_watch(loop);
    run_ready(loop);
    while (!loop->stopping || loop->n_coroutines > 0) {
        set_timer(loop);
        uv_run(&loop->uv, UV_RUN_ONCE);
        run_ready(loop);
    }
}

static void on_poke(uv_async_t *poke)
{
    struct loop *loop = poke->data;

    if (loop->on_poke != NULL)
        loop->on_poke(loop);
}

void loop_poke(struct loop *loop)
{
    uv_async_send(&loop->poke);
}

struct loop_part *loop_part(const struct loop *loop,
                            void (*release)(struct loop_part *part))
{
    struct loop_part *part = loop->parts;

    while (part != NULL && part->release != release)
        part = part->next;
    return part;
}

void loop_add_part(struct loop *loop, struct loop_part *part)
{
    part->next = loop->parts;
    loop->parts = part;
}

enum err loop_init(struct loop *loop)
{
    memset(loop, 0, sizeof *loop);
    loop->own = calloc(1, sizeof *loop->own);
    loop->timer_us = INT64_MAX;
    loop->trim.due = on_trim;
    if (loop->own == NULL || stacks_new(&loop->stacks) != ERR_OK ||
        uv_loop_init(&loop->uv) != 0)
        return ERR_NO_MEMORY;
    uv_async_init(&loop->uv, &loop->poke, on_poke);
    uv_timer_init(&loop->uv, &loop->timer);
    uv_idle_init(&loop->uv, &loop->busy);
    loop->poke.data = loop->timer.data = loop;
    return ERR_OK;
}

void loop_release(struct loop *loop)
{
    for (struct loop_part *part = loop->parts, *next; part != NULL; part = next) {
        next = part->next;
        part->release(part);
    }
    uv_close((uv_handle_t *)&loop->poke, NULL);
    uv_close((uv_handle_t *)&loop->timer, NULL);
    uv_close((uv_handle_t *)&loop->busy, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    uv_loop_close(&loop->uv);
    stacks_free(loop->stacks);
    deadlines_release(&loop->deadlines);
    free(loop->own);
}
