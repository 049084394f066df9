/* restoreJob, and cancels that can be undone, as a client sees them. */
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <string.h>

TestSuite(undo, .timeout = 60, .fini = service_stop_all);

Test(undo, a_restored_job_runs)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    int64_t id = put_job(s, "{\"task\":\"echo\",\"delay_seconds\":1}");

    expect_status(http_post(s, NULL, "/jobs/%ld/cancel", id), 200);
    struct reply *r = http_post(s, NULL, "/jobs/%ld/restore?actor=ada", id);
    expect_status(r, 200);
    expect_text(r, "result", "restored");
    expect_text(r, "job.status", "todo");
    cr_expect_not_null(reply_header(r, "ETag"));
    wait_status(s, id, "succeeded");
    r = http_get(s, "/jobs/%ld/events", id);
    cr_expect_not_null(strstr(r->body, "\"type\":\"restored\""), "%s", r->body);
}

Test(undo, whatever_was_not_cancelled_is_refused)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    int64_t done = put_job(s, "{\"task\":\"echo\"}");
    int64_t waits = put_job(s, "{\"task\":\"echo\",\"delay_seconds\":3600}");

    wait_status(s, done, "succeeded");
    int64_t ids[] = {done, waits};
    for (int i = 0; i < 2; i++) {
        struct reply *r = http_post(s, NULL, "/jobs/%ld/restore", ids[i]);
        expect_status(r, 409);
        expect_text(r, "code", "job-not-cancelled");
        expect_text(r, "result", "not_restored");
    }
    expect_status(http_post(s, NULL, "/jobs/999/restore"), 404);
}

/* -- undo_seconds -------------------------------------------------------------------- */

Test(undo, a_job_that_waits_is_put_aside_and_then_cancelled)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    int64_t id = put_job(s, "{\"task\":\"echo\",\"delay_seconds\":0.3}");
    struct reply *r = http_post(s, NULL, "/jobs/%ld/cancel?undo_seconds=2&actor=ada", id);

    expect_status(r, 202);
    expect_text(r, "result", "cancel_pending");
    expect_text(r, "job.status", "todo");
    expect_text(r, "cancellation.outcome", "null");
    expect_text(r, "cancellation.stopped_at", "null");
    const char *receipt = reply_header(r, "Location");
    cr_assert_not_null(receipt);
    r = http_get(s, "/jobs/%ld/explain", id);
    expect_text(r, "reason", "cancel_pending");
    cr_expect_not_null(strstr(reply_text(r, "sentence"), "ada has cancelled it"));
    cr_expect_not_null(strstr(reply_text(r, "sentence"), "next: it is cancelled in"));
    cr_expect_str_neq(reply_text(look_at(s, id), "cancel_at"), "null");
    wait_status(s, id, "cancelled"); /* and never succeeded, though its time came first */
    expect_text(look_at(s, id), "cancel_at", "null");
    expect_text(http_get(s, "%s", receipt), "outcome", "cancelled");
}

Test(undo, a_job_that_runs_is_told_when_the_time_is_over)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    int64_t id = put_sleeper(s);

    expect_status(http_post(s, NULL, "/jobs/%ld/cancel?undo_seconds=1", id), 409);
    struct reply *r =
        http_post(s, "{\"abort\":true,\"undo_seconds\":1}", "/jobs/%ld/cancel", id);
    expect_status(r, 202);
    expect_text(r, "result", "cancel_pending");
    expect_text(r, "job.status", "doing");
    expect_text(r, "job.abort_requested_at", "null");
    r = http_get(s, "/jobs/%ld/explain", id);
    expect_text(r, "reason", "cancel_pending");
    cr_expect_not_null(strstr(reply_text(r, "sentence"), "It runs: "), "%s", r->body);
    wait_status(s, id, "aborted");
    r = http_get(s, "/jobs/%ld/cancellations/1", id);
    expect_text(r, "outcome", "aborted");
    cr_expect_str_neq(reply_text(r, "delivered_at"), "null");
}

Test(undo, a_restore_before_then_takes_it_back)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    int64_t runs = put_sleeper(s), waits = put_job(s, "{\"task\":\"echo\"}");
    int64_t ids[] = {runs, waits};

    for (int i = 0; i < 2; i++) {
        expect_status(
            http_post(s, NULL, "/jobs/%ld/cancel?abort=true&undo_seconds=60", ids[i]),
            202);
        struct reply *r = http_post(s, NULL, "/jobs/%ld/restore", ids[i]);
        expect_status(r, 200);
        expect_text(r, "result", "restored");
        expect_text(r, "job.status", i == 0 ? "doing" : "todo");
        r = http_get(s, "/jobs/%ld/cancellations/1", ids[i]);
        expect_text(r, "outcome", "restored");
    }
    expect_status(http_post(s, NULL, "/jobs/%ld/cancel?abort=true", runs), 202);
    wait_status(s, waits, "succeeded");
}

Test(undo, a_cancel_that_waits_hears_of_the_end)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    int64_t id = put_job(s, "{\"task\":\"echo\",\"delay_seconds\":60}");
    struct reply *r = http_post(s, NULL, "/jobs/%ld/cancel?undo_seconds=1&wait=30", id);

    expect_status(r, 200);
    expect_text(r, "result", "cancelled");
    expect_text(r, "job.status", "cancelled");
}

Test(undo, what_cannot_be_undone_is_refused)
{
    static const char *const bodies[] = {
        "{\"undo_seconds\":5,\"delete\":true}",
        "{\"undo_seconds\":5,\"abort\":true,\"retry\":\"requeue\"}",
        "{\"undo_seconds\":0}", "{\"undo_seconds\":86401}"};
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    int64_t id = put_job(s, "{\"task\":\"echo\"}");

    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct reply *r = http_post(s, bodies[i], "/jobs/%ld/cancel", id);
        expect_status(r, 422);
        cr_expect_not_null(strstr(r->body, "\"/undo_seconds\""), "%s", r->body);
    }
    struct reply *r = http_post(s, "{\"ids\":[1],\"undo_seconds\":5}", "/cancellations");
    expect_status(r, 422);
    cr_expect_not_null(strstr(r->body, "\"/undo_seconds\""), "%s", r->body);
    expect_text(look_at(s, id), "status", "todo");
}
