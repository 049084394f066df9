/* Retry strategies, as clients give them and declarations have them. */
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <stdio.h>
#include <string.h>

TestSuite(strategies, .timeout = 90, .fini = service_stop_all);

/* The 422 of a job that is not taken, and where it says that the mistake is. */
static void expect_refused(struct service *s, const char *body, const char *pointer)
{
    struct reply *r = http(s, "POST", "/jobs", NULL, body);

    expect_status(r, 422);
    expect_text(r, "errors.0.pointer", pointer);
}

Test(strategies, a_jobs_own_says_when_the_next_attempt_begins)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 1");
    int64_t id = put_job(s, "{\"task\":\"fail\",\"max_attempts\":9,\"retry\":{\"kind\":"
                            "\"fixed\",\"wait_seconds\":3000}}");
    struct reply *r = NULL;

    wait_until((r = look_at(s, id)) != NULL && reply_int(r, "attempt") == 1 &&
               strcmp(reply_text(r, "status"), "todo") == 0);
    expect_text(r, "retry.kind", "fixed");
    expect_text(r, "retry.wait_seconds", "3000");
    const char *next = text_of("\"next_at\" : \"%s\"", reply_text(r, "scheduled_at"));
    struct reply *events = http_get(s, "/jobs/%ld/events", id);
    cr_expect_not_null(strstr(events->body, next), "no %s in %s", next, events->body);
    cr_expect_str_eq(cluster_psql(url, "SELECT round(extract(epoch FROM "
                                       "scheduled_at - now()) / 100) FROM "
                                       "belay.jobs"),
                     "30");
}

Test(strategies, a_failure_that_is_not_listed_is_for_good)
{
    struct service *s = service_start(cluster_database(), "--concurrency 2");
    int64_t id = put_job(s, "{\"task\":\"fail\",\"max_attempts\":9,\"retry\":{\"on\":["
                            "\"timeout\"]}}");

    expect_text(wait_status(s, id, "failed"), "attempt", "1");
    id = put_job(s, "{\"task\":\"sleep\",\"args\":{\"seconds\":60},\"timeout_seconds\":"
                    "0.2,\"max_attempts\":9,\"retry\":{\"on\":[\"on_purpose\"]}}");
    struct reply *r = wait_status(s, id, "failed");
    expect_text(r, "attempt", "1");
    expect_text(r, "error.kind", "timeout");
    id = put_job(s, "{\"task\":\"fail\",\"args\":{\"times\":1},\"max_attempts\":9,"
                    "\"retry\":{\"on\":[\"on_purpose\"],\"wait_seconds\":0}}");
    expect_text(wait_status(s, id, "succeeded"), "attempt", "2");
}

Test(strategies, what_is_wrong_with_one_is_said_with_its_place)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");

    expect_refused(s, "{\"task\":\"echo\",\"retry\":{}}", "/retry");
    expect_refused(s, "{\"task\":\"echo\",\"max_attempts\":2,\"retry\":7}", "/retry");
    expect_refused(s, "{\"task\":\"echo\",\"max_attempts\":2,\"retry\":{\"kind\":\"x\"}}",
                   "/retry/kind");
    expect_refused(
        s, "{\"task\":\"echo\",\"max_attempts\":2,\"retry\":{\"wait_seconds\":-1}}",
        "/retry/wait_seconds");
    expect_refused(s, "{\"task\":\"echo\",\"max_attempts\":2,\"retry\":{\"waits\":1}}",
                   "/retry/waits");
    expect_refused(s, "{\"task\":\"echo\",\"max_attempts\":2,\"retry\":{\"on\":[7]}}",
                   "/retry/on");
    struct reply *r = http(s, "POST", "/jobs/batch", NULL,
                           "[{\"task\":\"echo\"},{\"task\":\"echo\",\"max_attempts\":2,"
                           "\"retry\":{\"jitter\":1}}]");
    expect_status(r, 422);
    expect_text(r, "errors.0.pointer", "/1/retry/jitter");
}

Test(strategies, a_declared_command_has_one)
{
    const char *file = scratch_path("belay.yaml");

    scratch_write(file, "commands:\n"
                        "  - name: hopeless\n"
                        "    command: [/bin/false]\n"
                        "    max_attempts: 3\n"
                        "    retry: {kind: fixed, wait_seconds: 0}\n"
                        "  - name: final\n"
                        "    command: [/bin/false]\n"
                        "    max_attempts: 3\n"
                        "    retry: {wait_seconds: 0, on: [timeout]}\n");
    struct service *s =
        service_start(cluster_database(), text_of("--concurrency 2 --config %s", file));
    expect_text(wait_status(s, put_job(s, "{\"task\":\"hopeless\"}"), "failed"),
                "attempt", "3");
    expect_text(wait_status(s, put_job(s, "{\"task\":\"final\"}"), "failed"), "attempt",
                "1");
    struct reply *r = http_get(s, "/tasks");
    cr_expect_not_null(strstr(r->body, "\"retry\":{\"kind\":\"exponential\",\"wait_"
                                       "seconds\":0,\"max_wait_seconds\":3600,\"jitter\":"
                                       "true,\"on\":[\"timeout\"]}"),
                       "%s", r->body);
}
