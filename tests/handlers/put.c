/* Idempotency-Key and on_conflict: one request, one effect, one answer. */
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <libpq-fe.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(put, .timeout = 90, .fini = service_stop_all);

#define KEY(k) "Idempotency-Key: " k "\r\n"

static struct service *start_idle(const char *url)
{
    return service_start(url, "--concurrency 0");
}

static int64_t jobs_in(const char *url)
{
    return cluster_int(url, "SELECT count(*) FROM belay.jobs");
}

static void expect_replay(const struct reply *again, const struct reply *first)
{
    cr_expect_eq(again->status, first->status, "%s", again->raw);
    cr_expect_str_eq(again->body, first->body);
    cr_expect_str_eq(reply_header(again, "Idempotency-Replayed"), "true");
    if (reply_header(first, "Location") == NULL)
        return;
    cr_expect_str_eq(reply_header(again, "Location"), reply_header(first, "Location"));
    cr_expect_str_eq(reply_header(again, "ETag"), reply_header(first, "ETag"));
}

Test(put, a_key_makes_one_job_and_its_answer_is_given_again_byte_for_byte)
{
    const char *url = cluster_database();
    struct service *s = start_idle(url);
    const char *body = "{\"task\":\"echo\",\"args\":{\"a\":1.10}}";

    struct reply *first = http(s, "POST", "/jobs", KEY("a"), body);
    expect_status(first, 201);
    cr_expect_null(reply_header(first, "Idempotency-Replayed"));
    expect_text(first, "status", "todo");
    expect_status(http_post(s, NULL, "/jobs/%ld/cancel", reply_int(first, "id")), 200);
    expect_replay(http(s, "POST", "/jobs", KEY("a"), body), first);
    expect_status(http(s, "POST", "/jobs", KEY("b"), body), 201);
    cr_expect_eq(jobs_in(url), 2);
}

Test(put, a_key_with_another_body_or_path_is_refused)
{
    const char *url = cluster_database();
    struct service *s = start_idle(url);

    expect_status(http(s, "POST", "/jobs", KEY("a"), "{\"task\":\"echo\"}"), 201);
    struct reply *r = http(s, "POST", "/jobs", KEY("a"), "{\"task\": \"echo\"}");
    expect_status(r, 422);
    expect_text(r, "code", "idempotency-key-reused");
    expect_status(http(s, "POST", "/jobs/batch", KEY("a"), "[{\"task\":\"echo\"}]"), 422);
    cr_expect_eq(jobs_in(url), 1);
}

Test(put, a_key_has_1_to_255_visible_characters)
{
    struct service *s = start_idle(cluster_database());
    const char *body = "{\"task\":\"echo\"}", *bad[] = {"a b", "a\tb", "\xc3\xa4", ""};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct reply *r =
            http(s, "POST", "/jobs", text_of("Idempotency-Key: %s\r\n", bad[i]), body);
        expect_status(r, 400);
        expect_text(r, "code", "bad-request");
    }
    expect_status(
        http(s, "POST", "/jobs", text_of("Idempotency-Key: %0256d\r\n", 0), body), 400);
    expect_status(
        http(s, "POST", "/jobs", text_of("Idempotency-Key: %0255d\r\n", 0), body), 201);
    expect_status(http(s, "POST", "/jobs/batch", KEY("a b"), "[{\"task\":\"echo\"}]"),
                  400);
}

Test(put, fifty_calls_at_once_over_two_nodes_make_one_job_and_one_body)
{
    const char *url = cluster_database(), *body = "{\"task\":\"echo\"}";
    struct service *nodes[] = {start_idle(url), start_idle(url)};
    struct pending *calls[50];
    struct reply *first = NULL;
    int made = 0;

    for (int i = 0; i < 50; i++)
        calls[i] = http_send(nodes[i % 2], "POST", "/jobs", KEY("one"), body);
    for (int i = 0; i < 50; i++) {
        struct reply *r = http_receive(calls[i]);
        expect_status(r, 201);
        first = first == NULL ? r : first;
        cr_expect_str_eq(r->body, first->body);
        made += reply_header(r, "Idempotency-Replayed") == NULL;
    }
    cr_expect_eq(made, 1, "%d answers that are no replay", made);
    cr_expect_eq(jobs_in(url), 1);
}

