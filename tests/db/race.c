/* Several sessions do everything to the same few hundred jobs at once, at random; their
 * answers are judged at the end against the tables. The seed is printed when it fails;
 * BELAY_TEST_SEED repeats it, BELAY_TEST_RACE_SECONDS runs it for longer. */
#include "db/db.h"
#include "server/core/buf.h"
#include "server/core/clock.h"
#include "tests/db/jobs.h"
#include "tests/db/ledger.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(race, .timeout = 120);

enum { SECONDS = 4, WINDOW = 150, BATCH_MAX = 6, MINE_MAX = 64, PARAMS = 13, LOCKS = 5 };
enum { INSERT_PARAMS = 16 };

struct claimed {
    int64_t id, lease, worker;
    int attempt;
};

struct actor {
    const char *url;
    void (*act)(struct actor *);
    pthread_t thread;
    struct db *db;
    unsigned seed;
    int64_t worker;
    struct claimed mine[MINE_MAX];
    int n_mine;
    struct buf log; /* rows of SQL: what, job, attempt */
};

static atomic_bool stopping;
static atomic_int deadlocks, conflicts, errors, ops;
static _Atomic(int64_t) newest_id;
static char first_error[200];

static int any(struct actor *a, int below)
{
    return (int)((unsigned)rand_r(&a->seed) % (unsigned)below);
}

static int64_t any_id(struct actor *a)
{
    int64_t newest = atomic_load(&newest_id), id = newest - any(a, WINDOW);

    return id > 0 ? id : 1;
}

static void note(struct actor *a, const char *what, int64_t job, int attempt)
{
    buf_addf(&a->log, ",('%s',%" PRId64 ",%d)", what, job, attempt);
}

static bool judge(struct actor *a, enum err e, const char *what)
{
    atomic_fetch_add(&ops, 1);
    if (e == ERR_OK)
        return true;
    if (strcmp(db_sqlstate(a->db), "40P01") == 0)
        atomic_fetch_add(&deadlocks, 1);
    else if (e == ERR_CONFLICT)
        atomic_fetch_add(&conflicts, 1);
    else if (atomic_fetch_add(&errors, 1) == 0)
        snprintf(first_error, sizeof first_error, "%s: %.150s", what, db_errmsg(a->db));
    return false;
}

static bool run(struct actor *a, enum sql sql, int n, const struct db_value *values,
                struct db_rows *rows)
{
    return judge(a, db_exec(a->db, sql, n, values, rows), sql_name(sql));
}

/* -- what a worker does -------------------------------------------------------------- */

static void register_worker(struct actor *a)
{
    struct db_value v[] = {db_text("w"), db_text("h"), db_int(1),
                           db_text("1"), db_int(8),    db_null()};
    struct db_rows rows;

    if (!run(a, SQL_worker_register, 1, v, &rows))
        return;
    a->worker = row_int(&rows, 0, 0);
    db_rows_free(&rows);
}

static void claim(struct actor *a)
{
    int n = 1 + any(a, 8);
    struct db_value v[] = {db_int(a->worker), db_int(n), db_int(1 + any(a, n)), db_null(),
                           db_null()};
    struct db_rows rows;

    if (a->n_mine + n > MINE_MAX || !run(a, SQL_job_claim, 1, v, &rows))
        return;
    for (int i = 0; i < rows.count; i++)
        a->mine[a->n_mine++] = (struct claimed){.id = row_int(&rows, i, 0),
                                                .lease = row_int(&rows, i, 1),
                                                .worker = a->worker,
                                                .attempt = (int)row_int(&rows, i, 5)};
    db_rows_free(&rows);
}

/* Takes up to BATCH_MAX of the claimed jobs. */
static int take(struct actor *a, struct claimed out[BATCH_MAX])
{
    int n = 1 + any(a, BATCH_MAX);

    for (int i = 0; i < n; i++) {
        if (a->n_mine == 0)
            return i;
        int k = any(a, a->n_mine);
        out[i] = a->mine[k];
        a->mine[k] = a->mine[--a->n_mine];
    }
    return n;
}

