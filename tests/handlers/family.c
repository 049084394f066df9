/* parent_id, on_parent_cancel and depends_on, over HTTP, with a worker. */
#include "server/core/clock.h"
#include "tests/support/cluster.h"
#include "tests/support/service.h"

#include <stdlib.h>
#include <string.h>

TestSuite(family, .timeout = 90, .fini = service_stop_all);

static struct service *start(void)
{
    return service_start(cluster_database(), "--concurrency 4 --poll-seconds 60");
}

static int64_t put_later(struct service *s)
{
    return put_job(s, "{\"task\":\"echo\",\"delay_seconds\":60}");
}

static int64_t put_child(struct service *s, int64_t parent, const char *more)
{
    return put_job(s, text_of("{\"task\":\"sleep\",\"args\":{\"seconds\":60},"
                              "\"parent_id\":%ld%s}",
                              parent, more));
}

static void expect_ids(const struct reply *r, const char *list, int64_t first,
                       int64_t second)
{
    expect_status(r, 200);
    expect_text(r, text_of("%s.0.id", list), text_of("%ld", first));
    if (second > 0)
        expect_text(r, text_of("%s.1.id", list), text_of("%ld", second));
    cr_expect_null(reply_at(r, text_of("%s.%d", list, second > 0 ? 2 : 1)));
}

Test(family, children_are_listed_a_page_at_a_time)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    int64_t parent = put_later(s), first = put_child(s, parent, ""),
            second = put_child(s, parent, ",\"on_parent_cancel\":\"cascade\"");
    struct reply *r = http_get(s, "/jobs/%ld/children?limit=1", parent);

    expect_ids(r, "jobs", second, 0);
    expect_text(r, "jobs.0.on_parent_cancel", "cascade");
    const char *next = reply_text(r, "next_cursor");
    cr_expect_not_null(strstr(reply_header(r, "Link"),
                              text_of("</jobs/%ld/children?cursor=%s", parent, next)));
    r = http_get(s, "/jobs/%ld/children?limit=1&cursor=%s", parent, next);
    expect_ids(r, "jobs", first, 0);
    expect_text(r, "jobs.0.parent_id", text_of("%ld", parent));
    expect_text(r, "jobs.0.on_parent_cancel", "detach");
    expect_ids(http_get(s, "/jobs?parent_id=%ld", parent), "jobs", second, first);
    expect_ids(http_get(s, "/jobs/%ld/children?status=todo&sort=created_at", parent),
               "jobs", first, second);
    cr_expect_str_eq(http_get(s, "/jobs/%ld/children", first)->body,
                     "{\"jobs\":[],\"next_cursor\":null}");
    cr_expect_str_eq(http_get(s, "/jobs?parent_id=4711")->body,
                     "{\"jobs\":[],\"next_cursor\":null}");
    expect_status(http_get(s, "/jobs/4711/children"), 404);
}

Test(family, what_is_wrong_is_told_at_the_door)
{
    static const char *const wrong[][3] = {
        {"{\"task\":\"echo\",\"parent_id\":4711}", "parent-not-found", "/parent_id"},
        {"{\"task\":\"echo\",\"depends_on\":4711}", "parent-not-found", "/depends_on"},
        {"{\"task\":\"echo\",\"depends_on\":[\"1\"]}", "invalid", "/depends_on"},
        {"{\"task\":\"echo\",\"depends_on\":1.5}", "invalid", "/depends_on"},
        {"{\"task\":\"echo\",\"parent_id\":0}", "invalid", "/parent_id"},
        {"{\"task\":\"echo\",\"on_parent_cancel\":\"detach\"}", "invalid",
         "/on_parent_cancel"},
        {"{\"task\":\"echo\",\"parent_id\":1,\"on_parent_cancel\":\"x\"}", "invalid",
         "/on_parent_cancel"},
        {"{\"task\":\"echo\",\"depends_on\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,"
         "18,19,20,21]}",
         "invalid", "/depends_on"}};
    struct service *s = start();

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct reply *r = http(s, "POST", "/jobs", NULL, wrong[i][0]);
        expect_status(r, 422);
        expect_text(r, "code", wrong[i][1]);
        expect_text(r, "errors.0.pointer", wrong[i][2]);
    }
    struct reply *r = http(s, "POST", "/jobs/batch", NULL,
                           "[{\"task\":\"echo\"},{\"task\":\"echo\",\"depends_on\":[4711"
                           "]}]");
    expect_status(r, 422);
    expect_text(r, "errors.0.pointer", "/1/depends_on");
    cr_expect_str_eq(http_get(s, "/jobs")->body, "{\"jobs\":[],\"next_cursor\":null}");
}