Test(put, a_batch_with_a_key_is_put_in_once)
{
    const char *url = cluster_database();
    struct service *s = start_idle(url);
    const char *body = "[{\"task\":\"echo\"},{\"task\":\"sleep\",\"queue\":\"q\"}]";

    struct reply *first = http(s, "POST", "/jobs/batch", KEY("a"), body);
    expect_status(first, 201);
    expect_text(first, "count", "2");
    cr_expect_null(reply_at(first, "results"));
    expect_replay(http(s, "POST", "/jobs/batch", KEY("a"), body), first);
    cr_expect_eq(jobs_in(url), 2);
}

Test(put, a_refused_request_leaves_its_key_free)
{
    const char *url = cluster_database();
    struct service *s = start_idle(url);
    const char *body = "{\"task\":\"echo\",\"queueing_lock\":\"k\"}";
    int64_t id = put_job(s, body);

    struct reply *r = http(s, "POST", "/jobs", KEY("a"), body);
    expect_status(r, 409);
    expect_text(r, "code", "already-enqueued");
    cr_expect_eq(reply_int(r, "existing_id"), id);
    r = http(s, "POST", "/jobs/batch", KEY("b"),
             text_of("[{\"task\":\"echo\"},%s]", body));
    expect_status(r, 409);
    expect_text(r, "errors.0.pointer", "/1/queueing_lock");
    expect_status(http_post(s, NULL, "/jobs/%ld/cancel", id), 200);
    r = http(s, "POST", "/jobs", KEY("a"), body);
    expect_status(r, 201);
    cr_expect_null(reply_header(r, "Idempotency-Replayed"));
    cr_expect_eq(jobs_in(url), 2);
}

Test(put, a_key_is_forgotten_when_it_has_expired)
{
    const char *url = cluster_database(), *body = "{\"task\":\"echo\"}";
    struct service *s = start_idle(url);

    expect_status(http(s, "POST", "/jobs", KEY("a"), body), 201);
    expect_status(http(s, "POST", "/jobs", KEY("b"), body), 201);
    cluster_psql(url, "UPDATE belay.keys SET expires_at = now() - interval '1 second'"
                      " WHERE key = 'a'");
    struct reply *r = http(s, "POST", "/jobs", KEY("a"), "{\"task\":\"sleep\"}");
    expect_status(r, 201);
    cr_expect_null(reply_header(r, "Idempotency-Replayed"));
    cluster_psql(url, "UPDATE belay.keys SET expires_at = now() - interval '1 second'"
                      " WHERE key = 'a'");
    service_stop(s);
    s = start_idle(url); /* which sweeps at its start */
    wait_until(cluster_int(url, "SELECT count(*) FROM belay.keys") == 1);
    expect_text(http(s, "POST", "/jobs", KEY("b"), body), "id", "2");
}

Test(put, a_repeated_request_that_waits_gets_the_job_as_it_ended)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    const char *body = "{\"task\":\"echo\",\"args\":{\"x\":1}}";

    for (int i = 0; i < 2; i++) {
        struct reply *r = http(s, "POST", "/jobs?wait=10", KEY("a"), body);
        expect_status(r, 201);
        expect_text(r, "id", "1");
        expect_text(r, "status", "succeeded");
    }
}

static struct reply *put_over(struct service *s, const char *how, int page)
{
    return http_post(
        s,
        text_of("{\"task\":\"sleep\",\"queueing_lock\":\"k\",\"on_conflict\":"
                "\"%s\",\"args\":{\"seconds\":600,\"page\":%d}}",
                how, page),
        "/jobs");
}

