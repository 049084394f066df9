/* Several sessions do everything to the same few hundred jobs at once, at random; their
 * answers are judged at the end against the tables. The seed is printed when it fails;
 * BELAY_TEST_SEED repeats it, BELAY_TEST_RACE_SECONDS runs it for longer. */
#include "tests/db/race.h"

#include "server/core/clock.h"
#include "tests/db/jobs.h"
#include "tests/db/ledger.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(race, .timeout = 120);

enum { SECONDS = 4, WINDOW = 150 };

static atomic_bool stopping;
static atomic_int deadlocks, conflicts, errors, ops;
static char first_error[200];
_Atomic(int64_t) race_newest_id;

int any(struct actor *a, int below)
{
    return (int)((unsigned)rand_r(&a->seed) % (unsigned)below);
}

int64_t any_id(struct actor *a)
{
    int64_t newest = atomic_load(&race_newest_id), id = newest - any(a, WINDOW);

    return id > 0 ? id : 1;
}

void note(struct actor *a, const char *what, int64_t job, int attempt)
{
    buf_addf(&a->log, ",('%s',%" PRId64 ",%d)", what, job, attempt);
}

bool judge(struct actor *a, enum err e, const char *what)
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

bool run(struct actor *a, enum sql sql, int n, const struct db_value *values,
         struct db_rows *rows)
{
    return judge(a, db_exec(a->db, sql, n, values, rows), sql_name(sql));
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
    void (*const acts[])(struct actor *) = {race_work, race_work, race_work,
                                            race_ask,  race_ask,  race_put,
                                            race_put,  race_tidy, race_meddle};
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
    jobs_expect(
        url, /* one request of a key has put jobs in */
        "SELECT j.id, j.metadata ->> 'key' FROM belay.jobs j WHERE j.metadata ->> "
        "'key' IS NOT NULL AND NOT EXISTS (SELECT FROM belay.keys k WHERE k.key "
        "= j.metadata ->> 'key' AND j.id = ANY (k.job_ids))",
        "");
    cluster_psql(url, "UPDATE belay.workers SET heartbeat_at = now() - interval '1 "
                      "hour'; SELECT t.reap()");
    jobs_expect(url, "SELECT count(*) FROM belay.leases", "0");
    jobs_check(url);
    cr_log_info("%d statements, %d conflicts, seed %u", ops, conflicts, first);
}
