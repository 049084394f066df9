/* openapi.json against the program: every documented status of every operation is
 * provoked, every answer fits its schema, and none comes that is not documented. */
#include "tests/contract/seen.h"
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <microhttpd.h>
#include <string.h>

TestSuite(replies, .timeout = 120, .fini = service_stop_all);

#define FOR_EACH_OPERATION(o, seen)                                                      \
    for (const struct operation *o = NULL, *end = first_operation(seen, &o); o < end; o++)

static const struct operation *first_operation(struct seen *seen,
                                               const struct operation **out)
{
    int n = seen_operations(seen, out);

    return *out + n;
}

static const char *body_of(const struct operation *o)
{
    return !o->takes_body                      ? NULL
           : strcmp(o->id, "createJobs") == 0  ? "[{\"task\":\"echo\"}]"
           : strcmp(o->id, "createJob") == 0   ? "{\"task\":\"echo\"}"
           : strcmp(o->id, "putSchedule") == 0 ? "{\"cron\":\"@daily\",\"task\":\"echo\"}"
           : strstr(o->id, "Jobs") != NULL     ? "{\"filter\":{\"queue\":\"none\"}}"
                                               : "{}";
}

/* -- what any request may be told, whatever it asks for ------------------------------ */

static void see_refused_heads(struct seen *seen)
{
    const char *long_text = text_of("%020000d", 0);

    FOR_EACH_OPERATION(o, seen)
    {
        const char *body = body_of(o), *m = o->method;
        see(seen, m, text_of("%s?nonsense=1", o->path), NULL, body, 400);
        see(seen, m, text_of("%s?a=%.5000s", o->path, long_text), NULL, body, 414);
        see(seen, m, o->path, "Content-Length: 999999999\r\n", NULL, 413);
        see(seen, m, o->path, "Expect: miracles\r\n", body, 417);
        see(seen, m, o->path, "Host: evil.example\r\n", body, 421);
        see(seen, m, o->path, text_of("X-Long: %.17000s\r\n", long_text), body, 431);
        if (MHD_VERSION < 0x01000000)
            see(seen, m, o->path, "Transfer-Encoding: gzip\r\n", NULL, 501);
        else
            seen_excuse(seen, o->id, 501, "libmicrohttpd 1.0 cannot parse it: a page");
        if (o->changes)
            see(seen, m, o->path, "Origin: http://evil.example\r\n", body, 403);
        if (o->takes_body)
            see(seen, m, o->path, "Content-Type: text/plain\r\n", "{}", 415);
    }
}

static void see_those_who_are_slow(struct seen *seen)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0"
                                                          " --timeout-header-seconds 1");
    struct pending *slow[64];
    int n = 0, i = 0;

    FOR_EACH_OPERATION(o, seen)
    {
        const char *head =
            text_of("%s %s HTTP/1.1\r\nHost: localhost\r\n", o->method, o->path);
        slow[n++] = http_send_raw(s, head, strlen(head));
    }
    FOR_EACH_OPERATION(o, seen)
    seen_judge(seen, o->method, o->path, http_receive(slow[i++]), 408);
}

static void see_a_broken_schema(struct seen *seen)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 0 --lease-seconds 80000");

    seen_ask(seen, s);
    /* What PostgreSQL says of it is neither the client's fault nor an outage. */
    cluster_psql(url, "ALTER TABLE belay.jobs RENAME id TO mislaid;"
                      "ALTER TABLE belay.queues RENAME name TO mislaid;"
                      "ALTER TABLE belay.operations RENAME id TO mislaid;"
                      "ALTER TABLE belay.held RENAME lock TO mislaid;"
                      "ALTER TABLE belay.workers RENAME name TO mislaid;"
                      "ALTER TABLE belay.schedules RENAME name TO mislaid;"
                      "ALTER TABLE belay.gates RENAME name TO mislaid;"
                      "ALTER TABLE belay.keys RENAME key TO mislaid;"
                      "ALTER TABLE belay.cancellations RENAME job_id TO mislaid");
    FOR_EACH_OPERATION(o, seen)
    {
        if (o->uses_database)
            see(seen, o->method, o->path, NULL, body_of(o), 500);
        else
            seen_excuse(seen, o->id, 500, "it asks nobody who could fail");
    }
}

