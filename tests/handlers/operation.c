/* What is asked about the service itself, and the life of a job in its events. */
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <signal.h>
#include <string.h>

TestSuite(operation, .timeout = 90, .fini = service_stop_all);

enum { CURSOR_BYTES = 4096 };

Test(operation, tasks_are_the_built_in_ones_and_the_declared_commands)
{
    struct service *s = service_start(cluster_database(), steered("--concurrency 0"));
    struct reply *r = http_get(s, "/tasks");

    expect_status(r, 200);
    cr_expect_not_null(strstr(r->body, "\"name\":\"echo\""));
    cr_expect_not_null(strstr(r->body, "\"name\":\"deaf\",\"description\":null"));
}

Test(operation, tasks_tell_what_holds_where_a_job_says_nothing)
{
    struct service *s = service_start(
        cluster_database(), steered("--concurrency 0 --max-attempts 4 --isolate echo"));
    const char *tasks = http_get(s, "/tasks")->body;

    cr_expect_not_null(
        strstr(tasks, "\"kind\":\"async\",\"max_attempts\":4,\"timeout_seconds\":null,"
                      "\"grace_seconds\":10,\"after_grace\":\"cancel\""),
        "%s", tasks);
    cr_expect_not_null(
        strstr(tasks, "\"kind\":\"sync\",\"max_attempts\":4,\"timeout_seconds\":null,"
                      "\"grace_seconds\":null,\"after_grace\":null"),
        "%s", tasks);
    cr_expect_null(strstr(tasks, "\"kind\":null"));
    const char *stubborn = strstr(tasks, "\"name\":\"stubborn\"");
    const char *echo = strstr(tasks, "\"name\":\"echo\"");
    const char *hasty = strstr(tasks, "\"name\":\"hasty\"");
    cr_assert(stubborn != NULL && echo != NULL && hasty != NULL, "%s", tasks);
    cr_expect_lt(
        strstr(stubborn, "\"grace_seconds\":1,\"after_grace\":\"kill\"") - stubborn, 200);
    cr_expect_lt(strstr(hasty, "\"timeout_seconds\":1,") - hasty, 150);
    cr_expect_lt(strstr(echo, "\"kind\":\"process\"") - echo, 150);
}

Test(operation, queues_count_what_is_in_them)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    int64_t id = put_job(s, "{\"task\":\"echo\",\"queue\":\"q\"}");

    put_job(s, "{\"task\":\"echo\",\"queue\":\"q\"}");
    put_job(s, "{\"task\":\"echo\",\"queue\":\"q\",\"delay_seconds\":60}");
    put_job(s, "{\"task\":\"echo\",\"queue\":\"q\",\"lock\":\"l\"}");
    put_job(s, "{\"task\":\"echo\",\"queue\":\"q\",\"lock\":\"l\"}");
    expect_status(http_post(s, NULL, "/jobs/%ld/cancel", id), 200);
    struct reply *r = http_get(s, "/queues");
    expect_status(r, 200);
    expect_text(r, "queues.0.name", "q");
    expect_text(r, "queues.0.scheduled", "1");
    expect_text(r, "queues.0.blocked", "1");
    expect_text(r, "queues.0.cancelled", "1");
    expect_text(r, "queues.0.doing", "0");
}

Test(operation, workers_are_those_that_live)
{
    const char *url = cluster_database();
    struct service *s =
        service_start(url, "--concurrency 3 --node-name first --lease-seconds 2");
    struct service *other = service_start(url, "--node-name second --lease-seconds 2");
    struct reply *r = NULL;

    wait_until((r = http_get(s, "/workers")) != NULL &&
               json_array_size(reply_at(r, "workers")) == 2);
    expect_status(r, 200);
    expect_text(r, "workers.0.name", "first");
    expect_text(r, "workers.0.concurrency", "3");
    expect_text(r, "workers.0.alive", "true");
    expect_text(r, "workers.1.name", "second");
    expect_text(r, "workers.1.alive", "true");
    cr_expect_eq(service_stop(other), 0);
    r = http_get(s, "/workers");
    expect_text(r, "workers.0.alive", "true");
    cr_expect_str_neq(reply_text(r, "workers.1.alive"), "true", "%s", r->body);
}

