/* /cancellations/by-key: a cancel that comes before its job, or after it. */
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <string.h>

TestSuite(by_key, .timeout = 90, .fini = service_stop_all);

#define KEY(k) "Idempotency-Key: " k "\r\n"
#define AT     "/cancellations/by-key/"

static struct reply *put(struct service *s, const char *key, const char *body)
{
    return http(s, "PUT", text_of(AT "%s", key), NULL, body);
}

Test(by_key, a_cancel_that_came_first_keeps_the_job_from_starting)
{
    struct service *s = service_start(cluster_database(), "--concurrency 2");
    const char *why = "{\"reason\":\"no more\",\"actor\":\"ada\"}";

    struct reply *r = put(s, "a", why);
    expect_status(r, 201);
    expect_text(r, "result", "waiting");
    expect_text(r, "by_key.key", "a");
    r = put(s, "a", why);
    expect_status(r, 200);
    expect_text(r, "result", "waiting");
    r = http(s, "POST", "/jobs", KEY("a"), "{\"task\":\"echo\",\"lock\":\"l\"}");
    expect_status(r, 201);
    expect_text(r, "status", "cancelled");
    expect_text(r, "cancellation.reason", "no more");
    expect_text(r, "cancellation.actor", "ada");
    expect_text(r, "attempt", "0");
    int64_t id = reply_int(r, "id");
    wait_status(s, put_job(s, "{\"task\":\"echo\",\"lock\":\"l\"}"), "succeeded");
    expect_text(look_at(s, id), "status", "cancelled");
    struct reply *again =
        http(s, "POST", "/jobs", KEY("a"), "{\"task\":\"echo\",\"lock\":\"l\"}");
    cr_expect_str_eq(again->body, r->body);
    r = http_get(s, AT "a");
    cr_expect_eq(reply_int(r, "job_ids.0"), id);
    expect_text(r, "reason", "no more");
    r = put(s, "a", NULL);
    expect_status(r, 200);
    expect_text(r, "result", "already_cancelled");
}

Test(by_key, one_that_is_restored_has_its_deadline)
{
    struct service *s = service_start(cluster_database(), "--concurrency 2");

    expect_status(put(s, "a", NULL), 201);
    struct reply *r =
        http(s, "POST", "/jobs", KEY("a"),
             "{\"task\":\"echo\",\"delay_seconds\":3600,\"deadline_seconds\":2}");
    expect_text(r, "status", "cancelled");
    int64_t id = reply_int(r, "id");
    expect_text(http_post(s, NULL, "/jobs/%ld/restore", id), "result", "restored");
    wait_status(s, id, "cancelled");
}

Test(by_key, the_jobs_of_a_batch_do_not_start_either)
{
    struct service *s = service_start(cluster_database(), "--concurrency 2");

    expect_status(put(s, "b", NULL), 201);
    struct reply *r = http(s, "POST", "/jobs/batch", KEY("b"),
                           "[{\"task\":\"echo\"},{\"task\":\"sleep\"}]");
    expect_status(r, 201);
    expect_text(r, "results.1", "cancelled");
    expect_text(look_at(s, reply_int(r, "ids.0")), "status", "cancelled");
    expect_text(look_at(s, reply_int(r, "ids.1")), "status", "cancelled");
}

Test(by_key, a_cancel_that_came_later_is_one_of_the_job)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    const char *sleep = "{\"task\":\"sleep\",\"args\":{\"seconds\":600}}";

    struct reply *r = http(s, "POST", "/jobs", KEY("a"), sleep);
    int64_t id = reply_int(r, "id");
    wait_status(s, id, "doing");
    r = http(s, "POST", "/jobs", KEY("b"), sleep);
    int64_t todo = reply_int(r, "id");
    r = put(s, "b", "{\"reason\":\"r\"}");
    expect_status(r, 200);
    expect_text(r, "result", "cancelled");
    cr_expect_eq(reply_int(r, "job.id"), todo);
    expect_text(r, "cancellation.reason", "r");
    r = put(s, "a", NULL);
    expect_status(r, 409);
    expect_text(r, "code", "job-running");
    expect_text(r, "result", "not_cancelled");
    r = put(s, "a", "{\"abort\":true}");
    expect_status(r, 202);
    cr_expect_str_eq(reply_header(r, "Location"),
                     text_of("/jobs/%ld/cancellations/1", id));
    wait_status(s, id, "aborted");
    expect_status(http_get(s, AT "a"), 404);
    expect_status(http(s, "DELETE", text_of("/jobs/%ld", id), NULL, NULL), 204);
    r = put(s, "a", NULL);
    expect_status(r, 404);
    expect_text(r, "code", "job-not-found");
}

