/* disk_free: what df says of the root file system, within ten seconds. */
#include <belay/task.h>

static enum job_result disk_free(struct job_ctx *ctx)
{
    const char *argv[] = {"df", "--output=pcent", "/", NULL};
    struct exec_request request = {.argv = argv, .output_most = 4096};
    struct exec_answer answer;
    enum job_result result;
    int e = await_exec(ctx, &request, &answer, 10000);

    if (e == JOB_CANCELLED)
        result = job_aborted(ctx, "df was stopped");
    else if (e != JOB_OK || answer.status != 0)
        result = job_failed(ctx, "df", "error %d, exit code %d: %s", e, answer.status,
                            answer.err);
    else
        result = job_ok_json(ctx, "{\"bytes\": %zu}", answer.out_len);
    exec_answer_release(&answer);
    return result;
}

static const struct task task_disk_free = {
    .name = "disk_free", .kind = TASK_ASYNC, .run = disk_free};

BELAY_TASKS(&task_disk_free);