Test(operation, a_node_without_its_database_lives_and_is_not_ready)
{
    struct service *s = service_start_unready(
        "host=/nowhere-at-all user=nobody dbname=none", "--concurrency 1");
    struct reply *r = http_get(s, "/readyz");

    expect_status(http_get(s, "/livez"), 200);
    expect_status(r, 503);
    expect_text(r, "status", "unavailable");
    expect_text(r, "database", "false");
    expect_text(r, "migrated", "false");
    cr_expect_not_null(reply_header(r, "Retry-After"));
    expect_status(http_get(s, "/tasks"), 200);
    expect_status(http_get(s, "/version"), 200);
    r = http_get(s, "/jobs/1");
    expect_status(r, 503);
    expect_text(r, "code", "database-unavailable");
}

Test(operation, a_node_that_drains_is_not_ready_and_still_answers)
{
    struct service *s =
        service_start(cluster_database(), "--concurrency 1 --drain-seconds 100");
    int64_t id = put_sleeper(s);

    service_signal(s, SIGTERM);
    wait_until(http_get(s, "/readyz")->status == 503);
    struct reply *r = http_get(s, "/readyz");
    expect_text(r, "draining", "true");
    expect_text(r, "database", "true");
    expect_status(http_get(s, "/livez"), 200);
    expect_text(look_at(s, id), "status", "doing");
    int64_t later = put_job(s, "{\"task\":\"echo\"}");
    expect_status(http_post(s, NULL, "/jobs/%ld/cancel?abort=true&wait=20", id), 200);
    wait_until(service_has_ended(s));
    cr_expect_gt(later, id);
}

Test(operation, a_second_signal_does_not_wait_for_jobs)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 1 --drain-seconds 3600");
    int64_t id = put_sleeper(s);

    service_signal(s, SIGTERM);
    wait_until(service_logged(s, "event=drain"));
    service_signal(s, SIGTERM);
    wait_until(service_has_ended(s));
    struct service *api = service_start(url, "--concurrency 0");
    expect_text(look_at(api, id), "status", "todo");
}

Test(operation, version_and_openapi_say_what_this_is)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    struct reply *r = http_get(s, "/version");

    expect_status(r, 200);
    expect_text(r, "name", "belay");
    r = http_get(s, "/openapi.json");
    expect_status(r, 200);
    expect_text(r, "openapi", "3.1.0");
    expect_status(http_get(s, "/livez?x=1"), 400);
}

/* The types of a job's events, without progress. */
static const char *types_of_events(struct service *s, int64_t id)
{
    struct reply *r = http_get(s, "/jobs/%ld/events", id);
    const char *types = "";

    expect_status(r, 200);
    for (size_t i = 0; i < json_array_size(reply_at(r, "events")); i++) {
        const char *type = reply_text(r, text_of("events.%zu.type", i));
        if (strcmp(type, "progress") != 0)
            types = text_of("%s %s", types, type);
    }
    return types;
}

/* One page after the other, from the cursor of the one before. */
static const char *types_from(struct service *s, int64_t id, int limit, char *cursor)
{
    const char *types = "", *before;

    do {
        struct reply *r =
            http_get(s, "/jobs/%ld/events?limit=%d&cursor=%s", id, limit, cursor);
        expect_status(r, 200);
        before = types;
        for (size_t i = 0; i < json_array_size(reply_at(r, "events")); i++)
            types = text_of("%s %s", types, reply_text(r, text_of("events.%zu.type", i)));
        snprintf(cursor, CURSOR_BYTES, "%s", reply_text(r, "next_cursor"));
    } while (types != before);
    return types;
}

/* What is known late has an earlier time; and of an end that has become an event, the row
 * told it before. */
