/* on_success, on_failure, on_cancel and delete_policy, over HTTP, with a worker. */
#include "tests/support/cluster.h"
#include "tests/support/service.h"

#include <stdlib.h>
#include <string.h>

TestSuite(follow, .timeout = 90, .fini = service_stop_all);

static struct service *start(void)
{
    return service_start(cluster_database(), "--concurrency 2 --poll-seconds 60");
}

/* The job that followed runs at once, not with the next poll. */
static void expect_follower(struct service *s, int64_t id, const char *on)
{
    struct reply *r = http_get(s, "/jobs/%ld?wait=20", id);

    expect_status(r, 200);
    expect_text(r, "status", "succeeded");
    expect_text(r, "args.from", on);
    expect_text(r, "origin.on", on);
}

Test(follow, a_cancelled_job_is_made_up_for_and_the_receipt_names_the_job)
{
    struct service *s = start();
    int64_t id = put_job(s, "{\"task\":\"echo\",\"delay_seconds\":60,\"on_cancel\":"
                            "{\"task\":\"echo\",\"args\":{\"from\":\"cancel\"}}}");
    struct reply *r = http_post(s, NULL, "/jobs/%ld/cancel", id);

    expect_status(r, 200);
    expect_text(r, "result", "cancelled");
    expect_text(r, "job.on_cancel.task", "echo");
    int64_t next = strtoll(reply_text(r, "cancellation.compensation_job_id"), NULL, 10);
    cr_assert_gt(next, id);
    expect_follower(s, next, "cancel");
    r = http_get(s, "/jobs/%ld", next);
    expect_text(r, "origin.job_id", text_of("%ld", id));
}

Test(follow, an_aborted_job_is_made_up_for)
{
    struct service *s = start();
    int64_t id = put_job(s, "{\"task\":\"sleep\",\"args\":{\"seconds\":60},\"on_cancel\":"
                            "{\"task\":\"echo\",\"args\":{\"from\":\"cancel\"}}}");

    wait_status(s, id, "doing");
    struct reply *r = http_post(s, NULL, "/jobs/%ld/cancel?abort=true&wait=20", id);
    expect_text(r, "result", "aborted");
    expect_follower(s,
                    strtoll(reply_text(r, "cancellation.compensation_job_id"), NULL, 10),
                    "cancel");
}

Test(follow, success_and_failure_have_a_job_each)
{
    struct service *s = start();
    int64_t id =
        put_job(s, "{\"task\":\"echo\",\"on_failure\":{\"task\":\"echo\"},\"on_success\":"
                   "{\"task\":\"echo\",\"args\":{\"from\":\"success\"}}}");

    wait_until(look_at(s, id + 1)->status == 200);
    expect_follower(s, id + 1, "success");
    id =
        put_job(s, "{\"task\":\"fail\",\"on_success\":{\"task\":\"echo\"},\"on_failure\":"
                   "{\"task\":\"echo\",\"args\":{\"from\":\"failure\"}}}");
    wait_until(look_at(s, id + 1)->status == 200);
    expect_follower(s, id + 1, "failure");
}

Test(follow, what_is_wrong_with_a_follower_is_told_at_the_door)
{
    struct service *s = start();
    struct reply *r = http(s, "POST", "/jobs", NULL,
                           "{\"task\":\"echo\",\"on_cancel\":{\"task\":\"nothing\"}}");

    expect_status(r, 422);
    expect_text(r, "code", "unknown-task");
    expect_text(r, "errors.0.pointer", "/on_cancel/task");
    r = http(s, "POST", "/jobs", NULL,
             "{\"task\":\"echo\",\"on_success\":{\"task\":\"echo\",\"lock\":\"a\"}}");
    expect_status(r, 422);
    expect_text(r, "errors.0.pointer", "/on_success/lock");
    r = http(s, "POST", "/jobs", NULL,
             "{\"task\":\"echo\",\"delete_policy\":\"sometimes\"}");
    expect_status(r, 422);
    expect_text(r, "errors.0.pointer", "/delete_policy");
    r = http(s, "POST", "/jobs/batch", NULL,
             "[{\"task\":\"echo\"},{\"task\":\"echo\",\"on_failure\":{}}]");
    expect_status(r, 422);
    expect_text(r, "errors.0.pointer", "/1/on_failure/task");
}

Test(follow, a_delete_policy_of_the_job_or_of_its_task_leaves_the_audit_trail)
{
    const char *file = scratch_path("belay.yaml");

    scratch_write(file, "commands: [{name: gone, command: [/bin/true], delete_policy: "
                        "successful}]\n");
    struct service *s =
        service_start(cluster_database(), text_of("--concurrency 2 --config %s", file));
    int64_t id = put_job(s, "{\"task\":\"gone\"}");
    wait_until(http_get(s, "/jobs/%ld", id)->status == 404);
    struct reply *r = http_get(s, "/jobs/%ld/events", id);
    expect_status(r, 200);
    cr_expect_not_null(strstr(r->body, "\"type\":\"deleted\""));
    id = put_job(s, "{\"task\":\"gone\",\"delete_policy\":\"never\"}");
    wait_status(s, id, "succeeded");
    r = http(s, "POST", "/jobs", NULL,
             "{\"task\":\"echo\",\"delay_seconds\":60,\"delete_policy\":\"always\"}");
    r = http_post(s, NULL, "/jobs/%s/cancel", reply_text(r, "id"));
    expect_status(r, 200);
    expect_text(r, "job.status", "cancelled"); /* its last state */
    expect_status(http_get(s, "/jobs/%s", reply_text(r, "job.id")), 404);
}
