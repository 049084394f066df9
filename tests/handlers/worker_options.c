/* Which jobs a node takes, and when it stops by itself. */
#include "server/core/clock.h"
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <stdlib.h>
#include <string.h>

TestSuite(worker_options, .timeout = 90, .fini = service_stop_all);

static int64_t put_in(struct service *s, const char *queue)
{
    return put_job(s, text_of("{\"task\":\"echo\",\"queue\":\"%s\"}", queue));
}

Test(worker_options, patterns_say_which_queues_a_node_takes)
{
    struct service *s =
        service_start(cluster_database(), "--queues mail*,a?c,p_q,!mail-slow*");
    static const char *const taken[] = {"mail", "mail-1", "abc", "p_q"};
    static const char *const left[] = {"mail-slow-2", "ac", "pxq", "default"};
    int64_t ids[4];

    for (int i = 0; i < 4; i++)
        ids[i] = put_in(s, left[i]);
    for (int i = 0; i < 4; i++)
        wait_status(s, put_in(s, taken[i]), "succeeded");
    for (int i = 0; i < 4; i++) {
        expect_text(look_at(s, ids[i]), "status", "todo");
        expect_text(http_get(s, "/jobs/%ld/explain", ids[i]), "reason", "no_worker");
    }
    expect_text(http_get(s, "/workers"), "workers.0.queues.3", "!mail-slow*");
    http_post(s, "{\"reason\":\"r\"}", "/queues/mail/pause");
    int64_t waits = put_in(s, "mail");
    int64_t goes = put_in(s, "mail-3");
    wait_status(s, goes, "succeeded");
    expect_text(look_at(s, waits), "status", "todo");
}

Test(worker_options, what_is_left_out_leaves_all_others)
{
    struct service *s = service_start(cluster_database(), "--queues !b,!c*");
    int64_t b = put_in(s, "b"), c = put_in(s, "cc"), a = put_in(s, "a");

    wait_status(s, a, "succeeded");
    expect_text(look_at(s, b), "status", "todo");
    expect_text(look_at(s, c), "status", "todo");
}

/* Jobs that can start are done; what waits for its time, or is another's, stays. */
Test(worker_options, until_empty_does_what_there_is_and_stops)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 0");

    cluster_psql(url, "SELECT belay.enqueue('echo', wake => false, queue => 'q',"
                      " lock => 'l' || i % 7) FROM generate_series(1, 300) i");
    cluster_psql(url, "SELECT belay.enqueue('echo', wake => false, queue => 'q',"
                      " scheduled_at => now() - interval '1 s')"
                      " FROM generate_series(1, 1500) i");
    put_job(s, "{\"task\":\"sleep\",\"args\":{\"seconds\":1},\"queue\":\"q\"}");
    put_job(s, "{\"task\":\"fail\",\"args\":{\"times\":1},\"max_attempts\":2,"
               "\"retry\":{\"wait_seconds\":0},\"queue\":\"q\"}");
    int64_t later = put_job(s, "{\"task\":\"echo\",\"queue\":\"q\","
                               "\"delay_seconds\":3600}");
    int64_t other = put_in(s, "other");
    struct service *once =
        service_start_unready(url, "--until-empty --queues q* --concurrency 4");
    wait_until(service_has_ended(once));
    cr_expect_eq(service_stop(once), 0);
    expect_text(look_at(s, later), "status", "todo");
    expect_text(look_at(s, other), "status", "todo");
    cr_expect_str_eq(cluster_psql(url,
                                  "SELECT count(*), count(*) FILTER (WHERE status = 2)"
                                  " FROM belay.ends"),
                     "1802|1802");
    once = service_start_unready(url, "--until-empty --queues nothing");
    wait_until(service_has_ended(once));
    cr_expect_eq(service_stop(once), 0);
}

/* Statements are told to the statistics a second late at most. */
Test(worker_options, a_node_that_has_nothing_to_do_asks_seldom)
{
    static const char asked[] = "SELECT xact_commit FROM pg_stat_database"
                                " WHERE datname = current_database()";
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 2");

    sleep_ms(2000);
    int64_t before = cluster_int(url, asked);
    sleep_ms(3000);
    int64_t n = cluster_int(url, asked) - before;
    cr_expect_lt(n, 60, "%ld transactions in 3 s", (long)n);
    cr_expect_eq(service_stop(s), 0);
}

/* -- quotas -------------------------------------------------------------------------- */

/* The most jobs of a sort that had been claimed and not ended at a time. */
static const char *most_at_once(const char *url, const char *where)
{
    return cluster_psql(
        url, text_of("WITH x AS (SELECT e.started_at, e.finished_at FROM belay.ends e"
                     " JOIN belay.jobs j USING (id) JOIN belay.queues q ON q.id = "
                     "j.queue_id JOIN belay.tasks t ON t.id = j.task_id WHERE %s)"
                     " SELECT max(n) FROM (SELECT (SELECT count(*) FROM x b WHERE"
                     " b.started_at <= a.started_at AND b.finished_at > a.started_at)"
                     " AS n FROM x a) y",
                     where));
}

static void enqueue(const char *url, const char *task, const char *queue, int n)
{
    cluster_psql(url, text_of("SELECT belay.enqueue('%s', '{\"seconds\":0.02}', wake => "
                              "false, queue => '%s') FROM generate_series(1, %d)",
                              task, queue, n));
}

static void run_until_empty(const char *url, const char *flags)
{
    struct service *s = service_start_unready(url, text_of("--until-empty %s", flags));

    wait_until(service_has_ended(s));
    cr_expect_eq(service_stop(s), 0);
}

