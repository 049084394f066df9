/* getJob: conditions and waiting. */
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <signal.h>
#include <string.h>

TestSuite(wait, .timeout = 90, .fini = service_stop_all);

Test(wait, an_etag_that_is_known_is_304_and_changes_with_the_job)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    int64_t id = put_job(s, "{\"task\":\"echo\"}");
    const char *path = text_of("/jobs/%ld", id);
    const char *etag = reply_header(look_at(s, id), "ETag");
    struct reply *r = http(s, "GET", path, text_of("If-None-Match: %s\r\n", etag), NULL);

    expect_status(r, 304);
    cr_expect_eq(r->len, 0);
    cr_expect_str_eq(reply_header(r, "ETag"), etag);
    expect_status(http(s, "GET", path, text_of("If-None-Match: W/%s\r\n", etag), NULL),
                  304);
    expect_status(http(s, "GET", path, "If-None-Match: *\r\n", NULL), 304);
    expect_status(http(s, "GET", path, "If-None-Match: \"0\"\r\n", NULL), 200);
    expect_status(http_post(s, NULL, "/jobs/%ld/cancel", id), 200);
    r = http(s, "GET", path, text_of("If-None-Match: %s\r\n", etag), NULL);
    expect_status(r, 200);
    cr_expect_str_neq(reply_header(r, "ETag"), etag);
    const char *receipt = text_of("/jobs/%ld/cancellations/1", id);
    etag = reply_header(http_get(s, "%s", receipt), "ETag");
    expect_status(http(s, "GET", receipt, text_of("If-None-Match: %s\r\n", etag), NULL),
                  304);
}

Test(wait, get_waits_for_the_end_that_happens_here)
{
    struct service *s = service_start(cluster_database(), steered("--concurrency 1"));
    const char *gate = scratch_path("gate");
    int64_t id = put_steered(s, "deaf", gate);
    struct pending *p = http_send(s, "GET", text_of("/jobs/%ld?wait=30", id), NULL, NULL);

    expect_text(look_at(s, id), "status", "doing");
    cr_expect(!http_is_answered(p));
    scratch_write(gate, "");
    struct reply *r = http_receive(p);
    expect_status(r, 200);
    expect_text(r, "status", "succeeded");
}

Test(wait, get_waits_for_the_end_that_happens_elsewhere)
{
    const char *url = cluster_database();
    struct service *api = service_start(url, "--concurrency 0");
    int64_t id = put_job(api, "{\"task\":\"echo\"}");
    struct pending *p = http_send(api, "GET", text_of("/jobs/%ld", id),
                                  "Prefer: respond-async, wait=30\r\n", NULL);

    service_start(url, "--concurrency 1");
    struct reply *r = http_receive(p);
    expect_status(r, 200);
    expect_text(r, "status", "succeeded");
    cr_expect_str_eq(reply_header(r, "Preference-Applied"), "wait=30");
}

Test(wait, a_wait_that_is_over_answers_the_job_as_it_is)
{
    struct service *s =
        service_start(cluster_database(), "--concurrency 0 --wait-max-seconds 1");
    int64_t id = put_job(s, "{\"task\":\"echo\"}");
    struct reply *r =
        http(s, "GET", text_of("/jobs/%ld", id), "Prefer: wait=3600\r\n", NULL);

    expect_status(r, 200);
    expect_text(r, "status", "todo");
    cr_expect_str_eq(reply_header(r, "Preference-Applied"), "wait=1");
    expect_status(http_get(s, "/jobs/%ld?wait=-1", id), 400);
    expect_status(http_get(s, "/jobs/%ld?wait=1s", id), 400);
}

Test(wait, a_job_that_is_removed_meanwhile_is_not_found)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    int64_t id = put_job(s, "{\"task\":\"echo\"}");
    struct pending *p = http_send(s, "GET", text_of("/jobs/%ld?wait=30", id), NULL, NULL);

    expect_status(http_delete(s, "/jobs/%ld", id), 204);
    expect_status(http_receive(p), 404);
}

Test(wait, clients_that_hang_up_do_no_harm)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    int64_t id = put_job(s, "{\"task\":\"echo\"}");

    for (int i = 0; i < 20; i++) {
        struct pending *p =
            http_send(s, "GET", text_of("/jobs/%ld?wait=30", id), NULL, NULL);
        if (i % 2 == 0)
            look_at(s, id); /* so that some wait already, and some have just come */
        http_hang_up(p);
    }
    expect_status(http_post(s, NULL, "/jobs/%ld/cancel", id), 200);
    expect_text(look_at(s, id), "status", "cancelled");
}

Test(wait, a_shutdown_answers_those_who_wait)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    int64_t id = put_job(s, "{\"task\":\"echo\"}");
    struct pending *p = http_send(s, "GET", text_of("/jobs/%ld?wait=60", id), NULL, NULL);

    look_at(s, id);
    cr_expect_eq(service_stop(s), 0);
    struct reply *r = http_receive(p);
    expect_status(r, 200);
    expect_text(r, "status", "todo");
}
