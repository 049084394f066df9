#include "db/lane.h"

#include "db/migrate.h"
#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "tests/db/jobs.h"
#include "tests/db/session.h"
#include "tests/support/cluster.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(lane, .timeout = 60);

enum { INSERT_PARAMS = 16, PATIENCE_MS = 20000, OPS_MAX = 64, WAITING_MAX = 20000 };

struct answer {
    enum err why;
    int rows, times;
    int64_t id; /* of the first row */
    char result[32], message[100];
};

/* The lanes, and what wakes the thread that completes. */
struct bench {
    struct lanes *lanes;
    pthread_mutex_t mutex;
    pthread_cond_t woken;
    int wakes;
    struct answer answers[OPS_MAX];
    struct db_value values[OPS_MAX][INSERT_PARAMS * 3];
};

static int n_done;

static void wake(void *arg)
{
    struct bench *b = arg;

    pthread_mutex_lock(&b->mutex);
    b->wakes++;
    pthread_cond_signal(&b->woken);
    pthread_mutex_unlock(&b->mutex);
}

static struct bench *bench_open(const char *url)
{
    static struct bench b = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                             .woken = PTHREAD_COND_INITIALIZER};

    cr_assert_eq(lanes_open(url, wake, &b, &b.lanes), ERR_OK);
    return &b;
}

static void bench_close(struct bench *b)
{
    lanes_stop(b->lanes);
    lanes_complete(b->lanes);
    lanes_free(b->lanes);
}

static void done(void *arg, const struct db_rows *rows, enum err why, const char *message)
{
    struct answer *a = arg;

    n_done++;
    a->times++;
    a->why = why;
    a->rows = rows->count;
    snprintf(a->message, sizeof a->message, "%s", message);
    if (rows->count == 0)
        return;
    a->id = row_int(rows, 0, 1);
    snprintf(a->result, sizeof a->result, "%s", row_text(rows, 0, 2));
}

/* Completes until n operations are done. */
static void wait_done(struct bench *b, int n)
{
    int64_t end_ms = clock_ms() + PATIENCE_MS;

    while (n_done < n) {
        struct timespec soon;
        clock_gettime(CLOCK_REALTIME, &soon);
        soon.tv_sec++;
        pthread_mutex_lock(&b->mutex);
        if (b->wakes == 0)
            pthread_cond_timedwait(&b->woken, &b->mutex, &soon);
        b->wakes = 0;
        pthread_mutex_unlock(&b->mutex);
        lanes_complete(b->lanes);
        cr_assert(clock_ms() < end_ms, "%d of %d are done", n_done, n);
    }
}

/* Puts `rows` jobs in as operation i; a max_attempts that no smallint holds is the
 * poison. */
static void submit_insert(struct bench *b, int i, const char *task, int rows,
                          int max_attempts)
{
    struct db_value *v = b->values[i];

    for (int row = 0; row < rows; row++, v += INSERT_PARAMS) {
        const struct db_value job[INSERT_PARAMS] = {
            db_text(task), db_text("q"),  db_int(0), db_text("{}"), db_int(max_attempts),
            db_text("{}"), db_text("{}"), db_null(), db_null(),     db_null(),
            db_null(),     db_int(0),     db_null(), db_null(),     db_null(),
            db_null()};
        memcpy(v, job, sizeof job);
    }
    struct db_op op = {.lane = LANE_WRITE,
                       .sql = SQL_job_insert,
                       .n_rows = rows,
                       .values = b->values[i],
                       .done = done,
                       .arg = &b->answers[i]};
    cr_assert_eq(db_submit(b->lanes, &op), ERR_OK);
}

static void submit_get(struct bench *b, int i, int64_t id)
{
    b->values[i][0] = db_int(id);
    struct db_op op = {.lane = LANE_READ,
                       .sql = SQL_job_get,
                       .n_rows = 1,
                       .values = b->values[i],
                       .done = done,
                       .arg = &b->answers[i]};
    cr_assert_eq(db_submit(b->lanes, &op), ERR_OK);
}

/* Whoever names a new task now waits for this session. */
static struct session *block_inserts(const char *url)
{
    struct session *s = session_open(url);

    session_run(s, "BEGIN; LOCK TABLE belay.tasks IN SHARE MODE");
    return s;
}

static void wait_blocked(const char *url, const char *who)
{
    char sql[200];

    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM pg_stat_activity WHERE application_name = '%s' AND"
             " datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0",
             who);
    for (int64_t end = clock_ms() + 10000; clock_ms() < end;) {
        if (cluster_int(url, sql) == 1)
            return;
    }
    cr_assert_fail("%s is not blocked", who);
}

