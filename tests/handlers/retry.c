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

Test(retry, the_next_attempt_has_what_the_body_says)
{
    struct service *s = service_start(cluster_database(), NULL);
    int64_t id = put_job(s, "{\"task\":\"fail\",\"args\":{\"times\":1}}");

    wait_status(s, id, "failed");
    struct reply *r =
        http_post(s,
                  "{\"delay_seconds\":600,\"queue\":\"new\",\"priority\":-3,\"lock\":\"a "
                  "\\\"b\\\"\","
                  "\"queueing_lock\":\"k\",\"max_attempts\":4,\"actor\":\"ada\"}",
                  "/jobs/%ld/retry", id);
    expect_status(r, 200);
    expect_text(r, "job.status", "todo");
    expect_text(r, "job.queue", "new");
    expect_text(r, "job.priority", "-3");
    expect_text(r, "job.lock", "a \"b\"");
    expect_text(r, "job.queueing_lock", "k");
    expect_text(r, "job.max_attempts", "4");
    cr_expect_str_neq(reply_text(r, "job.scheduled_at"), "null");
    r = http_get(s, "/jobs/%ld/events", id);
    cr_expect_not_null(strstr(r->body, "\"ada\""), "%s", r->body);
    expect_status(http_post(s, NULL, "/jobs/%ld/cancel", id), 200);
    r = http_post(s, "{\"lock\":\"\",\"delay_seconds\":0.2}", "/jobs/%ld/retry", id);
    expect_status(r, 200);
    expect_text(r, "job.lock", "null");
    expect_text(r, "job.queueing_lock", "k");
    r = wait_status(s, id, "succeeded");
    expect_text(r, "attempt", "2");
    expect_text(r, "queue", "new");
}

Test(retry, what_the_body_says_is_checked)
{
    static const char *const wrong[][2] = {
        {"{\"delay_seconds\":-1}", "/delay_seconds"},
        {"{\"delay_seconds\":1,\"scheduled_at\":\"2026-11-23T20:00:00Z\"}",
         "/delay_seconds"},
        {"{\"scheduled_at\":\"soon\"}", "/scheduled_at"},
        {"{\"queue\":\"a b\"}", "/queue"},
        {"{\"priority\":2147483648}", "/priority"},
        {"{\"max_attempts\":0}", "/max_attempts"},
        {"{\"que\":\"a\"}", "/que"}};
    struct service *s = service_start(cluster_database(), NULL);
    int64_t id = put_job(s, "{\"task\":\"echo\"}");

    wait_status(s, id, "succeeded");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct reply *r = http_post(s, wrong[i][0], "/jobs/%ld/retry", id);
        expect_status(r, 422);
        expect_text(r, "errors.0.pointer", wrong[i][1]);
    }
    expect_status(http_post(s, "{", "/jobs/%ld/retry", id), 400);
    expect_text(look_at(s, id), "status", "succeeded");
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
