/* GET /metrics: what users see of it, and the rules of Prometheus. */
#include "server/core/buf.h"
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

TestSuite(metrics, .timeout = 90, .fini = service_stop_all);

/* The text of all metrics. */
static const char *scrape(struct service *s)
{
    struct reply *r = http_get(s, "/metrics");

    expect_status(r, 200);
    cr_expect_str_eq(reply_header(r, "Content-Type"),
                     "text/plain; version=0.0.4; charset=utf-8");
    return r->body;
}

/* The value of the sample with this name and these labels; -1: there is none. */
static double value_of(const char *text, const char *sample)
{
    const char *line = strstr(text, text_of("\n%s ", sample));

    return line != NULL ? strtod(line + strlen(sample) + 2, NULL) : -1;
}

#define expect_value(text, sample, wanted)                                               \
    cr_expect_eq(value_of((text), (sample)), (wanted), "%s is %g, not %g", (sample),     \
                 value_of((text), (sample)), (double)(wanted))

Test(metrics, jobs_are_counted_where_they_are)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 0");

    cluster_psql(url, "INSERT INTO belay.queues (name) VALUES (E'a\"b\\\\c\\nd')");
    expect_value(scrape(s), "belay_jobs_enqueued_total", 0);
    put_job(s, "{\"task\":\"echo\",\"queue\":\"q\",\"lock\":\"l\"}");
    put_job(s, "{\"task\":\"echo\",\"queue\":\"q\",\"lock\":\"l\"}");
    put_job(s, "{\"task\":\"echo\",\"queue\":\"q\",\"delay_seconds\":60}");
    wait_until(value_of(scrape(s), "belay_jobs{queue=\"q\",status=\"scheduled\"}") == 1);
    const char *text = scrape(s);
    expect_value(text, "belay_jobs_enqueued_total", 3);
    expect_value(text, "belay_jobs{queue=\"a\\\"b\\\\c\\nd\",status=\"todo\"}", 0);
    expect_value(text, "belay_jobs{queue=\"q\",status=\"todo\"}", 1);
    expect_value(text, "belay_jobs{queue=\"q\",status=\"blocked\"}", 1);
    expect_value(text, "belay_jobs{queue=\"q\",status=\"doing\"}", 0);
    cr_expect_gt(value_of(text, "belay_queue_latency_seconds{queue=\"q\"}"), 0);
    cr_expect_geq(value_of(text, "belay_gauges_age_seconds"), 0);
}

Test(metrics, ends_are_counted_by_task_and_outcome)
{
    struct service *s = service_start(cluster_database(), "--concurrency 2");

    wait_status(s, put_job(s, "{\"task\":\"echo\"}"), "succeeded");
    wait_status(s, put_job(s, "{\"task\":\"fail\",\"args\":{\"times\":9}}"), "failed");
    wait_status(s,
                put_job(s, "{\"task\":\"fail\",\"args\":{\"times\":1},"
                           "\"max_attempts\":2}"),
                "succeeded");
    const char *text = scrape(s);
    expect_value(text, "belay_jobs_finished_total{task=\"echo\",outcome=\"succeeded\"}",
                 1);
    expect_value(text, "belay_jobs_finished_total{task=\"fail\",outcome=\"failed\"}", 1);
    expect_value(text, "belay_jobs_finished_total{task=\"fail\",outcome=\"retried\"}", 1);
    expect_value(text, "belay_jobs_finished_total{task=\"fail\",outcome=\"succeeded\"}",
                 1);
    expect_value(text, "belay_job_run_seconds_count{task=\"fail\"}", 3);
    expect_value(text, "belay_job_run_seconds_bucket{task=\"echo\",le=\"+Inf\"}", 1);
    expect_value(text, "belay_db_up", 1);
    wait_until(value_of(scrape(s), "belay_workers") == 1);
}

