/* Jobs that take too long: timeouts of attempts, and deadlines of jobs. */
#include "server/core/clock.h"
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <string.h>

TestSuite(timeouts, .timeout = 90, .fini = service_stop_all);

static int64_t put_late(struct service *s, const char *task, const char *limits)
{
    return put_job(s, text_of("{\"task\":\"%s\",\"args\":{\"file\":\"%s\"},%s}", task,
                              scratch_path("never"), limits));
}

Test(timeouts, a_program_that_does_not_obey_is_killed_and_the_attempt_has_failed)
{
    struct service *s = service_start(cluster_database(), steered("--concurrency 2"));
    int64_t id = put_late(s, "stubborn", "\"timeout_seconds\":0.25");
    struct reply *r = wait_status(s, id, "failed");

    expect_text(r, "error.kind", "timeout");
    cr_expect_not_null(strstr(reply_text(r, "error.message"), "0.25 s"));
    expect_text(r, "timeout_seconds", "0.25");
    r = http_get(s, "/jobs/%ld/cancellations/1", id);
    expect_text(r, "cause", "timeout");
    expect_text(r, "outcome", "killed");
    expect_text(r, "reason", "it took longer than 0.25 s");
    cr_expect_str_neq(reply_text(r, "delivered_at"), "null", "%s", r->body);
}

Test(timeouts, a_late_attempt_is_tried_again_exactly_max_attempts_times)
{
    struct service *s = service_start(cluster_database(),
                                      steered("--concurrency 2 --backoff-max-seconds 0"));
    int64_t id = put_late(s, "polite", "\"timeout_seconds\":0.1,\"max_attempts\":3");
    struct reply *r = wait_status(s, id, "failed");

    expect_text(r, "attempt", "3");
    expect_text(r, "error.kind", "timeout");
    r = http_get(s, "/jobs/%ld/cancellations", id);
    expect_text(r, "cancellations.2.outcome", "aborted");
    expect_text(r, "cancellations.2.attempt", "3");
    expect_text(r, "cancellations.3.id", "");
}

Test(timeouts, a_task_of_ours_is_asked_and_may_obey)
{
    struct service *s = service_start(cluster_database(), "--concurrency 2");
    int64_t id = put_job(s, "{\"task\":\"sleep\",\"args\":{\"seconds\":600},"
                            "\"timeout_seconds\":0.1}");
    int64_t async = put_job(s, "{\"task\":\"async_sleep\",\"args\":{\"seconds\":600},"
                               "\"timeout_seconds\":0.1}");

    expect_text(wait_status(s, id, "failed"), "error.kind", "timeout");
    expect_text(wait_status(s, async, "failed"), "error.kind", "timeout");
}

Test(timeouts, the_job_has_the_say_over_the_task)
{
    struct service *s = service_start(cluster_database(), steered("--concurrency 2"));
    int64_t none = put_late(s, "hasty", "\"timeout_seconds\":0");
    int64_t own = put_late(s, "hasty", "\"priority\":0");
    struct reply *r = wait_status(s, own, "failed");

    expect_text(r, "error.kind", "timeout");
    expect_text(r, "timeout_seconds", "null");
    expect_text(look_at(s, none), "status", "doing");
    expect_text(look_at(s, none), "timeout_seconds", "0");
}

Test(timeouts, an_abort_after_a_timeout_means_no_retry)
{
    struct service *s = service_start(cluster_database(), steered("--concurrency 2"));
    int64_t id = put_late(s, "deaf", "\"timeout_seconds\":0.1,\"max_attempts\":5");

    wait_until(strchr(reply_text(look_at(s, id), "abort_requested_at"), 'T') != NULL);
    struct reply *r =
        http_post(s, NULL, "/jobs/%ld/cancel?abort=true&grace_seconds=0&wait=30", id);
    expect_status(r, 200);
    expect_text(r, "job.status", "aborted");
    expect_text(r, "job.attempt", "1");
    expect_text(r, "cancellation.cause", "user");
}

Test(timeouts, a_job_that_waits_is_cancelled_at_its_deadline)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    struct pending *waiting =
        http_send(s, "POST", "/jobs?wait=30", NULL,
                  "{\"task\":\"echo\",\"delay_seconds\":3600,\"deadline_seconds\":0.2}");
    struct reply *r = http_receive(waiting);

    expect_status(r, 201);
    expect_text(r, "status", "cancelled");
    r = http_get(s, "/jobs/%ld/cancellations/1", reply_int(r, "id"));
    expect_text(r, "cause", "deadline");
    expect_text(r, "outcome", "cancelled");
}

Test(timeouts, a_job_that_runs_is_aborted_at_its_deadline_wherever_it_runs)
{
    const char *url = cluster_database();
    struct service *worker = service_start(url, "--concurrency 1");
    int64_t id = put_job(worker, "{\"task\":\"sleep\",\"args\":{\"seconds\":600},"
                                 "\"deadline_seconds\":0.5,\"max_attempts\":5}");
    struct reply *r = wait_status(worker, id, "aborted");

    expect_text(r, "attempt", "1");
    cr_expect_not_null(strchr(reply_text(r, "deadline"), 'T'));
    expect_text(http_get(worker, "/jobs/%ld/cancellations/1", id), "cause", "deadline");
}

Test(timeouts, a_deadline_that_has_passed_is_one_that_is_over)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    int64_t id = put_job(s, "{\"task\":\"echo\",\"deadline\":\"2001-01-01T00:00:00Z\"}");

    wait_status(s, id, "cancelled");
}

Test(timeouts, what_is_not_a_limit_is_refused)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    static const char *const bad[][2] = {
        {"\"timeout_seconds\":-1", "/timeout_seconds"},
        {"\"timeout_seconds\":604801", "/timeout_seconds"},
        {"\"timeout_seconds\":\"1\"", "/timeout_seconds"},
        {"\"deadline\":\"tomorrow\"", "/deadline"},
        {"\"deadline_seconds\":-1", "/deadline_seconds"},
        {"\"deadline\":\"2100-01-01T00:00:00Z\",\"deadline_seconds\":1",
         "/deadline_seconds"},
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct reply *r =
            http(s, "POST", "/jobs", NULL, text_of("{\"task\":\"echo\",%s}", bad[i][0]));
        expect_status(r, 422);
        expect_text(r, "errors.0.pointer", bad[i][1]);
    }
}

Test(timeouts, a_job_that_is_late_while_the_database_is_away_is_stopped_when_it_is_back)
{
    struct cluster *cluster = cluster_new();
    struct service *s = service_start(cluster_url(cluster), "--concurrency 1");
    int64_t id = put_job(s, "{\"task\":\"sleep\",\"args\":{\"seconds\":600},"
                            "\"timeout_seconds\":3}");

    wait_status(s, id, "doing");
    int64_t late_ms = clock_ms() + 3 * MS_PER_SECOND;
    cluster_stop(cluster);
    wait_until(clock_ms() > late_ms);
    cluster_start(cluster);
    wait_until(http_get(s, "/readyz")->status == 200);
    expect_text(wait_status(s, id, "failed"), "error.kind", "timeout");
    service_stop(s);
    cluster_free(cluster);
}