static void finish(struct actor *a)
{
    static const char *const statuses[] = {"succeeded", "succeeded", "failed", "aborted"};
    struct db_value values[BATCH_MAX * PARAMS], *v = values;
    struct claimed c[BATCH_MAX];
    struct db_rows rows;
    int n = take(a, c);

    for (int i = 0; i < n; i++, v += PARAMS) {
        const struct db_value row[PARAMS] = {db_int(c[i].id),
                                             db_int(c[i].lease),
                                             db_int(c[i].worker),
                                             db_int(c[i].attempt),
                                             db_text(statuses[any(a, 4)]),
                                             db_null(),
                                             db_null(),
                                             db_int(10),
                                             db_int(0),
                                             db_null(),
                                             db_int(0),
                                             db_null(),
                                             db_null()};
        memcpy(v, row, sizeof row);
    }
    if (n == 0 || !run(a, SQL_job_finish, n, values, &rows))
        return;
    for (int i = 0; i < rows.count; i++) {
        bool again =
            strcmp(row_text(&rows, i, 3), "todo") == 0; /* asked to start again */
        if (row_bool(&rows, i, 2))
            note(a, again ? "back" : "end", c[i].id, c[i].attempt);
    }
    db_rows_free(&rows);
}

static void give_back(struct actor *a)
{
    static const char *const kinds[] = {"retry", "retry", "shutdown", "unstarted"};
    struct db_value values[BATCH_MAX * 8], *v = values;
    const char *kind[BATCH_MAX];
    struct claimed c[BATCH_MAX];
    struct db_rows rows;
    int n = take(a, c);

    for (int i = 0; i < n; i++, v += 8) {
        kind[i] = kinds[any(a, 4)];
        const struct db_value row[8] = {db_int(c[i].id),     db_int(c[i].lease),
                                        db_int(c[i].worker), db_int(c[i].attempt),
                                        db_text(kind[i]),    db_int(any(a, 3) * 10),
                                        db_null(),           db_null()};
        memcpy(v, row, sizeof row);
    }
    if (n == 0 || !run(a, SQL_job_give_back, n, values, &rows))
        return;
    for (int i = 0; i < rows.count; i++) {
        bool ended = strcmp(row_text(&rows, i, 3), "todo") != 0;
        bool started =
            strcmp(kind[i], "unstarted") != 0; /* else its number is used again */
        if (row_bool(&rows, i, 2) && (ended || started))
            note(a, ended ? "end" : "back", c[i].id, started ? c[i].attempt : 0);
    }
    db_rows_free(&rows);
}

/* Is not heard of any more, but goes on: what it still writes may be stale. */
static void die(struct actor *a)
{
    char sql[160];

    snprintf(sql, sizeof sql,
             "UPDATE belay.workers SET heartbeat_at = now() - interval '1 hour' WHERE id "
             "= %" PRId64,
             a->worker);
    if (db_run(a->db, sql, NULL) == ERR_OK)
        register_worker(a);
}

static void work(struct actor *a)
{
    int what = any(a, 100);

    if (what < 40)
        claim(a);
    else if (what < 75)
        finish(a);
    else if (what < 98)
        give_back(a);
    else
        die(a);
}

/* -- what everybody else does -------------------------------------------------------- */

static const char *any_lock(struct actor *a, char out[8], const char *prefix)
{
    if (any(a, 2) == 0)
        return NULL;
    snprintf(out, 8, "%.1s%d", prefix, any(a, LOCKS));
    return out;
}

