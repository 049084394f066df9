#include "tests/chaos/oracle.h"

#include "server/core/buf.h"
#include "server/core/cleanup.h"

#include <inttypes.h>
#include <string.h>

void oracle_load(struct world *w, const struct call *calls, int n_calls)
{
    CLEANUP(buf_release) struct buf sql = BUF_INIT;

    world_load_lines(w);
    world_run(w, "CREATE TEMP TABLE calls (n int, kind int, fate int, id bigint,"
                 " status int, attempt int, key text, last boolean)");
    buf_adds(&sql, "INSERT INTO calls (n, kind, fate, id, status, attempt)"
                   " VALUES (-1, -1, 2, 0, 0, 0)");
    for (int i = 0; i < n_calls; i++)
        buf_addf(&sql, ",(%d,%d,%d,%" PRId64 ",%ld,%d)", i, (int)calls[i].kind,
                 (int)calls[i].fate, calls[i].id, calls[i].status, calls[i].attempt);
    world_run(w, sql.text);
    world_run(
        w, "UPDATE calls SET key = n; CREATE INDEX ON calls (id); CREATE INDEX ON calls"
           " (key); ANALYZE calls; UPDATE calls c SET last = NOT EXISTS (SELECT FROM"
           " calls d WHERE d.id = c.id AND d.n > c.n AND d.kind > 0 AND d.fate < 2);"
           "CREATE INDEX ON lines (id); ANALYZE lines;"
           "CREATE TEMP TABLE keys AS SELECT id, metadata ->> 'key' AS key"
           " FROM belay.jobs; CREATE INDEX ON keys (id); CREATE INDEX ON keys (key);"
           "ANALYZE keys");
}

/* -- the checks ---------------------------------------------------------------------- */

enum { LATE_ONE_IN = 20 };

static const char *const says[ORACLE_CHECKS] = {
    "every accepted enqueue exists exactly once, unless somebody deleted it",
    "an enqueue of unknown outcome exists at most once, a refused one not at all",
    "one result at most was accepted, and it is that of the attempt that counts",
    "nothing was started after the end",
    "starts <= 1 + recorded kills, pauses, lease losses and retries",
    "every answer to cancel, delete and retry agrees with what became of the job",
    "the sum by status is the number of accepted jobs, and each has the status it should",
    "the number of the last attempt is the number of starts",
    "nothing is left doing, held or open",
    "every change that was accepted has one record, and no record is of nothing",
};

#define IS(kinds) "c.kind IN (" kinds ")"
#define EVENTS(types)                                                                    \
    "(SELECT count(*) FROM belay.events v WHERE v.job_id = x.id AND v.type IN (" types   \
    "))"

/* Of jobs that succeeded: starts behind the end of the attempt that counts; `v` is where
 * that attempt was lost, if it was. */
#define LATE_STARTS                                                                      \
    " FROM lines l JOIN belay.ends e USING (id) JOIN lines f ON f.id = l.id AND"         \
    " f.attempt = e.attempts AND f.what = 'end' LEFT JOIN belay.events v ON v.job_id ="  \
    " l.id AND v.type = 'rescued' AND v.attempt = l.attempt WHERE e.status = 2 AND"      \
    " l.what = 'start' AND l.n > f.n AND v.id IS "

/* kind 0: enqueue, 1: cancel, 2: abort, 3: delete with abort, 4: retry; fate 0: unknown,
 * 1: accepted, 2: refused. status 2: succeeded, 3: failed, 4: cancelled, 5: aborted. */
