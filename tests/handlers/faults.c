/* cancellation.md, section 6: what goes wrong in a queue that was written naively. */
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <libpq-fe.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

TestSuite(faults, .timeout = 90, .fini = service_stop_all);

static int events_of_type(struct service *s, int64_t id, const char *type)
{
    struct reply *r = http_get(s, "/jobs/%ld/events", id);
    int n = 0;

    for (size_t i = 0; i < json_array_size(reply_at(r, "events")); i++)
        n += strcmp(reply_text(r, text_of("events.%zu.type", i)), type) == 0;
    return n;
}

static int64_t open_receipts(const char *url)
{
    return cluster_int(
        url, "SELECT count(*) FROM belay.cancellations WHERE stopped_at IS NULL");
}

/* A worker that hears of no abort by itself. */
#define HEARS_NOTHING                                                                    \
    "--no-listen-notify --abort-poll-seconds 3600 --lease-seconds 80000 "                \
    "--backoff-base-seconds 0"

/* Fails although an abort was asked for: the worker does not know of it yet. */
static int64_t fail_while_aborting(struct service *api, struct service *worker,
                                   const char *more)
{
    const char *gate = scratch_path("gate");
    int64_t id = put_steered(worker, "failing", gate);

    expect_status(http_post(api, NULL, "/jobs/%ld/cancel?abort=true%s", id, more), 202);
    scratch_write(gate, "");
    return id;
}

Test(faults, an_aborted_job_that_fails_is_not_retried_and_a_manual_retry_starts_clean)
{
    const char *url = cluster_database();
    struct service *api = service_start(url, "--concurrency 0");
    struct service *worker = service_start(url, steered(HEARS_NOTHING));
    int64_t id = fail_while_aborting(api, worker, "");

    struct reply *r = wait_status(api, id, "failed");
    expect_text(r, "attempt", "1");
    expect_text(r, "max_attempts", "5");
    expect_text(http_get(api, "/jobs/%ld/cancellations/1", id), "outcome", "failed");
    r = http_post(api, NULL, "/jobs/%ld/retry?actor=ada", id);
    expect_status(r, 200);
    expect_text(r, "result", "retried");
    expect_text(r, "job.status", "todo");
    expect_text(r, "job.abort_requested_at", "null");
    /* It runs again, and again: nobody has asked these attempts to stop. */
    r = wait_status(api, id, "failed");
    expect_text(r, "attempt", "6");
    expect_text(r, "abort_requested_at", "null");
    expect_text(http_get(api, "/jobs/%ld/cancellations", id), "cancellations.1", "");
    cr_expect_eq(open_receipts(url), 0);
}

Test(faults, a_delete_is_not_forgotten_however_the_job_ends)
{
    const char *url = cluster_database();
    struct service *api = service_start(url, "--concurrency 0");
    struct service *worker = service_start(url, steered(HEARS_NOTHING));
    const char *gate = scratch_path("gate");
    int64_t fails = fail_while_aborting(api, worker, "&delete=true");
    int64_t succeeds = put_steered(worker, "deaf", gate);
    int64_t obeys = put_sleeper(worker);

    /* First the abort alone, then the wish to delete, in three ways of saying it. */
    expect_status(http_post(api, NULL, "/jobs/%ld/cancel?abort=true", succeeds), 202);
    expect_status(
        http_post(api, "{\"abort\":true,\"delete\":true}", "/jobs/%ld/cancel", succeeds),
        202);
    expect_status(http_post(api, NULL, "/jobs/%ld/cancel?abort=true", succeeds), 202);
    expect_status(http_post(worker, NULL, "/jobs/%ld/cancel?abort=true", obeys), 202);
    struct reply *r = http_delete(worker, "/jobs/%ld?abort=true", obeys);
    cr_expect(r->status == 202 || r->status == 204, "%s", r->raw);
    scratch_write(gate, "");
    wait_until(look_at(api, fails)->status == 404);
    wait_until(look_at(api, succeeds)->status == 404);
    wait_until(look_at(api, obeys)->status == 404);
    expect_text(http_get(api, "/jobs/%ld/cancellations/1", fails), "outcome", "failed");
    expect_text(http_get(api, "/jobs/%ld/cancellations/1", succeeds), "outcome",
                "completed");
    expect_text(http_get(api, "/jobs/%ld/cancellations/1", obeys), "outcome", "aborted");
    cr_expect_eq(open_receipts(url), 0);
}