Test(metrics, the_wait_for_a_start_begins_when_a_job_is_due)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 0");

    put_job(s, "{\"task\":\"echo\"}");
    cluster_psql(url, "UPDATE belay.jobs SET created_at = now() - interval '100 s'");
    put_job(s, "{\"task\":\"sleep\",\"args\":{\"seconds\":0}}");
    cluster_psql(url, "UPDATE belay.jobs SET created_at = now() - interval '1000 s',"
                      " scheduled_at = now() - interval '100 s' WHERE id = 2");
    s = service_start(url, "--concurrency 2");
    wait_status(s, 1, "succeeded");
    wait_status(s, 2, "succeeded");
    const char *text = scrape(s);
    expect_value(text, "belay_job_wait_seconds_count{task=\"echo\"}", 1);
    double echo = value_of(text, "belay_job_wait_seconds_sum{task=\"echo\"}");
    double sleep = value_of(text, "belay_job_wait_seconds_sum{task=\"sleep\"}");
    cr_expect(echo >= 100 && echo < 200, "%f", echo);
    cr_expect(sleep >= 100 && sleep < 200, "%f", sleep);
}

Test(metrics, an_abort_is_timed_from_its_request_to_the_stop)
{
    struct service *s = service_start(cluster_database(), "--concurrency 2");
    int64_t id = put_sleeper(s);

    expect_status(http_post(s, NULL, "/jobs/%ld/cancel", id), 409);
    expect_status(http_post(s, NULL, "/jobs/%ld/cancel?abort=true&wait=20", id), 200);
    expect_status(http_post(s, NULL, "/jobs/%ld/cancel", id), 200);
    expect_status(http_delete(s, "/jobs/%ld", id), 204);
    expect_status(http_delete(s, "/jobs/%ld", id), 404);
    const char *text = scrape(s);
    expect_value(text, "belay_cancel_requests_total{result=\"job-running\"}", 1);
    expect_value(text, "belay_cancel_requests_total{result=\"aborting\"}", 1);
    expect_value(text, "belay_cancel_requests_total{result=\"already_aborted\"}", 1);
    expect_value(text, "belay_cancel_requests_total{result=\"deleted\"}", 1);
    expect_value(text, "belay_cancel_requests_total{result=\"job-not-found\"}", 1);
    expect_value(text, "belay_cancel_delivery_seconds_count{task=\"sleep\"}", 1);
    expect_value(text, "belay_cancel_ack_seconds_count{task=\"sleep\"}", 1);
    expect_value(text, "belay_cancel_stop_seconds_count{task=\"sleep\"}", 1);
    cr_expect_gt(value_of(text, "belay_cancel_delivery_seconds_sum{task=\"sleep\"}"), 0);
    cr_expect_geq(value_of(text, "belay_cancel_stop_seconds_sum{task=\"sleep\"}"),
                  value_of(text, "belay_cancel_ack_seconds_sum{task=\"sleep\"}"));
    expect_value(text,
                 "belay_http_request_seconds_count{operation=\"cancelJob\",code=\"200\"}",
                 2);
}

Test(metrics, an_abort_that_another_node_takes_is_timed_there)
{
    const char *url = cluster_database();
    struct service *worker = service_start(url, "--concurrency 1");
    struct service *asked = service_start(url, "--concurrency 0");
    int64_t id = put_sleeper(worker);

    expect_status(http_post(asked, NULL, "/jobs/%ld/cancel?abort=true&wait=20", id), 200);
    const char *text = scrape(worker);
    expect_value(text, "belay_cancel_delivery_seconds_count{task=\"sleep\"}", 1);
    cr_expect_gt(value_of(text, "belay_cancel_delivery_seconds_sum{task=\"sleep\"}"), 0);
    expect_value(scrape(asked), "belay_cancel_delivery_seconds_count{task=\"sleep\"}",
                 -1);
}

