/* Pause, limits and holds, over HTTP and over several nodes. What ran at a time is judged
 * by the times that the nodes wrote. */
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

TestSuite(gates, .timeout = 120, .fini = service_stop_all);

/* Puts n such jobs in at once. */
static void put_many(struct service *s, int n, const char *job)
{
    char *all = text_of("[%s", job);

    for (int i = 1; i < n; i++)
        all = text_of("%s,%s", all, job);
    expect_status(http_post(s, text_of("%s]", all), "/jobs/batch"), 201);
}

static struct reply *put(struct service *s, const char *path, const char *body)
{
    struct reply *r = http(s, "PUT", path, NULL, body);

    expect_status(r, 200);
    return r;
}

/* The most jobs of the queue that ran at a time. */
static int64_t most_at_a_time(const char *url)
{
    return cluster_int(
        url, "WITH x AS (SELECT started_at AS at, 1 AS n FROM belay.ends UNION ALL "
             "SELECT finished_at, -1 FROM belay.ends)"
             " SELECT max(s) FROM (SELECT sum(n) OVER (ORDER BY at, n) AS s FROM x) y");
}

static int64_t ended(const char *url)
{
    return cluster_int(url, "SELECT count(*) FROM belay.ends WHERE status = 2");
}

Test(gates, two_nodes_run_three_jobs_of_a_limited_queue_at_a_time_and_all_of_them)
{
    const char *url = cluster_database();
    struct service *a = service_start(url, "--concurrency 8");

    service_start(url, "--concurrency 8");
    put(a, "/queues/mails/limits", "{\"max_running\":3}");
    put_many(a, 300,
             "{\"task\":\"sleep\",\"args\":{\"seconds\":0.01},\"queue\":\"mails\"}");
    wait_until(ended(url) >= 100);
    wait_until(ended(url) >= 200);
    wait_until(ended(url) == 300);
    cr_expect_leq(most_at_a_time(url), 3);
    cr_expect_geq(most_at_a_time(url), 2);
    expect_text(http_get(a, "/queues"), "queues.0.limits.max_running", "3");
}

Test(gates, keys_tasks_and_locks_are_limited_together)
{
    const char *url = cluster_database();
    struct service *a = service_start(url, "--concurrency 8");

    service_start(url, "--concurrency 8");
    put(a, "/limit-keys/k", "{\"max_running\":2}");
    put(a, "/tasks/sleep/limits", "{\"max_running\":4}");
    put_many(a, 40,
             "{\"task\":\"sleep\",\"args\":{\"seconds\":0.01},\"limit_key\":\"k\"},"
             "{\"task\":\"sleep\",\"args\":{\"seconds\":0.01},\"lock\":\"l\","
             "\"queue\":\"q\"}");
    wait_until(ended(url) >= 40);
    wait_until(ended(url) == 80);
    cr_expect_leq(most_at_a_time(url), 3); /* two of the key, one of the lock */
}

Test(gates, the_places_of_a_node_that_is_killed_are_free_when_its_jobs_are_rescued)
{
    const char *url = cluster_database();
    struct service *a = service_start(url, "--concurrency 8 --lease-seconds 2");

    put(a, "/queues/mails/limits", "{\"max_running\":2}");
    put_many(a, 4, "{\"task\":\"sleep\",\"args\":{\"seconds\":600},\"queue\":\"mails\"}");
    wait_status(a, 2, "doing");
    struct service *b = service_start(url, "--concurrency 8 --lease-seconds 2");
    expect_text(look_at(b, 3), "status", "todo");
    service_crash(a);
    wait_status(b, 1, "failed");
    wait_status(b, 3, "doing");
    wait_status(b, 4, "doing");
}

Test(gates, starts_are_as_far_apart_as_the_rate_says)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 8");

    put(s, "/queues/mails/limits", "{\"rate_per_second\":20,\"burst\":2}");
    put_many(s, 32, "{\"task\":\"echo\",\"queue\":\"mails\"}");
    wait_until(ended(url) == 32);
    int64_t ms = cluster_int(url, "SELECT extract(epoch FROM max(started_at) - "
                                  "min(started_at)) * 1000 FROM belay.ends");
    cr_expect_geq(ms, 1450, "30 tokens came within %ld ms", (long)ms);
    cr_expect_leq(ms, 8000, "30 tokens came within %ld ms", (long)ms);
}

Test(gates, a_paused_queue_waits_and_another_goes_on)
{
    struct service *s = service_start(cluster_database(), "--concurrency 4");
    struct reply *r =
        http_post(s, "{\"reason\":\"r\",\"actor\":\"ada\"}", "/queues/mails/pause");

    expect_text(r, "pause.by", "ada");
    int64_t held_up = put_job(s, "{\"task\":\"echo\",\"queue\":\"mails\"}");
    wait_status(s, put_job(s, "{\"task\":\"echo\"}"), "succeeded");
    expect_text(look_at(s, held_up), "status", "todo");
    expect_text(http_get(s, "/jobs/%ld/explain", held_up), "reason", "paused");
    expect_status(http_post(s, NULL, "/queues/mails/resume"), 200);
    wait_status(s, held_up, "succeeded");
}

Test(gates, a_pause_until_a_time_ends_by_itself)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 4 --poll-seconds 60");
    const char *until = text_of(
        "{\"until\":\"%s\"}",
        cluster_psql(url, "SELECT belay.time_text(now() + interval '0.5 second')"));

    expect_status(http_post(s, until, "/tasks/echo/pause"), 200);
    wait_status(s, put_job(s, "{\"task\":\"echo\"}"), "succeeded");
}

Test(gates, a_hold_ends_by_hand_by_time_and_by_cancel)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 4 --poll-seconds 60");
    int64_t ids[3];

    for (int i = 0; i < 3; i++)
        ids[i] = put_job(s, "{\"task\":\"echo\",\"delay_seconds\":0.3}");
    for (int i = 0; i < 3; i++)
        expect_text(http_post(s,
                              i == 1 ? text_of("{\"until\":\"%s\"}",
                                               cluster_psql(url, "SELECT "
                                                                 "belay.time_text(now() "
                                                                 "+ interval '1 s')"))
                                     : "{\"actor\":\"ada\"}",
                              "/jobs/%ld/hold", ids[i]),
                    "result", "held");
    wait_status(s, ids[1], "succeeded");
    expect_text(look_at(s, ids[0]), "hold.by", "ada");
    expect_text(http_get(s, "/jobs/%ld/explain", ids[0]), "reason", "held");
    expect_text(http_post(s, NULL, "/jobs/%ld/release", ids[0]), "result", "released");
    wait_status(s, ids[0], "succeeded");
    expect_text(http_post(s, NULL, "/jobs/%ld/cancel", ids[2]), "result", "cancelled");
    expect_text(look_at(s, ids[2]), "hold", "null");
}

Test(gates, what_runs_cannot_be_held)
{
    struct service *s = service_start(cluster_database(), "--concurrency 4");
    int64_t id = put_sleeper(s);
    struct reply *r = http_post(s, NULL, "/jobs/%ld/hold", id);

    expect_status(r, 409);
    expect_text(r, "code", "job-running");
    expect_text(r, "result", "not_held");
}
