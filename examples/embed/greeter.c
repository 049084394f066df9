/* greeter: Belay in a program of your own. It takes the flags of `belay serve`. */
#include <belay/belay.h>

static enum job_result greet(struct job_ctx *ctx)
{
    if (!job_sleep(ctx, 3000)) /* false: it is to stop */
        return job_aborted(ctx, "no greeting");
    return job_ok_json(ctx, "{\"greeting\": \"hello from job %d\"}", (int)job_id(ctx));
}

static const struct task task_greet = {.name = "greet", .kind = TASK_SYNC, .run = greet};

int main(int argc, char **argv)
{
    belay_register(&task_greet);
    return belay_run(&(struct belay_options){.argc = argc, .argv = argv});
}