static void insert(struct actor *a)
{
    struct db_value values[BATCH_MAX * INSERT_PARAMS], *v = values;
    char locks[BATCH_MAX][8], queueing_locks[BATCH_MAX][8];
    struct db_rows rows;
    int n = 1 + any(a, BATCH_MAX);

    for (int i = 0; i < n; i++, v += INSERT_PARAMS) {
        const struct db_value row[INSERT_PARAMS] = {
            db_text("t"),
            db_text("default"),
            db_int(any(a, 3)),
            db_text("{}"),
            db_int(1 + any(a, 3)),
            db_text("{}"),
            db_text("{}"),
            db_null(),
            any(a, 3) == 0 ? db_int(any(a, 30)) : db_null(),
            db_text(any_lock(a, locks[i], "l")),
            db_text(any(a, 4) == 0 ? any_lock(a, queueing_locks[i], "k") : NULL),
            db_int(0),
            db_null(),
            db_null(),
            any(a, 4) == 0 ? db_int(any(a, 100)) : db_null(),
            db_null()};
        memcpy(v, row, sizeof row);
    }
    for (int i = 0; i < n; i++) { /* each a group of its own, as from n requests */
        if (!run(a, SQL_job_insert, 1, values + i * INSERT_PARAMS, &rows))
            continue;
        if (strcmp(row_text(&rows, 0, 2), "created") == 0 &&
            row_int(&rows, 0, 1) > newest_id)
            atomic_store(&newest_id, row_int(&rows, 0, 1));
        db_rows_free(&rows);
    }
}

static void note_answers(struct actor *a, const struct db_rows *rows, const int64_t *ids,
                         const char *result)
{
    for (int i = 0; i < rows->count; i++) {
        if (strcmp(row_text(rows, i, 1), result) == 0)
            note(a, result, ids[i], 0);
    }
}

static void cancel(struct actor *a)
{
    struct db_value values[BATCH_MAX * 11], *v = values;
    int64_t ids[BATCH_MAX];
    struct db_rows rows;
    int n = 1 + any(a, BATCH_MAX);

    for (int i = 0; i < n; i++, v += 11) {
        ids[i] = any_id(a);
        bool again = any(a, 6) == 0;
        const struct db_value row[11] = {
            db_int(ids[i]),
            db_int(again || any(a, 2)),
            db_int(!again && any(a, 8) == 0),
            db_null(),
            db_text("ann"),
            db_text("user"),
            db_null(),
            any(a, 5) == 0 ? db_text("{todo,doing}") : db_null(),
            db_null(),
            db_null(),
            again ? db_text("{\"retry\":\"requeue\"}") : db_null()};
        memcpy(v, row, sizeof row);
    }
    if (!run(a, SQL_job_cancel, n, values, &rows))
        return;
    note_answers(a, &rows, ids, "cancelled");
    db_rows_free(&rows);
}

static void delete_some(struct actor *a)
{
    struct db_value values[BATCH_MAX * 6], *v = values;
    struct db_rows rows;
    int n = 1 + any(a, 2);

    for (int i = 0; i < n; i++, v += 6) {
        const struct db_value row[6] = {db_int(any_id(a)), db_int(any(a, 2)), db_null(),
                                        db_text("ann"),    db_null(),         db_null()};
        memcpy(v, row, sizeof row);
    }
    if (run(a, SQL_job_delete, n, values, &rows))
        db_rows_free(&rows);
}

static void retry(struct actor *a)
{
    static const char more[] =
        "{\"lock\":\"l0\",\"queueing_lock\":\"k1\",\"queue\":\"r\",\"delay_ms\":5}";
    struct db_value values[BATCH_MAX * 4], *v = values;
    int64_t ids[BATCH_MAX];
    struct db_rows rows;
    int n = 1 + any(a, BATCH_MAX), width = 3 + (any(a, 3) > 0); /* 3: a restore */

    for (int i = 0; i < n; i++, v += width) {
        const struct db_value row[4] = {db_int(ids[i] = any_id(a)), db_text("ann"),
                                        db_null(), db_text(any(a, 2) == 0 ? more : NULL)};
        memcpy(v, row, sizeof row);
    }
    if (!run(a, width == 3 ? SQL_job_restore : SQL_job_retry, n, values, &rows))
        return;
    note_answers(a, &rows, ids, width == 3 ? "restored" : "retried");
    db_rows_free(&rows);
}

static void ask(struct actor *a)
{
    int what = any(a, 100);

    if (what < 45)
        cancel(a);
    else if (what < 55)
        delete_some(a);
    else if (what < 75)
        retry(a);
    else
        insert(a);
}

