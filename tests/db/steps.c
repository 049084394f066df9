/* Thousands of random steps, one after another, by two workers and their users: after
 * each, the tables say what the model says. The seed is printed when they do not;
 * BELAY_TEST_SEED repeats it, BELAY_TEST_STEPS makes it longer. */
#include "db/db.h"
#include "server/core/buf.h"
#include "server/core/cleanup.h"
#include "tests/db/jobs.h"
#include "tests/db/model.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

TestSuite(steps, .timeout = 600);

enum { STEPS = 2000, LIVE_MOST = 40, WINDOW = 60, LATER_MS = 3600000, CHECK_EVERY = 16 };

struct walk {
    struct model model;
    struct db *db[MODEL_WORKERS]; /* a session each */
    unsigned seed;
    int step;
    struct buf did;
};

static int any(struct walk *w, int below)
{
    return (int)((unsigned)rand_r(&w->seed) % (unsigned)below);
}

/* Fails the test when the answer differs; the words of the step are in w->did. */
static void expect(struct walk *w, const char *expected)
{
    struct db_rows rows = {.count = 0};
    enum err e = db_run(w->db[any(w, MODEL_WORKERS)], w->did.text, &rows);

    cr_assert_eq(e, ERR_OK, "step %d: %s: %s", w->step, w->did.text, db_errmsg(w->db[0]));
    const char *said = rows.count > 0 ? row_text(&rows, 0, 0) : "";
    cr_assert_str_eq(said, expected, "step %d: %s answers %s, not %s", w->step,
                     w->did.text, said, expected);
    db_rows_free(&rows);
}

#define DO(w, ...) (buf_clear(&(w)->did), buf_addf(&(w)->did, __VA_ARGS__))

/* -- the steps ----------------------------------------------------------------------- */

/* So many that each step meets others, so few that they are soon compared. */
static bool is_full(const struct walk *w)
{
    int live = 0;

    for (int i = 1; i <= w->model.n; i++)
        live += w->model.jobs[i].place != NOWHERE && w->model.jobs[i].place != ENDS;
    return live >= LIVE_MOST;
}

static struct model_job any_job(struct walk *w)
{
    return (struct model_job){.priority = any(w, 3),
                              .lock = any(w, 2) == 0 ? any(w, MODEL_LOCKS) : 0,
                              .queueing_lock = any(w, 3) == 0 ? any(w, MODEL_LOCKS) : 0,
                              .max_attempts = 1 + any(w, 3),
                              .later = any(w, 4) == 0,
                              .strict = any(w, 3) == 0};
}

/* t.ins(...) or t.put(...), which take the same. */
static void put_in(struct walk *w, const char *how, struct model_job job)
{
    char lock[16] = "NULL", queueing_lock[16] = "NULL";

    if (job.lock != 0)
        snprintf(lock, sizeof lock, "'l%d'", job.lock);
    if (job.queueing_lock != 0)
        snprintf(queueing_lock, sizeof queueing_lock, "'q%d'", job.queueing_lock);
    DO(w, "SELECT t.%s(%s, %s, %s, %d, %d, options => %s)", how, lock, queueing_lock,
       job.later ? "now() + interval '1 hour'" : "NULL", job.max_attempts, job.priority,
       job.strict ? "'{\"lock_strict\":true}'" : "NULL");
}

static void insert(struct walk *w)
{
    struct model_job job = any_job(w);
    char expected[16];

    if (is_full(w))
        return;
    put_in(w, "ins", job);
    snprintf(expected, sizeof expected, "%.0d", model_insert(&w->model, job));
    expect(w, expected);
}

/* Where nobody waits with that lock it is an insert. */
static void replace(struct walk *w)
{
    struct model_job job = any_job(w);
    char expected[16];

    job.queueing_lock = 1 + any(w, MODEL_LOCKS - 1);
    if (is_full(w) || w->model.waiting[job.queueing_lock] == 0)
        return;
    put_in(w, "put", job);
    snprintf(expected, sizeof expected, "%d", model_replace(&w->model, job));
    expect(w, expected);
}

static void claim(struct walk *w)
{
    CLEANUP(buf_release) struct buf expected = BUF_INIT;
    int worker = any(w, MODEL_WORKERS), n = 1 + any(w, 4);

    model_claim(&w->model, worker, n, &expected);
    DO(w, "SELECT t.claim(%d, %d)", worker + 1, n);
    expect(w, expected.text);
}

static int any_id(struct walk *w)
{
    int least = w->model.n > WINDOW ? w->model.n - WINDOW : 0;

    return least + 1 + any(w, w->model.n - least + 1); /* one more than there are */
}

/* Any that runs, or 0. */
static int any_running(struct walk *w)
{
    int from = any(w, w->model.n + 1);

    for (int i = 0; i <= w->model.n; i++) {
        int id = (from + i) % (w->model.n + 1);
        if (w->model.jobs[id].place == LEASE)
            return id;
    }
    return 0;
}

