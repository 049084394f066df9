#include "tests/db/states.h"

#include "tests/db/jobs.h"
#include "tests/support/cluster.h"

const char *const states[STATES] = {
    "ready",  "scheduled", "blocked", "parked",   "held",   "waits",
    "doing",  "asked",     "leaving", "recalled", "late",   "succeeded",
    "failed", "cancelled", "aborted", "unknown",  "deleted"};

static const char asking[] =
    "CREATE FUNCTION t.requeue(job bigint) RETURNS text LANGUAGE sql AS $$"
    " SELECT result FROM belay.cancel_jobs(ARRAY[job], '{true}', '{false}', '{NULL}', "
    "'{ann}', '{user}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', "
    "ARRAY['{\"retry\":\"requeue\"}'::json]) $$;"
    "CREATE FUNCTION t.not_due(job bigint) RETURNS text LANGUAGE sql AS $$ SELECT result "
    "FROM belay.cancel_jobs(ARRAY[job], '{t}', '{f}', '{NULL}', '{NULL}', '{user}', "
    "'{NULL}', '{NULL}', '{NULL}', '{NULL}', "
    "ARRAY['{\"due\":\"2026-01-01T00:00:00.000000Z\"}'::json]) $$;"
    /* Nobody else's job is in its queue, except a holder of its lock. */
    "CREATE FUNCTION t.queue(job bigint) RETURNS text LANGUAGE sql AS $$ SELECT q.name "
    "FROM belay.queues q JOIN belay.jobs j ON j.queue_id = q.id WHERE j.id = job $$;"
    "CREATE FUNCTION t.claim_of(job bigint) RETURNS text LANGUAGE plpgsql AS $$ DECLARE "
    "q text := t.queue(job); w bigint := t.worker(); BEGIN RETURN (SELECT 'claimed' FROM "
    "belay.claim(w, 9, 100, ARRAY[q], NULL) c WHERE c.id = job); END $$;"
    /* Its time comes, where it waits for a time. */
    "CREATE FUNCTION t.come(job bigint) RETURNS text LANGUAGE plpgsql AS $$ BEGIN"
    " UPDATE belay.scheduled SET run_at = '2020-01-01' WHERE id = job;"
    " IF FOUND THEN UPDATE belay.jobs SET scheduled_at = '2020-01-01' WHERE id = job; "
    "END IF;"
    " RETURN (SELECT nullif(moved, 0) FROM belay.due(1000)); END $$;"
    "CREATE FUNCTION t.dies(job bigint) RETURNS text LANGUAGE plpgsql AS $$ BEGIN "
    "PERFORM t.die(job); RETURN split_part(t.reap(), ':', 2); END $$;";

/* What workers say under the lease of the job, or next to it. */
static const char telling[] =
    "CREATE FUNCTION t.tell(job bigint, lease bigint, worker bigint, how text) RETURNS "
    "text LANGUAGE sql AS $$ SELECT CASE WHEN how IN ('succeeded', 'failed', 'aborted') "
    "THEN t.finish(job, lease, worker, how, (SELECT attempts + 1 FROM belay.jobs WHERE "
    "id = job)) WHEN how = 'finish_killed' THEN t.finish(job, lease, worker, 'aborted', "
    "(SELECT attempts + 1 FROM belay.jobs WHERE id = job), true)"
    " ELSE t.back(job, lease, worker, split_part(how, ' ', 1), coalesce("
    "nullif(split_part(how, ' ', 2), '')::bigint, 0)) END $$;"
    "CREATE FUNCTION t.tells(job bigint, how text, lease int DEFAULT 0, worker int "
    "DEFAULT 0) RETURNS text LANGUAGE sql AS $$ SELECT t.tell(job, coalesce(l.id, 0) + "
    "lease, coalesce(l.worker_id, 0) + worker, how) FROM (SELECT (t.lease(job)).*) l $$;"
    "CREATE FUNCTION t.recover(job bigint, known boolean) RETURNS text LANGUAGE sql AS "
    "$$ SELECT nullif(belay.recover(l.worker_id, CASE WHEN known THEN ARRAY[l.id] ELSE "
    "'{}' END), 0) FROM (SELECT (t.lease(job)).*) l $$;";

static const char standing[] =
    "CREATE FUNCTION t.stand(state text, tries int DEFAULT 1) RETURNS bigint LANGUAGE "
    "plpgsql AS $$ DECLARE job bigint; BEGIN"
    " IF state = 'waits' THEN RETURN t.after(t.ins(NULL, NULL, NULL, 1, 0, 'q ' || "
    "clock_timestamp())); END IF;"
    " job := t.make(CASE WHEN state IN ('leaving', 'recalled', 'late') THEN 'doing' ELSE "
    "state END, tries);"
    " CASE state WHEN 'leaving' THEN PERFORM t.cancel(job, true, true);"
    " WHEN 'recalled' THEN PERFORM t.requeue(job); WHEN 'late' THEN PERFORM t.late(job);"
    " ELSE END CASE; RETURN job; END $$;"
    "CREATE FUNCTION t.state(job bigint) RETURNS text LANGUAGE sql AS $$ SELECT CASE"
    " WHEN p IS NULL THEN 'none' WHEN p NOT IN ('lease', 'ends') THEN p"
    " WHEN p = 'ends' THEN t.status(job) ELSE coalesce((SELECT CASE WHEN "
    "c.delete_requested THEN 'leaving' WHEN c.requeue THEN 'recalled' WHEN c.cause = "
    "'timeout' THEN 'late' ELSE 'asked' END FROM belay.cancellations c WHERE c.job_id = "
    "job AND c.stopped_at IS NULL), (SELECT CASE WHEN belay.is_undoable(j.options) THEN "
    "'doomed' ELSE 'doing' END FROM belay.jobs j WHERE j.id = job)) END FROM "
    "t.place(job) "
    "p $$;";

const char *states_database(void)
{
    const char *url = jobs_database();

    cluster_psql(url, asking);
    cluster_psql(url, telling);
    cluster_psql(url, standing);
    return url;
}
