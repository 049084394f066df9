/* listLocks and listTaskCounts: who has a lock and who waits, and how many jobs a task
 * has. */
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <string.h>

TestSuite(list_locks, .timeout = 90, .fini = service_stop_all);

Test(list_locks, a_lock_tells_its_holder_and_its_line)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    const char *sleeper =
        "{\"task\":\"sleep\",\"args\":{\"seconds\":600},\"lock\":\"l&1\"}";
    int64_t first = put_job(s, sleeper);
    int64_t low = put_job(s, sleeper);
    int64_t high =
        put_job(s, "{\"task\":\"echo\",\"lock\":\"l&1\",\"priority\":5,\"queue\":\"q\"}");

    wait_status(s, first, "doing");
    put_job(s, "{\"task\":\"echo\",\"lock\":\"other\"}");
    struct reply *r = http_get(s, "/locks");
    expect_status(r, 200);
    cr_assert_eq(json_array_size(reply_at(r, "locks")), 2, "%s", r->body);
    expect_text(r, "locks.0.lock", "l&1");
    expect_text(r, "locks.0.holder.id", text_of("%ld", first));
    expect_text(r, "locks.0.holder.status", "doing");
    expect_text(r, "locks.0.holder.task", "sleep");
    expect_text(r, "locks.0.holder.queue", "default");
    expect_text(r, "locks.0.waiting", "2");
    expect_text(r, "locks.0.waiting_is_more", "false");
    expect_text(r, "locks.0.next_id", text_of("%ld", high));
    expect_text(r, "locks.1.holder.status", "todo");
    expect_text(r, "locks.1.waiting", "0");
    expect_text(r, "locks.1.next_id", "null");
    expect_status(http_post(s, NULL, "/jobs/%ld/cancel?abort=true&wait=20", first), 200);
    wait_status(s, high, "succeeded");
    wait_status(s, low, "doing");
    r = http_get(s, "/locks?lock=l%%261");
    cr_assert_eq(json_array_size(reply_at(r, "locks")), 1, "%s", r->body);
    expect_text(r, "locks.0.holder.id", text_of("%ld", low));
    expect_text(http_get(s, "/locks?lock=nobody"), "locks.0.lock", "");
}

Test(list_locks, pages_show_each_lock_once)
{
    const char *url = cluster_database(), *path = "/locks?limit=7", *last = "";
    struct service *s = service_start(url, "--concurrency 0");
    int n = 0;

    cluster_psql(url, "SELECT belay.enqueue('echo', wake => false,"
                      " lock => 'ä' || (i / 2) || '&%') FROM generate_series(1, 60) i");
    for (int pages = 0; path != NULL && pages < 20; pages++) {
        struct reply *r = http_get(s, "%s", path);
        expect_status(r, 200);
        for (size_t i = 0; i < json_array_size(reply_at(r, "locks")); i++, n++) {
            const char *lock = reply_text(r, text_of("locks.%zu.lock", i));
            cr_expect_str_neq(lock, last);
            last = text_of("%s", lock);
        }
        const char *link = reply_header(r, "Link");
        cr_expect_eq(link != NULL, strcmp(reply_text(r, "next_cursor"), "null") != 0);
        path =
            link != NULL ? text_of("%.*s", (int)strcspn(link + 1, ">"), link + 1) : NULL;
    }
    cr_expect_eq(n, 31, "%d", n);
}

Test(list_locks, a_bad_parameter_is_400)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    static const char *const wrong[] = {"limit=0",     "cursor=",   "cursor=x",
                                        "cursor=6",    "cursor=00", "cursor=ff",
                                        "status=doing"};

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        expect_status(http_get(s, "/locks?%s", wrong[i]), 400);
}

TestSuite(list_task_counts, .timeout = 90, .fini = service_stop_all);

Test(list_task_counts, jobs_are_counted_where_they_stand)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 2");

    wait_status(s, put_job(s, "{\"task\":\"echo\"}"), "succeeded");
    wait_status(s, put_sleeper(s), "doing");
    put_job(s, "{\"task\":\"sleep\",\"delay_seconds\":600}");
    put_job(s, "{\"task\":\"sleep\",\"delay_seconds\":600,\"lock\":\"l\"}");
    cluster_psql(url, "SELECT belay.enqueue('elsewhere', queue => 'nowhere',"
                      " scheduled_at => '2999-01-01')");
    struct reply *r = http_get(s, "/tasks/counts");
    expect_status(r, 200);
    expect_text(r, "tasks.0.name", "echo");
    expect_text(r, "tasks.0.here", "true");
    expect_text(r, "tasks.0.jobs.succeeded", "1");
    expect_text(r, "tasks.0.jobs.todo", "0");
    expect_text(r, "tasks.0.jobs.estimated", "false");
    expect_text(r, "tasks.1.name", "elsewhere");
    expect_text(r, "tasks.1.here", "false");
    expect_text(r, "tasks.1.jobs.todo", "1");
    expect_text(r, "tasks.2.name", "sleep");
    expect_text(r, "tasks.2.jobs.todo", "2");
    expect_text(r, "tasks.2.jobs.doing", "1");
}

/* A sample, so the sum may be off by some; and what is small is exact all the same. */
Test(list_task_counts, where_there_are_very_many_they_are_estimates)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 0");

    put_job(s, "{\"task\":\"sleep\"}");
    cluster_psql(url, "INSERT INTO belay.tasks (name) VALUES ('many');"
                      "INSERT INTO belay.jobs (id, queue_id, task_id) SELECT i, 1, 2"
                      " FROM generate_series(1000, 80999) i;"
                      "INSERT INTO belay.ends (id, status, attempts) SELECT i, 2, 1"
                      " FROM generate_series(1000, 80999) i");
    struct reply *r = http_get(s, "/tasks/counts");
    expect_status(r, 200);
    expect_text(r, "tasks.0.name", "many");
    expect_text(r, "tasks.0.jobs.estimated", "true");
    int64_t n = reply_int(r, "tasks.0.jobs.succeeded");
    cr_expect(n > 60000 && n < 100000, "%ld", n);
    expect_text(r, "tasks.1.jobs.todo", "1");
    expect_text(r, "tasks.1.jobs.estimated", "false");
}