static void finish(struct walk *w)
{
    CLEANUP(buf_release) struct buf expected = BUF_INIT;
    int id = any_running(w);
    bool asked = w->model.jobs[id].asked;
    const char *how = any(w, 3) > 0 ? "succeeded" : asked ? "aborted" : "failed";

    if (id == 0)
        return;
    model_finish(&w->model, id, how, &expected);
    DO(w, "SELECT t.finish_mine(%d, '%s')", id, how);
    expect(w, expected.text);
}

static void give_back(struct walk *w)
{
    static const char *const kinds[] = {"retry", "retry", "shutdown", "unstarted"};
    CLEANUP(buf_release) struct buf expected = BUF_INIT;
    const char *kind = kinds[any(w, 4)];
    bool later = any(w, 2) == 0;
    int id = any_running(w);

    if (id == 0)
        return;
    model_give_back(&w->model, id, kind, later, &expected);
    DO(w, "SELECT t.back_mine(%d, '%s', %d)", id, kind, later ? LATER_MS : 0);
    expect(w, expected.text);
}

/* A worker that had been given up says how it ended. */
static void finish_stale(struct walk *w)
{
    int id = any_id(w);

    DO(w, "SELECT t.finish(%d, 0, 99)", id);
    expect(w, "stale");
}

static void cancel(struct walk *w)
{
    int id = any_id(w);
    bool abort = any(w, 2) == 0, delete = any(w, 4) == 0;

    DO(w, "SELECT t.cancel(%d, %s, %s)", id, abort ? "true" : "false",
       delete ? "true" : "false");
    expect(w, model_cancel(&w->model, id, abort, delete));
}

static void delete (struct walk *w)
{
    int id = any_id(w);
    bool abort = any(w, 2) == 0;

    DO(w, "SELECT t.del(%d, %s)", id, abort ? "true" : "false");
    expect(w, model_delete(&w->model, id, abort));
}

static void retry(struct walk *w)
{
    int id = any_id(w);

    DO(w, "SELECT t.retry(%d)", id);
    expect(w, model_retry(&w->model, id));
}

static void hold(struct walk *w)
{
    int id = any_id(w);

    DO(w, "SELECT result FROM belay.hold_by_hand('{%d}', '{ann}', '{NULL}', '{NULL}')",
       id);
    expect(w, model_hold(&w->model, id));
}

static void release(struct walk *w)
{
    int id = any_id(w);

    for (int i = 1; i <= w->model.n; i++) {
        if (w->model.jobs[i].place == PARKED)
            id = i;
    }
    DO(w, "SELECT result FROM belay.release_by_hand('{%d}', '{ann}')", id);
    expect(w, model_release(&w->model, id));
}

static void pause_or_resume(struct walk *w)
{
    w->model.paused = !w->model.paused && any(w, 3) == 0;
    DO(w, "SELECT '' FROM belay.%s('queue', 'default'%s)",
       w->model.paused ? "pause" : "resume",
       w->model.paused ? ", 'ann', NULL, NULL" : "");
    expect(w, "");
}

static void cancel_all(struct walk *w)
{
    CLEANUP(buf_release) struct buf expected = BUF_INIT;
    int lock = 1 + any(w, MODEL_LOCKS - 1);
    bool abort = any(w, 2) == 0;

    if (any(w, 4) != 0)
        return;
    model_cancel_all(&w->model, lock, abort, &expected);
    DO(w, "SELECT t.bulk('l%d', %s)", lock, abort ? "true" : "false");
    expect(w, expected.text);
}

static void due(struct walk *w)
{
    if (any(w, 4) != 0)
        return;
    model_due(&w->model);
    DO(w, "SELECT t.later_is_now()");
    expect(w, "");
}

/* -- what is seen -------------------------------------------------------------------- */

static void compare(struct walk *w)
{
    CLEANUP(buf_release) struct buf live = BUF_INIT, did = BUF_INIT;
    struct db_rows rows = {.count = 0};

    buf_adds(&did, w->did.text);
    model_live(&w->model, &live);
    cr_assert_eq(db_run(w->db[0],
                        w->step % CHECK_EVERY == 0 ? "SELECT t.live(), t.check()"
                                                   : "SELECT t.live(), ''",
                        &rows),
                 ERR_OK);
    cr_assert_str_eq(row_text(&rows, 0, 0), live.text,
                     "after step %d, %s, there is\n%s, not\n%s", w->step, did.text,
                     row_text(&rows, 0, 0), live.text);
    cr_assert_str_eq(row_text(&rows, 0, 1), "", "after step %d, %s: %s", w->step,
                     did.text, row_text(&rows, 0, 1));
    db_rows_free(&rows);
}

static void compare_ended(struct walk *w)
{
    for (int id = 1; id <= w->model.n; id++) {
        CLEANUP(buf_release) struct buf expected = BUF_INIT;
        model_one(&w->model, id, &expected);
        DO(w, "SELECT t.one(%d)", id);
        expect(w, expected.text);
    }
}

