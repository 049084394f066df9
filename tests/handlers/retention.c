/* A node removes what is older than its retention, by itself. */
#include "tests/support/cluster.h"
#include "tests/support/service.h"

#include <string.h>

TestSuite(retention, .timeout = 90, .fini = service_stop_all);

Test(retention, old_jobs_go_and_their_events_stay)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 1");
    int64_t done = put_job(s, "{\"task\":\"echo\"}");
    int64_t failed = put_job(s, "{\"task\":\"fail\"}");

    wait_status(s, done, "succeeded");
    wait_status(s, failed, "failed");
    service_stop(s);
    cluster_psql(url, "UPDATE belay.ends SET finished_at = now() - interval '8 days'");
    s = service_start(url, "--retention-succeeded 7d");
    wait_until(look_at(s, done)->status == 404);
    expect_text(look_at(s, failed), "status", "failed");
    struct reply *r = http_get(s, "/jobs/%ld/events", done);
    expect_status(r, 200);
    cr_expect_not_null(strstr(r->body, "\"succeeded\""), "%s", r->body);
    cr_expect_not_null(strstr(r->body, "\"retention\""), "%s", r->body);
}