Test(faults, missing_finished_cancelled_and_running_are_four_different_answers)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    int64_t finished = put_job(s, "{\"task\":\"echo\"}");
    wait_status(s, finished, "succeeded");
    int64_t cancelled = put_job(s, "{\"task\":\"echo\",\"delay_seconds\":3600}");
    int64_t running = put_sleeper(s);
    expect_status(http_post(s, NULL, "/jobs/%ld/cancel", cancelled), 200);

    struct reply *r = http_post(s, NULL, "/jobs/4711/cancel");
    expect_status(r, 404);
    expect_text(r, "code", "job-not-found");
    r = http_post(s, NULL, "/jobs/%ld/cancel", finished);
    expect_status(r, 409);
    expect_text(r, "code", "job-finished");
    r = http_post(s, NULL, "/jobs/%ld/cancel", cancelled);
    expect_status(r, 200);
    expect_text(r, "result", "already_cancelled");
    r = http_post(s, NULL, "/jobs/%ld/cancel", running);
    expect_status(r, 409);
    expect_text(r, "code", "job-running");
}

Test(faults, no_abort_flag_is_left_on_a_cancelled_job)
{
    const char *url = cluster_database();
    struct service *api = service_start(url, "--concurrency 0");
    int64_t id = put_job(api, "{\"task\":\"sleep\",\"args\":{\"seconds\":0.2}}");

    expect_status(http_post(api, NULL, "/jobs/%ld/cancel?abort=true", id), 200);
    expect_text(look_at(api, id), "abort_requested_at", "null");
    cr_expect_eq(open_receipts(url), 0);
    expect_status(http_post(api, NULL, "/jobs/%ld/retry", id), 200);
    struct service *worker = service_start(url, "--concurrency 1");
    wait_status(worker, id, "succeeded");
}

static int notifications(PGconn *conn)
{
    int n = 0;

    PQclear(PQexec(conn, "SELECT 1"));
    PQconsumeInput(conn);
    for (PGnotify *notify; (notify = PQnotifies(conn)) != NULL; n++)
        PQfreemem(notify);
    return n;
}

Test(faults, a_repeated_abort_adds_no_event_and_sends_the_signal_again)
{
    const char *url = cluster_database();
    struct service *api = service_start(url, "--concurrency 0");
    struct service *worker = service_start(url, steered(HEARS_NOTHING));
    int64_t id = put_sleeper(worker);
    PGconn *conn = PQconnectdb(url);

    PQclear(PQexec(conn, "LISTEN belay_abort"));
    struct reply *first = http_post(api, NULL, "/jobs/%ld/cancel?abort=true", id);
    cr_expect_eq(notifications(conn), 1);
    struct reply *second = http_post(api, NULL, "/jobs/%ld/cancel?abort=true", id);
    cr_expect_eq(notifications(conn), 1);
    cr_expect_str_eq(reply_header(first, "Location"), reply_header(second, "Location"));
    expect_text(second, "cancellation.requested_at",
                reply_text(first, "cancellation.requested_at"));
    cr_expect_eq(events_of_type(api, id, "abort_requested"), 1);
    expect_text(look_at(api, id), "status", "doing");
    /* The third goes to the node that runs it: its signal is the one that arrives. */
    expect_status(http_post(worker, NULL, "/jobs/%ld/cancel?abort=true", id), 202);
    wait_status(api, id, "aborted");
    cr_expect_eq(events_of_type(api, id, "abort_requested"), 1);
    PQfinish(conn);
}

Test(faults, the_aborted_job_of_a_dead_worker_ends_aborted_by_itself)
{
    const char *url = cluster_database();
    struct service *api = service_start(url, "--concurrency 0 --lease-seconds 2");
    struct service *worker = service_start(url, "--lease-seconds 2");
    int64_t asked = put_sleeper(worker), to_delete = put_sleeper(worker);

    service_crash(worker);
    expect_status(http_post(api, NULL, "/jobs/%ld/cancel?abort=true", asked), 202);
    expect_status(http_delete(api, "/jobs/%ld?abort=true", to_delete), 202);
    struct reply *r = wait_status(api, asked, "aborted");
    expect_text(r, "error.kind", "worker_died");
    r = http_get(api, "/jobs/%ld/cancellations/1", asked);
    expect_text(r, "outcome", "worker_lost");
    expect_text(r, "delivered_at", "null");
    expect_text(r, "acknowledged_at", "null");
    cr_expect_str_neq(reply_text(r, "stopped_at"), "null");
    wait_until(look_at(api, to_delete)->status == 404);
    cr_expect_eq(open_receipts(url), 0);
}

Test(faults, the_wait_for_an_abort_ends_when_the_worker_is_found_dead)
{
    const char *url = cluster_database();
    struct service *api = service_start(url, "--concurrency 0 --lease-seconds 2");
    struct service *worker = service_start(url, "--lease-seconds 2");
    int64_t id = put_sleeper(worker);

    service_crash(worker);
    struct reply *r = http_post(api, NULL, "/jobs/%ld/cancel?abort=true&wait=30", id);
    expect_status(r, 200);
    expect_text(r, "result", "worker_lost");
    expect_text(r, "job.status", "aborted");
}

