/* cancelJobs, retryJobs, deleteJobs and their operations, as a client sees them. */
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <stdlib.h>
#include <string.h>

TestSuite(bulk, .timeout = 90, .fini = service_stop_all);

#define RULE_END "\"until\":\"2999-01-01T00:00:00Z\""

/* Jobs that nobody here runs. */
static struct service *start(void)
{
    return service_start(cluster_database(), "--concurrency 2 --queues default");
}

static int64_t put_mail(struct service *s, const char *members)
{
    return put_job(s, text_of("{\"task\":\"echo\",\"queue\":\"mail\"%s}", members));
}

static struct reply *bulk(struct service *s, const char *path, const char *body)
{
    return http_post(s, body, "%s", path);
}

/* The operation when it is done. */
static struct reply *wait_done(struct service *s, struct reply *accepted)
{
    struct reply *r = NULL;

    expect_status(accepted, 202);
    const char *location = reply_header(accepted, "Location");
    wait_until((r = http_get(s, "%s", location)) != NULL &&
               strcmp(reply_text(r, "status"), "done") == 0);
    return r;
}

static void expect_refused(struct reply *r, const char *pointer)
{
    expect_status(r, 422);
    expect_text(r, "errors.0.pointer", pointer);
}

/* -- ids ----------------------------------------------------------------------------- */

Test(bulk, each_id_gets_the_result_that_it_would_get_alone)
{
    struct service *s = start();
    int64_t todo = put_mail(s, ""), running = put_sleeper(s);
    int64_t done = put_job(s, "{\"task\":\"echo\"}");

    wait_status(s, done, "succeeded");
    struct reply *r = bulk(s, "/cancellations",
                           text_of("{\"ids\":[%ld,%ld,4711,%ld,%ld],\"reason\":\"why\","
                                   "\"actor\":\"ann\"}",
                                   todo, running, done, todo));
    expect_status(r, 200);
    expect_text(r, "results.0.result", "cancelled");
    expect_text(r, "results.0.status", "200");
    expect_text(r, "results.0.cancellation.actor", "ann");
    expect_text(r, "results.0.cancellation.reason", "why");
    expect_text(r, "results.1.code", "job-running");
    expect_text(r, "results.1.status", "409");
    expect_text(r, "results.2.status", "404");
    expect_text(r, "results.3.code", "job-finished");
    expect_text(r, "results.4.result", "already_cancelled");
    expect_text(look_at(s, todo), "status", "cancelled");
    expect_text(look_at(s, running), "status", "doing");
    r = bulk(s, "/cancellations", text_of("{\"ids\":[%ld],\"abort\":true}", running));
    expect_text(r, "results.0.status", "202");
    wait_status(s, running, "aborted");
}

Test(bulk, ids_are_started_again_and_removed)
{
    struct service *s = start();
    int64_t a = put_job(s, "{\"task\":\"fail\",\"max_attempts\":1}"), b = put_mail(s, "");

    wait_status(s, a, "failed");
    struct reply *r =
        bulk(s, "/retries", text_of("{\"ids\":[%ld,%ld],\"actor\":\"ann\"}", a, b));
    expect_text(r, "results.0.result", "retried");
    expect_text(r, "results.1.code", "job-not-finished");
    expect_text(wait_status(s, a, "succeeded"), "attempt", "2");
    r = bulk(s, "/deletions", text_of("{\"ids\":[%ld,%ld,4711]}", a, b));
    expect_text(r, "results.0.result", "deleted");
    expect_text(r, "results.1.status", "204");
    expect_text(r, "results.2.result", "job-not-found");
    expect_status(look_at(s, b), 404);
}

Test(bulk, a_dry_run_changes_nothing)
{
    struct service *s = start();
    int64_t a = put_mail(s, ",\"tags\":[\"x\"]"), b = put_mail(s, "");
    struct reply *r =
        bulk(s, "/cancellations", text_of("{\"ids\":[4711,%ld],\"dry_run\":true}", a));

    expect_text(r, "dry_run", "true");
    expect_text(r, "results.0.result", "job-not-found");
    expect_text(r, "results.1.result", "cancelled");
    r = bulk(s, "/deletions", "{\"filter\":{\"queue\":\"mail\"},\"dry_run\":true}");
    expect_status(r, 200);
    expect_text(r, "matched", "2");
    expect_text(r, "exact", "true");
    cr_expect_eq(reply_int(r, "sample.1.id"), b);
    r = bulk(s, "/cancellations",
             "{\"filter\":{\"queue\":\"mail\",\"tag\":\"x\"},\"dry_run\":true}");
    expect_text(r, "matched", "1");
    cr_expect_eq(reply_int(r, "sample.0.id"), a);
    expect_text(look_at(s, a), "status", "todo");
    expect_text(look_at(s, b), "status", "todo");
    expect_text(http_get(s, "/operations"), "operations.0", "");
}

