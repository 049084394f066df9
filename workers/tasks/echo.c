/* echo: its args are its result. To see that a job goes through, and that its args arrive
 * as they were written. */
#include "workers/task.h"

#include <string.h>

static enum job_result echo(struct job_ctx *ctx)
{
    const char *args = job_args(ctx);

    return job_ok_text(ctx, args, (int64_t)strlen(args));
}

const struct task task_echo = {
    .name = "echo",
    .kind = TASK_SYNC,
    .run = echo,
    .description = "succeeds at once; its args are the result",
};