Test(lane, each_operation_gets_its_own_rows)
{
    const char *url = jobs_database();
    struct bench *b = bench_open(url);

    for (int i = 0; i < OPS_MAX; i++)
        submit_insert(b, i, "t", 1 + i % 3, 1);
    wait_done(b, OPS_MAX);
    for (int i = 0; i < OPS_MAX; i++) {
        cr_expect_eq(b->answers[i].why, ERR_OK);
        cr_expect_eq(b->answers[i].rows, 1 + i % 3);
        cr_expect_eq(b->answers[i].times, 1);
    }
    n_done = 0;
    for (int i = 0; i < OPS_MAX;
         i++) /* every second one asks for a job that is not there */
        submit_get(b, i, i % 2 == 0 ? b->answers[i].id : 1000000);
    int64_t ids[OPS_MAX];
    for (int i = 0; i < OPS_MAX; i++)
        ids[i] = b->answers[i].id;
    wait_done(b, OPS_MAX);
    for (int i = 0; i < OPS_MAX; i++) {
        cr_expect_eq(b->answers[i].rows, i % 2 == 0);
        cr_expect_eq(b->answers[i].id, ids[i]);
    }
    bench_close(b);
}

Test(lane, what_waits_goes_together_in_one_commit)
{
    const char *url = jobs_database();
    struct bench *b = bench_open(url);
    struct session *s = block_inserts(url);

    submit_insert(b, 0, "new", 1, 1);
    wait_blocked(url, "belay write");
    for (int i = 1; i < OPS_MAX; i++)
        submit_insert(b, i, "t", 1, 1);
    session_run(s, "COMMIT");
    wait_done(b, OPS_MAX);
    cr_expect_eq(cluster_int(url, "SELECT count(*) FROM belay.jobs"), OPS_MAX);
    /* two hands: each may have had its turn when the last came */
    cr_expect_leq(cluster_int(url, "SELECT count(DISTINCT xmin::text) FROM belay.jobs"),
                  3);
    session_close(s);
    bench_close(b);
}

Test(lane, a_poison_operation_fails_alone)
{
    const char *url = jobs_database();
    struct bench *b = bench_open(url);
    struct session *s = block_inserts(url);

    submit_insert(b, 0, "new", 1, 1);
    wait_blocked(url, "belay write");
    for (int i = 1; i < OPS_MAX; i++)
        submit_insert(b, i, "t", 1, i == 17 || i == 40 ? 40000 : 1);
    session_run(s, "COMMIT");
    wait_done(b, OPS_MAX);
    for (int i = 0; i < OPS_MAX; i++)
        cr_expect_eq(b->answers[i].why, i == 17 || i == 40 ? ERR_INVALID : ERR_OK,
                     "operation %d: %s", i, b->answers[i].message);
    cr_expect_not_null(strstr(b->answers[17].message, "out of range"));
    cr_expect_eq(cluster_int(url, "SELECT count(*) FROM belay.jobs"), OPS_MAX - 2);
    session_close(s);
    bench_close(b);
}

Test(lane, without_a_database_each_operation_fails_in_two_seconds)
{
    struct bench *b = bench_open("host=/nowhere-at-all");
    int64_t began_ms = clock_ms();

    submit_insert(b, 0, "t", 1, 1);
    submit_get(b, 1, 1);
    wait_done(b, 2);
    int64_t ms = clock_ms() - began_ms;
    cr_expect(ms > 1000 && ms < 4000, "%lld ms", (long long)ms);
    cr_expect_eq(b->answers[0].why, ERR_UNAVAILABLE);
    cr_expect_eq(b->answers[1].why, ERR_UNAVAILABLE);
    cr_expect_not(lanes_are_up(b->lanes));
    bench_close(b);
}

Test(lane, no_more_than_a_limit_wait_and_each_of_them_is_answered)
{
    struct bench *b = bench_open("host=/nowhere-at-all");
    struct db_value id = db_int(1);
    struct db_op op = {.lane = LANE_READ,
                       .sql = SQL_job_get,
                       .n_rows = 1,
                       .values = &id,
                       .done = done,
                       .arg = b->answers};

    for (int i = 0; i < WAITING_MAX; i++)
        cr_assert_eq(db_submit(b->lanes, &op), ERR_OK);
    cr_expect_eq(db_submit(b->lanes, &op), ERR_TOO_MANY_REQUESTS);
    bench_close(b); /* answers what waits */
    cr_expect_eq(n_done, WAITING_MAX);
}

Test(lane, control_does_not_wait_behind_other_work)
{
    const char *url = jobs_database();
    struct bench *b = bench_open(url);
    struct session *s = block_inserts(url);
    struct db_value v[] = {db_int(99), db_int(0), db_null(),
                           db_null(),  db_null(), db_null()};
    struct db_op op = {.lane = LANE_CONTROL,
                       .sql = SQL_job_delete,
                       .n_rows = 1,
                       .values = v,
                       .done = done,
                       .arg = &b->answers[1]};

    submit_insert(b, 0, "new", 1, 1);
    wait_blocked(url, "belay write");
    cr_assert_eq(db_submit(b->lanes, &op), ERR_OK);
    wait_done(b, 1);
    cr_expect_eq(b->answers[1].times, 1);
    cr_expect_eq(b->answers[0].times, 0);
    session_run(s, "COMMIT");
    wait_done(b, 2);
    session_close(s);
    bench_close(b);
}

