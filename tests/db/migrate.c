#include "db/migrate.h"

#include "server/core/cleanup.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>

TestSuite(migrate, .timeout = 60);

enum { STARTERS = 8 };

struct starters {
    const char *url;
    pthread_barrier_t together;
    atomic_int applied, failed;
};

static void *start(void *arg)
{
    struct starters *s = arg;
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    int applied = 0;

    pthread_barrier_wait(&s->together);
    if (migrate(s->url, &applied, &why) != ERR_OK)
        s->failed++;
    s->applied += applied;
    return NULL;
}

Test(migrate, eight_that_start_at_once_apply_each_migration_once)
{
    struct starters s = {.url = cluster_empty_database()};
    pthread_t threads[STARTERS];

    pthread_barrier_init(&s.together, NULL, STARTERS);
    for (int i = 0; i < STARTERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, start, &s), 0);
    for (int i = 0; i < STARTERS; i++)
        pthread_join(threads[i], NULL);
    cr_expect_eq(s.failed, 0);
    cr_expect_gt(s.applied, 0);
    cr_expect_eq(cluster_int(s.url, "SELECT count(*) FROM belay.migrations"), s.applied);
    cr_expect_eq(cluster_int(s.url, "SELECT max(version) FROM belay.migrations"),
                 migrate_version());
}

Test(migrate, a_schema_that_is_up_to_date_is_left_alone)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    const char *url = cluster_database();
    int applied = 99;

    cr_assert_eq(migrate(url, &applied, &why), ERR_OK, "%s", why.text);
    cr_expect_eq(applied, 0);
}

Test(migrate, a_newer_schema_is_refused_and_not_touched)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    const char *url = cluster_database();
    int applied = 99;

    cluster_psql(url, "INSERT INTO belay.migrations VALUES (9999, '9999_future');"
                      "DELETE FROM belay.migrations WHERE version = 1");
    cr_assert_eq(migrate(url, &applied, &why), ERR_SCHEMA_TOO_NEW);
    cr_expect_not_null(strstr(why.text, "schema version 9999"));
    cr_expect_eq(applied, 99, "not written on failure");
    cr_expect_eq(
        cluster_int(url, "SELECT count(*) FROM belay.migrations WHERE version = 1"), 0);
}

Test(migrate, a_migration_that_fails_leaves_the_database_as_it_was)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    const char *url = cluster_empty_database();

    /* In the way of 0001: its CREATE TABLE fails after the schema has been made. */
    cluster_psql(url, "CREATE SCHEMA belay; CREATE TABLE belay.leases (x int)");
    cr_assert_eq(migrate(url, NULL, &why), ERR_INTERNAL);
    cr_expect_not_null(strstr(why.text, "0001_tables"), "%s", why.text);
    cr_expect_not_null(strstr(why.text, "already exists"), "%s", why.text);
    cr_expect_str_eq(cluster_psql(url, "SELECT to_regclass('belay.jobs') IS NULL,"
                                       " to_regclass('belay.migrations') IS NULL"),
                     "t|t");
}

Test(migrate, a_role_that_may_only_use_the_schema_can_start)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    const char *url = cluster_database();
    char as_user[1200], role[64], sql[400];

    snprintf(role, sizeof role, "belay_user_%d", (int)getpid());
    snprintf(sql, sizeof sql,
             "CREATE ROLE %s LOGIN; GRANT USAGE ON SCHEMA belay TO %s;"
             "GRANT SELECT ON ALL TABLES IN SCHEMA belay TO %s",
             role, role, role);
    cluster_psql(url, sql);
    snprintf(as_user, sizeof as_user, "%s user=%s", url, role);
    cr_expect_eq(migrate(as_user, NULL, &why), ERR_OK, "%s", why.text);
    snprintf(sql, sizeof sql, "DROP OWNED BY %s; DROP ROLE %s", role, role);
    cluster_psql(url, sql);
}

Test(migrate, no_database_is_unavailable)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;

    cr_assert_eq(migrate("host=/nowhere-at-all", NULL, &why), ERR_UNAVAILABLE);
    cr_expect_gt(why.len, 0);
}