static const struct {
    int check;
    const char *what, *count_of_wrong;
} queries[] = {
    {1, "accepted, and not there once",
     "SELECT count(*) FROM calls c WHERE kind = 0 AND fate = 1 AND 1 <> (SELECT count(*)"
     " FROM keys j WHERE j.id = c.id AND j.key = c.key) AND NOT EXISTS"
     " (SELECT FROM calls d WHERE d.id = c.id AND d.kind = 3 AND d.fate < 2)"},
    {2, "there twice",
     "SELECT count(*) FROM (SELECT FROM keys GROUP BY key HAVING count(*) > 1) x"},
    {2, "refused, and there",
     "SELECT count(*) FROM calls c JOIN keys j USING (key) WHERE kind = 0 AND fate = 2"},
    {3, "two ends",
     "SELECT count(*) FROM (SELECT FROM belay.ends GROUP BY id HAVING count(*) > 1) x"},
    {3, "the result of another attempt",
     "SELECT count(*) FROM belay.ends WHERE status = 2 AND result ->> 'attempt' <>"
     " attempts::text"},
    {3, "succeeded without having run to the end",
     "SELECT count(*) FROM belay.ends e JOIN belay.jobs j USING (id) JOIN belay.tasks t"
     " ON t.id = j.task_id WHERE t.name LIKE '%ledger%' AND e.status = 2 AND NOT EXISTS"
     " (SELECT FROM lines l WHERE l.id = e.id AND l.attempt = e.attempts"
     " AND l.what = 'end')"},
    {4, "started with a number beyond the last",
     "SELECT count(*) FROM lines l JOIN belay.ends e USING (id) WHERE l.attempt >"
     " e.attempts"},
    {4, "started after the end of the attempt that counts",
     "SELECT count(*)" LATE_STARTS "NULL"},
    {5, "an attempt was started twice",
     "SELECT count(*) FROM (SELECT FROM lines WHERE what = 'start' GROUP BY id, attempt"
     " HAVING count(*) > 1) x"},
    {5, "a start without a recorded loss of the one before",
     "SELECT count(*) FROM (SELECT id, count(*) AS n FROM lines WHERE what = 'start'"
     " GROUP BY 1) x WHERE n > 1 + " EVENTS("'rescued', 'released', 'retried'")},
    {6, "a cancelled job went on",
     "SELECT count(*) FROM calls c JOIN belay.ends e USING (id) WHERE " IS(
         "1, 2") " AND"
                 " c.status = 200 AND last AND (e.status NOT IN (4, 5) OR (c.attempt >= "
                 "0 AND"
                 " e.attempts <> c.attempt) OR EXISTS (SELECT FROM lines l WHERE l.id = "
                 "c.id AND"
                 " c.attempt >= 0 AND l.attempt > c.attempt))"},
    {6, "a deleted job is there",
     "SELECT count(*) FROM calls c JOIN keys j USING (id) WHERE " IS("3") " AND"
                                                                          " c.fate = 1"},
    {6, "a retried job did not start again",
     "SELECT count(*) FROM calls c JOIN belay.ends e USING (id) WHERE " IS(
         "4") " AND"
              " c.fate = 1 AND last AND c.attempt >= 0 AND e.attempts <= c.attempt"},
    {7, "the sum is another",
     "SELECT (SELECT count(*) FROM calls c WHERE kind = 0 AND (fate = 1 OR (fate = 0 AND"
     " EXISTS (SELECT FROM keys k WHERE k.key = c.key)))) - (SELECT count(*) FROM"
     " belay.ends) - (SELECT count(DISTINCT job_id) FROM belay.events WHERE type ="
     " 'deleted')"},
    {7, "another status than success, and nobody asked for it",
     "SELECT count(*) FROM belay.ends e JOIN belay.jobs j USING (id) JOIN belay.tasks t"
     " ON t.id = j.task_id WHERE status <> 2 AND NOT (status = 3 AND t.name LIKE"
     " '%fails') AND NOT EXISTS (SELECT FROM calls d WHERE d.id = e.id AND d.kind > 0"
     " AND d.fate < 2)"},
    {8, "attempts that left no start, and were not recorded as lost",
     "SELECT count(*) FROM (SELECT e.id, coalesce(e.rescued, false)::int AS lost,"
     " e.attempts - (SELECT count(DISTINCT attempt) FROM lines l WHERE l.id = e.id AND"
     " what = 'start') AS n FROM belay.ends e JOIN belay.jobs j USING (id) JOIN"
     " belay.tasks t ON t.id = j.task_id WHERE t.name LIKE '%ledger%') x WHERE n < 0 OR n"
     " > lost + " EVENTS(
         "'rescued', 'released'") " + (SELECT count(*) FROM"
                                  " belay.cancellations r WHERE r.job_id = x.id)"},
    {9, "no end, or the end of no job",
     "SELECT count(*) FROM belay.jobs j FULL JOIN belay.ends e USING (id)"
     " WHERE j.id IS NULL OR e.id IS NULL"},
    {9, "leases, locks, queueing locks or open receipts are left",
     "SELECT (SELECT count(*) FROM belay.leases) + (SELECT count(*) FROM belay.held)"
     " + (SELECT count(*) FROM belay.uniq) + (SELECT count(*) FROM belay.cancellations"
     " WHERE stopped_at IS NULL)"},
    {10, "a cancel without a receipt that is closed",
     "SELECT count(*) FROM calls c WHERE " IS(
         "1, 2") " AND c.fate = 1 AND NOT EXISTS"
                 " (SELECT FROM belay.cancellations r WHERE r.job_id = c.id"
                 " AND r.stopped_at IS NOT NULL)"},
    {10, "more receipts of callers than calls",
     "SELECT count(*) FROM (SELECT job_id AS id, count(*) AS n FROM belay.cancellations"
     " WHERE cause = 'user' GROUP BY 1) x WHERE n > (SELECT count(*) FROM calls c WHERE"
     " c.id = x.id AND " IS("1, 2, 3") " AND c.fate < 2)"},
    {10, "a delete without its record, or with two",
     "SELECT count(*) FROM calls x WHERE kind = 3 AND fate = 1 AND 1 <> " EVENTS(
         "'deleted'")},
    {10, "deleted, and nobody asked for it",
     "SELECT count(*) FROM belay.events v WHERE type = 'deleted' AND NOT EXISTS (SELECT"
     " FROM calls d WHERE d.id = v.job_id AND d.kind = 3 AND d.fate < 2)"},
    {10, "retries by hand that are not recorded once",
     "SELECT count(*) FROM (SELECT id, count(*) FILTER (WHERE fate = 1) AS least,"
     " count(*) AS most FROM calls WHERE kind = 4 AND fate < 2 GROUP BY 1) x WHERE"
     " (SELECT count(*) FROM belay.events v WHERE v.job_id = x.id AND v.type = 'retried'"
     " AND v.detail ->> 'by_hand' = 'true') NOT BETWEEN least AND most"},
};

