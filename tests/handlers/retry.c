/* retryJob, and what retries of their own do. */
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <string.h>

TestSuite(retry, .timeout = 90, .fini = service_stop_all);

Test(retry, a_job_that_fails_is_tried_again_while_attempts_are_left)
{
    struct service *s = service_start(cluster_database(), "--backoff-base-seconds 0");
    int64_t id =
        put_job(s, "{\"task\":\"fail\",\"args\":{\"times\":2},\"max_attempts\":3}");
    struct reply *r = wait_status(s, id, "succeeded");

    expect_text(r, "attempt", "3");
    expect_text(r, "result.failed_times", "2");
    id = put_job(s, "{\"task\":\"fail\",\"args\":{\"times\":9},\"max_attempts\":3}");
    r = wait_status(s, id, "failed");
    expect_text(r, "attempt", "3");
    expect_text(r, "error.kind", "on_purpose");
    expect_text(r, "error.message", "failure 3 of 9");
}

Test(retry, the_wait_before_a_retry_grows_and_is_told)
{
    struct service *s = service_start(
        cluster_database(), "--backoff-base-seconds 1000 --backoff-max-seconds 2000");
    int64_t id = put_job(s, "{\"task\":\"fail\",\"max_attempts\":3}");
    struct reply *r = NULL;

    wait_until((r = look_at(s, id)) != NULL && reply_int(r, "attempt") == 1);
    wait_status(s, id, "todo");
    r = look_at(s, id);
    cr_expect_str_neq(reply_text(r, "scheduled_at"), "null");
    cr_expect_gt(strcmp(reply_text(r, "scheduled_at"), reply_text(r, "created_at")), 0);
    struct reply *events = http_get(s, "/jobs/%ld/events", id);
    cr_expect_not_null(strstr(events->body, "\"retried\""), "%s", events->body);
}

Test(retry, an_ended_job_starts_again_by_hand)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    int64_t done = put_job(s, "{\"task\":\"echo\"}");
    int64_t failed = put_job(s, "{\"task\":\"fail\",\"args\":{\"times\":1}}");

    wait_status(s, done, "succeeded");
    wait_status(s, failed, "failed");
    struct reply *r = http_post(s, NULL, "/jobs/%ld/retry?actor=ada", failed);
    expect_status(r, 200);
    expect_text(r, "result", "retried");
    expect_text(r, "job.error", "null");
    cr_expect_not_null(reply_header(r, "ETag"));
    r = wait_status(s, failed, "succeeded");
    expect_text(r, "attempt", "2");
    expect_status(http_post(s, NULL, "/jobs/%ld/retry", done), 200);
    r = wait_status(s, done, "succeeded");
    struct reply *events = http_get(s, "/jobs/%ld/events", failed);
    cr_expect_not_null(strstr(events->body, "\"ada\""), "%s", events->body);
}

Test(retry, a_cancelled_and_an_aborted_job_start_again)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    int64_t aborted = put_sleeper(s);

    expect_status(http_post(s, NULL, "/jobs/%ld/cancel?abort=true&wait=30", aborted),
                  200);
    expect_status(http_post(s, NULL, "/jobs/%ld/retry", aborted), 200);
    struct reply *r = wait_status(s, aborted, "doing");
    expect_text(r, "abort_requested_at", "null");
    expect_text(r, "attempt", "2");
    r = http_post(s, NULL, "/jobs/%ld/cancel?abort=true&wait=30", aborted);
    expect_status(r, 200);
    expect_text(r, "cancellation.id", "2");
    expect_text(r, "cancellation.attempt", "2");
    int64_t cancelled = put_job(s, "{\"task\":\"echo\",\"delay_seconds\":600}");
    expect_status(http_post(s, NULL, "/jobs/%ld/cancel", cancelled), 200);
    expect_status(http_post(s, NULL, "/jobs/%ld/retry", cancelled), 200);
    expect_text(wait_status(s, cancelled, "succeeded"), "attempt", "1");
}

Test(retry, one_that_has_not_ended_is_refused)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    int64_t running = put_sleeper(s);
    int64_t waiting = put_job(s, "{\"task\":\"echo\",\"delay_seconds\":600}");
    const int64_t ids[] = {running, waiting};

    for (int i = 0; i < 2; i++) {
        struct reply *r = http_post(s, NULL, "/jobs/%ld/retry", ids[i]);
        expect_status(r, 409);
        expect_text(r, "code", "job-not-finished");
        expect_text(r, "result", "not_retried");
    }
    expect_status(http_post(s, NULL, "/jobs/4711/retry"), 404);
    expect_status(http_post(s, NULL, "/jobs/%ld/retry?by=me", running), 400);
}

Test(retry, if_match_decides)
{
    struct service *s = service_start(cluster_database(), NULL);
    int64_t id = put_job(s, "{\"task\":\"echo\"}");
    const char *etag = reply_header(wait_status(s, id, "succeeded"), "ETag");
    const char *path = text_of("/jobs/%ld/retry", id);
    struct reply *r = http(s, "POST", path, "If-Match: \"00\"\r\n", NULL);

    expect_status(r, 412);
    cr_expect_str_eq(reply_header(r, "ETag"), etag);
    expect_status(http(s, "POST", path, text_of("If-Match: %s\r\n", etag), NULL), 200);
}

Test(retry, an_abort_that_wants_the_job_back_starts_it_again)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    int64_t id = put_sleeper(s);
    struct reply *r =
        http_post(s, NULL, "/jobs/%ld/cancel?abort=true&retry=requeue&wait=30", id);

    expect_status(r, 200);
    expect_text(r, "result", "requeued");
    expect_text(r, "cancellation.retry", "requeue");
    wait_until(reply_int(look_at(s, id), "attempt") == 2);
    r = http_post(s, "{\"abort\":true}", "/jobs/%ld/cancel?wait=30", id);
    expect_text(r, "result", "aborted");
    r = http_post(s, NULL, "/jobs/%ld/cancel?retry=requeue", id);
    expect_status(r, 422);
    expect_text(r, "errors.0.pointer", "/retry");
    r = http_post(s, "{\"abort\":true,\"retry\":\"never\"}", "/jobs/%ld/cancel", id);
    expect_status(r, 422);
}
