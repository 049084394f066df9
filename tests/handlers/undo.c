/* restoreJob, as a client sees it. */
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
