/* cancellation.md, rule 6: an abort arrives by each of its ways. In each test all other
 * ways are closed: an interval of an hour is one that never comes. */
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <signal.h>
#include <string.h>

TestSuite(delivery, .timeout = 90, .fini = service_stop_all);

#define NO_LISTENER  "--no-listen-notify "
#define NO_POLL      "--abort-poll-seconds 3600 "
#define NO_HEARTBEAT "--lease-seconds 80000 "

struct nodes {
    const char *url;
    struct service *api, *worker;
};

static struct nodes start(const char *flags)
{
    struct nodes n = {.url = cluster_database()};

    n.api = service_start(n.url, "--concurrency 0 " NO_HEARTBEAT);
    n.worker = service_start(n.url, steered(flags));
    return n;
}

static void ask(struct service *s, int64_t id)
{
    struct reply *r = http_post(s, NULL, "/jobs/%ld/cancel?abort=true", id);

    expect_status(r, 202);
    expect_text(r, "result", "aborting");
}

static void expect_aborted(struct service *s, int64_t id)
{
    wait_status(s, id, "aborted");
    struct reply *r = http_get(s, "/jobs/%ld/cancellations/1", id);
    expect_text(r, "outcome", "aborted");
    cr_expect_str_neq(reply_text(r, "delivered_at"), "null", "%s", r->body);
}

Test(delivery, in_the_process_that_runs_it)
{
    struct nodes n = start(NO_LISTENER NO_POLL NO_HEARTBEAT);
    int64_t id = put_sleeper(n.worker);

    ask(n.worker, id);
    expect_aborted(n.worker, id);
}

Test(delivery, by_notify_from_another_node)
{
    struct nodes n = start(NO_POLL NO_HEARTBEAT);
    int64_t id = put_sleeper(n.worker);

    ask(n.api, id);
    expect_aborted(n.api, id);
}

Test(delivery, by_polling_where_notify_is_not_used)
{
    struct nodes n = start(NO_LISTENER "--abort-poll-seconds 1 " NO_HEARTBEAT);
    int64_t id = put_sleeper(n.worker);

    ask(n.api, id);
    expect_aborted(n.api, id);
}

Test(delivery, by_the_reply_to_the_heartbeat)
{
    struct nodes n = start(NO_LISTENER NO_POLL "--lease-seconds 2 ");
    int64_t id = put_sleeper(n.worker);

    ask(n.api, id);
    expect_aborted(n.api, id);
}

Test(delivery, by_the_transaction_of_somebody_else)
{
    struct nodes n = start(NO_POLL NO_HEARTBEAT);
    int64_t id = put_sleeper(n.worker);

    cluster_psql(n.url, text_of("SELECT belay.cancel(%ld, abort => true)", id));
    expect_aborted(n.api, id);
}

/* The worker's process stands still while its listener's session is ended and the abort
 * is asked for: the notification reaches nobody. */
Test(delivery, by_reading_again_after_the_listener_has_reconnected)
{
    struct nodes n = start(NO_POLL NO_HEARTBEAT);
    int64_t id = put_sleeper(n.worker);

    service_signal(n.worker, SIGSTOP);
    cr_assert_geq(cluster_kill_sessions(n.url, "belay listen"), 1);
    ask(n.api, id);
    service_signal(n.worker, SIGCONT);
    expect_aborted(n.api, id);
}

Test(delivery, by_reading_again_after_the_janitor_has_reconnected)
{
    struct nodes n = start(NO_LISTENER NO_POLL NO_HEARTBEAT);
    int64_t id = put_sleeper(n.worker);

    ask(n.api, id);
    cr_assert_geq(cluster_kill_sessions(n.url, "belay janitor"), 1);
    expect_aborted(n.api, id);
}

/* -- while it drains ----------------------------------------------------------------- */

static void drain(struct nodes *n)
{
    service_signal(n->worker, SIGTERM);
    wait_until(service_logged(n->worker, "event=drain"));
}

static void expect_aborted_and_exit(struct nodes *n, int64_t id)
{
    expect_aborted(n->api, id);
    wait_until(service_has_ended(n->worker));
    cr_expect_eq(service_stop(n->worker), 0);
}

Test(delivery, while_the_worker_drains_by_its_own_http)
{
    struct nodes n = start("--drain-seconds 1000 " NO_LISTENER NO_POLL NO_HEARTBEAT);
    int64_t id = put_sleeper(n.worker);

    drain(&n);
    ask(n.worker, id);
    expect_aborted_and_exit(&n, id);
}

Test(delivery, while_the_worker_drains_by_notify)
{
    struct nodes n = start("--drain-seconds 1000 " NO_POLL NO_HEARTBEAT);
    int64_t id = put_sleeper(n.worker);

    drain(&n);
    ask(n.api, id);
    expect_aborted_and_exit(&n, id);
}

Test(delivery, while_the_worker_drains_by_polling)
{
    struct nodes n =
        start("--drain-seconds 1000 --abort-poll-seconds 1 " NO_LISTENER NO_HEARTBEAT);
    int64_t id = put_sleeper(n.worker);

    drain(&n);
    ask(n.api, id);
    expect_aborted_and_exit(&n, id);
}

Test(delivery, while_the_worker_drains_by_the_reply_to_the_heartbeat)
{
    struct nodes n = start("--drain-seconds 1000 --lease-seconds 2 " NO_LISTENER NO_POLL);
    int64_t id = put_sleeper(n.worker);

    drain(&n);
    ask(n.api, id);
    expect_aborted_and_exit(&n, id);
}

Test(delivery, to_a_job_that_was_claimed_and_has_not_started)
{
    struct nodes n = start(NO_POLL NO_HEARTBEAT "--concurrency 1 ");

    /* Short jobs first, so that the node claims ahead of its only thread. */
    for (int i = 0; i < 50; i++)
        put_job(n.api, "{\"task\":\"echo\"}");
    int64_t last = put_job(n.api, "{\"task\":\"echo\"}");
    wait_status(n.api, last, "succeeded");
    int64_t long_one = put_job(n.api, "{\"task\":\"sleep\",\"args\":{\"seconds\":600}}");
    int64_t behind = put_job(n.api, "{\"task\":\"sleep\",\"args\":{\"seconds\":600}}");
    struct reply *r = http_post(n.api, NULL, "/jobs/%ld/cancel?abort=true", behind);
    cr_assert(r->status == 200 || r->status == 202, "%s", r->raw);
    wait_until(strcmp(reply_text(look_at(n.api, behind), "status"), "cancelled") == 0 ||
               strcmp(reply_text(look_at(n.api, behind), "status"), "aborted") == 0);
    wait_status(n.api, long_one, "doing");
    ask(n.api, long_one);
    expect_aborted(n.api, long_one);
}
