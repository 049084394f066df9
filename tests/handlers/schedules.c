/* Schedules over HTTP, and their ticks on several nodes. */
#include "tests/support/cluster.h"
#include "tests/support/service.h"

#include <string.h>
#include <time.h>

TestSuite(schedules, .timeout = 90, .fini = service_stop_all);

static const char daily[] = "{\"cron\":\"0 3 * * *\",\"task\":\"echo\"}";

static struct reply *put(struct service *s, const char *name, const char *body)
{
    return http(s, "PUT", text_of("/schedules/%s", name), NULL, body);
}

Test(schedules, one_is_put_looked_at_changed_and_deleted)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    struct reply *r = put(s, "nightly",
                          "{\"cron\":\"0 3 * * mon-fri\",\"timezone\":\"Europe/Berlin\","
                          "\"task\":\"echo\",\"queue\":\"q\",\"args\":{\"a\":1.10},"
                          "\"priority\":5,\"lock\":\"l\",\"queueing_lock\":\"ql\","
                          "\"max_attempts\":3,\"tags\":[\"x y\"],\"metadata\":{\"m\":1},"
                          "\"timeout_seconds\":1.5,\"max_delay_seconds\":60}");

    expect_status(r, 201);
    cr_expect_str_eq(reply_header(r, "Location"), "/schedules/nightly");
    expect_text(r, "next_times.0", reply_text(r, "next_at"));
    cr_expect_not_null(reply_at(r, "next_times.4"));
    cr_expect_not_null(strstr(r->body, "\"args\":{\"a\":1.10},\"priority\":5,\"lock\":"
                                       "\"l\",\"queueing_lock\":\"ql\",\"max_attempts\":"
                                       "3,\"tags\":[\"x y\"],\"metadata\":{\"m\":1},"
                                       "\"timeout_seconds\":1.5,\"max_delay_seconds\":60,"
                                       "\"paused\":false"),
                       "%s", r->body);
    const char *etag = reply_header(http_get(s, "/schedules/nightly"), "ETag");
    expect_status(put(s, "nightly", daily), 200);
    r = http(s, "GET", "/schedules/nightly", text_of("If-None-Match: %s\r\n", etag),
             NULL);
    expect_status(r, 200);
    expect_text(r, "timezone", "UTC");
    expect_text(r, "max_delay_seconds", "600");
    expect_text(r, "priority", "0");
    expect_text(r, "lock", "null");
    expect_status(http_delete(s, "/schedules/nightly"), 204);
    expect_text(http_delete(s, "/schedules/nightly"), "code", "schedule-not-found");
    expect_status(http_get(s, "/schedules/nightly"), 404);
}

Test(schedules, a_wrong_body_is_told_what_is_wrong_where)
{
    static const struct {
        const char *body, *code, *pointer, *words;
    } wrong[] = {
        {"{\"task\":\"echo\"}", "invalid", "/cron", "is needed"},
        {"{\"cron\":\"* * * * *\"}", "invalid", "/task", "is needed"},
        {"{\"cron\":\"* * * * *\",\"task\":\"ecko\"}", "unknown-task", "/task",
         "there are async_pay"},
        {"{\"cron\":\"0 0 L * *\",\"task\":\"echo\"}", "invalid", "/cron",
         "the day takes numbers from 1 to 31"},
        {"{\"cron\":\"* * * * *\",\"task\":\"echo\",\"timezone\":\"Mars\"}", "invalid",
         "/timezone", "as Europe/Berlin"},
        {"{\"cron\":\"* * * * *\",\"task\":\"echo\",\"args\":{\"timestamp\":1}}",
         "invalid", "/args/timestamp", "given by the tick"},
        {"{\"cron\":\"* * * * *\",\"task\":\"echo\",\"metadata\":{\"schedule\":1}}",
         "invalid", "/metadata/schedule", "given by the schedule"},
        {"{\"cron\":\"* * * * *\",\"task\":\"echo\",\"zone\":\"UTC\"}", "invalid",
         "/zone", ""},
        {"{\"cron\":7,\"task\":\"echo\",\"paused\":\"no\"}", "invalid", "/cron",
         "string"},
    };
    struct service *s = service_start(cluster_database(), "--concurrency 0");

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct reply *r = put(s, "n", wrong[i].body);
        expect_status(r, 422);
        expect_text(r, "code", wrong[i].code);
        expect_text(r, "errors.0.pointer", wrong[i].pointer);
        cr_expect_not_null(strstr(reply_text(r, "errors.0.detail"), wrong[i].words), "%s",
                           r->body);
    }
    expect_status(put(s, "a%20b", daily), 422);
    expect_status(put(s, text_of("%0129d", 0), daily), 422);
    expect_status(put(s, text_of("%0128d", 0), daily), 201);
}