/* All at once, because each waits for a while whether the database comes back. */
static void see_no_database(struct seen *seen)
{
    struct service *s = service_start_unready(
        "host=/nowhere-at-all user=nobody dbname=none", "--concurrency 0");
    struct pending *asked[64];
    int n = 0, i = 0;

    FOR_EACH_OPERATION(o, seen)
    asked[n++] = http_send(s, o->method, o->path, NULL, body_of(o));
    FOR_EACH_OPERATION(o, seen)
    {
        struct reply *r = http_receive(asked[i++]);
        if (o->uses_database || strcmp(o->id, "readyz") == 0)
            seen_judge(seen, o->method, o->path, r, 503);
        else
            seen_excuse(seen, o->id, 503, "only the last moment of a shutdown says so");
        if (o->uses_database)
            seen_excuse(seen, o->id, 429, "it takes 20,000 requests that wait at once");
    }
}

/* -- what each operation has of its own ---------------------------------------------- */

static void see_not_modified(struct seen *seen, const char *path)
{
    struct reply *r = see(seen, "GET", path, NULL, NULL, 200);

    see(seen, "GET", path, text_of("If-None-Match: %s\r\n", reply_header(r, "ETag")),
        NULL, 304);
}

#define OVER                                                                             \
    "{\"task\":\"echo\",\"queueing_lock\":\"q\",\"delay_seconds\":3600,"                 \
    "\"on_conflict\":\"%s\"}"

static void see_creations(struct seen *seen)
{
    static const char locked[] =
        "{\"task\":\"echo\",\"queueing_lock\":\"q\",\"delay_seconds\":3600}";

    see(seen, "POST", "/jobs", NULL, locked, 201);
    see(seen, "POST", "/jobs", NULL, locked, 409);
    for (int i = 0; i < 2; i++)
        see(seen, "POST", "/jobs", "Idempotency-Key: a\r\n", "{\"task\":\"echo\"}", 201);
    see(seen, "POST", "/jobs", "Idempotency-Key: a\r\n", "{\"task\":\"sleep\"}", 422);
    see(seen, "POST", "/jobs", NULL, text_of(OVER, "ignore"), 200);
    see(seen, "POST", "/jobs", NULL, text_of(OVER, "abort_replace"), 200);
    see(seen, "POST", "/jobs/batch", NULL, text_of("[" OVER "]", "replace"), 200);
    see(seen, "POST", "/jobs", NULL, "{\"task\":7}", 422);
    see(seen, "POST", "/jobs", NULL, "{\"task\":\"none\"}", 422);
    see(seen, "POST", "/jobs", NULL, "{\"task\":\"echo\",\"parent_id\":4711}", 422);
    see(seen, "POST", "/jobs", NULL, "{", 400);
    see(seen, "POST", "/jobs", "Prefer: wait=20\r\n",
        "{\"task\":\"echo\",\"args\":{\"a\":1},\"tags\":[\"t\"]}", 201);
    see(seen, "POST", "/jobs/batch", NULL, "[{\"task\":\"echo\"}]", 201);
    see(seen, "POST", "/jobs/batch", NULL, text_of("[%s]", locked), 409);
    see(seen, "POST", "/jobs/batch", NULL, "[{\"task\":\"none\"}]", 422);
}

static void see_a_cancellation(struct seen *seen, struct service *s)
{
    const char *gate = scratch_path("gate");
    const char *job = text_of("/jobs/%ld", put_steered(s, "deaf", gate));
    const char *cancel = text_of("%s/cancel", job), *retry = text_of("%s/retry", job);

    see_not_modified(seen, job);
    see(seen, "POST", cancel, NULL, NULL, 409);
    see(seen, "POST", cancel, NULL, "{\"attempt\":9}", 412);
    see(seen, "POST", cancel, NULL, "{\"abort\":\"x\"}", 422);
    see(seen, "POST", text_of("%s?only_if=x", cancel), NULL, NULL, 400);
    see(seen, "POST", retry, NULL, NULL, 409);
    see(seen, "POST", retry, "If-Match: \"0\"\r\n", NULL, 412);
    see(seen, "POST", text_of("%s/restore", job), "If-Match: \"0\"\r\n", NULL, 412);
    see(seen, "POST", text_of("%s/restore", job), NULL, NULL, 409);
    see(seen, "POST", retry, NULL, "{\"queue\":\"a b\"}", 422);
    see(seen, "DELETE", job, NULL, NULL, 409);
    see(seen, "DELETE", job, "If-Match: \"0\"\r\n", NULL, 412);
    see(seen, "POST", cancel, NULL, "{\"abort\":true,\"reason\":\"r\"}", 202);
    see(seen, "POST", text_of("%s?abort=true&wait=1", cancel), NULL, NULL, 202);
    see_not_modified(seen, text_of("%s/cancellations/1", job));
    see(seen, "GET", text_of("%s/cancellations", job), NULL, NULL, 200);
    see(seen, "GET", text_of("%s/explain", job), NULL, NULL, 200);
    scratch_write(gate, "");
    see(seen, "GET", text_of("%s?wait=20", job), NULL, NULL, 200);
    see(seen, "POST", cancel, NULL, NULL, 409);
    see(seen, "POST", text_of("%s/hold", job), NULL, NULL, 409);
    see(seen, "GET", text_of("%s/events", job), NULL, NULL, 200);
    see(seen, "GET", text_of("%s/cancellations/1", job), NULL, NULL, 200);
    see(seen, "POST", retry, NULL, NULL, 200);
}

