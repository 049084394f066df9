/* libuv's thread pool. A call that was cancelled or is late, and had begun, is left to
 * itself: it works on a copy of its argument, and the copy goes when it ends. Rejected:
 * to wait for it (the abort would wait for as long as it likes), and to kill its thread.
 */
#include "workers/async/loop.h"

#include <stdlib.h>
#include <string.h>

struct call {
    uv_work_t work;
    struct loop *loop;
    struct coroutine *co; /* NULL: nobody waits for it any more */
    int (*fn)(void *arg);
    void *arg;
    int result;
    max_align_t copy[];
};

static void run(uv_work_t *work)
{
    struct call *call = work->data;

    call->result = call->fn(call->arg);
}

static void on_done(uv_work_t *work, int status)
{
    struct call *call = work->data;

    atomic_fetch_sub(&call->loop->n_loose, 1);
    if (call->co != NULL && status == 0) {
        coroutine_wake(call->co, JOB_OK);
        return; /* it frees the call */
    }
    free(call);
}

static void stop(void *arg, int why)
{
    struct call *call = arg;
    struct coroutine *co = call->co;

    if (co == NULL)
        return;
    call->co = NULL;
    (void)uv_cancel((uv_req_t *)&call->work); /* on_done() comes in any case */
    coroutine_wake(co, why);
}

int await_blocking(struct job_ctx *ctx, int (*fn)(void *arg), void *arg, size_t size,
                   int64_t timeout_ms)
{
    int e = await_begin(ctx);

    if (e != JOB_OK)
        return e;
    struct call *call = malloc(sizeof *call + size);
    if (call == NULL)
        return JOB_NO_MEMORY;
    *call = (struct call){.co = coroutine_self(), .fn = fn, .arg = arg};
    call->loop = coroutine_loop(call->co);
    call->work.data = call;
    if (size > 0)
        call->arg = memcpy(call->copy, arg, size);
    e = uv_queue_work(&call->loop->uv, &call->work, run, on_done);
    if (e < 0) {
        free(call);
        return e;
    }
    atomic_fetch_add(&call->loop->n_loose, 1);
    e = await_park(ctx, stop, call, timeout_ms);
    if (e != JOB_OK)
        return e; /* on_done() frees it */
    e = call->result;
    if (size > 0)
        memcpy(arg, call->copy, size);
    free(call);
    return e;
}
