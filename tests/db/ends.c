/* What a worker writes at the end of jobs, beside others who hold the same jobs. */
#include "workers/ends.h"

#include "db/db.h"
#include "server/core/clock.h"
#include "tests/db/jobs.h"
#include "tests/db/session.h"
#include "tests/support/cluster.h"
#include "workers/job.h"

#include <criterion/criterion.h>
#include <pthread.h>

TestSuite(ends, .timeout = 60);

struct writer {
    struct db *db;
    struct job_list jobs;
    struct ends_answer answers[2];
    enum err e;
};

static void *write_ends(void *arg)
{
    struct writer *w = arg;

    w->e = ends_write(w->db, &w->jobs, NULL, NULL, w->answers);
    return NULL;
}

static void wait_for_writer(const char *url)
{
    while (cluster_int(url, "SELECT count(*) FROM pg_stat_activity WHERE"
                            " application_name = 'writer' AND"
                            " wait_event_type = 'Lock'") == 0)
        sleep_ms(5);
}

/* A retry of the job of the first lease, and the success of that of the second. Whoever
 * holds jobs takes leases in their order, too. */
Test(ends, of_two_kinds_take_no_lease_out_of_order)
{
    const char *url = jobs_database();
    struct session *other = session_open(url);
    struct db_options options = {.url = url, .application_name = "writer"};
    char why[256];
    struct writer w = {.e = ERR_INTERNAL};
    struct job again = {.id = 1, .attempt = 1, .fate = FATE_RETRY};
    struct job done = {
        .id = 2, .attempt = 1, .fate = FATE_FINISHED, .status = "succeeded"};
    pthread_t thread;

    cluster_psql(url, "SELECT t.ins(tries => 9), t.ins(), t.worker()");
    cluster_psql(url, "SELECT t.claim(1)");
    cluster_psql(url, "SELECT t.claim(1)");
    again.lease = cluster_int(url, "SELECT (t.lease(1)).id");
    done.lease = cluster_int(url, "SELECT (t.lease(2)).id");
    cr_assert_lt(again.lease, done.lease);
    again.worker_id = done.worker_id = cluster_int(url, "SELECT (t.lease(1)).worker_id");
    job_list_add(&w.jobs, &again);
    job_list_add(&w.jobs, &done);
    cr_assert_eq(db_open(&options, &w.db, why, sizeof why), ERR_OK, "%s", why);

    session_run(other,
                "BEGIN; SELECT FROM belay.leases WHERE job_ids = '{1}' FOR UPDATE");
    pthread_create(&thread, NULL, write_ends, &w);
    wait_for_writer(url);
    session_run(other,
                "SELECT FROM belay.leases WHERE job_ids = '{2}' FOR UPDATE; COMMIT");
    pthread_join(thread, NULL);
    cr_expect_eq(w.e, ERR_OK);
    cr_expect(w.answers[0].written && w.answers[0].taken);
    cr_expect(w.answers[1].written && w.answers[1].taken);
    jobs_expect(url, "SELECT t.status(1) || ' ' || t.status(2)", "todo succeeded");
    jobs_check(url);
    db_close(w.db);
    session_close(other);
}

/* What PostgreSQL refuses of those that go back does not take back the ends. */
Test(ends, that_are_written_are_known_although_the_others_are_not)
{
    const char *url = jobs_database();
    struct db_options options = {.url = url};
    char why[256];
    struct writer w = {.e = ERR_OK};
    char no_json[] = "no JSON";
    struct job again = {.id = 1, .attempt = 1, .fate = FATE_RETRY, .error = no_json};
    struct job done = {
        .id = 2, .attempt = 1, .fate = FATE_FINISHED, .status = "succeeded"};

    cluster_psql(url, "SELECT t.ins(tries => 9), t.ins(), t.worker()");
    cluster_psql(url, "SELECT t.claim(1, 2)");
    again.lease = done.lease = cluster_int(url, "SELECT (t.lease(1)).id");
    again.worker_id = done.worker_id = cluster_int(url, "SELECT (t.lease(1)).worker_id");
    job_list_add(&w.jobs, &again);
    job_list_add(&w.jobs, &done);
    cr_assert_eq(db_open(&options, &w.db, why, sizeof why), ERR_OK, "%s", why);
    write_ends(&w);
    cr_expect_eq(w.e, ERR_INVALID);
    cr_expect(!w.answers[0].written);
    cr_expect(w.answers[1].written && w.answers[1].taken);
    jobs_expect(url, "SELECT t.status(1) || ' ' || t.status(2)", "doing succeeded");
    db_close(w.db);
}