Test(put, on_conflict_says_what_happens_to_the_one_that_waits)
{
    const char *url = cluster_database();
    struct service *s = start_idle(url);

    struct reply *r = put_over(s, "ignore", 1);
    expect_status(r, 201);
    int64_t id = reply_int(r, "id");
    r = put_over(s, "ignore", 2);
    expect_status(r, 200);
    cr_expect_eq(reply_int(r, "id"), id);
    expect_text(r, "args.page", "1");
    r = put_over(s, "replace", 3);
    expect_status(r, 200);
    cr_expect_eq(reply_int(r, "id"), id);
    expect_text(r, "args.page", "3");
    expect_status(put_over(s, "reject", 4), 409);
    expect_text(look_at(s, id), "args.page", "3");
    cr_expect_eq(jobs_in(url), 1);
}

Test(put, what_is_held_by_hand_stays_so_when_it_is_replaced)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    int64_t id =
        put_job(s, "{\"task\":\"echo\",\"queueing_lock\":\"k\",\"delay_seconds\":"
                   "3600}");

    expect_status(http_post(s, "{}", "/jobs/%ld/hold", id), 200);
    expect_status(put_over(s, "replace", 2), 200);
    int64_t other = put_job(s, "{\"task\":\"echo\"}");
    wait_status(s, other, "succeeded");
    struct reply *r = look_at(s, id);
    expect_text(r, "status", "todo");
    expect_text(r, "args.page", "2");
}

Test(put, abort_replace_aborts_what_runs)
{
    struct service *s = service_start(cluster_database(), "--concurrency 1");
    int64_t id = reply_int(put_over(s, "reject", 1), "id");

    wait_status(s, id, "doing");
    struct reply *r = put_over(s, "abort_replace", 2);
    expect_status(r, 201);
    cr_expect_eq(reply_int(r, "superseded.0"), id);
    wait_status(s, id, "aborted");
    expect_text(http_get(s, "/jobs/%ld/cancellations/1", id), "cause", "superseded");
    wait_status(s, reply_int(r, "id"), "doing");
}

/* -- what is lost, and what is under way --------------------------------------------- */

/* A transaction that has done this and stays open, until PQfinish(). */
static PGconn *hold(const char *url, const char *sql)
{
    PGconn *conn = PQconnectdb(url);
    PGresult *result = PQexec(conn, text_of("BEGIN; %s", sql));

    cr_assert_eq(PQresultStatus(result), PGRES_COMMAND_OK, "%s", PQerrorMessage(conn));
    PQclear(result);
    return conn;
}

/* Sends the request, and its connection to PostgreSQL dies while the statement is there:
 * PostgreSQL starts anew, and nobody hears what became of it. */
static struct reply *post_and_lose_the_answer(struct cluster *c, struct service *s,
                                              const char *headers)
{
    static const char waits[] =
        "FROM pg_stat_activity WHERE application_name = 'belay write' AND "
        "cardinality(pg_blocking_pids(pid)) > 0";
    const char *url = cluster_url(c);
    PGconn *blocker = hold(url, "LOCK TABLE belay.jobs IN EXCLUSIVE MODE");
    struct pending *call = http_send(s, "POST", "/jobs", headers, "{\"task\":\"echo\"}");
    wait_until(cluster_int(url, text_of("SELECT count(*) %s", waits)) == 1);
    pid_t pid = (pid_t)cluster_int(url, text_of("SELECT pid %s", waits));
    cr_assert_eq(kill(pid, SIGKILL), 0);
    struct reply *r = http_receive(call);
    PQfinish(blocker);
    return r;
}

Test(put, a_lost_answer_is_asked_for_again_with_a_key_and_unknown_without)
{
    struct cluster *c = cluster_new();
    struct service *s = start_idle(cluster_url(c));

    expect_status(http_post(s, "{\"task\":\"echo\"}", "/jobs"), 201);
    struct reply *r = post_and_lose_the_answer(c, s, KEY("a"));
    expect_status(r, 201);
    cr_expect_eq(jobs_in(cluster_url(c)), 2);
    expect_replay(http(s, "POST", "/jobs", KEY("a"), "{\"task\":\"echo\"}"), r);
    r = post_and_lose_the_answer(c, s, NULL);
    expect_status(r, 503);
    expect_text(r, "code", "outcome-unknown");
    cr_expect_eq(service_stop(s), 0);
    cluster_free(c);
}

