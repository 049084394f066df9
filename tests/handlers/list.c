/* listJobs: filters, order, and pages that neither lose nor repeat a job. */
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <string.h>

TestSuite(list_jobs, .timeout = 90, .fini = service_stop_all);

/* The ids of a list in its order, as text: "3,2,1". */
static const char *ids_of(const struct reply *r)
{
    const char *ids = "";

    expect_status(r, 200);
    for (size_t i = 0; i < json_array_size(reply_at(r, "jobs")); i++)
        ids = text_of("%s%s%s", ids, i > 0 ? "," : "",
                      reply_text(r, text_of("jobs.%zu.id", i)));
    return ids;
}

#define expect_ids(wanted, ...) cr_expect_str_eq(ids_of(http_get(__VA_ARGS__)), wanted)

Test(list_jobs, each_filter_picks_what_it_says)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");

    put_job(s, "{\"task\":\"echo\",\"queue\":\"mail\",\"tags\":[\"a\"]}");
    put_job(s, "{\"task\":\"sleep\",\"tags\":[\"a\",\"b c\"]}");
    put_job(s, "{\"task\":\"echo\",\"lock\":\"l&m/n\"}");
    put_job(s, "{\"task\":\"echo\",\"delay_seconds\":60}");
    expect_status(http_post(s, NULL, "/jobs/3/cancel"), 200);
    const char *created = reply_text(look_at(s, 3), "created_at");
    expect_ids("4,3,2,1", s, "/jobs");
    expect_ids("1,2,3,4", s, "/jobs?sort=created_at");
    expect_ids("4,3,2,1", s, "/jobs?sort=-created_at");
    expect_ids("1", s, "/jobs?queue=mail");
    expect_ids("", s, "/jobs?queue=nowhere");
    expect_ids("2", s, "/jobs?task=sleep");
    expect_ids("2,1", s, "/jobs?tag=a");
    expect_ids("2", s, "/jobs?tag=b%%20c");
    expect_ids("3", s, "/jobs?lock=l%%26m%%2Fn");
    expect_ids("3", s, "/jobs?status=cancelled");
    expect_ids("4,2,1", s, "/jobs?status=todo");
    expect_ids("4,3,2,1", s, "/jobs?status=todo,cancelled,failed");
    expect_ids("", s, "/jobs?status=doing");
    expect_ids("4,3", s, "/jobs?created_after=%s", created);
    expect_ids("2,1", s, "/jobs?created_before=%s", created);
    expect_ids("2", s, "/jobs?task=sleep&status=todo&tag=a&queue=default");
}

Test(list_jobs, rarer_filters_pick_what_they_say)
{
    struct service *s =
        service_start(cluster_database(), "--concurrency 2 --node-name w.1");

    put_job(s,
            "{\"task\":\"echo\",\"queueing_lock\":\"q\\\"'l\",\"delay_seconds\":3600}");
    put_job(s, "{\"task\":\"echo\",\"scheduled_at\":\"2999-01-01T00:00:00Z\"}");
    put_job(s, "{\"task\":\"sleep\",\"args\":{\"seconds\":600},"
               "\"metadata\":{\"customer\":7,\"plan\":\"a'b\"}}");
    put_job(s, "{\"task\":\"echo\",\"metadata\":{\"customer\":7}}");
    wait_status(s, 3, "doing");
    wait_status(s, 4, "succeeded");
    expect_ids("3,1", s, "/jobs?id=1,3,4711");
    expect_ids("3", s, "/jobs?id=3");
    expect_ids("1", s, "/jobs?queueing_lock=q%%22%%27l");
    expect_ids("4,3", s, "/jobs?metadata={%%22customer%%22:7}");
    expect_ids("3", s, "/jobs?metadata={%%22plan%%22:%%22a%%27b%%22}");
    expect_ids("4,3,2,1", s, "/jobs?metadata={}");
    expect_ids("4,3", s, "/jobs?worker=w.1");
    expect_ids("3", s, "/jobs?worker=w.1&status=doing");
    expect_ids("", s, "/jobs?worker=w.2");
    expect_ids("2", s, "/jobs?scheduled_after=2998-12-31T00:00:00Z");
    expect_ids("1", s, "/jobs?scheduled_before=2998-12-31T00:00:00Z");
    expect_ids("3", s, "/jobs?id=3,4&metadata={%%22customer%%22:7}&task=sleep");
}