/* Pauses, limits, holds. */
static void meddle(struct actor *a)
{
    judge(a, db_run(a->db, "SELECT t.meddle()", NULL), "meddle");
}

/* What is cancelled at its deadline has ended; what runs is only asked to stop. */
static void tidy(struct actor *a)
{
    static const enum sql all[] = {SQL_maintain_due, SQL_maintain_due, SQL_maintain_reap,
                                   SQL_maintain_expire, SQL_maintain_tick};
    enum sql sql = all[any(a, 5)];
    bool reaps = sql == SQL_maintain_reap;
    struct db_value v[] = {db_int(reaps ? 60000 : 1 + any(a, 50)), db_int(100)};
    struct db_rows rows;

    if (!run(a, sql, 1, v, &rows))
        return;
    for (int i = 0; i < rows.count; i++) {
        if (reaps)
            note(a, strcmp(row_text(&rows, i, 2), "todo") == 0 ? "back" : "end",
                 row_int(&rows, i, 0), -1);
        else if (strcmp(row_text(&rows, i, 1), "cancelled") == 0)
            note(a, "cancelled", row_int(&rows, i, 0), 0);
    }
    db_rows_free(&rows);
}

/* -- the run ------------------------------------------------------------------------- */

static void *run_actor(void *arg)
{
    struct actor *a = arg;
    struct db_options options = {
        .url = a->url, .application_name = "belay race", .pin_plans = true};

    if (db_open(&options, &a->db, NULL, 0) != ERR_OK) {
        atomic_fetch_add(&errors, 1);
        return NULL;
    }
    register_worker(a);
    while (!atomic_load(&stopping))
        a->act(a);
    db_close(a->db);
    return NULL;
}

static void wait_for_the_end(const char *url)
{
    const char *seconds = getenv("BELAY_TEST_RACE_SECONDS");
    int64_t end_ms =
        clock_ms() + 1000 * (seconds != NULL ? (int)strtol(seconds, NULL, 10) : SECONDS);

    while (clock_ms() < end_ms) /* the clock of the database is as good as any */
        cluster_psql(url, "SELECT pg_sleep(0.2)");
    atomic_store(&stopping, true);
}

Test(race, whatever_happens_at_once_each_job_has_one_place_and_one_fate)
{
    void (*const acts[])(struct actor *) = {work, work, work, ask,
                                            ask,  ask,  tidy, meddle};
    enum { ACTORS = sizeof acts / sizeof *acts };
    const char *url = jobs_database(), *seed = getenv("BELAY_TEST_SEED");
    struct actor actors[ACTORS];
    unsigned first =
        seed != NULL ? (unsigned)strtoul(seed, NULL, 10) : (unsigned)clock_us();

    cluster_psql(url, "SELECT t.ticking(3)"); /* much is to be caught up */
    for (int i = 0; i < ACTORS; i++) {
        actors[i] =
            (struct actor){.url = url, .act = acts[i], .seed = first + (unsigned)i};
        buf_init(&actors[i].log);
        cr_assert_eq(pthread_create(&actors[i].thread, NULL, run_actor, &actors[i]), 0);
    }
    wait_for_the_end(url);
    for (int i = 0; i < ACTORS; i++)
        pthread_join(actors[i].thread, NULL);
    ledger_open(url);
    for (int i = 0; i < ACTORS; i++) {
        ledger_load(url, actors[i].log.text);
        buf_release(&actors[i].log);
    }
    cr_expect_eq(deadlocks, 0, "%d deadlocks in %d statements, seed %u", deadlocks, ops,
                 first);
    cr_expect_eq(errors, 0, "%d errors, seed %u; the first: %s", errors, first,
                 first_error);
    cr_expect_gt(ops, 200, "%d statements only", ops);
    ledger_judge(url);
    cluster_psql(url, "UPDATE belay.workers SET heartbeat_at = now() - interval '1 "
                      "hour'; SELECT t.reap()");
    jobs_expect(url, "SELECT count(*) FROM belay.leases", "0");
    jobs_check(url);
    cr_log_info("%d statements, %d conflicts, seed %u", ops, conflicts, first);
}