Test(bulk, what_is_asked_wrongly_is_refused)
{
    struct service *s = start();
    char *many = text_of("%01998d", 0); /* "1,1,1,": 999 of them */

    for (size_t i = 0; many[i] != '\0'; i++)
        many[i] = i % 2 == 0 ? '1' : ',';

    expect_refused(bulk(s, "/cancellations", "{}"), "/filter");
    expect_refused(bulk(s, "/deletions", "{\"filter\":{}}"), "/filter");
    expect_refused(bulk(s, "/deletions", "{\"filter\":{\"tag\":null}}"), "/filter");
    expect_refused(bulk(s, "/retries", "{\"ids\":[]}"), "/ids");
    expect_refused(bulk(s, "/retries", "{\"ids\":[1,\"2\"]}"), "/ids/1");
    expect_refused(bulk(s, "/retries", "{\"ids\":7}"), "/ids");
    expect_refused(bulk(s, "/retries", "{\"ids\":[1],\"all\":true}"), "/ids");
    expect_refused(bulk(s, "/retries", "{\"all\":true,\"reason\":\"r\"}"), "/reason");
    expect_refused(bulk(s, "/retries", "{\"filter\":{\"status\":[\"todo\"]}}"),
                   "/filter/status");
    expect_refused(bulk(s, "/cancellations", "{\"filter\":{\"status\":[\"failed\"]}}"),
                   "/filter/status");
    expect_refused(bulk(s, "/cancellations", "{\"filter\":{\"kind\":\"x\"}}"),
                   "/filter/kind");
    expect_refused(
        bulk(s, "/deletions",
             "{\"filter\":{\"created_before\":\"2030-01-01T00:00:00-23:59\"}}"),
        "/filter/created_before");
    expect_refused(
        bulk(s, "/cancellations", "{\"all\":true,\"until\":\"2020-01-01T00:00:00Z\"}"),
        "/until");
    expect_refused(bulk(s, "/cancellations", "{\"ids\":[1]," RULE_END "}"), "/until");
    expect_refused(bulk(s, "/cancellations", text_of("{\"ids\":[%s1,1]}", many)), "/ids");
    expect_status(bulk(s, "/cancellations", text_of("{\"ids\":[%s1]}", many)), 200);
}

/* -- filters ------------------------------------------------------------------------- */

Test(bulk, null_in_a_filter_is_the_same_as_nothing)
{
    struct service *s = start();
    int64_t id = put_mail(s, "");
    struct reply *r = wait_done(
        s, bulk(s, "/cancellations",
                "{\"filter\":{\"status\":null,\"queue\":\"mail\",\"metadata\":{}}}"));

    cr_expect_null(reply_at(r, "filter.status"), "%s", r->body);
    expect_text(r, "filter.queue", "mail");
    expect_text(r, "counts.cancelled", "1");
    expect_text(look_at(s, id), "status", "cancelled");
}

Test(bulk, a_filter_means_what_all_of_it_says)
{
    struct service *s = start();
    static const struct {
        const char *filter;
        int n; /* of the four below */
    } cases[] = {
        {"\"queue\":\"mail\",\"tag\":\"x\"", 1},
        {"\"tag\":\"x\"", 1},
        {"\"queue\":\"mail\",\"metadata\":{\"a\":{\"b\":1}}", 1},
        {"\"lock\":\"l\"", 1},
        {"\"queue\":\"mail\",\"created_before\":\"2020-01-01T00:00:00Z\"", 0},
        {"\"queue\":\"mail\",\"created_after\":\"2020-01-01T00:00:00Z\"", 4},
        {"\"queue\":\"mail\",\"status\":[\"doing\"]", 0},
        {"\"task\":\"sleep\",\"queue\":\"mail\"", 0},
        {"\"queue\":\"no-such-queue\"", 0},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_mail(s, ",\"tags\":[\"x\"]");
        put_mail(s, ",\"metadata\":{\"a\":{\"b\":1,\"c\":2}}");
        put_mail(s, ",\"lock\":\"l\"");
        put_mail(s, ",\"delay_seconds\":3600");
        struct reply *r = wait_done(
            s, bulk(s, "/cancellations", text_of("{\"filter\":{%s}}", cases[i].filter)));
        cr_expect_eq(reply_int(r, "counts.cancelled"), cases[i].n, "%s: %s",
                     cases[i].filter, r->body);
        expect_text(r, "counts.matched", reply_text(r, "counts.cancelled"));
        wait_done(s, bulk(s, "/deletions", "{\"all\":true}"));
    }
}

