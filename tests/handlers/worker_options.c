/* Which jobs a node takes, and when it stops by itself. */
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

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
