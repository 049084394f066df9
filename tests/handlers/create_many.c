/* createJobs: all or nothing. */
#include "server/core/buf.h"
#include "tests/support/cluster.h"
#include "tests/support/service.h"

TestSuite(create_jobs, .timeout = 90, .fini = service_stop_all);

static const char *jobs(int n, const char *last)
{
    struct buf b = BUF_INIT;

    buf_addc(&b, '[');
    for (int i = 0; i < n; i++)
        buf_addf(&b, "{\"task\":\"echo\",\"args\":{\"i\":%d}},", i);
    buf_addf(&b, "%s]", last);
    return buf_detach(&b);
}

Test(create_jobs, ten_thousand_go_in_at_once_and_all_are_done)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 4");
    struct reply *r = http_post(s, jobs(9999, "{\"task\":\"echo\"}"), "/jobs/batch");

    expect_status(r, 201);
    expect_text(r, "count", "10000");
    cr_expect_eq(json_array_size(reply_at(r, "ids")), 10000);
    cr_expect_eq(reply_int(r, "ids.9999") - reply_int(r, "ids.0"), 9999);
    wait_until(cluster_int(url, "SELECT count(*) FROM belay.ends WHERE status = 2") ==
               10000);
    cr_expect_eq(cluster_int(url, "SELECT count(*) FROM belay.ends e JOIN belay.jobs j"
                                  " USING (id) WHERE e.result::text = j.args::text"),
                 10000);
}

Test(create_jobs, one_bad_job_keeps_all_out)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    struct reply *r =
        http_post(s, jobs(3, "{\"task\":\"echo\",\"priority\":\"x\"}"), "/jobs/batch");

    expect_status(r, 422);
    expect_text(r, "errors.0.pointer", "/3/priority");
    r = http_post(s, jobs(2, "{\"task\":\"none\"}"), "/jobs/batch");
    expect_status(r, 422);
    expect_text(r, "code", "unknown-task");
    expect_text(r, "errors.0.pointer", "/2/task");
    r = http_post(s, jobs(1, "7"), "/jobs/batch");
    expect_status(r, 422);
    expect_text(r, "errors.0.pointer", "/1");
    expect_text(http_get(s, "/jobs"), "jobs", "[]");
}

Test(create_jobs, a_queueing_lock_that_is_taken_keeps_all_out)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    const char *locked = "{\"task\":\"echo\",\"queueing_lock\":\"q\"}";
    int64_t id = put_job(s, locked);
    struct reply *r = http_post(s, jobs(3, locked), "/jobs/batch");

    expect_status(r, 409);
    expect_text(r, "code", "already-enqueued");
    cr_expect_eq(reply_int(r, "existing_id"), id);
    expect_text(r, "errors.0.pointer", "/3/queueing_lock");
    cr_expect_eq(json_array_size(reply_at(http_get(s, "/jobs"), "jobs")), 1);
    /* Twice in one batch is once too often as well. */
    r = http_post(s,
                  "[{\"task\":\"echo\",\"queueing_lock\":\"n\"},"
                  "{\"task\":\"echo\",\"queueing_lock\":\"n\"}]",
                  "/jobs/batch");
    expect_status(r, 409);
    cr_expect_eq(json_array_size(reply_at(http_get(s, "/jobs"), "jobs")), 1);
}

Test(create_jobs, none_and_too_many_are_refused)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");

    expect_status(http_post(s, "[]", "/jobs/batch"), 422);
    expect_status(http_post(s, jobs(10000, "{\"task\":\"echo\"}"), "/jobs/batch"), 422);
    expect_status(http_post(s, "{\"task\":\"echo\"}", "/jobs/batch"), 422);
    expect_status(http_post(s, NULL, "/jobs/batch"), 400);
    expect_status(http_post(s, "[", "/jobs/batch"), 400);
}

Test(create_jobs, jobs_of_a_batch_may_be_scheduled_and_have_locks)
{
    struct service *s = service_start(cluster_database(), NULL);
    struct reply *r = http_post(s,
                                "[{\"task\":\"echo\",\"delay_seconds\":0.2},"
                                "{\"task\":\"echo\",\"lock\":\"l\"},"
                                "{\"task\":\"echo\",\"lock\":\"l\"},{\"task\":\"echo\"}]",
                                "/jobs/batch");

    expect_status(r, 201);
    for (int i = 0; i < 4; i++)
        wait_status(s, reply_int(r, text_of("ids.%d", i)), "succeeded");
}
