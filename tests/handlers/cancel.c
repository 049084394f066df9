/* cancellation.md, section 4: each row of the table of POST /jobs/{id}/cancel. */
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <string.h>

TestSuite(cancel, .timeout = 90, .fini = service_stop_all);

/* A node that starts nothing: its jobs stay todo. */
static struct service *start_idle(void)
{
    return service_start(cluster_database(), "--concurrency 0");
}

static struct service *start_busy(void)
{
    return service_start(cluster_database(), steered("--concurrency 2"));
}

static void expect_gone(struct service *s, int64_t id)
{
    struct reply *r = look_at(s, id);

    expect_status(r, 404);
    expect_text(r, "code", "job-not-found");
}

/* -- todo ---------------------------------------------------------------------------- */

Test(cancel, a_todo_job_is_cancelled_and_never_starts)
{
    struct service *s = start_idle();
    int64_t id = put_job(s, "{\"task\":\"echo\"}");
    struct reply *r = http_post(s, NULL, "/jobs/%ld/cancel?reason=why&actor=ada", id);

    expect_status(r, 200);
    expect_text(r, "result", "cancelled");
    expect_text(r, "job.status", "cancelled");
    expect_text(r, "job.attempt", "0");
    expect_text(r, "job.started_at", "null");
    expect_text(r, "job.actions.retry.allowed", "true");
    expect_text(r, "cancellation.outcome", "cancelled");
    expect_text(r, "cancellation.attempt", "null");
    expect_text(r, "cancellation.reason", "why");
    expect_text(r, "cancellation.actor", "ada");
    cr_expect_str_neq(reply_text(r, "cancellation.stopped_at"), "null");
    cr_expect_str_eq(reply_header(r, "ETag"), reply_header(look_at(s, id), "ETag"));
}

Test(cancel, a_job_that_was_cancelled_is_not_started_by_a_worker_that_comes_later)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 0");
    int64_t id = put_job(s, "{\"task\":\"echo\"}");

    expect_status(http_post(s, NULL, "/jobs/%ld/cancel", id), 200);
    struct service *worker = service_start(url, "--concurrency 1");
    wait_status(worker, put_job(s, "{\"task\":\"echo\"}"), "succeeded");
    expect_text(look_at(s, id), "status", "cancelled");
    expect_text(look_at(s, id), "started_at", "null");
}

Test(cancel, a_scheduled_job_and_one_that_waits_for_its_retry_are_todo_and_cancel)
{
    struct service *s =
        service_start(cluster_database(), "--concurrency 1 --backoff-base-seconds 3600");
    int64_t scheduled = put_job(s, "{\"task\":\"echo\",\"delay_seconds\":3600}");
    int64_t retrying = put_job(s, "{\"task\":\"fail\",\"max_attempts\":3}");

    wait_until(reply_int(look_at(s, retrying), "attempt") == 1 &&
               strcmp(reply_text(look_at(s, retrying), "status"), "todo") == 0);
    struct reply *r = http_post(s, NULL, "/jobs/%ld/cancel", scheduled);
    expect_status(r, 200);
    expect_text(r, "result", "cancelled");
    r = http_post(s, NULL, "/jobs/%ld/cancel", retrying);
    expect_status(r, 200);
    expect_text(r, "result", "cancelled");
    expect_text(r, "job.status", "cancelled");
    expect_text(r, "job.attempt", "1");
}

Test(cancel, cancel_with_delete_answers_the_last_state_and_removes_the_row)
{
    struct service *s = start_idle();
    int64_t id = put_job(s, "{\"task\":\"echo\"}");
    struct reply *r = http_post(s, "{\"delete\":true}", "/jobs/%ld/cancel", id);

    expect_status(r, 200);
    expect_text(r, "result", "cancelled");
    expect_text(r, "job.status", "cancelled");
    expect_text(r, "cancellation.delete_requested", "true");
    expect_gone(s, id);
    r = http_get(s, "/jobs/%ld/cancellations/1", id);
    expect_status(r, 200);
    expect_text(r, "outcome", "cancelled");
}

/* -- doing --------------------------------------------------------------------------- */