Test(by_key, of_a_batch_that_has_come_each_job_has_its_result)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");

    struct reply *r =
        http(s, "POST", "/jobs/batch", KEY("b"),
             "[{\"task\":\"sleep\",\"args\":{\"seconds\":600}},{\"task\":\"echo\"}]");
    wait_status(s, reply_int(r, "ids.0"), "doing");
    r = put(s, "b", NULL);
    expect_status(r, 200);
    expect_text(r, "results.0.code", "job-running");
    expect_text(r, "results.1.result", "cancelled");
    r = put(s, "b", "{\"abort\":true}");
    expect_text(r, "results.0.result", "aborting");
    wait_status(s, reply_int(r, "results.0.id"), "aborted");
}

Test(by_key, it_can_be_taken_back_until_it_was_needed)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");

    expect_status(http(s, "DELETE", AT "a", NULL, NULL), 404);
    expect_status(put(s, "a", NULL), 201);
    expect_status(http(s, "DELETE", AT "a", NULL, NULL), 204);
    expect_status(http_get(s, AT "a"), 404);
    struct reply *r = http(s, "POST", "/jobs", KEY("a"), "{\"task\":\"echo\"}");
    wait_status(s, reply_int(r, "id"), "succeeded");
    expect_status(put(s, "b", NULL), 201);
    expect_status(http(s, "POST", "/jobs", KEY("b"), "{\"task\":\"echo\"}"), 201);
    r = http(s, "DELETE", AT "b", NULL, NULL);
    expect_status(r, 409);
    expect_text(r, "code", "cancellation-used");
}

Test(by_key, it_waits_as_long_as_it_was_told_to)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 1");

    expect_status(put(s, "a", "{\"ttl_seconds\":100}"), 201);
    expect_status(put(s, "b", NULL), 201);
    cr_expect_str_eq(
        cluster_psql(url,
                     "SELECT string_agg(round(extract(epoch FROM expires_at - now()) "
                     "/ 100)::text, ',' ORDER BY key) FROM belay.keys"),
        "1,864");
    cluster_psql(url, "UPDATE belay.keys SET expires_at = now()");
    expect_status(http_get(s, AT "a"), 404);
    expect_status(http(s, "DELETE", AT "a", NULL, NULL), 404);
    struct reply *r = http(s, "POST", "/jobs", KEY("a"), "{\"task\":\"echo\"}");
    wait_status(s, reply_int(r, "id"), "succeeded");
    expect_status(put(s, "b", NULL), 201);
}

Test(by_key, what_is_no_key_or_no_option_is_refused)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    const char *methods[] = {"PUT", "GET", "DELETE"};

    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        expect_status(http(s, methods[i], AT "a%20b", NULL, NULL), 400);
        expect_status(http(s, methods[i], AT "a%2Fb", NULL, NULL), 400);
        expect_status(http(s, methods[i], text_of(AT "%0256d", 0), NULL, NULL), 400);
    }
    expect_status(put(s, "a", "{\"ttl_seconds\":0}"), 422);
    expect_status(put(s, "a", "{\"wait\":1}"), 422);
    struct reply *r = put(s, "a%3fb%25%2A", NULL);
    expect_status(r, 201);
    expect_text(r, "by_key.key", "a?b%*");
}

/* Many times, both at once, of which sometimes one and sometimes the other is first: what
 * was told never to start never starts. */
Test(by_key, put_against_post_is_decided_and_its_answer_is_kept)
{
    enum { ROUNDS = 150 };
    const char *url = cluster_database();
    struct service *nodes[] = {service_start(url, "--concurrency 2"),
                               service_start(url, "--concurrency 2")};
    int64_t never[ROUNDS];
    int n = 0, waited = 0;

    for (int i = 0; i < ROUNDS; i++) {
        struct service *here = nodes[i % 2], *there = nodes[(i / 2) % 2];
        const char *path = text_of(AT "race-%d", i);
        const char *key = text_of("Idempotency-Key: race-%d\r\n", i);
        struct pending *first = NULL, *cancel;
        if (i % 3 == 0)
            first = http_send(there, "POST", "/jobs", key, "{\"task\":\"echo\"}");
        cancel = http_send(here, "PUT", path, NULL, NULL);
        if (first == NULL)
            first = http_send(there, "POST", "/jobs", key, "{\"task\":\"echo\"}");
        struct reply *put = http_receive(cancel), *post = http_receive(first);
        expect_status(post, 201);
        bool is_first = put->status == 201;
        waited += is_first;
        cr_expect(is_first || put->status == 200 || put->status == 409, "%s", put->raw);
        if (is_first)
            expect_text(post, "status", "cancelled");
        if (put->status != 409)
            never[n++] = reply_int(post, "id");
    }
    cr_expect(n > 0 && waited > 0 && waited < ROUNDS, "%d of %d, %d waited", n, ROUNDS,
              waited);
    wait_until(cluster_int(url, "SELECT count(*) FROM belay.ends") == ROUNDS);
    for (int i = 0; i < n; i++) {
        struct reply *r = look_at(nodes[0], never[i]);
        expect_text(r, "status", "cancelled");
        expect_text(r, "attempt", "0");
    }
}
