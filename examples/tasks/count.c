/* count: a plugin of one task. `make`, then `belay serve --tasks ./count.so`. */
#include <belay/task.h>

static enum job_result count(struct job_ctx *ctx)
{
    for (int i = 0; i < 100; i++) {
        job_progress(ctx, i, "%d of 100", i);
        if (!job_sleep(ctx, 20)) /* false: it is to stop */
            return job_aborted(ctx, "stopped at %d", i);
    }
    return job_ok_json(ctx, "{\"counted\": 100}");
}

static const struct task task_count = {.name = "count", .kind = TASK_SYNC, .run = count};

BELAY_TASKS(&task_count);
