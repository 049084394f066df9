/* fail: fails so many times, then succeeds. To see retries. */
#include "workers/task.h"

#include <jansson.h>

static enum job_result fail(struct job_ctx *ctx)
{
    json_error_t error;
    json_t *args = json_loads(job_args(ctx), 0, &error);
    const json_t *times = json_object_get(args, "times");
    int64_t wanted = json_is_integer(times) ? json_integer_value(times) : 1;
    bool good = times == NULL || json_is_integer(times);

    json_decref(args);
    if (!good)
        return job_failed(ctx, "bad_args", "times must be an integer");
    if (job_attempt(ctx) <= wanted)
        return job_failed(ctx, "on_purpose", "failure %d of %lld", job_attempt(ctx),
                          (long long)wanted);
    return job_ok_json(ctx, "{\"failed_times\":%lld}", (long long)wanted);
}

const struct task task_fail = {
    .name = "fail",
    .kind = TASK_SYNC,
    .run = fail,
    .description = "fails {\"times\": 1} times, then succeeds",
};
