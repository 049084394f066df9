#include "db/listen.h"

#include "server/core/clock.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

TestSuite(listen, .timeout = 60);

enum { PATIENCE_MS = 15000 };

/* What a listener heard; the last message of each kind is enough. */
struct ears {
    const char *url;
    pthread_mutex_t mutex;
    char last[2][128]; /* of CHANNEL_READY; of CHANNEL_ABORT */
    int heard;
    atomic_int resyncs;
    bool tell_in_resync;
};

static void hear(void *arg, const char *channel, const char *payload, int sender)
{
    struct ears *e = arg;

    (void)sender;
    pthread_mutex_lock(&e->mutex);
    snprintf(e->last[strcmp(channel, CHANNEL_ABORT) == 0], sizeof e->last[0], "%s:%s",
             channel, payload);
    e->heard++;
    pthread_mutex_unlock(&e->mutex);
}

static void resync(void *arg)
{
    struct ears *e = arg;

    if (e->tell_in_resync)
        cluster_psql(e->url, "NOTIFY belay_abort, 'in between'");
    atomic_fetch_add(&e->resyncs, 1);
}

static struct listener *open_listener(struct ears *e, bool listen)
{
    struct listener_options o = {.url = e->url,
                                 .listen = listen,
                                 .on_notify = hear,
                                 .on_resync = resync,
                                 .arg = e};
    struct listener *l;

    pthread_mutex_init(&e->mutex, NULL);
    cr_assert_eq(listener_open(&o, &l), ERR_OK);
    return l;
}

static bool has_heard(struct ears *e, const char *what)
{
    pthread_mutex_lock(&e->mutex);
    bool has = strcmp(e->last[0], what) == 0 || strcmp(e->last[1], what) == 0;
    pthread_mutex_unlock(&e->mutex);
    return has;
}

#define WAIT_UNTIL(condition)                                                            \
    for (int64_t end_ms = clock_ms() + PATIENCE_MS; !(condition);) {                     \
        cr_assert(clock_ms() < end_ms, "never: %s", #condition);                         \
        cluster_psql(e.url, "SELECT 1");                                                 \
    }

Test(listen, hears_what_others_say_and_knows_that_it_does)
{
    struct ears e = {.url = cluster_empty_database()};
    struct listener *l = open_listener(&e, true);

    WAIT_UNTIL(listener_is_up(l));
    cr_expect_eq(e.resyncs, 1);
    cluster_psql(e.url, "NOTIFY belay_abort, '33'");
    WAIT_UNTIL(has_heard(&e, "belay_abort:33"));
    cluster_psql(e.url, "NOTIFY belay_ready, 'it''s'");
    WAIT_UNTIL(has_heard(&e, "belay_ready:it's"));
    listener_close(l);
}

Test(listen, nothing_falls_between_the_connection_and_the_reread)
{
    struct ears e = {.url = cluster_empty_database(), .tell_in_resync = true};
    struct listener *l = open_listener(&e, true);

    WAIT_UNTIL(has_heard(&e, "belay_abort:in between"));
    listener_close(l);
}

Test(listen, reads_again_after_each_reconnect)
{
    struct ears e = {.url = cluster_empty_database()};
    struct listener *l = open_listener(&e, true);

    WAIT_UNTIL(listener_is_up(l));
    for (int i = 2; i < 4; i++) {
        cr_assert_eq(cluster_kill_sessions(e.url, "belay listen"), 1);
        WAIT_UNTIL(e.resyncs == i && listener_is_up(l));
    }
    cluster_psql(e.url, "NOTIFY belay_abort, 'again'");
    WAIT_UNTIL(has_heard(&e, "belay_abort:again"));
    listener_close(l);
}

Test(listen, the_same_message_many_times_is_told_a_few_times)
{
    struct ears e = {.url = cluster_empty_database()}, other = {.url = e.url};
    struct listener *l = open_listener(&e, true), *teller = open_listener(&other, false);

    WAIT_UNTIL(listener_is_up(l));
    for (int i = 0; i < 2000; i++)
        listen_notify_later(teller, CHANNEL_READY, "mail");
    listen_notify_later(teller, CHANNEL_READY, "the last");
    WAIT_UNTIL(has_heard(&e, "belay_ready:the last"));
    cr_expect_lt(e.heard, 20, "%d", e.heard);
    listener_close(teller);
    listener_close(l);
}

Test(listen, more_messages_than_fit_become_one_for_all)
{
    struct ears e = {.url = cluster_empty_database()}, other = {.url = e.url};
    struct listener *teller = open_listener(&other, false), *l = open_listener(&e, true);
    char queue[32];

    WAIT_UNTIL(listener_is_up(l));
    for (int i = 0; i < 5000; i++) {
        snprintf(queue, sizeof queue, "queue %d", i);
        listen_notify_later(teller, CHANNEL_READY, queue);
    }
    for (int64_t end_ms = clock_ms() + PATIENCE_MS; e.heard == 0;) {
        cr_assert(clock_ms() < end_ms);
        cluster_psql(e.url, "SELECT 1");
    }
    cluster_psql(e.url, "NOTIFY belay_abort, 'end'");
    WAIT_UNTIL(has_heard(&e, "belay_abort:end"));
    listener_close(teller);
    listener_close(l);
}

Test(listen, one_that_may_not_listen_still_tells)
{
    struct ears e = {.url = cluster_empty_database()}, deaf = {.url = e.url};
    struct listener *l = open_listener(&e, true), *teller = open_listener(&deaf, false);

    WAIT_UNTIL(listener_is_up(l));
    listen_notify_later(teller, CHANNEL_ABORT, "7");
    WAIT_UNTIL(has_heard(&e, "belay_abort:7"));
    cr_expect_not(listener_is_up(teller));
    cr_expect_eq(deaf.heard, 0);
    cr_expect_eq(
        cluster_int(
            e.url,
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'belay listen'"),
        1);
    listener_close(teller);
    listener_close(l);
}

Test(listen, starts_while_the_database_is_away_and_comes_up_with_it)
{
    struct cluster *c = cluster_new();
    struct ears e = {.url = cluster_url(c)};

    cluster_stop(c);
    struct listener *l = open_listener(&e, true);
    cr_expect_not(listener_is_up(l));
    cluster_start(c);
    WAIT_UNTIL(listener_is_up(l));
    cr_expect_eq(e.resyncs, 1);
    listener_close(l);
    cluster_free(c);
}
