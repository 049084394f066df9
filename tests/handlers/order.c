/* When jobs start: priority, schedule, locks. */
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <string.h>

TestSuite(order, .timeout = 90, .fini = service_stop_all);

/* The ids of ended jobs in the order in which they started. */
static const char *order_of_starts(const char *url)
{
    return cluster_psql(url, "SELECT string_agg(id::text, ',' ORDER BY started_at, id)"
                             " FROM belay.ends WHERE status = 2");
}

Test(order, the_higher_priority_starts_first_then_the_older)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 0");
    static const int priorities[] = {0, -5, 10, 0, 10, 2147483647};

    for (int i = 0; i < 6; i++)
        put_job(s, text_of("{\"task\":\"sleep\",\"args\":{\"seconds\":0.01},"
                           "\"priority\":%d}",
                           priorities[i]));
    struct service *worker = service_start(url, "--concurrency 1");
    wait_status(worker, 2, "succeeded");
    cr_expect_str_eq(order_of_starts(url), "6,3,5,1,4,2");
}

Test(order, a_scheduled_job_starts_when_it_is_due_and_not_before)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 1 --poll-seconds 3600");
    struct reply *r = http_post(s, "{\"task\":\"echo\",\"delay_seconds\":0.7}", "/jobs");
    int64_t id = reply_int(r, "id");

    expect_status(r, 201);
    r = wait_status(s, id, "succeeded");
    double late = strtod(cluster_psql(url, "SELECT extract(epoch FROM e.started_at -"
                                           " j.scheduled_at) FROM belay.ends e"
                                           " JOIN belay.jobs j USING (id)"),
                         NULL);
    cr_expect_geq(late, 0, "started %f s early", -late);
    cr_expect_lt(late, 2, "started %f s late", late);
}

Test(order, jobs_of_one_lock_run_one_after_the_other)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 4");

    for (int i = 0; i < 6; i++)
        put_job(s, "{\"task\":\"sleep\",\"args\":{\"seconds\":0.02},\"lock\":\"l\"}");
    wait_status(s, 6, "succeeded");
    cr_expect_str_eq(order_of_starts(url), "1,2,3,4,5,6");
    cr_expect_eq(cluster_int(url, "SELECT count(*) FROM belay.ends a JOIN belay.ends b"
                                  " ON a.id < b.id AND a.finished_at > b.started_at"),
                 0, "two of them ran at once");
}

Test(order, an_aborted_holder_lets_the_next_of_its_lock_go)
{
    struct service *s = service_start(cluster_database(), "--concurrency 2");
    int64_t holder =
        put_job(s, "{\"task\":\"sleep\",\"args\":{\"seconds\":600},\"lock\":\"l\"}");
    int64_t next = put_job(s, "{\"task\":\"echo\",\"lock\":\"l\"}");

    wait_status(s, holder, "doing");
    expect_text(look_at(s, next), "status", "todo");
    expect_status(http_post(s, NULL, "/jobs/%ld/cancel?abort=true", holder), 202);
    wait_status(s, next, "succeeded");
}

Test(order, a_worker_takes_only_its_queues)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 1 --queues mail,web");
    int64_t other = put_job(s, "{\"task\":\"echo\",\"queue\":\"slow\"}");
    int64_t mail = put_job(s, "{\"task\":\"echo\",\"queue\":\"mail\"}");
    int64_t web = put_job(s, "{\"task\":\"echo\",\"queue\":\"web\"}");

    wait_status(s, mail, "succeeded");
    wait_status(s, web, "succeeded");
    expect_text(look_at(s, other), "status", "todo");
}

Test(order, progress_is_shown_while_a_job_runs)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    int64_t id = put_job(s, "{\"task\":\"sleep\",\"args\":{\"seconds\":600}}");

    wait_until(strcmp(reply_text(look_at(s, id), "progress"), "null") != 0);
    struct reply *r = look_at(s, id);
    cr_expect_not_null(strstr(reply_text(r, "progress.message"), "of 600.0 seconds"));
}
