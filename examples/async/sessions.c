/* sessions: how many sessions a database has that are at work. */
#include <belay/task.h>
#include <stdlib.h>

static enum job_result sessions(struct job_ctx *ctx)
{
    const char *params[] = {"active"};
    struct query_request request = {
        .url = getenv("DATABASE_URL"),
        .sql = "SELECT count(*) AS n FROM pg_stat_activity WHERE state = $1",
        .params = params,
        .n_params = 1};
    struct query_answer answer;
    enum job_result result;

    if (request.url == NULL)
        return job_failed(ctx, "no_url", "DATABASE_URL is not set");
    int e = await_query(ctx, &request, &answer, 5000);

    if (e == JOB_CANCELLED)
        result = job_aborted(ctx, "the statement was cancelled on the server");
    else if (e != JOB_OK)
        result = job_failed(ctx, "no_answer", "%s %s", answer.sqlstate, answer.why);
    else
        result = job_ok_json(ctx, "{\"sessions\": %s}", query_value(&answer, 0, 0));
    query_answer_release(&answer);
    return result;
}

static const struct task task_sessions = {
    .name = "sessions", .kind = TASK_ASYNC, .run = sessions};

BELAY_TASKS(&task_sessions);