static void see_ends(struct seen *seen, struct service *s)
{
    const char *todo =
        text_of("/jobs/%ld", put_job(s, "{\"task\":\"echo\",\"delay_seconds\":3600}"));
    const char *aborted = text_of("/jobs/%ld", put_sleeper(s));
    const char *gone = text_of("/jobs/%ld", put_sleeper(s));

    see(seen, "POST", text_of("%s/cancel", todo), NULL, NULL, 200);
    see(seen, "POST", text_of("%s/cancel", todo), NULL, NULL, 200);
    see(seen, "GET", text_of("%s/events", todo), NULL, NULL, 200);
    see(seen, "GET", text_of("%s/explain", todo), NULL, NULL, 200);
    see(seen, "DELETE", todo, NULL, NULL, 204);
    see(seen, "POST", text_of("%s/cancel?abort=true&wait=20", aborted), NULL, NULL, 200);
    see(seen, "POST", text_of("%s/cancel?delete=true", aborted), NULL, NULL, 200);
    see(seen, "GET", text_of("%s/events", aborted), NULL, NULL, 200);
    see(seen, "DELETE", text_of("%s?abort=true", gone), NULL, NULL, 202);
    int64_t failed = put_job(s, "{\"task\":\"fail\"}");
    see(seen, "GET", text_of("/jobs/%ld?wait=20", failed), NULL, NULL, 200);
    see(seen, "GET", text_of("/jobs/%ld/events", failed), NULL, NULL, 200);
}

static void see_by_key(struct seen *seen)
{
    static const char key[] = "Idempotency-Key: k\r\n", at[] = "/cancellations/by-key/k";
    static const char sleep[] = "{\"task\":\"sleep\",\"args\":{\"seconds\":600}}";

    see(seen, "PUT", "/cancellations/by-key/a%20b", NULL, NULL, 400);
    see(seen, "GET", "/cancellations/by-key/a%20b", NULL, NULL, 400);
    see(seen, "PUT", at, NULL, "{\"ttl_seconds\":0}", 422);
    see(seen, "GET", at, NULL, NULL, 404);
    see(seen, "DELETE", at, NULL, NULL, 404);
    see(seen, "PUT", at, NULL, "{\"reason\":\"r\"}", 201);
    see(seen, "PUT", at, NULL, NULL, 200);
    see(seen, "GET", at, NULL, NULL, 200);
    see(seen, "DELETE", at, NULL, NULL, 204);
    see(seen, "PUT", at, NULL, NULL, 201);
    see(seen, "POST", "/jobs", key, sleep, 201);
    see(seen, "GET", at, NULL, NULL, 200);
    see(seen, "DELETE", at, NULL, NULL, 409);
    see(seen, "PUT", at, NULL, NULL, 200);
    struct reply *r = see(seen, "POST", "/jobs", "Idempotency-Key: m\r\n", sleep, 201);
    const char *job = text_of("/jobs/%ld", reply_int(r, "id"));
    wait_until(strcmp(reply_text(see(seen, "GET", job, NULL, NULL, 200), "status"),
                      "doing") == 0);
    see(seen, "PUT", "/cancellations/by-key/m", NULL, NULL, 409);
    see(seen, "PUT", "/cancellations/by-key/m", NULL, "{\"abort\":true}", 202);
    see(seen, "GET", text_of("%s?wait=20", job), NULL, NULL, 200);
    see(seen, "DELETE", job, NULL, NULL, 204);
    see(seen, "PUT", "/cancellations/by-key/m", NULL, NULL, 404);
    see(seen, "POST", "/jobs/batch", "Idempotency-Key: n\r\n",
        "[{\"task\":\"echo\"},{\"task\":\"echo\"}]", 201);
    see(seen, "PUT", "/cancellations/by-key/n", NULL, NULL, 200);
}

