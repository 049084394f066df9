/* ping: asks the server {"url":"..."} whether it is there. */
#include <belay/task.h>
#include <stdio.h>

static enum job_result ping(struct job_ctx *ctx)
{
    char url[256];
    const char *headers[] = {"Accept: application/json", NULL};
    struct http_request request = {.url = url, .headers = headers, .redirects_most = 3};
    struct http_answer answer;
    enum job_result result;

    if (sscanf(job_args(ctx), "{\"url\":\"%255[^\"]\"}", url) != 1)
        return job_failed(ctx, "bad_args", "where is the url?");
    int e = await_http(ctx, &request, &answer, 5000);
    const char *type = http_answer_header(&answer, "Content-Type");

    if (e == JOB_CANCELLED)
        result = job_aborted(ctx, "it had not answered yet");
    else if (e == JOB_TIMEOUT)
        result = job_retry_in(ctx, 30, "no answer within 5 s");
    else if (e != JOB_OK)
        result = job_failed(ctx, "no_answer", "%s", answer.why);
    else
        result = job_ok_json(ctx, "{\"status\": %d, \"typed\": %s}", answer.status,
                             type != NULL ? "true" : "false");
    http_answer_release(&answer);
    return result;
}

static const struct task task_ping = {.name = "ping", .kind = TASK_ASYNC, .run = ping};

BELAY_TASKS(&task_ping);