/* Nothing is claimed that may not run: no job goes back, and no lease is for less than
 * one job. */
static void expect_no_churn(const char *url, const char *jobs)
{
    cr_expect_str_eq(cluster_psql(url, "SELECT count(*) FROM belay.ends WHERE status = 2"
                                       " AND attempts = 1"),
                     jobs);
    cr_expect_str_eq(cluster_psql(url, "SELECT sum(uncounted) FROM belay.jobs"), "0");
}

Test(worker_options, a_node_runs_so_many_of_a_queue_at_a_time)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 0");

    enqueue(url, "sleep", "mail", 200);
    enqueue(url, "sleep", "other", 200);
    run_until_empty(url, "--concurrency 8 --queue-concurrency mail=2");
    expect_no_churn(url, "400");
    cr_expect_str_eq(most_at_once(url, "q.name = 'mail'"), "2");
    cr_expect_geq(strtol(most_at_once(url, "q.name = 'other'"), NULL, 10), 6);
    /* The others did not wait for the queue that was in front of them. */
    cr_expect_str_eq(
        cluster_psql(url, "SELECT max(finished_at) FILTER (WHERE q.name = 'other')"
                          " < max(finished_at) FILTER (WHERE q.name = 'mail')"
                          " FROM belay.ends JOIN belay.jobs j USING (id)"
                          " JOIN belay.queues q ON q.id = j.queue_id"),
        "t");
    service_stop(s);
}

Test(worker_options, a_node_runs_so_many_of_a_task_at_a_time)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 0");

    for (int i = 0; i < 10; i++) {
        enqueue(url, "sleep", "q", 10);
        enqueue(url, "async_sleep", "q", 10);
        enqueue(url, "echo", "q", 10);
    }
    run_until_empty(url, "--concurrency 8 --task-concurrency sleep=1 "
                         "--task-concurrency async_sleep=3");
    expect_no_churn(url, "300");
    cr_expect_str_eq(most_at_once(url, "t.name = 'sleep'"), "1");
    cr_expect_str_eq(most_at_once(url, "t.name = 'async_sleep'"), "3");
    service_stop(s);
}

Test(worker_options, a_job_counts_for_its_queue_and_for_its_task)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 0");

    for (int i = 0; i < 5; i++) {
        enqueue(url, "sleep", "mail", 10);
        enqueue(url, "echo", "mail", 10);
        enqueue(url, "sleep", "other", 10);
    }
    run_until_empty(url, "--concurrency 8 --task-concurrency sleep=3 "
                         "--queue-concurrency mail=2,nothing=1");
    expect_no_churn(url, "150");
    cr_expect_str_eq(most_at_once(url, "t.name = 'sleep'"), "3");
    cr_expect_str_eq(most_at_once(url, "q.name = 'mail'"), "2");
    service_stop(s);
}

Test(worker_options, a_task_goes_on_when_its_full_queue_has_room)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 0");

    enqueue(url, "sleep", "mail", 20);
    run_until_empty(url, "--concurrency 8 --task-concurrency sleep=3 "
                         "--queue-concurrency mail=2");
    expect_no_churn(url, "20");
    cr_expect_str_eq(most_at_once(url, "q.name = 'mail'"), "2");
    cr_expect_lt(cluster_int(url, "SELECT 1000 * extract(epoch FROM max(finished_at) -"
                                  " min(started_at)) FROM belay.ends"),
                 3000);
    service_stop(s);
}

Test(worker_options, a_quota_is_of_one_node_and_is_shown)
{
    const char *url = cluster_database();
    struct service *s = service_start(
        url, "--concurrency 4 --queue-concurrency mail=1 --task-concurrency echo=3");

    wait_until(reply_at(http_get(s, "/workers"), "workers.0") != NULL);
    struct reply *r = http_get(s, "/workers");
    expect_text(r, "workers.0.queue_concurrency.mail", "1");
    expect_text(r, "workers.0.task_concurrency.echo", "3");
    int64_t first = put_job(s, "{\"task\":\"sleep\",\"queue\":\"mail\","
                               "\"args\":{\"seconds\":600}}");
    wait_status(s, first, "doing");
    int64_t second = put_in(s, "mail");
    wait_status(s, put_in(s, "other"), "succeeded");
    expect_text(look_at(s, second), "status", "todo");
    service_start(url, "--concurrency 1");
    wait_status(s, second, "succeeded");
}

/* A node that takes some queues only is not asked for others by a quota. */
Test(worker_options, a_quota_takes_no_queue_that_the_node_leaves)
{
    struct service *s = service_start(
        cluster_database(), "--queues a*,!ab --queue-concurrency a1=1,ab=1,b=1");
    int64_t ab = put_in(s, "ab"), b = put_in(s, "b");

    wait_status(s, put_in(s, "a1"), "succeeded");
    wait_status(s, put_in(s, "a2"), "succeeded");
    expect_text(look_at(s, ab), "status", "todo");
    expect_text(look_at(s, b), "status", "todo");
}

/* A look for jobs of the other kind, which finds none, is not to hold them up. */
Test(worker_options, a_limit_of_one_task_does_not_slow_the_others)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 0");

    enqueue(url, "echo", "default", 5000);
    service_stop(s);
    run_until_empty(url, "--concurrency 4 --task-concurrency sleep=2");
    int64_t ms = cluster_int(url, "SELECT 1000 * extract(epoch FROM max(finished_at) - "
                                  "min(started_at)) FROM belay.ends");
    cr_expect_lt(ms, 4000, "%ld ms for 5,000 jobs", (long)ms);
}
