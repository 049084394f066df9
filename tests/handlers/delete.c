/* cancellation.md, section 4: DELETE /jobs/{id}. */
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <string.h>

TestSuite(delete_job, .timeout = 90, .fini = service_stop_all);

static struct service *start_busy(void)
{
    return service_start(cluster_database(), steered("--concurrency 2"));
}

static void expect_deleted(struct service *s, int64_t id)
{
    struct reply *r = http_delete(s, "/jobs/%ld", id);

    expect_status(r, 204);
    cr_expect_eq(r->len, 0);
    expect_status(look_at(s, id), 404);
}

Test(delete_job, a_todo_job_goes_at_once_and_its_history_stays)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    int64_t ready = put_job(s, "{\"task\":\"echo\"}");
    int64_t later = put_job(s, "{\"task\":\"echo\",\"delay_seconds\":60}");
    int64_t locked = put_job(s, "{\"task\":\"echo\",\"lock\":\"a\"}");
    int64_t behind = put_job(s, "{\"task\":\"echo\",\"lock\":\"a\"}");

    expect_deleted(s, ready);
    expect_deleted(s, later);
    expect_deleted(s, behind);
    expect_deleted(s, locked);
    expect_text(http_get(s, "/jobs/%ld/cancellations/1", ready), "outcome", "cancelled");
    struct reply *events = http_get(s, "/jobs/%ld/events", ready);
    expect_status(events, 200);
    cr_expect_not_null(strstr(events->body, "\"deleted\""), "%s", events->body);
}

Test(delete_job, a_finished_job_goes_at_once)
{
    struct service *s = start_busy();
    int64_t good = put_job(s, "{\"task\":\"echo\"}");
    int64_t bad = put_job(s, "{\"task\":\"fail\"}");
    int64_t aborted = put_sleeper(s);

    expect_status(http_post(s, NULL, "/jobs/%ld/cancel?abort=true&wait=30", aborted),
                  200);
    wait_status(s, good, "succeeded");
    wait_status(s, bad, "failed");
    expect_deleted(s, good);
    expect_deleted(s, bad);
    expect_deleted(s, aborted);
}

Test(delete_job, a_running_job_is_refused_without_abort)
{
    struct service *s = start_busy();
    int64_t id = put_sleeper(s);
    struct reply *r = http_delete(s, "/jobs/%ld", id);

    expect_status(r, 409);
    expect_text(r, "code", "job-running");
    expect_text(r, "result", "not_deleted");
    expect_text(r, "job.status", "doing");
    cr_expect_not_null(strstr(reply_text(r, "detail"), "abort=true"));
    expect_text(look_at(s, id), "status", "doing");
}

Test(delete_job,
     a_running_job_with_abort_is_accepted_and_the_row_goes_when_it_has_stopped)
{
    struct service *s = start_busy();
    const char *gate = scratch_path("gate");
    int64_t id = put_steered(s, "deaf", gate);
    struct reply *r = http_delete(s, "/jobs/%ld?abort=true&reason=gone&actor=ada", id);

    expect_status(r, 202);
    cr_expect_str_eq(reply_header(r, "Location"),
                     text_of("/jobs/%ld/cancellations/1", id));
    expect_text(r, "result", "aborting");
    expect_text(r, "job.status", "doing");
    expect_text(r, "cancellation.delete_requested", "true");
    expect_text(look_at(s, id), "status", "doing");
    scratch_write(gate, "");
    wait_until(look_at(s, id)->status == 404);
    r = http_get(s, "/jobs/%ld/cancellations/1", id);
    expect_text(r, "outcome", "completed");
    expect_text(r, "reason", "gone");
    expect_status(http_delete(s, "/jobs/%ld?abort=true", id), 404);
}

Test(delete_job, with_wait_it_answers_204_when_the_row_is_gone_and_202_while_it_is_not)
{
    struct service *s = start_busy();
    const char *gate = scratch_path("gate");
    int64_t sleeper = put_sleeper(s), deaf = put_steered(s, "deaf", gate);

    expect_status(http_delete(s, "/jobs/%ld?abort=true&wait=30", sleeper), 204);
    expect_status(look_at(s, sleeper), 404);
    struct reply *r = http_delete(s, "/jobs/%ld?abort=true&wait=1", deaf);
    expect_status(r, 202);
    expect_text(r, "result", "aborting");
    expect_text(r, "job.status", "doing");
    scratch_write(gate, "");
    wait_until(look_at(s, deaf)->status == 404);
}

Test(delete_job, an_unknown_job_and_one_that_is_gone_are_not_found)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    int64_t id = put_job(s, "{\"task\":\"echo\"}");

    expect_deleted(s, id);
    struct reply *r = http_delete(s, "/jobs/%ld", id);
    expect_status(r, 404);
    expect_text(r, "code", "job-not-found");
    expect_status(http_delete(s, "/jobs/4711"), 404);
    expect_status(http_delete(s, "/jobs/zero"), 404);
    expect_status(http_post(s, NULL, "/jobs/%ld/cancel", id), 404);
    expect_status(http_post(s, NULL, "/jobs/%ld/retry", id), 404);
}

Test(delete_job, if_match_that_does_not_hold_is_412_and_nothing_goes)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    int64_t id = put_job(s, "{\"task\":\"echo\"}");
    const char *path = text_of("/jobs/%ld", id);
    const char *etag = reply_header(look_at(s, id), "ETag");
    struct reply *r = http(s, "DELETE", path, "If-Match: \"00ff\"\r\n", NULL);

    expect_status(r, 412);
    cr_expect_str_eq(reply_header(r, "ETag"), etag);
    expect_status(look_at(s, id), 200);
    expect_status(http(s, "DELETE", path, text_of("If-Match: %s\r\n", etag), NULL), 204);
}

Test(delete_job, a_weak_tag_in_if_match_holds_for_nothing)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    int64_t id = put_job(s, "{\"task\":\"echo\"}");
    const char *path = text_of("/jobs/%ld", id);
    const char *etag = reply_header(look_at(s, id), "ETag");

    expect_status(http(s, "DELETE", path, text_of("If-Match: W/%s\r\n", etag), NULL),
                  412);
    expect_status(http(s, "DELETE", path,
                       text_of("If-Match: W/%s, \"0\",%s\r\n", etag, etag), NULL),
                  204);
}

Test(delete_job, bad_options_are_400)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    int64_t id = put_job(s, "{\"task\":\"echo\"}");

    expect_status(http_delete(s, "/jobs/%ld?abort=x", id), 400);
    expect_status(http_delete(s, "/jobs/%ld?force=true", id), 400);
    expect_status(http_delete(s, "/jobs/%ld?abort=true&grace_seconds=-2", id), 400);
    expect_status(look_at(s, id), 200);
}