Test(faults, success_despite_an_abort_stays_on_record)
{
    struct service *s = service_start(cluster_database(), steered("--concurrency 1"));
    const char *gate = scratch_path("gate");
    int64_t id = put_steered(s, "deaf", gate);

    expect_status(http_post(s, NULL, "/jobs/%ld/cancel?abort=true&actor=ada", id), 202);
    scratch_write(gate, "");
    struct reply *r = wait_status(s, id, "succeeded");
    cr_expect_str_neq(reply_text(r, "abort_requested_at"), "null");
    r = http_get(s, "/jobs/%ld/cancellations/1", id);
    expect_text(r, "outcome", "completed");
    expect_text(r, "actor", "ada");
    cr_expect_eq(events_of_type(s, id, "abort_requested"), 1);
    cr_expect_eq(events_of_type(s, id, "succeeded"), 1);
    r = http_post(s, NULL, "/jobs/%ld/cancel?abort=true", id);
    expect_status(r, 409);
    expect_text(r, "cancellation.outcome", "completed");
}

/* The program of the first attempt ends while its worker stands still, that of the second
 * runs on: there is no end yet that a stale one would meet, only the lease is against it.
 */
Test(faults, the_stale_result_of_a_paused_worker_is_dropped)
{
    const char *url = cluster_database(), *gate = scratch_path("gate");
    const char *runs = text_of("%s.runs", gate), *flags = "--lease-seconds 2";
    struct service *paused = service_start(url, steered(flags));
    int64_t id = put_steered(paused, "deaf", gate);

    service_signal(paused, SIGSTOP);
    scratch_write(gate, "");
    wait_until(access(runs, F_OK) != 0);
    cr_assert_eq(unlink(gate), 0);
    struct service *other = service_start(url, steered(flags));
    wait_until(access(runs, F_OK) == 0);
    service_signal(paused, SIGCONT);
    wait_until(service_logged(paused, "stale=true") ||
               strcmp(reply_text(look_at(other, id), "status"), "doing") != 0);
    expect_text(look_at(other, id), "status", "doing");
    expect_text(look_at(other, id), "attempt", "2");
    scratch_write(gate, "");
    struct reply *r = wait_status(other, id, "succeeded");
    expect_text(r, "attempt", "2");
    cr_expect_eq(events_of_type(other, id, "succeeded"), 1);
    /* It has registered anew and works again. */
    service_stop(other);
    wait_status(paused, put_job(paused, "{\"task\":\"echo\"}"), "succeeded");
}

Test(faults, a_shutdown_gives_jobs_back_and_their_attempt_does_not_count)
{
    const char *url = cluster_database();
    struct service *api = service_start(url, "--concurrency 0");
    struct service *worker = service_start(url, steered("--concurrency 2"));
    const char *file = scratch_path("polite");
    int64_t sleeper = put_sleeper(worker);
    int64_t command = put_job(worker, text_of("{\"task\":\"polite\",\"args\":{\"file\":"
                                              "\"%s\"},\"max_attempts\":1}",
                                              file));

    wait_status(api, command, "doing");
    cr_expect_eq(service_stop(worker), 0);
    expect_text(look_at(api, sleeper), "status", "todo");
    expect_text(look_at(api, command), "status", "todo");
    expect_text(http_get(api, "/jobs/%ld/cancellations", sleeper), "cancellations", "[]");
    struct service *next = service_start(url, steered("--concurrency 2"));
    struct reply *r = wait_status(next, sleeper, "doing");
    expect_text(r, "attempt", "2");
    expect_text(r, "max_attempts", "1");
    expect_text(wait_status(next, command, "doing"), "attempt", "2");
}

Test(faults, a_job_that_the_user_aborts_during_a_shutdown_is_the_users)
{
    const char *url = cluster_database();
    struct service *api = service_start(url, "--concurrency 0");
    struct service *worker = service_start(url, steered("--grace-seconds 30"));
    int64_t id = put_steered(worker, "stubborn", scratch_path("never"));

    service_signal(worker, SIGTERM);
    wait_until(service_logged(worker, "event=drain"));
    struct reply *r = http_post(api, NULL, "/jobs/%ld/cancel?abort=true&wait=30", id);
    expect_status(r, 200);
    expect_text(r, "job.status", "aborted");
    wait_until(service_has_ended(worker)); /* a second SIGTERM would cut that short */
    cr_expect_eq(service_stop(worker), 0);
}
