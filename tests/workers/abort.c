/* The abort table by itself: requests that come early, late, twice, and for another. */
#include "workers/abort.h"

#include "server/core/buf.h"
#include "server/core/cleanup.h"
#include "server/core/clock.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>

TestSuite(abort, .timeout = 60);

static struct abort_table *table_of(int n_slots)
{
    struct abort_table *t = NULL;

    cr_assert_eq(abort_table_new(n_slots, &t), ERR_OK);
    return t;
}

static struct abort_watch watch_of(int64_t job_id, int attempt)
{
    return (struct abort_watch){.job_id = job_id,
                                .lease = 70 + job_id,
                                .worker_id = 5,
                                .attempt = attempt,
                                .grace_ms = 10000};
}

static struct abort_order order_of(const struct abort_watch *w)
{
    return (struct abort_order){.job_id = w->job_id,
                                .worker_id = w->worker_id,
                                .attempt = w->attempt,
                                .cause = ABORT_USER,
                                .reason = "why",
                                .actor = "ada",
                                .grace_ms = -1};
}

static bool is_asked(const struct abort_slot *slot)
{
    return atomic_load(&slot->cell->requested) != 0;
}

static void stop_and_end(struct abort_table *t, struct abort_watch *w)
{
    int64_t delivered, acknowledged;

    abort_watch_stop(t, w, &delivered, &acknowledged);
    abort_watch_end(t, w);
}

Test(abort, a_request_raises_the_flag_of_the_job_that_it_names)
{
    struct abort_table *t = table_of(2);
    struct abort_watch a = watch_of(33, 1), b = watch_of(34, 1);
    struct abort_order order = order_of(&a);
    struct abort_info info;

    abort_watch_begin(t, &a);
    abort_watch_begin(t, &b);
    cr_assert(abort_watch_start(t, &a, abort_slot(t, 0)));
    cr_assert(abort_watch_start(t, &b, abort_slot(t, 1)));
    cr_expect_not(abort_watch_info(t, &a, &info));
    cr_expect_eq(abort_request(t, &order), ABORT_TOLD);
    cr_expect(is_asked(abort_slot(t, 0)));
    cr_expect_not(is_asked(abort_slot(t, 1)));
    cr_assert(abort_watch_info(t, &a, &info));
    cr_expect_eq(info.cause, ABORT_USER);
    cr_expect_str_eq(info.reason, "why");
    cr_expect_str_eq(info.actor, "ada");
    cr_expect(info.grace_left_ms > 9000 && info.grace_left_ms <= 10000);
    cr_expect_eq(abort_request(t, &order), ABORT_TOLD_BEFORE);
    stop_and_end(t, &a);
    stop_and_end(t, &b);
    abort_table_free(t);
}

Test(abort, a_request_for_another_attempt_touches_nothing)
{
    struct abort_table *t = table_of(1);
    struct abort_watch w = watch_of(33, 2);
    struct abort_order order = order_of(&w);

    order.attempt = 1;
    abort_watch_begin(t, &w);
    cr_assert(abort_watch_start(t, &w, abort_slot(t, 0)));
    cr_expect_eq(abort_request(t, &order), ABORT_UNKNOWN);
    cr_expect_not(is_asked(abort_slot(t, 0)));
    stop_and_end(t, &w);
    abort_table_free(t);
}

Test(abort, a_request_that_comes_before_the_claim_is_found_by_it)
{
    struct abort_table *t = table_of(1);
    struct abort_watch early = watch_of(33, 1), other = watch_of(33, 2);
    struct abort_order order = order_of(&early);
    struct abort_info info;

    cr_expect_eq(abort_request(t, &order), ABORT_UNKNOWN);
    abort_watch_begin(t, &other);
    cr_expect(abort_watch_start(t, &other, abort_slot(t, 0)), "another attempt");
    stop_and_end(t, &other);
    abort_watch_begin(t, &early);
    cr_expect_not(abort_watch_start(t, &early, abort_slot(t, 0)));
    cr_assert(abort_watch_info(t, &early, &info));
    cr_expect_str_eq(info.reason, "why");
    abort_watch_end(t, &early);
    /* It was for that claim only. */
    abort_watch_begin(t, &early);
    abort_watch_end(t, &early);
    abort_table_free(t);
}

Test(abort, a_claimed_job_that_was_asked_to_stop_does_not_start)
{
    struct abort_table *t = table_of(1);
    struct abort_watch w = watch_of(33, 1);
    struct abort_order order = order_of(&w);

    abort_watch_begin(t, &w);
    cr_expect_eq(abort_request(t, &order), ABORT_WAITING);
    cr_expect_not(abort_watch_start(t, &w, abort_slot(t, 0)));
    abort_watch_end(t, &w);
    abort_table_free(t);
}