static void see_bulk(struct seen *seen, struct service *s)
{
    static const char *const paths[] = {"/cancellations", "/retries", "/deletions"};
    const char *last = "", *rule;

    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        int64_t id = put_job(s, "{\"task\":\"echo\",\"delay_seconds\":3600}");
        see(seen, "POST", paths[i], NULL, text_of("{\"ids\":[%ld,4711]}", id), 200);
        see(seen, "POST", paths[i], NULL, "{\"dry_run\":true,\"ids\":[1,4711]}", 200);
        see(seen, "POST", paths[i], NULL, "{\"dry_run\":true,\"all\":true}", 200);
        see(seen, "POST", paths[i], NULL, "{}", 422);
        see(seen, "POST", paths[i], NULL, "{", 400);
        last = reply_header(
            see(seen, "POST", paths[i], NULL,
                "{\"filter\":{\"queue\":\"none\",\"metadata\":{\"a\":1}}}", 202),
            "Location");
    }
    wait_until(strcmp(reply_text(http_get(s, "%s", last), "status"), "done") == 0);
    see(seen, "GET", last, NULL, NULL, 200);
    see(seen, "POST", text_of("%s/cancel", last), NULL, NULL, 409);
    rule = reply_header(
        see(seen, "POST", "/cancellations", NULL,
            "{\"filter\":{\"queue\":\"none\"},\"until\":\"2999-01-01T00:00:00Z\"}", 202),
        "Location");
    see(seen, "GET", "/operations?standing=true&limit=1", NULL, NULL, 200);
    see(seen, "GET", "/operations?status=never", NULL, NULL, 400);
    see(seen, "POST", text_of("%s/cancel", rule), NULL, NULL, 200);
    see(seen, "GET", "/operations/4711", NULL, NULL, 404);
    see(seen, "POST", "/operations/4711/cancel", NULL, NULL, 404);
}

static void see_gates(struct seen *seen, struct service *s)
{
    static const char *const things[] = {"/queues/mails", "/tasks/echo"};
    const char *job =
        text_of("/jobs/%ld", put_job(s, "{\"task\":\"echo\",\"delay_seconds\":3600}"));

    for (size_t i = 0; i < sizeof things / sizeof *things; i++) {
        const char *pause = text_of("%s/pause", things[i]);
        const char *limits = text_of("%s/limits", things[i]);
        see(seen, "POST", pause, NULL, "{\"until\":\"2126-11-23T20:00:00Z\"}", 200);
        see(seen, "POST", pause, NULL, "{\"until\":7}", 422);
        see(seen, "PUT", limits, NULL, "{\"max_running\":3}", 200);
        see(seen, "PUT", limits, NULL, "{\"burst\":3}", 422);
        see(seen, "GET", text_of("/%ss", i == 0 ? "queue" : "task"), NULL, NULL, 200);
        see(seen, "POST", text_of("%s/resume", things[i]), NULL, NULL, 200);
        see(seen, "PUT", limits, NULL, "{}", 200);
    }
    see(seen, "PUT", "/limit-keys/a", NULL, "{\"rate_per_second\":0.5}", 200);
    see(seen, "PUT", "/limit-keys/a", NULL, "{\"rate_per_second\":0}", 422);
    see(seen, "GET", "/limit-keys", NULL, NULL, 200);
    see(seen, "DELETE", "/limit-keys/a", NULL, NULL, 204);
    see(seen, "POST", text_of("%s/hold", job), NULL, "{\"reason\":\"r\"}", 200);
    see(seen, "POST", text_of("%s/cancel", job), NULL, NULL, 200);
    see(seen, "POST", text_of("%s/restore", job), NULL, NULL, 200);
    see(seen, "POST", text_of("%s/hold", job), NULL, "{\"reason\":\"r\"}", 200);
    see(seen, "POST", text_of("%s/hold", job), NULL, "{\"reason\":7}", 422);
    see(seen, "GET", text_of("%s/events", job), NULL, NULL, 200);
    see(seen, "GET", job, NULL, NULL, 200);
    see(seen, "POST", text_of("%s/release", job), NULL, NULL, 200);
    see(seen, "POST", text_of("%s/release", job), NULL, NULL, 200);
    see(seen, "DELETE", job, NULL, NULL, 204);
}