Test(family, an_abort_reaches_the_children_that_run_and_their_own)
{
    struct service *s = start();
    int64_t parent = put_child(s, put_later(s), "");
    int64_t child = put_child(s, parent, ",\"on_parent_cancel\":\"cascade\"");
    int64_t grandchild = put_child(s, child, ",\"on_parent_cancel\":\"cascade\"");
    int64_t stays = put_child(s, parent, "");

    wait_status(s, grandchild, "doing");
    wait_status(s, stays, "doing");
    expect_status(http_post(s, NULL, "/jobs/%ld/cancel?abort=true&wait=20", parent), 200);
    struct reply *r = http_get(s, "/jobs/%ld?wait=20", grandchild);
    expect_text(r, "status", "aborted");
    r = http_get(s, "/jobs/%ld/cancellations/1", child);
    expect_text(r, "cause", "parent");
    expect_text(r, "reason", text_of("job %ld was aborted", parent));
    expect_text(http_get(s, "/jobs/%ld", stays), "status", "doing");
}

Test(family, a_child_that_comes_too_late_is_created_and_cancelled)
{
    struct service *s = start();
    int64_t parent = put_later(s);

    expect_status(http_post(s, NULL, "/jobs/%ld/cancel", parent), 200);
    struct reply *r = http(
        s, "POST", "/jobs?wait=20", NULL,
        text_of("{\"task\":\"echo\",\"parent_id\":%ld,\"on_parent_cancel\":\"cascade\","
                "\"on_cancel\":{\"task\":\"echo\"}}",
                parent));
    expect_status(r, 201);
    expect_text(r, "status", "cancelled");
    r = http_get(s, "/jobs/%s/cancellations/1", reply_text(r, "id"));
    expect_text(r, "cause", "parent");
    cr_expect_gt(strtoll(reply_text(r, "compensation_job_id"), NULL, 10), parent);
}

Test(family, a_job_starts_as_soon_as_what_it_depends_on_has_succeeded)
{
    struct service *s = start();
    int64_t first = put_job(s, "{\"task\":\"sleep\",\"args\":{\"seconds\":0.5}}");
    int64_t second = put_job(s, text_of("{\"task\":\"echo\",\"depends_on\":%ld}", first));
    struct reply *r = http_get(s, "/jobs/%ld/explain", second);

    expect_text(r, "reason", "waits_for_jobs");
    cr_expect_not_null(strstr(reply_text(r, "sentence"),
                              text_of("waiting for job %ld to succeed", first)));
    int64_t began_ms = clock_ms();
    r = http_get(s, "/jobs/%ld?wait=20", second);
    expect_text(r, "status", "succeeded");
    cr_expect_lt(clock_ms() - began_ms, 10000, "it was woken, and not polled for");
    expect_text(r, "depends_on.0", text_of("%ld", first));
}

Test(family, a_job_that_depends_on_a_failure_is_cancelled)
{
    struct service *s = start();
    int64_t first = put_job(s, "{\"task\":\"fail\",\"delay_seconds\":0.3}");
    int64_t second =
        put_job(s, text_of("{\"task\":\"echo\",\"depends_on\":[%ld]}", first));
    int64_t third =
        put_job(s, text_of("{\"task\":\"echo\",\"depends_on\":[%ld]}", second));
    struct reply *r = http_get(s, "/jobs/%ld?wait=20", third);

    expect_text(r, "status", "cancelled");
    r = http_get(s, "/jobs/%ld/cancellations/1", second);
    expect_text(r, "reason", text_of("job %ld failed", first));
    r = http_get(s, "/jobs/%ld/explain", second);
    cr_expect_not_null(strstr(reply_text(r, "sentence"), "cause parent"));
}

/* Children are put in while their parent is cancelled, in many rounds: none is left. */
Test(family, no_child_slips_through_a_cascade)
{
    enum { ROUNDS = 25, CHILDREN = 16 };
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    struct pending *asked[CHILDREN + 1];
    int born_cancelled = 0;

    for (int round = 0; round < ROUNDS; round++) {
        int64_t parent = put_later(s);
        for (int i = 0; i <= CHILDREN; i++) {
            if (i == round % CHILDREN)
                asked[i] =
                    http_send(s, "POST", text_of("/jobs/%ld/cancel", parent), NULL, NULL);
            else
                asked[i] = http_send(
                    s, "POST", "/jobs", NULL,
                    text_of("{\"task\":\"echo\",\"parent_id\":%ld,\"on_parent_cancel\":"
                            "\"cascade\"}",
                            parent));
        }
        for (int i = 0; i <= CHILDREN; i++) {
            struct reply *r = http_receive(asked[i]);
            bool is_child = i != round % CHILDREN;
            expect_status(r, is_child ? 201 : 200);
            if (is_child && strcmp(reply_text(r, "status"), "cancelled") == 0)
                born_cancelled++;
        }
        wait_until(strstr(http_get(s, "/jobs/%ld/children?status=todo", parent)->body,
                          "\"jobs\":[]") != NULL);
        struct reply *r = http_get(s, "/jobs/%ld/children?status=cancelled", parent);
        cr_expect_not_null(reply_at(r, text_of("jobs.%d", CHILDREN - 1)));
    }
    cr_expect_gt(born_cancelled, 0, "the race had one winner only");
    cr_expect_lt(born_cancelled, ROUNDS * CHILDREN, "the race had one winner only");
}
