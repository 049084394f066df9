-- Claim, finish, give back, rescue. Each write of a worker names its lease; a lease that is gone takes nothing.

-- Locks up to p_n rows of ready and returns where they are. p_lows: {"priority": id}, below which this node has seen
-- nothing for a while; starting there, a claim need not walk over rows that a foreign transaction keeps from being
-- cleaned up.
CREATE FUNCTION belay.pick(p_n int, p_queues text[], p_lows json) RETURNS tid[] LANGUAGE plpgsql AS $$
DECLARE
  tids tid[] := '{}';
  queue_ids int[];
  p record;
BEGIN
  IF p_queues IS NOT NULL THEN
    queue_ids := ARRAY(SELECT q.id FROM belay.queues q WHERE q.name = ANY (p_queues));
  END IF;
  IF p_lows IS NULL AND p_queues IS NULL THEN
    RETURN ARRAY(SELECT r.ctid FROM belay.ready r ORDER BY r.priority DESC, r.id LIMIT p_n FOR UPDATE SKIP LOCKED);
  ELSIF p_lows IS NULL AND cardinality(queue_ids) = 1 THEN
    RETURN ARRAY(SELECT r.ctid FROM belay.ready r WHERE r.queue_id = queue_ids[1]
                 ORDER BY r.priority DESC, r.id LIMIT p_n FOR UPDATE SKIP LOCKED);
  ELSIF p_lows IS NULL THEN
    tids := ARRAY(SELECT x.at FROM unnest(queue_ids) q (id),
                  LATERAL (SELECT r.ctid AS at, r.priority, r.id FROM belay.ready r WHERE r.queue_id = q.id
                           ORDER BY r.priority DESC, r.id LIMIT p_n) x
                  ORDER BY x.priority DESC, x.id LIMIT p_n);
    RETURN ARRAY(SELECT r.ctid FROM belay.ready r WHERE r.ctid = ANY (tids) AND r.queue_id = ANY (queue_ids)
                 FOR UPDATE SKIP LOCKED);
  END IF;
  FOR p IN SELECT key::int AS priority, value::bigint AS low FROM json_each_text(p_lows) ORDER BY 1 DESC LOOP
    IF p_queues IS NULL THEN
      tids := tids || ARRAY(SELECT r.ctid FROM belay.ready r WHERE r.priority = p.priority AND r.id > p.low
                            ORDER BY r.id LIMIT p_n - cardinality(tids) FOR UPDATE SKIP LOCKED);
    ELSE
      tids := tids || ARRAY(
        SELECT r.ctid FROM belay.ready r WHERE r.ctid = ANY (ARRAY(
          SELECT x.at FROM unnest(queue_ids) q (id),
          LATERAL (SELECT r.ctid AS at, r.id FROM belay.ready r
                   WHERE r.queue_id = q.id AND r.priority = p.priority AND r.id > p.low
                   ORDER BY r.id LIMIT p_n - cardinality(tids)) x
          ORDER BY x.id LIMIT p_n - cardinality(tids))) AND r.queue_id = ANY (queue_ids) FOR UPDATE SKIP LOCKED);
    END IF;
    EXIT WHEN cardinality(tids) >= p_n;
  END LOOP;
  RETURN tids;
END $$;

-- The same for jobs of these tasks only, or, not p_of, of all others: for a worker that has no room for the rest. It looks past
-- 2,000 jobs at most, because each has to be looked at: what stands behind more of the wrong kind waits.
CREATE FUNCTION belay.pick_of(p_n int, p_queues text[], p_tasks text[], p_of boolean) RETURNS tid[] LANGUAGE plpgsql AS $$
DECLARE
  tids tid[];
  task_ids int[] := ARRAY(SELECT t.id FROM belay.tasks t WHERE t.name = ANY (p_tasks));
BEGIN
  IF p_queues IS NULL THEN
    tids := ARRAY(SELECT x.at FROM (SELECT r.ctid AS at, r.priority, r.id FROM belay.ready r
                                    ORDER BY r.priority DESC, r.id LIMIT 2000) x
                  CROSS JOIN LATERAL (SELECT j.task_id FROM belay.jobs j WHERE j.id = x.id OFFSET 0) j
                  WHERE (j.task_id = ANY (task_ids)) = p_of ORDER BY x.priority DESC, x.id LIMIT p_n);
  ELSE
    tids := ARRAY(SELECT x.at FROM belay.queues q
                  CROSS JOIN LATERAL (SELECT r.ctid AS at, r.priority, r.id FROM belay.ready r WHERE r.queue_id = q.id
                                      ORDER BY r.priority DESC, r.id LIMIT 2000) x
                  CROSS JOIN LATERAL (SELECT j.task_id FROM belay.jobs j WHERE j.id = x.id OFFSET 0) j
                  WHERE q.name = ANY (p_queues) AND (j.task_id = ANY (task_ids)) = p_of
                  ORDER BY x.priority DESC, x.id LIMIT p_n);
  END IF;
  RETURN ARRAY(SELECT r.ctid FROM belay.ready r WHERE r.ctid = ANY (tids) FOR UPDATE SKIP LOCKED);
