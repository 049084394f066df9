/* Jobs in over others, where standing rules end some of them at once. */
#include "tests/db/jobs.h"
#include "tests/db/session.h"
#include "tests/support/cluster.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>

TestSuite(put_rules, .timeout = 90);

/* t.put(): two jobs in one request, the first with the lock `l` and the tag that a rule
 * is for, the second over what waits with the queueing lock q. */
static const char putting[] =
    "CREATE FUNCTION t.put(l text, k text) RETURNS text LANGUAGE sql AS $$ SELECT result "
    "FROM belay.put_jobs('{0,0}', '{t,t}', '{ended,default}', '{0,0}', "
    "ARRAY['{}','{}']::json[], '{1,1}', '{\"{}\",\"{}\"}', ARRAY['{}','{}']::json[], "
    "'{NULL,NULL}', '{NULL,NULL}', ARRAY[l, k], '{NULL,q}', '{f,f}', '{NULL,NULL}', "
    "'{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}', "
    "'{60,60}', '{reject,replace}') $$;"
    "SELECT belay.create_operation(belay.operation_of('cancel', "
    "'{\"queue\":\"ended\"}', false, false, NULL, NULL, NULL, now() + interval '1 "
    "hour'))";

/* Whatever the names: the one who waits for a turn has none that comes later in the order
 * of all, so somebody who takes them in that order is never in a ring. */
static void expect_one_order(const char *ended, const char *replacing)
{
    const char *url = jobs_database();
    struct session *a = session_open(url), *b = session_open(url);

    cluster_psql(url, putting);
    cluster_psql(url, "SELECT t.ins(NULL, 'q')");
    session_run(a, "BEGIN");
    session_run(a, text_of("SELECT belay.lock_names(4994, '{%s}')", replacing));
    session_start(b, text_of("SELECT t.put('%s', '%s')", ended, replacing));
    session_wait_blocked(b);
    cr_expect_eq(cluster_int(url, "SELECT count(*) FROM pg_locks WHERE locktype = "
                                  "'advisory' AND classid = 4994 AND granted"),
                 1, "it has turns while it waits for one");
    session_run(a, "COMMIT");
    cr_expect_str_eq(session_end(b), "done");
    jobs_expect(url, "SELECT string_agg(status::text, ',') FROM belay.ends", "4");
    jobs_check(url);
    session_close(a);
    session_close(b);
}

Test(put_rules, all_turns_are_taken_at_once)
{
    /* Of two names one is first in that order, whichever it is. */
    int64_t is_first = cluster_int(
        jobs_database(), "SELECT ((hashtext('a') & 1023) < (hashtext('b') & 1023))::int");

    expect_one_order(is_first ? "b" : "a", is_first ? "a" : "b");
}
