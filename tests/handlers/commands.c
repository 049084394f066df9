/* cancellation.md, section 3: escalation, with commands, whose processes can be killed.
 */
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(commands, .timeout = 90, .fini = service_stop_all);

static double seconds_of(const char *time)
{
    return strtod(strrchr(time, ':') + 1, NULL);
}

Test(commands, sigterm_first_and_sigkill_when_the_grace_is_over)
{
    struct service *s = service_start(cluster_database(), steered("--concurrency 2"));
    int64_t id = put_steered(s, "stubborn", scratch_path("never"));
    struct reply *r = http_post(s, NULL, "/jobs/%ld/cancel?abort=true&wait=30", id);

    expect_status(r, 200);
    expect_text(r, "result", "killed");
    expect_text(r, "job.status", "aborted");
    expect_text(r, "cancellation.outcome", "killed");
    cr_expect_not_null(strstr(reply_text(r, "cancellation.message"), "SIGKILL"));
    double took = seconds_of(reply_text(r, "cancellation.stopped_at")) -
                  seconds_of(reply_text(r, "cancellation.requested_at"));
    took += took < 0 ? 60 : 0;
    cr_expect_gt(took, 0.9, "killed after %.3f s, the grace is 1 s", took);
}

Test(commands, a_grace_of_the_call_is_shorter_than_that_of_the_task)
{
    struct service *s = service_start(cluster_database(), steered("--concurrency 2"));
    int64_t id = put_steered(s, "deaf", scratch_path("never"));
    struct reply *r =
        http_post(s, NULL, "/jobs/%ld/cancel?abort=true&grace_seconds=0&wait=30", id);

    expect_status(r, 200);
    expect_text(r, "result", "killed");
    expect_text(r, "cancellation.grace_seconds", "0");
    cr_expect_str_neq(reply_text(r, "cancellation.force_at"), "null");
}

Test(commands, a_program_that_obeys_is_aborted_with_its_words_and_not_retried)
{
    struct service *s = service_start(cluster_database(), steered("--concurrency 2"));
    int64_t id = put_steered(s, "polite", scratch_path("file"));
    struct reply *r = http_post(s, NULL, "/jobs/%ld/cancel?abort=true&wait=30", id);

    expect_status(r, 200);
    expect_text(r, "result", "aborted");
    expect_text(r, "job.status", "aborted");
    expect_text(r, "job.attempt", "1");
    cr_expect_not_null(strstr(reply_text(r, "cancellation.message"), "4"));
}

/* Gone, or a zombie that nobody has waited for yet. */
static bool is_gone(pid_t pid)
{
    char line[256] = "";
    FILE *f = fopen(text_of("/proc/%d/stat", (int)pid), "r");

    if (f == NULL)
        return true;
    char *read = fgets(line, sizeof line, f);
    fclose(f);
    return read == NULL || strstr(line, ") Z") != NULL;
}

static pid_t pid_in(const char *file)
{
    char line[32] = "";
    FILE *f = fopen(file, "r");

    if (f != NULL && fgets(line, sizeof line, f) == NULL)
        line[0] = '\0';
    if (f != NULL)
        fclose(f);
    return (pid_t)strtol(line, NULL, 10);
}

Test(commands, an_aborted_program_leaves_no_daemon_behind)
{
    struct service *s = service_start(cluster_database(), steered("--concurrency 2"));
    const char *file = scratch_path("daemon");
    int64_t id = put_steered(s, "daemons", file);
    pid_t daemon_pid = pid_in(file);

    cr_assert_gt(daemon_pid, 1);
    cr_assert(!is_gone(daemon_pid));
    struct reply *r = http_post(s, NULL, "/jobs/%ld/cancel?abort=true&wait=30", id);
    expect_status(r, 200);
    expect_text(r, "job.status", "aborted");
    cr_expect(is_gone(daemon_pid));
}

Test(commands, a_worker_that_crashes_takes_its_programs_along)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, steered("--concurrency 2"));
    const char *file = scratch_path("daemon");

    put_steered(s, "daemons", file);
    pid_t daemon_pid = pid_in(file);
    cr_assert_gt(daemon_pid, 1);
    service_crash(s);
    wait_until(is_gone(daemon_pid));
}

#define TRACE "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

static struct reply *run_traced(const char *headers)
{
    struct service *s = service_start(cluster_database(), steered("--concurrency 2"));
    struct reply *r = http(s, "POST", "/jobs", headers, "{\"task\":\"traced\"}");

    expect_status(r, 201);
    expect_text(r, "status", "succeeded");
    return r;
}

Test(commands, the_trace_of_the_request_goes_on_in_the_program)
{
    struct reply *r = run_traced("Prefer: wait=30\r\ntraceparent: " TRACE "\r\n");

    expect_text(r, "traceparent", TRACE);
    expect_text(r, "result.output", TRACE "\n");
}

Test(commands, a_malformed_trace_is_none)
{
    struct reply *r = run_traced("Prefer: wait=30\r\ntraceparent: 00-4BF9\r\n");

    expect_text(r, "traceparent", "null");
    expect_text(r, "result.output", "\n");
}