Test(bulk, running_jobs_are_asked_to_stop_or_counted)
{
    struct service *s = start();
    int64_t running = put_sleeper(s), todo = put_mail(s, "");
    struct reply *r =
        wait_done(s, bulk(s, "/cancellations",
                          "{\"all\":true,\"reason\":\"r\",\"actor\":\"ann\"}"));

    expect_text(r, "counts.matched", "2");
    expect_text(r, "counts.cancelled", "1");
    expect_text(r, "counts.failed", "1");
    expect_text(look_at(s, todo), "status", "cancelled");
    r = wait_done(
        s, bulk(s, "/cancellations", "{\"all\":true,\"abort\":true,\"actor\":\"bob\"}"));
    expect_text(r, "counts.aborting", "1");
    expect_text(r, "progress.percent", "100");
    wait_status(s, running, "aborted");
    r = http_get(s, "/jobs/%ld/cancellations/1", running);
    expect_text(r, "actor", "bob");
    r = http_get(s, "/jobs/%ld/cancellations/1", todo);
    expect_text(r, "actor", "ann");
    expect_text(r, "reason", "r");
    expect_text(r, "cause", "user");
}

Test(bulk, ended_jobs_start_again_and_go_by_filter)
{
    struct service *s = start();
    int64_t failed = put_job(s, "{\"task\":\"fail\",\"max_attempts\":1}");
    int64_t good = put_job(s, "{\"task\":\"echo\"}");

    wait_status(s, failed, "failed");
    wait_status(s, good, "succeeded");
    struct reply *r = wait_done(s, bulk(s, "/retries", "{\"all\":true}"));
    expect_text(r, "counts.retried", "1");
    expect_text(wait_status(s, failed, "succeeded"), "attempt", "2");
    expect_text(look_at(s, good), "attempt", "1");
    r = wait_done(s, bulk(s, "/deletions", "{\"filter\":{\"status\":[\"succeeded\"]}}"));
    expect_text(r, "counts.deleted", "2");
    expect_status(look_at(s, good), 404);
}

Test(bulk, retries_say_what_the_jobs_shall_have_from_then_on)
{
    struct service *s = start();
    int64_t a = put_job(s, "{\"task\":\"fail\"}"), b = put_job(s, "{\"task\":\"fail\"}");

    wait_status(s, a, "failed");
    wait_status(s, b, "failed");
    struct reply *r = bulk(s, "/retries",
                           text_of("{\"ids\":[%ld],\"queue\":\"new\",\"lock\":\"l\","
                                   "\"priority\":5}",
                                   a));
    expect_text(r, "results.0.result", "retried");
    r = look_at(s, a);
    expect_text(r, "queue", "new");
    expect_text(r, "lock", "l");
    expect_text(r, "priority", "5");
    r = wait_done(s, bulk(s, "/retries",
                          "{\"filter\":{\"status\":[\"failed\"]},\"queue\":\"newer\","
                          "\"delay_seconds\":0.5,\"max_attempts\":3}"));
    expect_text(r, "counts.retried", "1");
    expect_text(r, "changes.queue", "newer");
    cr_expect_float_eq(strtod(reply_text(r, "changes.delay_seconds"), NULL), 0.5, 0.001);
    r = look_at(s, b);
    expect_text(r, "queue", "newer");
    expect_text(r, "max_attempts", "3");
    cr_expect_str_neq(reply_text(r, "scheduled_at"), "null");
    expect_refused(bulk(s, "/retries",
                        "{\"ids\":[1],\"delay_seconds\":1,"
                        "\"scheduled_at\":\"2999-01-01T00:00:00Z\"}"),
                   "/delay_seconds");
    expect_refused(bulk(s, "/retries", "{\"all\":true,\"queue\":\"a b\"}"), "/queue");
}

