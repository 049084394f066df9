#include "db/db.h"
#include "server/core/clock.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>
#include <sys/eventfd.h>
#include <unistd.h>

TestSuite(exec, .timeout = 60);

enum { STOPPED_MS = 2000, LONG_MS = 60000 };

Test(exec, who_is_to_stop_waits_for_no_later_answer_either)
{
    int stop_fd = eventfd(1, EFD_CLOEXEC);
    struct db_options options = {.url = cluster_database(),
                                 .application_name = "belay exec",
                                 .statement_timeout_ms = LONG_MS,
                                 .no_prepare = true,
                                 .stop_fd = stop_fd};
    struct db *db = NULL;
    char why[200] = "";

    cr_assert_eq(db_open(&options, &db, why, sizeof why), ERR_OK, "%s", why);
    int64_t began_ms = clock_ms();
    cr_expect_eq(db_run(db, "SELECT pg_sleep(20)", NULL), ERR_UNAVAILABLE);
    cr_expect_lt(clock_ms() - began_ms, STOPPED_MS);
    cr_expect(db_is_broken(db));
    db_close(db);
    close(stop_fd);
}
