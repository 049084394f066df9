/* The shortest awaitable: there is nothing to start, and nothing to end. */
#include "workers/async/loop.h"

int await_sleep(struct job_ctx *ctx, int64_t ms, int64_t timeout_ms)
{
    bool cut = timeout_ms >= 0 && timeout_ms < ms;
    int e = await_begin(ctx);

    if (e != JOB_OK)
        return e;
    e = await_park(ctx, NULL, NULL, cut ? timeout_ms : ms > 0 ? ms : 0);
    return e == JOB_TIMEOUT && !cut ? JOB_OK : e;
}