Test(abort, a_later_request_may_shorten_the_grace_and_never_lengthens_it)
{
    struct abort_table *t = table_of(1);
    struct abort_watch w = watch_of(33, 1);
    struct abort_order order = order_of(&w);
    struct abort_info info;

    abort_watch_begin(t, &w);
    cr_assert(abort_watch_start(t, &w, abort_slot(t, 0)));
    abort_request(t, &order);
    order.grace_ms = 60000;
    abort_request(t, &order);
    cr_assert(abort_watch_info(t, &w, &info));
    cr_expect_leq(info.grace_left_ms, 10000);
    order.grace_ms = 0;
    abort_request(t, &order);
    cr_assert(abort_watch_info(t, &w, &info));
    cr_expect_eq(info.grace_left_ms, 0);
    stop_and_end(t, &w);
    abort_table_free(t);
}

Test(abort, a_task_that_nothing_can_kill_has_no_end_of_its_grace)
{
    struct abort_table *t = table_of(1);
    struct abort_watch w = watch_of(33, 1);
    struct abort_order order = order_of(&w);
    struct abort_info info;

    w.grace_ms = INT64_MAX;
    order.grace_ms = 0;
    abort_watch_begin(t, &w);
    cr_assert(abort_watch_start(t, &w, abort_slot(t, 0)));
    abort_request(t, &order);
    cr_assert(abort_watch_info(t, &w, &info));
    cr_expect_eq(info.grace_left_ms, INT64_MAX);
    stop_and_end(t, &w);
    abort_table_free(t);
}

Test(abort, the_users_wish_outlives_a_shutdown_and_not_the_other_way_round)
{
    struct abort_table *t = table_of(2);
    struct abort_watch first = watch_of(33, 1), second = watch_of(34, 1);
    struct abort_order user = order_of(&first);
    struct abort_info info;

    abort_watch_begin(t, &first);
    abort_watch_begin(t, &second);
    cr_assert(abort_watch_start(t, &first, abort_slot(t, 0)));
    cr_assert(abort_watch_start(t, &second, abort_slot(t, 1)));
    cr_expect_eq(abort_request_all(t, 5, ABORT_SHUTDOWN), 2);
    cr_expect_eq(abort_request_all(t, 6, ABORT_SHUTDOWN), 0, "another worker's");
    abort_request(t, &user);
    cr_expect_eq(abort_request_all(t, 5, ABORT_SHUTDOWN), 2);
    cr_assert(abort_watch_info(t, &first, &info));
    cr_expect_eq(info.cause, ABORT_USER);
    cr_assert(abort_watch_info(t, &second, &info));
    cr_expect_eq(info.cause, ABORT_SHUTDOWN);
    stop_and_end(t, &first);
    stop_and_end(t, &second);
    abort_table_free(t);
}

Test(abort, any_wish_outlives_a_timeout_and_a_shutdown_is_none)
{
    struct abort_table *t = table_of(1);
    struct abort_watch w = watch_of(33, 1);
    struct abort_order late = order_of(&w), user = order_of(&w);
    struct abort_info info;

    late.cause = ABORT_TIMEOUT;
    abort_watch_begin(t, &w);
    cr_assert(abort_watch_start(t, &w, abort_slot(t, 0)));
    abort_request(t, &late);
    abort_request_all(t, 5, ABORT_SHUTDOWN);
    cr_assert(abort_watch_info(t, &w, &info));
    cr_expect_eq(info.cause, ABORT_TIMEOUT);
    abort_request(t, &user);
    abort_request(t, &late);
    cr_assert(abort_watch_info(t, &w, &info));
    cr_expect_eq(info.cause, ABORT_USER);
    stop_and_end(t, &w);
    abort_table_free(t);
}