Test(lane, what_is_held_up_does_not_hold_up_the_next)
{
    const char *url = jobs_database();
    struct bench *b = bench_open(url);

    submit_insert(b, 0, "known", 1, 1);
    wait_done(b, 1);
    struct session *s = block_inserts(url);
    submit_insert(b, 1, "new", 1, 1);
    wait_blocked(url, "belay write");
    submit_insert(b, 2, "known", 1, 1);
    wait_done(b, 2);
    cr_expect_eq(b->answers[2].why, ERR_OK);
    cr_expect_eq(b->answers[1].times, 0);
    session_run(s, "COMMIT");
    wait_done(b, 3);
    cr_expect_eq(b->answers[1].why, ERR_OK);
    session_close(s);
    bench_close(b);
}

Test(lane, a_connection_that_was_ended_is_opened_again)
{
    const char *url = jobs_database();
    struct bench *b = bench_open(url);

    submit_insert(b, 0, "t", 1, 1);
    wait_done(b, 1);
    const char *were = text_of(
        "%s",
        cluster_psql(url, "SELECT array_agg(pid) FROM pg_stat_activity WHERE datname"
                          " = current_database() AND application_name ="
                          " 'belay write'"));
    cr_assert_gt(cluster_kill_sessions(url, "belay write"), 0);
    cr_assert_eq(cluster_int(url, "SELECT count(*) FROM belay.jobs"), 1);
    submit_insert(b, 1, "t", 1, 1);
    wait_done(b, 2);
    /* PostgreSQL had said that it ends the session: nothing had happened, whichever was
     * first. */
    cr_expect(b->answers[1].why == ERR_OK || b->answers[1].why == ERR_UNAVAILABLE);
    while (cluster_int(url, text_of("SELECT count(*) FROM pg_stat_activity WHERE pid ="
                                    " ANY('%s')",
                                    were)) > 0)
        usleep(10 * 1000);
    submit_insert(b, 2, "t", 1, 1);
    wait_done(b, 3);
    cr_expect_eq(b->answers[2].why, ERR_OK);
    bench_close(b);
}

/* The backends of this test's database; returns how many. */
static int signal_backends(const char *url, const char *who, int sig)
{
    char sql[200];

    snprintf(sql, sizeof sql,
             "SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE"
             " application_name = '%s' AND datname = current_database()",
             who);
    const char *pids = cluster_psql(url, sql);
    int n = 0;
    for (char *end; strtol(pids, &end, 10) > 0; pids = end, n++)
        kill((pid_t)strtol(pids, NULL, 10), sig);
    return n;
}

/* As a link does that swallows everything: no connection hears of it by itself. */
Test(lane, the_silence_of_one_connection_is_the_silence_of_all)
{
    const char *url = jobs_database();
    struct bench *b = bench_open(url);
    int i = 0, frozen;

    do {
        submit_get(b, i++, 1);
        wait_done(b, i);
        frozen = signal_backends(url, "belay read", SIGSTOP);
        if (frozen < 2)
            signal_backends(url, "belay read", SIGCONT);
    } while (frozen < 2 && i < OPS_MAX - 2);
    submit_get(b, i, 1);
    wait_done(b, i + 1);
    cr_expect_eq(b->answers[i].why, ERR_UNAVAILABLE);
    int64_t began_ms = clock_ms();
    submit_get(b, i + 1, 1);
    wait_done(b, i + 2);
    cr_expect_eq(b->answers[i + 1].why, ERR_OK, "%s", b->answers[i + 1].message);
    cr_expect_lt(clock_ms() - began_ms, 1500);
    signal_backends(url, "belay read", SIGCONT);
    bench_close(b);
}

Test(lane, an_answer_that_was_refused_in_words_has_not_happened)
{
    const char *url = jobs_database();
    struct bench *b = bench_open(url);
    struct session *s = block_inserts(url);

    submit_insert(b, 0, "new", 1, 1);
    wait_blocked(url, "belay write");
    cr_assert_gt(cluster_kill_sessions(url, "belay write"), 0);
    wait_done(b, 1);
    cr_expect_eq(b->answers[0].why, ERR_UNAVAILABLE);
    session_run(s, "COMMIT");
    cr_expect_eq(cluster_int(url, "SELECT count(*) FROM belay.jobs"), 0);
    session_close(s);
    bench_close(b);
}

Test(lane, a_change_whose_answer_was_lost_has_an_unknown_outcome)
{
    struct cluster *c = cluster_new();
    const char *url = cluster_url(c);
    CLEANUP(buf_release) struct buf why = BUF_INIT;

    cr_assert_eq(migrate(url, NULL, &why), ERR_OK, "%s", why.text);
    struct bench *b = bench_open(url);
    struct session *s = block_inserts(url);
    submit_insert(b, 0, "new", 1, 1);
    wait_blocked(url, "belay write");
    pid_t pid = (pid_t)cluster_int(
        url, "SELECT pid FROM pg_stat_activity WHERE application_name = 'belay write' AND"
             " cardinality(pg_blocking_pids(pid)) > 0");
    cr_assert_eq(kill(pid, SIGKILL),
                 0); /* no word any more; and the server starts anew */
    wait_done(b, 1);
    cr_expect_eq(b->answers[0].why, ERR_OUTCOME_UNKNOWN);
    bench_close(b);
    session_close(s);
    cluster_free(c);
}
