/* Explanations of jobs that really wait, run and end. */
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <string.h>

TestSuite(explain_job, .timeout = 90, .fini = service_stop_all);

static struct reply *explain(struct service *s, int64_t id)
{
    struct reply *r = http_get(s, "/jobs/%ld/explain", id);

    expect_status(r, 200);
    return r;
}

#define expect_words(r, path, words)                                                     \
    cr_expect_not_null(strstr(reply_text((r), (path)), (words)), "%s: %s", (path),       \
                       (r)->body)

Test(explain_job, a_node_that_takes_other_queues_starts_nothing)
{
    struct service *s = service_start(cluster_database(), "--queues mails,reports");
    int64_t id = put_job(s, "{\"task\":\"echo\",\"queue\":\"exports\"}");
    int64_t other = put_job(s, "{\"task\":\"echo\",\"queue\":\"mails\"}");
    struct reply *r = NULL;

    wait_until((r = http_get(s, "/workers")) != NULL &&
               json_array_size(reply_at(r, "workers")) == 1);
    expect_text(r, "workers.0.queues.0", "mails");
    expect_text(r, "workers.0.queues.1", "reports");
    r = explain(s, id);
    expect_text(r, "status", "todo");
    expect_text(r, "reason", "no_worker");
    expect_words(r, "sentence", "no live worker takes jobs of the queue \"exports\"");
    wait_status(s, other, "succeeded");
    expect_text(explain(s, other), "reason", "succeeded");
    expect_status(http_get(s, "/jobs/4711/explain"), 404);
}

Test(explain_job, a_program_that_does_not_obey_is_killed_at_a_time_that_is_told)
{
    struct service *s = service_start(cluster_database(), steered("--concurrency 2"));
    const char *gate = scratch_path("gate");
    int64_t id = put_steered(s, "deaf", gate);
    struct reply *r = explain(s, id);

    expect_text(r, "reason", "running");
    expect_status(http_post(s, "{\"abort\":true}", "/jobs/%ld/cancel", id), 202);
    wait_until(strcmp(reply_text(r = explain(s, id), "reason"), "winding_up") == 0);
    expect_text(r, "next.what", "it is killed");
    cr_expect_str_neq(reply_text(r, "next.at"), "null");
    scratch_write(gate, "");
    wait_status(s, id, "succeeded");
    expect_words(explain(s, id), "sentence", "although it was asked to stop by a user");
}

Test(explain_job, a_shielded_section_is_named)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    int64_t id = put_job(s, "{\"task\":\"async_pay\",\"args\":{\"seconds\":5}}");
    struct reply *r;

    wait_status(s, id, "doing");
    expect_status(http_post(s, "{\"abort\":true}", "/jobs/%ld/cancel", id), 202);
    wait_until(strcmp(reply_text(r = explain(s, id), "reason"), "shielded") == 0);
    expect_text(r, "facts.shield", "commit payment");
    expect_text(r, "next.what", "what it waits for is cancelled once more");
}