Test(abort, stages_are_told_once_each_and_a_shutdown_has_none)
{
    struct abort_table *t = table_of(2);
    struct abort_watch w = watch_of(33, 1), shut = watch_of(34, 1);
    struct abort_order order = order_of(&w);
    struct abort_stage stages[4];
    int64_t delivered, acknowledged;

    abort_watch_begin(t, &w);
    abort_watch_begin(t, &shut);
    cr_assert(abort_watch_start(t, &w, abort_slot(t, 0)));
    cr_assert(abort_watch_start(t, &shut, abort_slot(t, 1)));
    cr_expect_not(abort_has_stages(t));
    abort_request(t, &order);
    cr_expect_eq(abort_take_stages(t, stages, 4), 1);
    cr_expect_eq(stages[0].job_id, 33);
    cr_expect_gt(stages[0].delivered_us, 0);
    cr_expect_eq(stages[0].acknowledged_us, 0);
    abort_watch_acknowledge(t, &w);
    abort_watch_acknowledge(t, &w);
    cr_expect_eq(abort_take_stages(t, stages, 4), 1);
    cr_expect_geq(stages[0].acknowledged_us, stages[0].delivered_us);
    cr_expect_eq(abort_take_stages(t, stages, 4), 0);
    abort_request_all(t, 5, ABORT_SHUTDOWN);
    cr_expect_eq(abort_take_stages(t, stages, 4), 0);
    abort_watch_stop(t, &w, &delivered, &acknowledged);
    cr_expect(delivered > 0 && acknowledged >= delivered);
    abort_watch_end(t, &w);
    abort_watch_stop(t, &shut, &delivered, &acknowledged);
    cr_expect(delivered == 0 && acknowledged == 0);
    abort_watch_end(t, &shut);
    abort_table_free(t);
}

Test(abort, the_descriptor_is_readable_after_a_request_and_clean_for_the_next_job)
{
    struct abort_table *t = table_of(1);
    struct abort_watch a = watch_of(33, 1), b = watch_of(34, 1);
    struct abort_order order = order_of(&a);
    struct pollfd p = {.events = POLLIN};

    abort_watch_begin(t, &a);
    cr_expect_eq(abort_watch_fd(t, &a), -1, "it does not run yet");
    cr_assert(abort_watch_start(t, &a, abort_slot(t, 0)));
    p.fd = abort_watch_fd(t, &a);
    cr_expect_eq(poll(&p, 1, 0), 0);
    abort_request(t, &order);
    cr_expect_eq(poll(&p, 1, 0), 1);
    stop_and_end(t, &a);
    abort_watch_begin(t, &b);
    cr_assert(abort_watch_start(t, &b, abort_slot(t, 0)));
    cr_expect_eq(poll(&p, 1, 0), 0);
    cr_expect_not(is_asked(abort_slot(t, 0)));
    stop_and_end(t, &b);
    abort_table_free(t);
}

Test(abort, leases_are_those_of_all_watched_jobs_of_the_worker)
{
    struct abort_table *t = table_of(1);
    struct abort_watch a = watch_of(1, 1), b = watch_of(2, 1), c = watch_of(3, 1);
    CLEANUP(buf_release) struct buf leases = BUF_INIT;

    b.lease = a.lease;
    c.worker_id = 6;
    abort_watch_begin(t, &a);
    abort_watch_begin(t, &b);
    abort_watch_begin(t, &c);
    abort_add_leases(t, 5, &leases);
    cr_expect_str_eq(leases.text, "{71}");
    abort_watch_end(t, &a);
    abort_watch_end(t, &b);
    abort_watch_end(t, &c);
    abort_table_free(t);
}

/* -- the race ------------------------------------------------------------------------ */

enum { RACES = 20000 };

struct race {
    struct abort_table *t;
    _Atomic int64_t now; /* the job that runs, or is about to */
    atomic_bool over;
};

/* Asks all the time for jobs that have just ended. */
static void *ask_late(void *arg)
{
    struct race *r = arg;

    while (!atomic_load(&r->over)) {
        struct abort_watch gone = watch_of(atomic_load(&r->now) - 1, 1);
        struct abort_order order = order_of(&gone);
        abort_request(r->t, &order);
    }
    return NULL;
}

Test(abort, a_request_that_comes_too_late_does_not_hit_the_next_job_of_the_slot)
{
    struct race r = {.t = table_of(1)};
    pthread_t asker;
    int hits = 0;

    atomic_store(&r.now, 1);
    cr_assert_eq(pthread_create(&asker, NULL, ask_late, &r), 0);
    for (int64_t id = 1; id <= RACES; id++) {
        struct abort_watch w = watch_of(id, 1);
        abort_watch_begin(r.t, &w);
        /* Named only once it runs: an order for it would be one in time. */
        bool started = abort_watch_start(r.t, &w, abort_slot(r.t, 0));
        hits += started && is_asked(abort_slot(r.t, 0));
        cr_expect(started, "job %ld", (long)id);
        if (started)
            stop_and_end(r.t, &w);
        else
            abort_watch_end(r.t, &w);
        atomic_store(&r.now, id + 1);
    }
    atomic_store(&r.over, true);
    pthread_join(asker, NULL);
    cr_expect_eq(hits, 0);
    abort_table_free(r.t);
}
