#include "tests/db/ledger.h"

#include "server/core/buf.h"
#include "server/core/cleanup.h"
#include "tests/db/jobs.h"
#include "tests/support/cluster.h"

void ledger_open(const char *url)
{
    cluster_psql(url, "CREATE TABLE t.log (what text, job bigint, attempt int)");
}

void ledger_load(const char *url, const char *rows)
{
    CLEANUP(buf_release) struct buf sql = BUF_INIT;

    buf_adds(&sql, "INSERT INTO t.log VALUES ('none', 0, 0)");
    buf_adds(&sql, rows);
    cluster_psql(url, sql.text);
}

void ledger_judge(const char *url)
{
    jobs_check(url);
    jobs_expect(url,
                "SELECT job, attempt, count(*) FROM t.log WHERE what IN ('end', 'back') "
                "AND attempt > 0"
                " GROUP BY 1, 2 HAVING count(*) > 1",
                "");
    /* Each job ends once more than it was retried, or as often if it has not ended. */
    jobs_expect(
        url,
        "SELECT n.job, n.ends, n.retries, t.status(n.job) FROM (SELECT job,"
        " count(*) FILTER (WHERE what = 'end') + (SELECT count(*) FROM "
        "belay.cancellations c"
        " WHERE c.job_id = job AND c.attempt IS NULL AND c.outcome = 'cancelled') AS "
        "ends,"
        " count(*) FILTER (WHERE what IN ('retried', 'restored')) - (SELECT count(*) "
        "FROM "
        "belay.cancellations c WHERE c.job_id = job AND c.outcome = 'restored') AS "
        "retries FROM t.log "
        "WHERE job > 0 "
        "GROUP BY job) n"
        " WHERE n.ends - n.retries <> (t.status(n.job) NOT IN ('todo', 'doing'))::int",
        "");
    jobs_expect(url,
                "SELECT job, count(*) FROM t.log WHERE what = 'cancelled' GROUP BY job "
                "HAVING count(*) >"
                " (SELECT count(*) FROM belay.cancellations c WHERE c.job_id = job AND "
                "c.outcome = 'cancelled')",
                "");
    jobs_expect(
        url,
        "SELECT e.id, count(*) FROM belay.ends e JOIN belay.jobs j USING (id)"
        " WHERE e.attempts < j.attempts OR e.attempts > j.attempts + 1 GROUP BY 1",
        "");
}