const char *oracle_says(int i)
{
    return says[i];
}

static void judge(struct world *w, int check, const char *what, int64_t wrong,
                  bool *out_failed)
{
    char line[256];

    snprintf(line, sizeof line, "%d, %s: %s", check, says[check - 1], what);
    world_check(w, line, wrong);
    if (out_failed != NULL)
        out_failed[check - 1] |= wrong != 0;
}

/* A node that is frozen between its last look at its lease and the first act of the task
 * acts when it goes on, whatever has happened meanwhile: nobody can look and act in one.
 * That moment is short, so few freezes may hit it; one that does hits all jobs that were
 * about to start. What one freeze has lost is taken back within a second. */
static int64_t late_starts(struct world *w, int interruptions)
{
    int64_t n = world_count(
        w, "SELECT count(*) FROM (SELECT v.at - lag(v.at) OVER (ORDER BY v.at) AS"
           " gap" LATE_STARTS "NOT NULL) x WHERE gap IS NULL OR gap > interval '1 s'");

    return n <= (interruptions + LATE_ONE_IN - 1) / LATE_ONE_IN ? 0 : n;
}

void oracle_judge(struct world *w, int interruptions, bool out_failed[ORACLE_CHECKS])
{
    char sql[512];

    if (out_failed != NULL)
        memset(out_failed, 0, ORACLE_CHECKS * sizeof *out_failed);
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++)
        judge(w, queries[i].check, queries[i].what,
              world_count(w, queries[i].count_of_wrong), out_failed);
    judge(w, 4, "freezes whose lost attempts were started after the end",
          late_starts(w, interruptions), out_failed);
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM (SELECT id, count(*) AS n FROM lines WHERE what ="
             " 'start' GROUP BY 1) x WHERE n > 1 + %d + " EVENTS("'retried'"),
             interruptions);
    judge(w, 5, "more starts than interruptions", world_count(w, sql), out_failed);
}