Test(put, a_key_that_is_in_flight_elsewhere_is_waited_for_and_then_409)
{
    const char *url = cluster_database(), *body = "{\"task\":\"echo\"}";
    struct service *s = start_idle(url);
    PGconn *other = hold(url, "INSERT INTO belay.keys (key, hash, expires_at) VALUES "
                              "('a', 'h', now() + interval '1 hour')");
    struct reply *r = http(s, "POST", "/jobs", KEY("a"), body);
    expect_status(r, 409);
    expect_text(r, "code", "idempotency-key-in-flight");
    cr_expect_str_eq(reply_header(r, "Retry-After"), "1");
    expect_status(http(s, "POST", "/jobs", KEY("b"), body), 201);
    PQfinish(other);
    r = http(s, "POST", "/jobs", KEY("a"), body);
    expect_status(r, 201);
    cr_expect_null(reply_header(r, "Idempotency-Replayed"));
    cr_expect_eq(jobs_in(url), 2);
}

/* Both hands of the lane are busy, so the two that come now wait together, and go to
 * PostgreSQL as one statement. */
Test(put, two_with_one_key_in_one_statement_make_one_job_and_one_body)
{
    static const char waiting[] =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'belay write' "
        "AND "
        "datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0";
    const char *url = cluster_database(), *body = "{\"task\":\"echo\"}";
    struct service *s = start_idle(url);
    PGconn *blocker = hold(url, "LOCK TABLE belay.jobs IN EXCLUSIVE MODE");
    struct pending *busy[2], *same[2];

    for (int i = 0; i < 2; i++) {
        busy[i] = http_send(s, "POST", "/jobs", NULL, body);
        wait_until(cluster_int(url, waiting) == i + 1);
    }
    for (int i = 0; i < 2; i++)
        same[i] = http_send(s, "POST", "/jobs", KEY("a"), body);
    usleep(300 * 1000);
    PQfinish(blocker);
    for (int i = 0; i < 2; i++)
        expect_status(http_receive(busy[i]), 201);
    struct reply *r = http_receive(same[0]), *other = http_receive(same[1]);
    expect_status(r, 201);
    bool is_first = reply_header(r, "Idempotency-Replayed") == NULL;
    expect_replay(is_first ? other : r, is_first ? r : other);
    cr_expect_null(reply_header(is_first ? r : other, "Idempotency-Replayed"));
    cr_expect_eq(jobs_in(url), 3);
}

/* What is freed is filled with rubbish, so that it is noticed when it is used. */
Test(put, a_job_that_is_put_in_while_the_service_ends_is_answered)
{
    const char *url = cluster_database();

    setenv("MALLOC_PERTURB_", "165", 1);
    struct service *s = start_idle(url);
    PGconn *blocker = hold(
        url, "DO $$ BEGIN PERFORM belay.enqueue('echo', queueing_lock => 'k'); END $$");
    struct pending *call = http_send(s, "POST", "/jobs", NULL,
                                     "{\"task\":\"echo\",\"queueing_lock\":\"k\"}");
    wait_until(cluster_int(url, "SELECT count(*) FROM pg_stat_activity WHERE "
                                "application_name = 'belay write' AND "
                                "datname = current_database() AND "
                                "cardinality(pg_blocking_pids(pid)) > 0") == 1);
    service_signal(s, SIGTERM);
    wait_until(service_logged(s, "event=drain"));
    usleep(500 * 1000); /* its workers are gone by then */
    PQfinish(blocker);
    expect_status(http_receive(call), 201);
    wait_until(service_has_ended(s));
    cr_expect_eq(service_stop(s), 0);
    cr_expect_eq(jobs_in(url), 1);
}