END $$;

-- How long a job has waited since it could have started. By date_part(), because extract() makes a numeric; and volatile, as
-- clock_timestamp() is, so that it becomes part of the query.
CREATE FUNCTION belay.waited_ms(p_created_at timestamptz, p_scheduled_at timestamptz) RETURNS bigint LANGUAGE sql AS $$
  SELECT (date_part('epoch', clock_timestamp() - greatest(p_created_at, p_scheduled_at)) * 1000)::bigint
$$;

CREATE FUNCTION belay.claim(p_worker bigint, p_n int, p_sure int, p_queues text[], p_lows json,
                            p_tasks text[] DEFAULT NULL, p_of boolean DEFAULT true)
RETURNS TABLE (id bigint, lease bigint, queue text, task text, priority int, attempt int, counted int, max_attempts int,
               args json, has_lock boolean, timeout_ms int, options json, waited_ms bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  tids tid[];
  gates record;
BEGIN
  IF NOT EXISTS (SELECT FROM belay.workers w WHERE w.id = p_worker AND w.gone_at IS NULL) THEN
    RETURN; -- given up: what it claimed would be taken away at once
  END IF;
  IF EXISTS (SELECT FROM belay.gates) THEN
    gates := belay.open_queues(p_queues);
    IF NOT gates.suffices THEN
      RETURN QUERY SELECT * FROM belay.claim_gated(p_worker, p_n, p_sure, p_queues, gates.queues, p_lows, p_tasks, p_of);
      RETURN;
    END IF;
    p_queues := gates.queues;
  END IF;
  IF p_tasks IS NULL THEN
    tids := belay.pick(p_n, p_queues, p_lows);
  ELSE
    tids := belay.pick_of(p_n, p_queues, p_tasks, p_of);
  END IF;
  IF tids = '{}' THEN
    RETURN;
  END IF;
  RETURN QUERY
  WITH r AS (DELETE FROM belay.ready WHERE ctid = ANY (tids) RETURNING id, priority),
  j AS MATERIALIZED (
    SELECT j.id, j.queue_id, j.task_id, j.priority, j.attempts, j.uncounted, j.attempts_base, j.max_attempts, j.args,
           j.lock, j.queueing_lock, j.timeout_ms, j.options, j.created_at, j.scheduled_at
    FROM r CROSS JOIN LATERAL (SELECT * FROM belay.jobs j WHERE j.id = r.id OFFSET 0) j),
  l AS (INSERT INTO belay.leases (worker_id, sure, lo, hi, job_ids)
        SELECT p_worker, p_sure, min(r.id), max(r.id), array_agg(r.id ORDER BY r.priority DESC, r.id) FROM r
        HAVING count(*) > 0 RETURNING id),
  u AS (DELETE FROM belay.uniq USING j
        WHERE j.queueing_lock IS NOT NULL AND uniq.queueing_lock = j.queueing_lock AND uniq.id = j.id)
  SELECT j.id, l.id, q.name, t.name, j.priority, j.attempts + 1,
         j.attempts + 1 - j.uncounted - j.attempts_base, j.max_attempts::int, j.args, j.lock IS NOT NULL,
         j.timeout_ms, j.options, belay.waited_ms(j.created_at, j.scheduled_at)
  FROM l, j JOIN belay.queues q ON q.id = j.queue_id JOIN belay.tasks t ON t.id = j.task_id;
END $$;

-- Removes what is left of jobs. Receipts and events stay, and what only the removed rows told becomes events.
CREATE FUNCTION belay.forget(p_ids bigint[], p_actors text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO belay.events (job_id, at, rank, type, attempt, actor, detail)
  SELECT u.id, v.at, v.rank, v.type, v.attempt, v.actor, v.detail
  FROM unnest(p_ids) u (id) CROSS JOIN LATERAL belay.row_events(u.id) v;
  INSERT INTO belay.events (job_id, type, attempt, actor)
  SELECT j.id, 'deleted', e.attempts, u.actor
  FROM unnest(p_ids, p_actors) u (id, actor)
  CROSS JOIN LATERAL (SELECT j.id FROM belay.jobs j WHERE j.id = u.id OFFSET 0) j
  LEFT JOIN LATERAL (SELECT e.attempts FROM belay.ends e WHERE e.id = u.id OFFSET 0) e ON true;
  IF EXISTS (SELECT FROM belay.children) THEN
    PERFORM belay.leave_families(p_ids);
  END IF;
  DELETE FROM belay.jobs WHERE id = ANY (p_ids);
  DELETE FROM belay.ends WHERE id = ANY (p_ids);
  DELETE FROM belay.progress WHERE job_id = ANY (p_ids);
  DELETE FROM belay.follows WHERE job_id = ANY (p_ids);
END $$;

-- Takes a job out of its lease; the lease goes with its last job. False: the job is not in it. The caller holds the lease.
CREATE FUNCTION belay.leave_lease(p_lease bigint, p_id bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM belay.leases l WHERE l.id = p_lease AND l.job_ids = ARRAY[p_id];
  IF NOT FOUND THEN
    UPDATE belay.leases l SET job_ids = array_remove(l.job_ids, p_id)
    WHERE l.id = p_lease AND l.job_ids @> ARRAY[p_id];
  END IF;
  RETURN FOUND;
END $$;

-- The same for many. Each id is in the lease beside it, and there once.
CREATE FUNCTION belay.leave_leases(p_leases bigint[], p_ids bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  WITH t AS MATERIALIZED (SELECT x.lease, array_agg(x.id) AS ids, count(*) AS n
                          FROM unnest(p_leases, p_ids) x (lease, id) GROUP BY x.lease),
  d AS (DELETE FROM belay.leases l USING t WHERE l.id = t.lease AND cardinality(l.job_ids) <= t.n)
  UPDATE belay.leases l
  SET job_ids = ARRAY(SELECT x.id FROM (SELECT u.id, u.n FROM unnest(l.job_ids) WITH ORDINALITY u (id, n)
                                        UNION ALL SELECT g.id, NULL FROM unnest(t.ids) g (id)) x
                      GROUP BY x.id HAVING count(*) = 1 ORDER BY min(x.n)) -- comparing all with all is a thousand times as much
  FROM t WHERE l.id = t.lease AND cardinality(l.job_ids) > t.n;
END $$;

-- When a request reached a stage, which was p_ago_us before p_told_at by the node's clock: never before it was made.
CREATE FUNCTION belay.stage_at(p_requested_at timestamptz, p_ago_us bigint, p_told_at timestamptz DEFAULT clock_timestamp())
RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN p_ago_us IS NOT NULL
              THEN greatest(p_requested_at, p_told_at - p_ago_us * interval '1 microsecond') END
$$;

-- Closes the open receipts of jobs that have stopped, and forgets the jobs where that was asked.
CREATE FUNCTION belay.close_receipts(p_ids bigint[], p_outcomes text[], p_messages text[], p_delivered_us bigint[],
                                     p_acknowledged_us bigint[], p_told_at timestamptz DEFAULT clock_timestamp())
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  gone bigint[];
  askers text[];
BEGIN
  WITH c AS (
    UPDATE belay.cancellations c
    SET stopped_at = greatest(clock_timestamp(), c.requested_at), outcome = x.o, message = coalesce(x.m, c.message),
        delivered_at = coalesce(c.delivered_at, belay.stage_at(c.requested_at, x.d, p_told_at)),
        acknowledged_at = coalesce(c.acknowledged_at, belay.stage_at(greatest(c.requested_at, c.delivered_at), x.a,
                                                               p_told_at))
    FROM unnest(p_ids, p_outcomes, p_messages, p_delivered_us, p_acknowledged_us) x (i, o, m, d, a)
    WHERE c.job_id = x.i AND c.stopped_at IS NULL
    RETURNING c.job_id, c.delete_requested, c.actor)
  SELECT array_agg(c.job_id), array_agg(c.actor) INTO gone, askers FROM c WHERE c.delete_requested;
  IF gone IS NOT NULL THEN
    PERFORM belay.forget(gone, askers);
  END IF;
END $$;

-- The plain case of finish for many at once: ended by themselves, nobody asked, each job in its lease and without an end. It
-- joins by index only, because the hot connections have the other joins switched off. False: nothing was done. The caller
-- hands the locks on.
CREATE FUNCTION belay.finish_plain(
  p_ids bigint[], p_leases bigint[], p_workers bigint[], p_attempts int[], p_statuses text[], p_results json[],
  p_errors json[], p_started_us bigint[], p_finished_us bigint[]) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF NOT p_statuses <@ '{succeeded,failed}'
     OR EXISTS (SELECT FROM belay.cancellations c WHERE c.worker_id = ANY (p_workers) AND c.stopped_at IS NULL)
     OR EXISTS (SELECT * FROM unnest(p_ids, p_leases, p_workers) EXCEPT
                SELECT u.id, l.id, l.worker_id FROM belay.leases l, unnest(l.job_ids) u (id)
                WHERE l.id = ANY (p_leases)) THEN
    RETURN false;
  END IF;
  INSERT INTO belay.ends (id, status, attempts, worker_id, started_at, finished_at, result, error)
  SELECT d.id, CASE d.status WHEN 'succeeded' THEN 2 ELSE 3 END,
         CASE WHEN d.started_us IS NULL THEN d.attempt - 1 ELSE d.attempt END, d.worker,
         l.at + d.started_us * interval '1 microsecond',
         clock_timestamp() - coalesce(d.finished_us, 0) * interval '1 microsecond',
         CASE d.status WHEN 'succeeded' THEN d.result END, CASE d.status WHEN 'failed' THEN d.error END
  FROM unnest(p_ids, p_leases, p_workers, p_attempts, p_statuses, p_results, p_errors, p_started_us, p_finished_us)
       d (id, lease, worker, attempt, status, result, error, started_us, finished_us)
  JOIN belay.leases l ON l.id = d.lease;
  PERFORM belay.leave_leases(p_leases, p_ids);
  RETURN true;
EXCEPTION WHEN unique_violation THEN -- one has an end: it is told a second time
  RETURN false;
END $$;

CREATE TYPE belay.finished AS (
  ord int, id bigint, taken boolean, status text, outcome text, lease bigint, delivered_us bigint,
  acknowledged_us bigint, message text, is_new boolean);

-- What workers say of jobs that have ended. The leases are locked first and looked at second: a receipt that was
-- committed while we waited for the lock has to be seen. A finish that is repeated because its answer was lost is
-- taken again.
CREATE FUNCTION belay.finish(
  p_ids bigint[], p_leases bigint[], p_workers bigint[], p_attempts int[], p_statuses text[], p_results json[],
  p_errors json[], p_started_us bigint[], p_finished_us bigint[], p_messages text[], p_killed boolean[],
  p_delivered_us bigint[], p_acknowledged_us bigint[])
RETURNS TABLE (ord int, id bigint, taken boolean, status text, outcome text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  res belay.finished[];
  ended bigint[];
  gone bigint[]; -- of these, those that leave nothing
  locks text[];
  holders bigint[];
  again bigint[]; -- asked to stop, and to start again
  told_at timestamptz; -- one for all that is told here, so that the order of what happened is kept
BEGIN
  SELECT x.locks, x.ids INTO locks, holders FROM belay.locks_of(p_ids) x;
  PERFORM FROM belay.leases l WHERE l.id = ANY (p_leases) ORDER BY l.id FOR UPDATE;
  IF belay.finish_plain(p_ids, p_leases, p_workers, p_attempts, p_statuses, p_results, p_errors, p_started_us,
                        p_finished_us) THEN
    PERFORM belay.leave_nothing(belay.follow(p_ids));
    PERFORM belay.release(locks, holders);
    RETURN QUERY SELECT x.ord::int, x.id, true, x.status, NULL::text
                 FROM unnest(p_ids, p_statuses) WITH ORDINALITY x (id, status, ord);
    RETURN;
  END IF;

  told_at := clock_timestamp();
  again := belay.requeue_aborted(p_ids, p_leases, p_workers, p_statuses, p_started_us, p_messages, p_killed, p_delivered_us,
                                 p_acknowledged_us, told_at);
  WITH d AS MATERIALIZED (
    SELECT * FROM unnest(p_ids, p_leases, p_workers, p_attempts, p_statuses, p_results, p_errors, p_started_us,
                         p_finished_us, p_messages, p_killed, p_delivered_us, p_acknowledged_us)
    WITH ORDINALITY x (id, lease, worker, attempt, status, result, error, started_us, finished_us, message, killed,
                       delivered_us, acknowledged_us, ord)),
  f AS MATERIALIZED (
    SELECT d.*, l.at, c.delivered_at, c.acknowledged_at,
           CASE WHEN d.status = 'aborted' AND coalesce(c.cause, 'timeout') = 'timeout' THEN 'failed' ELSE d.status END AS final,
           CASE WHEN c.job_id IS NULL THEN NULL
                WHEN d.status = 'succeeded' THEN 'completed'
                WHEN d.status = 'aborted' AND d.killed THEN 'killed'
                ELSE d.status END AS outcome
    FROM d JOIN belay.leases l ON l.id = d.lease AND l.worker_id = d.worker AND d.id = ANY (l.job_ids)
    LEFT JOIN belay.cancellations c ON c.job_id = d.id AND c.stopped_at IS NULL),
  i AS (
    INSERT INTO belay.ends (id, status, attempts, worker_id, started_at, finished_at, result, error)
    SELECT f.id, CASE f.final WHEN 'succeeded' THEN 2 WHEN 'failed' THEN 3 WHEN 'cancelled' THEN 4 ELSE 5 END,
           CASE WHEN f.started_us IS NULL THEN f.attempt - 1 ELSE f.attempt END, f.worker,
           f.at + f.started_us * interval '1 microsecond',
           -- not before a stage that was told earlier and took longer to come
           greatest(told_at - coalesce(f.finished_us, 0) * interval '1 microsecond', f.delivered_at, f.acknowledged_at),
           CASE WHEN f.final = 'succeeded' THEN f.result END,
           CASE WHEN f.final = 'failed' AND f.status = 'aborted'
                  THEN json_build_object('kind', 'not_asked', 'message', coalesce(f.message, 'aborted itself'))
                WHEN f.final <> 'succeeded' THEN f.error END
    FROM f ON CONFLICT DO NOTHING RETURNING ends.id)
  SELECT array_agg(ROW(d.ord, d.id, i.id IS NOT NULL OR e.id IS NOT NULL,
                       coalesce(CASE WHEN i.id IS NULL THEN
                         (ARRAY['succeeded', 'failed', 'cancelled', 'aborted'])[e.status - 1] END, f.final, d.status),
                       f.outcome,
                       d.lease, d.delivered_us, d.acknowledged_us, d.message, i.id IS NOT NULL)::belay.finished
                   ORDER BY d.ord),
         array_agg(DISTINCT i.id) FILTER (WHERE i.id IS NOT NULL)
  INTO res, ended
  FROM d LEFT JOIN f ON f.ord = d.ord LEFT JOIN i ON i.id = f.id
  LEFT JOIN LATERAL (SELECT e.id, e.status FROM belay.ends e WHERE i.id IS NULL AND e.id = d.id AND e.worker_id = d.worker
                       AND e.attempts = d.attempt AND e.rescued IS NULL OFFSET 0) e ON true;

  IF ended IS NOT NULL THEN
    PERFORM belay.leave_leases(array_agg(x.lease), array_agg(x.id))
    FROM (SELECT DISTINCT r.lease, r.id FROM unnest(res) r WHERE r.is_new) x;
    gone := belay.follow(ended);
    IF EXISTS (SELECT FROM unnest(res) r WHERE r.outcome IS NOT NULL) THEN
      PERFORM belay.close_receipts(array_agg(r.id), array_agg(r.outcome), array_agg(r.message),
                                   array_agg(r.delivered_us), array_agg(r.acknowledged_us), told_at)
      FROM unnest(res) r WHERE r.outcome IS NOT NULL;
    END IF;
    PERFORM belay.leave_nothing(gone);
  END IF;
  IF locks IS NOT NULL AND ended || again <> '{}' THEN
    PERFORM belay.release(array_agg(x.l), array_agg(CASE WHEN x.i = ANY (ended) OR EXISTS (
                            SELECT FROM belay.parked p WHERE p.id = x.i) THEN x.i END))
    FROM unnest(locks, holders) x (l, i) WHERE x.i = ANY (ended || again);
  END IF;
  RETURN QUERY SELECT r.ord, r.id, r.taken OR r.id = ANY (again), CASE WHEN r.id = ANY (again) THEN 'todo' ELSE r.status END,
                      CASE WHEN r.id = ANY (again) THEN 'requeued' ELSE r.outcome END
               FROM unnest(res) r;
END $$;

-- Ends one job that has left its lease. The caller hands its lock on.
CREATE FUNCTION belay.end_one(
  p_id bigint, p_worker bigint, p_attempt int, p_status int, p_outcome text, p_started_at timestamptz, p_error json,
  p_message text, p_rescued boolean DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  gone bigint[];
BEGIN
  INSERT INTO belay.ends (id, status, attempts, worker_id, started_at, error, rescued)
  VALUES (p_id, p_status, p_attempt, p_worker, p_started_at, p_error, p_rescued);
  gone := belay.follow(ARRAY[p_id]);
  PERFORM belay.close_receipts(ARRAY[p_id], ARRAY[p_outcome], ARRAY[p_message], ARRAY[NULL::bigint],
                               ARRAY[NULL::bigint]);
  PERFORM belay.leave_nothing(gone);
END $$;

-- The schedule that was asked for is told by the row of the job until its first attempt has been counted.
CREATE FUNCTION belay.keep_schedule(j belay.jobs) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF j.scheduled_at IS NOT NULL AND j.attempts = 0
     AND NOT EXISTS (SELECT FROM belay.events v WHERE v.job_id = j.id AND v.type = 'retried') THEN
    INSERT INTO belay.events (job_id, at, rank, type, detail)
    VALUES (j.id, j.created_at, 1, 'scheduled', json_build_object('scheduled_at', belay.time_text(j.scheduled_at)));
  END IF;
END $$;

-- doing -> todo, for a job that has left its lease. A holder keeps its lock and its turn; but one that waits for its time gives
-- the turn up, unless it is strict: true, and the caller hands the lock on; and so does one that is to be cancelled soon. The queueing lock is not taken
-- again: another job may wait under it by now.
CREATE FUNCTION belay.requeue_one(j belay.jobs, p_counts boolean, p_started boolean, p_run_at timestamptz)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF p_started THEN
    PERFORM belay.keep_schedule(j);
    UPDATE belay.jobs SET attempts = attempts + 1, uncounted = uncounted + (NOT p_counts)::int,
                          scheduled_at = p_run_at WHERE id = j.id;
  END IF;
  IF belay.is_undoable(j.options) THEN
    PERFORM belay.put_todo(j);
    RETURN true;
  ELSIF p_run_at > clock_timestamp() THEN
    INSERT INTO belay.scheduled (run_at, id, queue_id, priority, lock)
    VALUES (p_run_at, j.id, j.queue_id, j.priority, CASE WHEN NOT belay.is_lock_strict(j.options) THEN j.lock END);
    RETURN true;
  END IF;
  INSERT INTO belay.ready (queue_id, priority, id) VALUES (j.queue_id, j.priority, j.id);
  RETURN false;
END $$;

-- An attempt that no row tells of any more: when it began, where that is known, and what came of it.
CREATE FUNCTION belay.keep_attempt(p_id bigint, p_attempt int, p_started_at timestamptz, p_worker bigint, p_type text,
                                   p_detail json) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF p_started_at IS NOT NULL THEN
    INSERT INTO belay.events (job_id, at, rank, type, attempt, detail)
    VALUES (p_id, p_started_at, 2, 'started', p_attempt,
            json_build_object('worker', (SELECT w.name FROM belay.workers w WHERE w.id = p_worker)));
  END IF;
  INSERT INTO belay.events (job_id, type, attempt, detail) VALUES (p_id, p_type, p_attempt, p_detail);
END $$;

-- What workers give back: 'retry' (failed, try again while attempts are left), 'timeout' and 'killed' (the same, because it
-- took too long: it obeyed, or did not), 'shutdown' (started, does not count), 'unstarted' (never started). An open receipt
-- ends the job instead: an abort means no retry. That of a timeout is nobody's wish, and is only closed, and so is one that wants the job back. A delay below 0: the
-- strategy does not try such a failure again. p_next: what the task wants to be different from then on, see changed(); the caller
-- has named the queues. It counts where the attempt does.
CREATE FUNCTION belay.give_back(
  p_ids bigint[], p_leases bigint[], p_workers bigint[], p_attempts int[], p_kinds text[], p_delay_ms bigint[],
  p_errors json[], p_messages text[], p_next json[] DEFAULT '{}')
RETURNS TABLE (ord int, id bigint, taken boolean, status text, outcome text, scheduled boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  x record;
  j belay.jobs;
  cause text; -- of its open receipt
  requeue boolean; -- which wants it back
  counts boolean;
  run_at timestamptz;
  attempt int;
  was_lock text;
  locks text[] := '{}';
  holders bigint[] := '{}';
BEGIN
  PERFORM FROM belay.leases l WHERE l.id = ANY (p_leases) ORDER BY l.id FOR UPDATE;
  FOR x IN SELECT d.*, l.at FROM unnest(p_ids, p_leases, p_workers, p_attempts, p_kinds, p_delay_ms, p_errors,
                                        p_messages, p_next)
           WITH ORDINALITY d (id, lease, worker, attempt, kind, delay, error, message, next, ord)
           LEFT JOIN LATERAL (SELECT l.at FROM belay.leases l WHERE l.id = d.lease AND l.worker_id = d.worker
                              OFFSET 0) l ON true
           ORDER BY d.ord LOOP
    ord := x.ord; id := x.id; taken := false; status := 'todo'; outcome := NULL; scheduled := false;
    IF x.at IS NULL OR NOT belay.leave_lease(x.lease, x.id) THEN
      RETURN NEXT;
      CONTINUE;
    END IF;
    taken := true;
    SELECT * INTO j FROM belay.jobs WHERE jobs.id = x.id;
    SELECT c.cause, c.requeue INTO cause, requeue
    FROM belay.cancellations c WHERE c.job_id = x.id AND c.stopped_at IS NULL;
    requeue := coalesce(requeue, false);
    counts := x.kind IN ('retry', 'timeout', 'killed');
    IF cause IS NOT NULL THEN
      outcome := CASE x.kind WHEN 'retry' THEN 'failed' WHEN 'unstarted' THEN 'cancelled' WHEN 'killed' THEN 'killed'
                             ELSE 'aborted' END;
    END IF;
    IF requeue THEN
      outcome := 'requeued';
      x.delay := 0;
    END IF;
    IF cause <> 'timeout' AND NOT requeue THEN
      status := CASE outcome WHEN 'killed' THEN 'aborted' ELSE outcome END;
      PERFORM belay.end_one(x.id, x.worker,
                            CASE x.kind WHEN 'unstarted' THEN j.attempts ELSE j.attempts + 1 END,
                            CASE x.kind WHEN 'retry' THEN 3 WHEN 'unstarted' THEN 4 ELSE 5 END, outcome,
                            CASE WHEN x.kind <> 'unstarted' THEN x.at END,
                            CASE x.kind WHEN 'retry' THEN x.error END, x.message);
    ELSIF counts AND NOT requeue
          AND (x.delay < 0 OR j.attempts + 1 - j.uncounted - j.attempts_base >= j.max_attempts) THEN
      status := 'failed';
      PERFORM belay.end_one(x.id, x.worker, j.attempts + 1, 3, outcome, x.at, x.error, x.message);
    ELSE
      IF cause IS NOT NULL THEN
        PERFORM belay.close_receipts(ARRAY[x.id], ARRAY[outcome], ARRAY[x.message], ARRAY[NULL::bigint],
                                     ARRAY[NULL::bigint]);
      END IF;
      run_at := CASE WHEN counts THEN clock_timestamp() + coalesce(x.delay, 0) * interval '1 millisecond'
                     ELSE j.scheduled_at END;
      attempt := j.attempts + 1;
      IF x.next IS NOT NULL AND counts AND NOT requeue THEN
        was_lock := j.lock;
        SELECT y.scheduled INTO scheduled FROM belay.requeue_changed(j, x.next, run_at) y;
        SELECT * INTO j FROM belay.jobs WHERE jobs.id = x.id;
        IF was_lock <> coalesce(j.lock, '') THEN
          locks := locks || was_lock;
          holders := holders || j.id;
        END IF;
      ELSE
        x.next := NULL;
        scheduled := belay.requeue_one(j, counts, x.kind <> 'unstarted', run_at);
      END IF;
      IF counts THEN
        PERFORM belay.keep_attempt(x.id, attempt, x.at, x.worker, 'retried', belay.changes_text(json_build_object(
          'kind', x.error ->> 'kind', 'message', x.error ->> 'message', 'next_at', belay.time_text(run_at)), x.next, NULL));
      ELSIF x.kind <> 'unstarted' THEN
        PERFORM belay.keep_attempt(x.id, attempt, x.at, x.worker, 'released', x.error);
      END IF;
    END IF;
    IF j.lock IS NOT NULL THEN -- also where it keeps its turn: a better one may have come while it ran
      locks := locks || j.lock;
      holders := holders || CASE WHEN status <> 'todo' OR belay.is_undoable(j.options)
                                   OR scheduled AND NOT belay.is_lock_strict(j.options) THEN j.id END;
    END IF;
    RETURN NEXT;
  END LOOP;
  PERFORM belay.release(locks, holders);
END $$;

-- One job of a worker that is gone: back to todo while attempts are left; ended as aborted where that was asked.
CREATE FUNCTION belay.rescue_one(j belay.jobs, l belay.leases, p_ambiguous boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  died CONSTANT json := '{"kind":"worker_died","message":"the worker is gone; its lease ran out"}';
  counts boolean := NOT p_ambiguous OR j.uncounted >= 3;
  cause text;
  requeue boolean;
BEGIN
  SELECT c.cause, c.requeue INTO cause, requeue
  FROM belay.cancellations c WHERE c.job_id = j.id AND c.stopped_at IS NULL;
  requeue := coalesce(requeue, false);
  IF cause <> 'timeout' AND NOT requeue THEN
    PERFORM belay.end_one(j.id, l.worker_id, j.attempts + 1, 5, 'worker_lost', l.at, died, NULL, true);
    RETURN 'aborted';
  END IF;
  IF counts AND NOT requeue
     AND (j.attempts + 1 - j.uncounted - j.attempts_base >= j.max_attempts
                 OR coalesce(json_typeof(j.options #> '{retry,on}') = 'array'
                            AND NOT (j.options #> '{retry,on}')::jsonb ? 'worker_died', false)) THEN
    PERFORM belay.end_one(j.id, l.worker_id, j.attempts + 1, 3, 'worker_lost', l.at, died, NULL, true);
    RETURN 'failed';
  END IF;
  IF cause IS NOT NULL THEN
    PERFORM belay.close_receipts(ARRAY[j.id], ARRAY[CASE WHEN requeue THEN 'requeued' ELSE 'worker_lost' END], ARRAY[NULL::text], ARRAY[NULL::bigint],
                                 ARRAY[NULL::bigint]);
  END IF;
  PERFORM belay.requeue_one(j, counts, true, j.scheduled_at);
  PERFORM belay.keep_attempt(j.id, j.attempts + 1, CASE WHEN NOT p_ambiguous THEN l.at END, l.worker_id, 'rescued',
                             json_build_object('counts', counts));
  RETURN 'todo';
END $$;

-- Workers that have not been heard of for p_lease_ms lose their jobs. Every node calls this; SKIP LOCKED shares the work.
CREATE FUNCTION belay.reap(p_lease_ms bigint, p_limit int)
RETURNS TABLE (job_id bigint, worker_id bigint, status text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  l belay.leases;
  j belay.jobs;
  live int;
  locks text[] := '{}';
  holders bigint[] := '{}';
BEGIN
  UPDATE belay.workers SET gone_at = now()
  WHERE id = ANY (ARRAY(SELECT w.id FROM belay.workers w
                        WHERE w.gone_at IS NULL AND w.heartbeat_at < now() - p_lease_ms * interval '1 millisecond'
                        ORDER BY w.id FOR UPDATE SKIP LOCKED));
  FOR l IN SELECT x.* FROM belay.leases x
           WHERE NOT EXISTS (SELECT FROM belay.workers w WHERE w.id = x.worker_id AND w.gone_at IS NULL)
           ORDER BY x.id LIMIT p_limit FOR UPDATE SKIP LOCKED LOOP
    DELETE FROM belay.leases WHERE id = l.id;
    live := 0;
    FOR j IN SELECT x.* FROM unnest(l.job_ids) WITH ORDINALITY u (id, n)
             CROSS JOIN LATERAL (SELECT * FROM belay.jobs x WHERE x.id = u.id OFFSET 0) x ORDER BY u.n LOOP
      live := live + 1;
      job_id := j.id; worker_id := l.worker_id;
      status := belay.rescue_one(j, l, live > l.sure);
      IF j.lock IS NOT NULL THEN
        locks := locks || j.lock;
        holders := holders || CASE WHEN status <> 'todo' OR belay.is_undoable(j.options) THEN j.id END;
      END IF;
      RETURN NEXT;
    END LOOP;
  END LOOP;
  PERFORM belay.release(locks, holders);
END $$;

-- What is due moves from scheduled to ready, or joins the line of its lock; and what time opens, opens. moved counts both.
CREATE FUNCTION belay.due(p_limit int) RETURNS TABLE (moved int, queues text, next_due_ms bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  locks text[];
  over record;
  gates record;
BEGIN
  WITH d AS (DELETE FROM belay.scheduled WHERE ctid = ANY (ARRAY(
               SELECT s.ctid FROM belay.scheduled s WHERE s.run_at <= now() ORDER BY s.run_at, s.id
               LIMIT p_limit FOR UPDATE SKIP LOCKED)) RETURNING id, queue_id, priority, lock),
  r AS (INSERT INTO belay.ready (queue_id, priority, id) SELECT queue_id, priority, id FROM d WHERE lock IS NULL),
  b AS (INSERT INTO belay.blocked (lock, priority, id, queue_id)
        SELECT lock, priority, id, queue_id FROM d WHERE lock IS NOT NULL)
  SELECT count(*), coalesce(array_agg(DISTINCT q.name)::text, '{}'), array_agg(DISTINCT d.lock) FILTER (WHERE d.lock IS NOT NULL)
  INTO moved, queues, locks FROM d JOIN belay.queues q ON q.id = d.queue_id;
  IF EXISTS (SELECT FROM belay.holds) THEN
    over := belay.end_holds(p_limit);
    moved := moved + over.n;
    locks := locks || over.locks;
  END IF;
  IF locks <> '{}' THEN -- of both at once: turns are taken in one order
    PERFORM belay.promote(locks);
  END IF;
  next_due_ms := (SELECT greatest(0, ceil(extract(epoch FROM s.run_at - clock_timestamp()) * 1000))
                  FROM belay.scheduled s ORDER BY s.run_at LIMIT 1);
  IF EXISTS (SELECT FROM belay.gates) OR EXISTS (SELECT FROM belay.holds) THEN
    gates := belay.mind_gates();
    moved := moved + gates.opened;
    next_due_ms := least(next_due_ms, gates.next_ms);
  END IF;
  RETURN NEXT;
END $$;