static void see_lists(struct seen *seen)
{
    see(seen, "GET", "/jobs", NULL, NULL, 200);
    see(seen, "GET", "/jobs?limit=1", NULL, NULL, 200);
    see(seen, "GET", "/jobs?parent_id=1", NULL, NULL, 200);
    see(seen, "POST", "/jobs", NULL,
        "{\"task\":\"echo\",\"parent_id\":1,\"depends_on\":1,\"delay_seconds\":60}", 201);
    see(seen, "GET", "/jobs/1/children", NULL, NULL, 200);
    see(seen, "GET", "/jobs?status=doing&queue=none", NULL, NULL, 200);
    see(seen, "GET", "/jobs?id=1,2&worker=w&metadata=%7B%7D", NULL, NULL, 200);
    see(seen, "GET", "/queues", NULL, NULL, 200);
    see(seen, "GET", "/locks?limit=1", NULL, NULL, 200);
    see(seen, "GET", "/tasks/counts", NULL, NULL, 200);
    see(seen, "GET", "/workers", NULL, NULL, 200);
    see(seen, "GET", "/tasks", NULL, NULL, 200);
    see(seen, "GET", "/livez", NULL, NULL, 200);
    see(seen, "GET", "/readyz", NULL, NULL, 200);
    see(seen, "GET", "/version", NULL, NULL, 200);
    see(seen, "GET", "/metrics", NULL, NULL, 200);
    see(seen, "GET", "/openapi.json", NULL, NULL, 200);
}

static void see_schedules(struct seen *seen)
{
    static const char body[] = "{\"cron\":\"@yearly\",\"task\":\"echo\","
                               "\"timeout_seconds\":1.5}";
    static const char *const actions[] = {"pause", "resume", "run"};

    see(seen, "PUT", "/schedules/a", NULL, body, 201);
    see(seen, "PUT", "/schedules/a", NULL, body, 200);
    see(seen, "PUT", "/schedules/a", NULL, "{\"cron\":\"x\",\"task\":\"echo\"}", 422);
    see_not_modified(seen, "/schedules/a");
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        see(seen, "POST", text_of("/schedules/a/%s", actions[i]), NULL, NULL,
            i == 2 ? 201 : 200);
        see(seen, "POST", text_of("/schedules/x/%s", actions[i]), NULL, NULL, 404);
    }
    see(seen, "PUT", "/schedules/b", NULL,
        "{\"cron\":\"@daily\",\"task\":\"echo\",\"queueing_lock\":\"q\"}", 201);
    see(seen, "POST", "/schedules/b/run", NULL, NULL, 409); /* see_creations() has it */
    see(seen, "GET", "/schedules", NULL, NULL, 200);
    see(seen, "GET", "/schedules?limit=1", NULL, NULL, 200);
    see(seen, "DELETE", "/schedules/a", NULL, NULL, 204);
    see(seen, "DELETE", "/schedules/a", NULL, NULL, 404);
    see(seen, "GET", "/schedules/a", NULL, NULL, 404);
}

static void see_nothing_there(struct seen *seen)
{
    static const char *const gets[] = {"",          "/events",        "/explain",
                                       "/children", "/cancellations", "/cancellations/1"};

    for (size_t i = 0; i < sizeof gets / sizeof *gets; i++)
        see(seen, "GET", text_of("/jobs/4711%s", gets[i]), NULL, NULL, 404);
    see(seen, "DELETE", "/jobs/4711", NULL, NULL, 404);
    see(seen, "POST", "/jobs/4711/cancel", NULL, NULL, 404);
    see(seen, "POST", "/jobs/4711/retry", NULL, NULL, 404);
    see(seen, "POST", "/jobs/4711/restore", NULL, NULL, 404);
    see(seen, "POST", "/jobs/4711/hold", NULL, NULL, 404);
    see(seen, "POST", "/jobs/4711/release", NULL, NULL, 404);
    see(seen, "DELETE", "/limit-keys/a,b", NULL, NULL, 404);
    see(seen, "PUT", "/limit-keys/a,b", NULL, "{}", 404);
    see(seen, "PUT", "/queues/a,b/limits", NULL, "{}", 404);
    see(seen, "POST", "/queues/a,b/pause", NULL, NULL, 404);
    see(seen, "POST", "/queues/a,b/resume", NULL, NULL, 404);
    see(seen, "PUT", "/tasks/none/limits", NULL, "{}", 404);
    see(seen, "POST", "/tasks/none/pause", NULL, NULL, 404);
    see(seen, "POST", "/tasks/none/resume", NULL, NULL, 404);
}

Test(replies, every_documented_answer_comes_and_no_other)
{
    struct seen *seen = seen_open("openapi/openapi.json");
    struct service *s = service_start(cluster_database(), steered("--concurrency 4"));

    seen_ask(seen, s);
    see_creations(seen);
    see_a_cancellation(seen, s);
    see_ends(seen, s);
    see_by_key(seen);
    see_bulk(seen, s);
    see_gates(seen, s);
    see_lists(seen);
    see_schedules(seen);
    see_nothing_there(seen);
    see_refused_heads(seen);
    see_those_who_are_slow(seen);
    see_a_broken_schema(seen);
    see_no_database(seen);
    seen_close(seen);
}