Test(cancel, an_abort_of_a_running_job_is_accepted_with_the_place_of_its_receipt)
{
    struct service *s = start_busy();
    const char *gate = scratch_path("gate");
    int64_t id = put_steered(s, "deaf", gate);
    struct reply *r =
        http_post(s, "{\"abort\":true,\"reason\":\"wrong input\",\"actor\":\"ada\"}",
                  "/jobs/%ld/cancel", id);

    expect_status(r, 202);
    cr_expect_str_eq(reply_header(r, "Location"),
                     text_of("/jobs/%ld/cancellations/1", id));
    expect_text(r, "result", "aborting");
    expect_text(r, "job.status", "doing");
    expect_text(r, "job.actions.abort.allowed", "true");
    expect_text(r, "cancellation.id", "1");
    expect_text(r, "cancellation.attempt", "1");
    expect_text(r, "cancellation.cause", "user");
    expect_text(r, "cancellation.outcome", "null");
    r = http_get(s, "%s", reply_header(r, "Location"));
    expect_status(r, 200);
    expect_text(r, "reason", "wrong input");
    expect_text(r, "actor", "ada");
    scratch_write(gate, "");
}

Test(cancel, an_abort_goes_through_its_stages_and_leaves_the_tasks_words)
{
    struct service *s = start_busy();
    int64_t id = put_sleeper(s);
    struct reply *r = http_post(s, NULL, "/jobs/%ld/cancel?abort=true", id);

    expect_status(r, 202);
    wait_status(s, id, "aborted");
    r = http_get(s, "/jobs/%ld/cancellations/1", id);
    expect_text(r, "outcome", "aborted");
    cr_expect_not_null(strstr(reply_text(r, "message"), "of 600.0 seconds"));
    cr_expect_str_neq(reply_text(r, "delivered_at"), "null");
    cr_expect_str_neq(reply_text(r, "acknowledged_at"), "null");
    cr_expect_str_neq(reply_text(r, "stopped_at"), "null");
    cr_expect_leq(strcmp(reply_text(r, "requested_at"), reply_text(r, "delivered_at")),
                  0);
    cr_expect_leq(strcmp(reply_text(r, "delivered_at"), reply_text(r, "acknowledged_at")),
                  0);
    cr_expect_leq(strcmp(reply_text(r, "acknowledged_at"), reply_text(r, "stopped_at")),
                  0);
}

Test(cancel, an_abort_with_wait_answers_200_with_the_outcome_when_it_stops_in_time)
{
    struct service *s = start_busy();
    int64_t id = put_sleeper(s);
    struct reply *r = http_post(s, NULL, "/jobs/%ld/cancel?abort=true&wait=30", id);

    expect_status(r, 200);
    expect_text(r, "result", "aborted");
    expect_text(r, "job.status", "aborted");
    expect_text(r, "cancellation.outcome", "aborted");
    cr_expect_str_eq(reply_header(r, "ETag"), reply_header(look_at(s, id), "ETag"));
}

Test(cancel, an_abort_with_wait_answers_202_when_it_does_not_stop_in_time)
{
    struct service *s = start_busy();
    const char *gate = scratch_path("gate");
    int64_t id = put_steered(s, "deaf", gate);
    struct reply *r = http(s, "POST", text_of("/jobs/%ld/cancel?abort=true", id),
                           "Prefer: wait=1\r\n", NULL);

    expect_status(r, 202);
    expect_text(r, "result", "aborting");
    cr_expect_str_eq(reply_header(r, "Preference-Applied"), "wait=1");
    cr_expect_str_neq(reply_text(r, "cancellation.delivered_at"), "null");
    scratch_write(gate, "");
}

Test(cancel, an_abort_with_wait_that_loses_against_success_answers_200_completed)
{
    struct service *s = start_busy();
    const char *gate = scratch_path("gate");
    int64_t id = put_steered(s, "deaf", gate);
    struct pending *p = http_send(
        s, "POST", text_of("/jobs/%ld/cancel?abort=true&wait=30", id), NULL, NULL);

    wait_until(http_get(s, "/jobs/%ld/cancellations/1", id)->status == 200);
    scratch_write(gate, "");
    struct reply *r = http_receive(p);
    expect_status(r, 200);
    expect_text(r, "result", "completed");
    expect_text(r, "job.status", "succeeded");
}

Test(cancel, an_abort_with_wait_and_delete_answers_200_though_the_row_is_gone)
{
    struct service *s = start_busy();
    int64_t id = put_sleeper(s);
    struct reply *r =
        http_post(s, NULL, "/jobs/%ld/cancel?abort=true&delete=true&wait=30", id);

    expect_status(r, 200);
    expect_text(r, "result", "aborted");
    expect_text(r, "job", "null");
    expect_text(r, "cancellation.delete_requested", "true");
    expect_gone(s, id);
}