Test(schedules, pages_go_by_name)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    const char *const names[] = {"b", "a", "C", "a.2", "a-1"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        expect_status(put(s, names[i], daily), 201);
    struct reply *r = http_get(s, "/schedules?limit=3");
    expect_text(r, "schedules.0.name", "C");
    expect_text(r, "schedules.2.name", "a-1");
    cr_expect_null(reply_at(r, "schedules.3"));
    cr_expect_null(reply_at(r, "schedules.0.next_times"));
    cr_expect_str_eq(reply_header(r, "Link"),
                     "</schedules?cursor=na-1&limit=3>; rel=\"next\"");
    r = http_get(s, "/schedules?limit=3&cursor=%s", reply_text(r, "next_cursor"));
    expect_text(r, "schedules.0.name", "a.2");
    expect_text(r, "schedules.1.name", "b");
    expect_text(r, "next_cursor", "null");
    expect_status(http_get(s, "/schedules?cursor=d1z"), 400);
    expect_status(http_get(s, "/schedules?limit=0"), 400);
}

Test(schedules, a_job_can_be_had_at_once_and_not_twice_with_a_queueing_lock)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");

    put(s, "n",
        "{\"cron\":\"@yearly\",\"task\":\"echo\",\"args\":{\"a\":1},"
        "\"queueing_lock\":\"q\",\"paused\":true}");
    time_t before = time(NULL);
    struct reply *r = http_post(s, NULL, "/schedules/n/run");
    expect_status(r, 201);
    cr_expect_str_eq(reply_header(r, "Location"),
                     text_of("/jobs/%ld", reply_int(r, "id")));
    expect_text(r, "metadata.schedule", "n");
    expect_text(r, "args.a", "1");
    cr_expect(reply_int(r, "args.timestamp") >= before &&
              reply_int(r, "args.timestamp") <= before + 20);
    int64_t id = reply_int(r, "id");
    r = http_post(s, NULL, "/schedules/n/run");
    expect_status(r, 409);
    expect_text(r, "code", "already-enqueued");
    cr_expect_eq(reply_int(r, "existing_id"), id);
    expect_status(http_post(s, NULL, "/schedules/x/run"), 404);
    expect_text(http_get(s, "/schedules/n"), "last_job_id", text_of("%ld", id));
}

Test(schedules, paused_and_resumed_over_http)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");

    put(s, "n", "{\"cron\":\"* * * * * *\",\"task\":\"echo\"}");
    wait_until(reply_int(http_get(s, "/schedules/n"), "ticks") > 0);
    struct reply *r = http_post(s, NULL, "/schedules/n/pause");
    expect_text(r, "paused", "true");
    expect_text(r, "next_at", "null");
    cr_expect_null(reply_at(r, "next_times.0"));
    int64_t ticks = reply_int(r, "ticks");
    r = http_post(s, NULL, "/schedules/n/pause");
    expect_status(r, 200);
    r = http_post(s, NULL, "/schedules/n/resume");
    expect_text(r, "paused", "false");
    cr_expect_eq(reply_int(r, "ticks"), ticks);
    wait_until(reply_int(http_get(s, "/schedules/n"), "ticks") > ticks);
    expect_status(http_post(s, NULL, "/schedules/x/pause"), 404);
    expect_status(http_post(s, NULL, "/schedules/x/resume"), 404);
}

/* Seconds in which there are jobs, from the first to the last; and jobs. */
static const char seconds[] =
    "SELECT max((args ->> 'timestamp')::int) - min((args ->> 'timestamp')::int) + 1, "
    "count(*), count(DISTINCT args ->> 'timestamp') FROM belay.jobs";

Test(schedules, each_tick_comes_once_while_nodes_come_and_go)
{
    const char *url = cluster_database();
    struct service *nodes[3];

    for (int i = 0; i < 3; i++)
        nodes[i] = service_start(url, "--concurrency 1 --poll-seconds 1");
    put(nodes[0], "n", "{\"cron\":\"* * * * * *\",\"task\":\"echo\"}");
    wait_until(cluster_int(url, "SELECT count(*) FROM belay.jobs") >= 2);
    service_crash(nodes[0]);
    wait_until(cluster_int(url, "SELECT count(*) FROM belay.jobs") >= 5);
    service_stop(nodes[1]);
    wait_until(cluster_int(url, "SELECT count(*) FROM belay.jobs") >= 7);
    http_post(nodes[2], NULL, "/schedules/n/pause");
    int64_t n = cluster_int(url, "SELECT count(*) FROM belay.jobs");
    cr_expect_str_eq(cluster_psql(url, seconds), text_of("%ld|%ld|%ld", n, n, n));
    /* As precise as a job that is due: its tick wakes the node, not a poll. */
    cr_expect_lt(cluster_int(url, "SELECT min(extract(epoch FROM created_at) - (args ->> "
                                  "'timestamp')::int) * 1000 FROM belay.jobs"),
                 100);
}

Test(schedules, what_was_missed_while_no_node_was_there_is_caught_up)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 1");

    put(s, "n", "{\"cron\":\"* * * * * *\",\"task\":\"echo\",\"max_delay_seconds\":60}");
    wait_until(cluster_int(url, "SELECT count(*) FROM belay.jobs") >= 1);
    cr_expect_eq(service_stop(s), 0);
    int64_t n = cluster_int(url, "SELECT count(*) FROM belay.jobs");
    cluster_psql(url, "UPDATE belay.schedules SET next_at = next_at - interval '20 "
                      "seconds', cron = '*/2 * * * * *'");
    s = service_start(url, "--concurrency 1");
    wait_until(cluster_int(url, "SELECT count(*) FROM belay.jobs") >= n + 10);
    cr_expect(service_logged(s, "maintain_tick"));
}