Test(list_jobs, every_status_is_found_by_its_name)
{
    struct service *s = service_start(cluster_database(), steered("--concurrency 2"));
    int64_t good = put_job(s, "{\"task\":\"echo\"}");
    int64_t bad = put_job(s, "{\"task\":\"fail\"}");

    wait_status(s, good, "succeeded");
    wait_status(s, bad, "failed");
    int64_t aborted = put_sleeper(s);
    expect_status(http_post(s, NULL, "/jobs/%ld/cancel?abort=true&wait=30", aborted),
                  200);
    int64_t running = put_sleeper(s);
    expect_ids(text_of("%ld", good), s, "/jobs?status=succeeded");
    expect_ids(text_of("%ld", bad), s, "/jobs?status=failed");
    expect_ids(text_of("%ld", aborted), s, "/jobs?status=aborted");
    expect_ids(text_of("%ld", running), s, "/jobs?status=doing");
    expect_ids(text_of("%ld,%ld", running, good), s, "/jobs?status=doing,succeeded");
}

/* Follows Link to the end; answers how many jobs the pages had, and checks the order. */
static int walk(struct service *s, const char *path, int step)
{
    int n = 0;
    int64_t last = 0;

    for (int pages = 0; path != NULL && pages < 50; pages++) {
        struct reply *r = http(s, "GET", path, NULL, NULL);
        expect_status(r, 200);
        size_t size = json_array_size(reply_at(r, "jobs"));
        for (size_t i = 0; i < size; i++, n++) {
            int64_t id = reply_int(r, text_of("jobs.%zu.id", i));
            cr_expect(last == 0 || id == last + step, "%ld after %ld", id, last);
            last = id;
        }
        const char *link = reply_header(r, "Link");
        cr_expect_eq(link != NULL, strcmp(reply_text(r, "next_cursor"), "null") != 0);
        path =
            link != NULL ? text_of("%.*s", (int)strcspn(link + 1, ">"), link + 1) : NULL;
        if (link != NULL)
            cr_expect_not_null(strstr(link, "rel=\"next\""));
    }
    return n;
}

Test(list_jobs, a_walk_over_all_pages_sees_each_job_once)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 0");

    cluster_psql(url, "SELECT belay.enqueue('echo', wake => false, tags => '{x y,&}')"
                      " FROM generate_series(1, 205)");
    cr_expect_eq(walk(s, "/jobs?limit=10", -1), 205);
    cr_expect_eq(walk(s, "/jobs?limit=200&sort=created_at", 1), 205);
    cr_expect_eq(walk(s, "/jobs?tag=x%20y&status=todo&limit=41", -1), 205);
    cr_expect_eq(walk(s, "/jobs?tag=%26&limit=7", -1), 205);
    cr_expect_eq(walk(s, "/jobs?metadata=%7B%7D&limit=50", -1), 205);
}

Test(list_jobs, a_bad_parameter_is_400)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    static const char *const wrong[] = {"status=running",
                                        "status=",
                                        "status=todo,",
                                        "limit=0",
                                        "limit=201",
                                        "limit=x",
                                        "sort=id",
                                        "created_after=",
                                        "created_after=yesterday",
                                        "created_before=1",
                                        "cursor=x",
                                        "cursor=",
                                        "cursor=a1",
                                        "cursor=dZ",
                                        "cursor=d%2B5",
                                        "cursor=d%205",
                                        "cursor=d2gosa7pa2gw", /* 2^53 */
                                        "cursor=dzzzzzzzzzzzzzz",
                                        "page=2",
                                        "id=",
                                        "id=1,",
                                        "id=0",
                                        "id=-1",
                                        "id=9007199254740992",
                                        "id=1;2",
                                        "metadata=7",
                                        "metadata=%7B",
                                        "metadata=%7B%22a%22:%22%5Cu0000%22%7D",
                                        "scheduled_after=tomorrow",
                                        "scheduled_before=",
                                        "limit=1&limit=2",
                                        "queue=%FF",
                                        "lock=%C3",
                                        "tag=%ED%A0%80",
                                        "sort=created_at&cursor=d5"};

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct reply *r = http_get(s, "/jobs?%s", wrong[i]);
        cr_expect_eq(r->status, 400, "%s: %s", wrong[i], r->raw);
    }
}
