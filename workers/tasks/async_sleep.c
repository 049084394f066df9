/* async_sleep: the example of an async task.
 *
 *     {"seconds": 2.5}
 *
 * It looks like the sync one, and there may be a hundred thousand of it at a time: while
 * one waits in await_sleep(), the others have the thread. An abort of the job cancels the
 * await, which returns JOB_CANCELLED; what the task then returns is what the job becomes.
 *
 * A task that has something to clean up does so before it returns, or has registered it
 * with job_defer() right after it was made. */
#include "workers/task.h"

#include <jansson.h>

static enum job_result async_sleep(struct job_ctx *ctx)
{
    json_error_t error;
    json_t *args = json_loads(job_args(ctx), 0, &error);
    const json_t *seconds = json_object_get(args, "seconds");
    double wanted = seconds != NULL ? json_number_value(seconds) : 1;
    bool good = seconds == NULL || (json_is_number(seconds) && wanted >= 0);

    json_decref(args);
    if (!good)
        return job_failed(ctx, "bad_args", "seconds must be a number, 0 or more");
    if (await_sleep(ctx, (int64_t)(wanted * 1000), JOB_FOREVER) == JOB_CANCELLED)
        return job_aborted(ctx, "woken before %.1f seconds were over", wanted);
    return job_ok_json(ctx, "{\"slept_seconds\":%.3f}", wanted);
}

const struct task task_async_sleep = {
    .name = "async_sleep",
    .kind = TASK_ASYNC,
    .run = async_sleep,
    .description = "sleeps {\"seconds\": 1} without a thread; stops when asked",
};