Test(bulk, retries_of_many_start_when_their_time_has_come)
{
    struct service *s = start();
    int64_t id = put_job(s, "{\"task\":\"echo\"}");

    wait_status(s, id, "succeeded");
    wait_done(s, bulk(s, "/retries",
                      "{\"filter\":{\"status\":[\"succeeded\"]},\"delay_seconds\":0.3}"));
    expect_text(wait_status(s, id, "succeeded"), "attempt", "2");
}

Test(bulk, operations_are_listed_and_stopped)
{
    struct service *s = start();
    struct reply *r =
        wait_done(s, bulk(s, "/cancellations", "{\"all\":true,\"actor\":\"ann\"}"));

    expect_status(http_post(s, NULL, "/operations/1/cancel"), 409);
    r = bulk(s, "/cancellations", "{\"filter\":{\"tag\":\"x\"}," RULE_END "}");
    expect_status(r, 202);
    expect_text(r, "standing", "true");
    r = http_get(s, "/operations?standing=true");
    expect_text(r, "operations.0.id", "2");
    expect_text(r, "operations.1", "");
    r = http_get(s, "/operations?limit=1");
    expect_text(r, "next_cursor", "2");
    expect_text(http_get(s, "/operations?cursor=2"), "operations.0.id", "1");
    expect_text(http_post(s, NULL, "/operations/2/cancel"), "status", "cancelled");
    expect_text(http_post(s, NULL, "/operations/2/cancel"), "status", "cancelled");
    expect_status(http_get(s, "/operations?cursor=x"), 400);
    expect_status(http_get(s, "/operations/4711"), 404);
}

/* -- rules --------------------------------------------------------------------------- */

Test(bulk, what_a_rule_is_for_is_cancelled_as_it_arrives)
{
    struct service *s = start();
    int64_t before = put_mail(s, ",\"tags\":[\"x\"]");
    struct reply *r = bulk(s, "/cancellations",
                           "{\"filter\":{\"queue\":\"mail\",\"tag\":\"x\"},\"reason\":"
                           "\"down\"," RULE_END "}");

    wait_status(s, before, "cancelled");
    r = http_post(s, "{\"task\":\"echo\",\"queue\":\"mail\",\"tags\":[\"x\"]}",
                  "/jobs?wait=5");
    expect_status(r, 201);
    expect_text(r, "status", "cancelled");
    int64_t id = reply_int(r, "id");
    expect_text(http_get(s, "/jobs/%ld/cancellations/1", id), "reason", "down");
    int64_t other = put_mail(s, "");
    expect_text(look_at(s, other), "status", "todo");
    r = http_post(
        s,
        "[{\"task\":\"echo\",\"queue\":\"mail\",\"tags\":[\"x\"],\"lock\":\"l\"},"
        "{\"task\":\"echo\",\"queue\":\"mail\",\"lock\":\"l\"}]",
        "/jobs/batch");
    expect_text(look_at(s, reply_int(r, "ids.0")), "status", "cancelled");
    expect_text(look_at(s, reply_int(r, "ids.1")), "status", "todo");
    wait_until(reply_int(http_get(s, "/operations/1"), "counts.matched") == 3);
    expect_status(http_post(s, NULL, "/operations/1/cancel"), 200);
    id = put_mail(s, ",\"tags\":[\"x\"]");
    expect_text(look_at(s, id), "status", "todo");
    expect_text(http_get(s, "/operations/1"), "counts.cancelled", "3");
}

Test(bulk, a_rule_ends_by_itself)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--queues default");
    const char *until = cluster_psql(
        url, "SELECT belay.time_text(clock_timestamp() + interval '1 second')");
    struct reply *r =
        bulk(s, "/cancellations",
             text_of("{\"filter\":{\"queue\":\"mail\"},\"until\":\"%s\"}", until));

    expect_text(look_at(s, put_mail(s, "")), "status", "cancelled");
    r = wait_done(s, r);
    expect_text(r, "counts.cancelled", "1");
    expect_text(look_at(s, put_mail(s, "")), "status", "todo");
}