Test(cancel, a_running_job_without_abort_is_refused_with_the_way_to_do_it)
{
    struct service *s = start_busy();
    int64_t id = put_sleeper(s);
    struct reply *r = http_post(s, NULL, "/jobs/%ld/cancel", id);

    expect_status(r, 409);
    expect_text(r, "code", "job-running");
    expect_text(r, "result", "not_cancelled");
    expect_text(r, "job.status", "doing");
    cr_expect_not_null(strstr(reply_text(r, "detail"), "abort=true"));
    cr_expect_str_eq(reply_header(r, "Content-Type"), "application/problem+json");
    expect_text(http_get(s, "/jobs/%ld/cancellations", id), "cancellations", "[]");
    expect_text(look_at(s, id), "abort_requested_at", "null");
}

Test(cancel, a_repeated_abort_is_the_same_receipt_and_no_new_event)
{
    struct service *s = start_busy();
    const char *gate = scratch_path("gate");
    int64_t id = put_steered(s, "deaf", gate);
    struct reply *first = http_post(s, NULL, "/jobs/%ld/cancel?abort=true&actor=a", id);
    struct reply *second = http_post(s, NULL, "/jobs/%ld/cancel?abort=true&actor=b", id);

    expect_status(first, 202);
    expect_status(second, 202);
    cr_expect_str_eq(reply_header(first, "Location"), reply_header(second, "Location"));
    expect_text(second, "cancellation.actor", "a");
    expect_text(second, "cancellation.requested_at",
                reply_text(first, "cancellation.requested_at"));
    struct reply *events = http_get(s, "/jobs/%ld/events", id);
    int asked = 0;
    for (size_t i = 0; i < json_array_size(reply_at(events, "events")); i++)
        asked += strcmp(reply_text(events, text_of("events.%zu.type", i)),
                        "abort_requested") == 0;
    cr_expect_eq(asked, 1);
    scratch_write(gate, "");
    wait_status(s, id, "succeeded");
}

/* -- ended --------------------------------------------------------------------------- */

Test(cancel, a_cancelled_job_answers_already_cancelled)
{
    struct service *s = start_idle();
    int64_t id = put_job(s, "{\"task\":\"echo\"}");

    expect_status(http_post(s, NULL, "/jobs/%ld/cancel", id), 200);
    struct reply *r = http_post(s, NULL, "/jobs/%ld/cancel?abort=true", id);
    expect_status(r, 200);
    expect_text(r, "result", "already_cancelled");
    expect_text(r, "cancellation.id", "1");
    r = http_post(s, NULL, "/jobs/%ld/cancel?delete=true", id);
    expect_status(r, 200);
    expect_text(r, "result", "already_cancelled");
    expect_gone(s, id);
}

Test(cancel, an_aborted_job_answers_already_aborted)
{
    struct service *s = start_busy();
    int64_t id = put_sleeper(s);

    expect_status(http_post(s, NULL, "/jobs/%ld/cancel?abort=true&wait=30", id), 200);
    struct reply *r = http_post(s, NULL, "/jobs/%ld/cancel", id);
    expect_status(r, 200);
    expect_text(r, "result", "already_aborted");
    expect_text(r, "cancellation.outcome", "aborted");
    expect_text(http_get(s, "/jobs/%ld/cancellations", id), "cancellations.1", "");
}

Test(cancel, a_finished_job_is_refused_with_the_job_in_the_body)
{
    struct service *s = start_busy();
    int64_t good = put_job(s, "{\"task\":\"echo\"}");
    int64_t bad = put_job(s, "{\"task\":\"fail\",\"args\":{\"times\":9}}");

    wait_status(s, good, "succeeded");
    wait_status(s, bad, "failed");
    struct reply *r = http_post(s, NULL, "/jobs/%ld/cancel?abort=true&wait=5", good);
    expect_status(r, 409);
    expect_text(r, "code", "job-finished");
    expect_text(r, "result", "not_cancelled");
    expect_text(r, "job.status", "succeeded");
    expect_text(r, "cancellation", "null");
    r = http_post(s, NULL, "/jobs/%ld/cancel?delete=true", bad);
    expect_status(r, 409);
    expect_text(r, "code", "job-finished");
    expect_text(r, "job.status", "failed");
    expect_text(look_at(s, bad), "status", "failed");
}

Test(cancel, an_unknown_job_is_not_found)
{
    struct service *s = start_idle();
    static const char *const ids[] = {"33", "0", "-1", "x", "9007199254740992", "033"};

    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        struct reply *r = http_post(s, NULL, "/jobs/%s/cancel?abort=true", ids[i]);
        expect_status(r, 404);
        expect_text(r, "code", "job-not-found");
    }
}