Test(metrics, without_a_database_they_say_so_and_tell_nothing_old)
{
    struct cluster *c = cluster_new();
    struct service *s = service_start(cluster_url(c), "--concurrency 1");

    expect_status(http_get(s, "/queues"), 200);
    wait_until(value_of(scrape(s), "belay_workers") == 1);
    cluster_stop(c);
    wait_until(value_of(scrape(s), "belay_db_up") == 0);
    wait_until(value_of(scrape(s), "belay_workers") == -1);
    expect_value(scrape(s), "belay_gauges_age_seconds", -1);
    cluster_start(c);
    wait_until(value_of(scrape(s), "belay_workers") >= 1);
    cluster_free(c);
}

/* -- the rules ----------------------------------------------------------------------- */

/* The family that a sample belongs to: a histogram's name has three suffixes. */
static bool is_of_family(const char *sample, const char *family, bool histogram)
{
    static const char *const suffixes[] = {"_bucket", "_sum", "_count"};
    size_t len = strlen(family);

    if (strncmp(sample, family, len) != 0)
        return false;
    for (size_t i = 0; histogram && i < sizeof suffixes / sizeof *suffixes; i++) {
        size_t n = strlen(suffixes[i]);
        if (strncmp(sample + len, suffixes[i], n) == 0)
            return strchr("{ ", sample[len + n]) != NULL;
    }
    return !histogram && strchr("{ ", sample[len]) != NULL;
}

static void judge_family(const char *family, const char *type, const char *help)
{
    size_t len = strlen(family);
    bool total = len > 6 && strcmp(family + len - 6, "_total") == 0;

    cr_expect(strncmp(family, "belay_", 6) == 0, "%s", family);
    cr_expect_eq(strspn(family, "abcdefghijklmnopqrstuvwxyz_"), len, "%s", family);
    cr_expect_neq(help[0], '\0', "%s has no help", family);
    cr_expect_eq(total, strcmp(type, "counter") == 0, "%s is a %s", family, type);
    if (strcmp(type, "histogram") == 0)
        cr_expect_str_eq(family + len - 8, "_seconds");
}

/* What `promtool check metrics` would say, as far as it can be wrong here. */
Test(metrics, every_sample_stands_in_a_family_with_type_and_help)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    char family[128] = "", type[32] = "";
    const char *seen = "";

    wait_status(s, put_job(s, "{\"task\":\"echo\"}"), "succeeded");
    char *text = text_of("%s", scrape(s)), *line;
    cr_expect_eq(text[strlen(text) - 1], '\n');
    while ((line = strsep(&text, "\n")) != NULL && line[0] != '\0') {
        if (line[0] == '#') {
            const char *help = strchr(line + 7, ' ');
            cr_assert(strncmp(line, "# HELP ", 7) == 0 && help != NULL, "%s", line);
            snprintf(family, sizeof family, "%.*s", (int)(help - line - 7), line + 7);
            cr_expect_null(strstr(seen, text_of(" %s ", family)), "%s twice", family);
            seen = text_of("%s %s ", seen, family);
            const char *next = strsep(&text, "\n"), *head = text_of("# TYPE %s ", family);
            cr_assert(strncmp(next, head, strlen(head)) == 0, "%s", next);
            snprintf(type, sizeof type, "%s", next + strlen(head));
            judge_family(family, type, help + 1);
            continue;
        }
        cr_expect(is_of_family(line, family, strcmp(type, "histogram") == 0),
                  "%s stands in %s", line, family);
        char *end;
        strtod(strrchr(line, ' ') + 1, &end);
        cr_expect_eq(*end, '\0', "%s", line);
    }
}

Test(metrics, buckets_of_a_histogram_rise_to_its_count)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    double last = 0;
    int n = 0;

    wait_status(s, put_job(s, "{\"task\":\"echo\"}"), "succeeded");
    const char *text = scrape(s), *line = text;
    while ((line = strstr(line, "\nbelay_job_run_seconds_bucket{task=\"echo\",le=\"")) !=
           NULL) {
        double value = strtod(strstr(line, "} ") + 2, NULL);
        cr_expect_geq(value, last);
        last = value;
        n++;
        line++;
    }
    cr_expect_eq(n, 17);
    cr_expect_eq(last, 1);
    expect_value(text, "belay_job_run_seconds_count{task=\"echo\"}", 1);
}