Test(operation, events_from_a_cursor_come_once_also_those_that_come_late)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 1");
    struct reply *r = http_post(s, "{\"task\":\"echo\"}", "/jobs?wait=10");
    int64_t id = reply_int(r, "id");
    char cursor[CURSOR_BYTES] = "";

    cr_expect_str_eq(types_from(s, id, 2, cursor), " deferred started succeeded");
    cluster_psql(url, text_of("INSERT INTO belay.events (job_id, at, type) SELECT id,"
                              " created_at, 'held' FROM belay.jobs WHERE id = %ld",
                              id));
    cr_expect_str_eq(types_from(s, id, 50, cursor), " held");
    r = http_delete(s, "/jobs/%ld", id);
    expect_status(r, 204);
    cr_expect_str_eq(types_from(s, id, 1, cursor), " deleted");
    cursor[0] = '\0';
    cr_expect_str_eq(types_from(s, id, 2, cursor),
                     " deferred held started succeeded deleted");
}

Test(operation, a_long_life_has_no_long_cursor)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 0");
    int64_t id = reply_int(http_post(s, "{\"task\":\"echo\"}", "/jobs"), "id");
    char cursor[CURSOR_BYTES] = "";
    size_t told, all = 0;

    cluster_psql(url, text_of("INSERT INTO belay.events (job_id, at, type) SELECT j.id,"
                              " now() + i * interval '1 ms', 'held' FROM belay.jobs j,"
                              " generate_series(1, 900) i WHERE j.id = %ld",
                              id));
    do {
        struct reply *r = http_get(s, "/jobs/%ld/events?limit=200&cursor=%s", id, cursor);
        expect_status(r, 200);
        told = json_array_size(reply_at(r, "events"));
        all += told;
        snprintf(cursor, CURSOR_BYTES, "%s", reply_text(r, "next_cursor"));
        cr_assert_leq(strlen(cursor), 3100);
    } while (told > 0);
    cr_expect_eq(all, 901);
    cluster_psql(url, "INSERT INTO belay.events (job_id, at, type) SELECT job_id,"
                      " max(at) - interval '0.2 s', 'released' FROM belay.events"
                      " GROUP BY job_id");
    cr_expect_str_eq(types_from(s, id, 200, cursor), " released");
}

Test(operation, events_tell_the_life_of_a_job_in_order)
{
    static const char life[] =
        " deferred started abort_requested delivered acknowledged aborted";
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 1");
    int64_t id = put_sleeper(s);

    expect_status(http_post(s, NULL, "/jobs/%ld/cancel?abort=true&wait=30&actor=ada", id),
                  200);
    cr_expect_str_eq(types_of_events(s, id), life);
    /* As if the stages had been written by a statement that took a second. */
    cluster_psql(url, "UPDATE belay.cancellations SET delivered_at = delivered_at"
                      " + interval '1 s', acknowledged_at = acknowledged_at"
                      " + interval '1 s'");
    cr_expect_str_eq(types_of_events(s, id), life);
    struct reply *r = http_get(s, "/jobs/%ld/events?after=1&limit=1", id);
    expect_text(r, "events.0.id", "2");
    expect_text(r, "events.1", "");
    expect_status(http_get(s, "/jobs/4711/events"), 404);
    expect_status(http_get(s, "/jobs/%ld/events?cursor=0123456789a", id), 400);
    expect_status(http_get(s, "/jobs/%ld/events?cursor=0123456789", id), 400);
    r = http_get(s, "/jobs/%ld/events?cursor=ffffffffffffffffffff", id);
    expect_status(r, 200);
    expect_status(http_get(s, "/jobs/%ld/events?cursor=012345678g", id), 400);
    expect_status(http_get(s, "/jobs/4711/cancellations"), 404);
    r = http_get(s, "/jobs/%ld/cancellations/2", id);
    expect_status(r, 404);
    expect_text(r, "code", "cancellation-not-found");
    expect_status(http_get(s, "/jobs/%ld/cancellations/0", id), 404);
    expect_status(http_get(s, "/jobs/%ld/events?limit=0", id), 400);
}