static const char seeing[] =
    "CREATE FUNCTION t.one(job bigint) RETURNS text LANGUAGE sql AS $$"
    " SELECT concat($1, ' ', CASE WHEN s.status IS NULL THEN 'none' ELSE concat_ws(' ',"
    " CASE s.status WHEN 'todo' THEN t.place($1) ELSE s.status END,"
    " CASE s.status WHEN 'doing' THEN s.attempt - 1 ELSE s.attempt END, (SELECT 'asked'"
    " FROM belay.cancellations WHERE job_id = $1 AND stopped_at IS NULL)) END, E'\\n')"
    " FROM (SELECT) x LEFT JOIN belay.job_states(ARRAY[$1]) s ON true $$;"
    "CREATE FUNCTION t.live() RETURNS text LANGUAGE sql AS $$"
    " SELECT coalesce(string_agg(concat(j.id, ' ', x.p, ' ', j.attempts, (SELECT ' asked'"
    " FROM belay.cancellations c WHERE c.job_id = j.id AND c.stopped_at IS NULL), "
    "E'\\n'),"
    " '' ORDER BY j.id), '') FROM (SELECT id, 'ready' FROM belay.ready"
    " UNION ALL SELECT id, 'scheduled' FROM belay.scheduled"
    " UNION ALL SELECT id, 'blocked' FROM belay.blocked"
    " UNION ALL SELECT id, 'held' FROM belay.parked"
    " UNION ALL SELECT u, 'doing' FROM belay.leases, unnest(job_ids) u) x (id, p)"
    " JOIN belay.jobs j ON j.id = x.id $$;"
    "CREATE FUNCTION t.put(lock text, qlock text, at timestamptz, tries int, prio int,"
    " options json) RETURNS bigint LANGUAGE sql AS $$ SELECT (body::json -> '"
    "ids' ->> 0)::bigint FROM belay.put_jobs("
    "'{0}', '{t}', '{default}', ARRAY[prio], ARRAY['{}'::json], ARRAY[tries], "
    "ARRAY['{}'],"
    " ARRAY['{}'::json], ARRAY[at], '{NULL}', ARRAY[lock], ARRAY[qlock], '{f}', '{NULL}',"
    " '{NULL}', '{NULL}', ARRAY[options], '{NULL}', '{NULL}', '{NULL}', '{replace}') $$;"
    "CREATE FUNCTION t.bulk(lock text, abort boolean) RETURNS text LANGUAGE plpgsql AS $$"
    " DECLARE c json; op bigint := (SELECT id FROM belay.create_operation("
    "belay.operation_of('cancel', json_build_object('lock', lock), abort, false, NULL,"
    " 'ann', NULL, NULL))); BEGIN"
    " WHILE (SELECT status = 'running' FROM belay.operations WHERE id = op) LOOP"
    " PERFORM belay.operation_step(1000); PERFORM pg_sleep(0.001); END LOOP;"
    " c := (SELECT belay.operation_text(o) FROM belay.operations o WHERE id = op)::json"
    " -> 'counts'; RETURN concat(c ->> 'cancelled', ' ', c ->> 'aborting'); END $$;"
    "CREATE FUNCTION t.later_is_now() RETURNS text LANGUAGE sql AS $$"
    " UPDATE belay.jobs SET scheduled_at = timestamptz '2020-01-01' + id * interval '1 s'"
    " WHERE scheduled_at > now();"
    " UPDATE belay.scheduled SET run_at = timestamptz '2020-01-01' + id * interval '1 s';"
    " UPDATE belay.blocked SET run_at = NULL;"
    " SELECT '' FROM belay.due(100000) $$;"
    "SELECT t.worker(), t.worker()";

static void take_step(struct walk *w)
{
    static void (*const steps[])(struct walk *) = {
        insert,  insert,  insert,     insert,          claim,       claim,
        claim,   finish,  finish,     finish,          cancel,      hold,
        release, replace, replace,    give_back,       give_back,   delete,
        retry,   due,     cancel_all, pause_or_resume, finish_stale};
    void (*step)(struct walk *) = steps[any(w, sizeof steps / sizeof *steps)];

    step(w);
    compare(w);
}

static int setting(const char *name, int otherwise)
{
    const char *value = getenv(name);

    return value != NULL ? (int)strtol(value, NULL, 10) : otherwise;
}

Test(steps, the_tables_say_what_the_model_says_after_each)
{
    struct walk *w = calloc(1, sizeof *w);
    const char *url = jobs_database();
    struct db_options options = {
        .url = url, .application_name = "belay test", .no_prepare = true};
    int steps = setting("BELAY_TEST_STEPS", STEPS);
    unsigned seed = (unsigned)setting("BELAY_TEST_SEED", (int)time(NULL));

    cr_assert_not_null(w);
    cluster_psql(url, seeing);
    buf_init(&w->did);
    w->seed = seed;
    for (int i = 0; i < MODEL_WORKERS; i++)
        cr_assert_eq(db_open(&options, &w->db[i], NULL, 0), ERR_OK);
    cr_log_info("BELAY_TEST_SEED=%u", seed);
    for (w->step = 0; w->step < steps && w->model.n < MODEL_JOBS; w->step++)
        take_step(w);
    compare_ended(w);
    for (int i = 0; i < MODEL_WORKERS; i++)
        db_close(w->db[i]);
    buf_release(&w->did);
    free(w);
}
