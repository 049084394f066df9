-- Cancel, abort, delete, retry. The row that says where a job stands is its lock: whoever holds it decides.

-- Where a job stands, without its document. NULL status: there is no such job.
CREATE FUNCTION belay.place_of(p_id bigint, OUT status text, OUT attempt int, OUT lease_id bigint,
                               OUT worker_id bigint) LANGUAGE plpgsql AS $$
BEGIN
  SELECT CASE WHEN e.id IS NOT NULL THEN (ARRAY['succeeded', 'failed', 'cancelled', 'aborted'])[e.status - 1]
              WHEN l.id IS NOT NULL THEN 'doing' ELSE 'todo' END,
         CASE WHEN e.id IS NOT NULL THEN e.attempts WHEN l.id IS NOT NULL THEN j.attempts + 1 ELSE j.attempts END,
         l.id, coalesce(e.worker_id, l.worker_id)
  INTO status, attempt, lease_id, worker_id
  FROM (SELECT j.id, j.attempts FROM belay.jobs j WHERE j.id = p_id OFFSET 0) j
  LEFT JOIN LATERAL (SELECT * FROM belay.ends e WHERE e.id = j.id OFFSET 0) e ON true
  LEFT JOIN LATERAL (SELECT * FROM belay.lease_of(j.id) WHERE e.id IS NULL OFFSET 0) l ON true;
END $$;

-- The same with the etag, which costs a document, for those who compare it.
CREATE FUNCTION belay.look_at(p_id bigint, p_etag boolean, OUT status text, OUT attempt int, OUT lease_id bigint,
                              OUT worker_id bigint, OUT etag text) LANGUAGE plpgsql AS $$
BEGIN
  SELECT x.status, x.attempt, x.lease_id, x.worker_id INTO status, attempt, lease_id, worker_id
  FROM belay.place_of(p_id) x;
  IF p_etag AND status IS NOT NULL THEN
    etag := (SELECT s.etag FROM belay.job_states(ARRAY[p_id]) s);
  END IF;
END $$;

CREATE FUNCTION belay.next_receipt(p_id bigint) RETURNS int LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN coalesce((SELECT max(n) FROM belay.cancellations WHERE job_id = p_id), 0) + 1;
END $$;

-- Holds the row that says where a job stands, of each of these jobs: nothing of them changes any more. All that are of a kind
-- are taken in one order, so that two callers cannot deadlock: what is todo first (jobs without a lock, then the others),
-- leases and ends last. A job that has moved on meanwhile is held nowhere, and would have to be waited for out of order:
-- then all are let go, with the savepoint, and it begins again.
CREATE FUNCTION belay.hold_jobs(p_ids bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  x record;
  todo bigint[];
  leases bigint[];
  ended bigint[];
BEGIN
  FOR look IN 1 .. 10 LOOP
    BEGIN
      todo := '{}';
      FOR x IN SELECT j.* FROM unnest(p_ids) u (id)
               CROSS JOIN LATERAL (SELECT * FROM belay.jobs j WHERE j.id = u.id OFFSET 0) j
               ORDER BY (j.lock IS NOT NULL OR j.queueing_lock IS NOT NULL), j.id LOOP
        PERFORM FROM belay.ready r WHERE r.queue_id = x.queue_id AND r.priority = x.priority AND r.id = x.id FOR UPDATE;
        IF NOT FOUND AND x.scheduled_at IS NOT NULL THEN
          PERFORM FROM belay.scheduled s WHERE s.run_at = x.scheduled_at AND s.id = x.id FOR UPDATE;
        END IF;
        IF NOT FOUND AND x.lock IS NOT NULL THEN
          PERFORM FROM belay.blocked b WHERE b.lock = x.lock AND b.priority = x.priority AND b.id = x.id FOR UPDATE;
        END IF;
        IF NOT FOUND THEN
          PERFORM FROM belay.parked p WHERE p.id = x.id FOR UPDATE;
        END IF;
        IF NOT FOUND AND x.options IS NOT NULL THEN
          PERFORM FROM belay.waits w WHERE w.id = x.id FOR UPDATE;
        END IF;
        IF FOUND THEN
          todo := todo || x.id;
        END IF;
      END LOOP;
      leases := ARRAY(SELECT l.id FROM belay.leases l
                      WHERE l.id = ANY (ARRAY(SELECT l.id FROM unnest(p_ids) u (id)
                                              CROSS JOIN LATERAL belay.lease_of(u.id) l))
                      ORDER BY l.id FOR UPDATE);
      ended := ARRAY(SELECT e.id FROM belay.ends e WHERE e.id = ANY (p_ids) ORDER BY e.id FOR UPDATE);
      IF NOT EXISTS (SELECT FROM unnest(p_ids) u (id) CROSS JOIN LATERAL belay.place_of(u.id) p
                     WHERE CASE p.status WHEN 'todo' THEN u.id <> ALL (todo) WHEN 'doing' THEN p.lease_id <> ALL (leases)
                                ELSE p.status IS NOT NULL AND u.id <> ALL (ended) END) THEN
        RETURN;
      END IF;
      RAISE serialization_failure;
    EXCEPTION WHEN serialization_failure THEN
      NULL;
    END;
  END LOOP;
  RAISE EXCEPTION 'the jobs keep moving' USING ERRCODE = 'serialization_failure';
END $$;

-- Which of these jobs there are, and their locks. Read before the jobs are held, so that one which is put in after this look is
-- not found: it would be held nowhere. Locks are read again then, and before anything is deleted.
CREATE FUNCTION belay.all_locks_of(p_ids bigint[], OUT locks text[], OUT ids bigint[], OUT known bigint[])
LANGUAGE plpgsql STABLE AS $$
BEGIN
  SELECT array_agg(j.lock) FILTER (WHERE j.lock IS NOT NULL), array_agg(j.id) FILTER (WHERE j.lock IS NOT NULL),
         array_agg(j.id) INTO locks, ids, known
  FROM unnest(p_ids) u (id) CROSS JOIN LATERAL (SELECT * FROM belay.jobs j WHERE j.id = u.id OFFSET 0) j;
END $$;

-- What a todo job leaves that will never start: its end and its receipt.
CREATE FUNCTION belay.end_todo(p_id bigint, p_attempts int, p_abort boolean, p_delete boolean, p_reason text, p_actor text,
                               p_cause text) RETURNS belay.cancellations LANGUAGE plpgsql AS $$
DECLARE
  c belay.cancellations;
BEGIN
  INSERT INTO belay.ends (id, status, attempts) VALUES (p_id, 4, p_attempts);
  INSERT INTO belay.cancellations (job_id, n, cause, reason, actor, abort, delete_requested, stopped_at, outcome)
  VALUES (p_id, belay.next_receipt(p_id), p_cause, p_reason, p_actor, p_abort, p_delete, clock_timestamp(),
          'cancelled')
  RETURNING * INTO c;
  RETURN c;
END $$;

-- A todo job that is held: it will never start. The caller hands its lock on.
CREATE FUNCTION belay.cancel_todo(p_id bigint, p_abort boolean, p_delete boolean, p_reason text, p_actor text,
                                  p_cause text) RETURNS belay.cancellations LANGUAGE plpgsql AS $$
DECLARE
  j belay.jobs;
  c belay.cancellations;
BEGIN
  SELECT * INTO j FROM belay.jobs WHERE id = p_id;
  IF belay.leave_place(j) IN ('waits', 'parked') THEN
    PERFORM belay.wait_no_more(p_id, j.options);
  END IF;
  IF j.queueing_lock IS NOT NULL THEN
    DELETE FROM belay.uniq u WHERE u.queueing_lock = j.queueing_lock AND u.id = p_id;
  END IF;
  IF belay.is_undoable(j.options) THEN
    c := belay.end_pending(p_id, j.attempts, p_delete, p_reason, p_actor, p_cause);
  ELSE
    c := belay.end_todo(p_id, j.attempts, p_abort, p_delete, p_reason, p_actor, p_cause);
  END IF;
  PERFORM belay.follow(ARRAY[p_id]);
  IF j.options IS NOT NULL THEN
    c := belay.last_receipt(p_id);
  END IF;
  RETURN c;
END $$;

-- A doing job whose lease is held: asked to stop, once. A stronger call makes the same receipt stronger.
CREATE FUNCTION belay.abort_doing(p_id bigint, p_attempt int, p_lease bigint, p_worker bigint, p_delete boolean,
                                  p_reason text, p_actor text, p_cause text, p_grace int,
                                  p_requeue boolean DEFAULT false)
RETURNS belay.cancellations LANGUAGE plpgsql AS $$
DECLARE
  c belay.cancellations;
BEGIN
  UPDATE belay.cancellations x
  SET cause = CASE x.cause WHEN 'timeout' THEN p_cause ELSE x.cause END, -- whoever asks has a say over what only took too long
      reason = CASE x.cause WHEN 'timeout' THEN p_reason ELSE x.reason END,
      actor = CASE x.cause WHEN 'timeout' THEN p_actor ELSE x.actor END,
      delete_requested = x.delete_requested OR p_delete,
      requests = x.requests + 1,
      requeue = CASE WHEN p_cause = 'timeout' THEN x.requeue WHEN x.cause = 'timeout' THEN p_requeue
                     ELSE x.requeue AND p_requeue END,
      grace_seconds = least(x.grace_seconds, p_grace),
      force_at = least(x.force_at, clock_timestamp() + p_grace * interval '1 second')
  WHERE x.job_id = p_id AND x.stopped_at IS NULL RETURNING * INTO c;
  IF NOT FOUND AND p_cause <> 'timeout' THEN
    c := belay.begin_pending(p_id, p_attempt, p_lease, p_worker, p_delete, p_reason, p_actor, p_cause, p_grace);
  END IF;
  IF c.job_id IS NULL THEN
    INSERT INTO belay.cancellations (job_id, n, attempt, worker_id, lease_id, cause, reason, actor, abort,
                                     delete_requested, grace_seconds, force_at, requeue)
    VALUES (p_id, belay.next_receipt(p_id), p_attempt, p_worker, p_lease, p_cause, p_reason, p_actor, true, p_delete,
            p_grace, clock_timestamp() + p_grace * interval '1 second', p_requeue)
    RETURNING * INTO c;
  END IF;
  PERFORM pg_notify('belay_abort', p_worker::text);
  RETURN c;
END $$;

CREATE TYPE belay.answer AS (
  ord int, result text, status text, etag text, job text, cancellation text, cancellation_n int, worker_id bigint,
  attempt int, queue text);

CREATE FUNCTION belay.last_receipt(p_id bigint) RETURNS belay.cancellations LANGUAGE plpgsql STABLE AS $$
DECLARE
  c belay.cancellations;
BEGIN
  SELECT * INTO c FROM belay.cancellations WHERE job_id = p_id ORDER BY n DESC LIMIT 1;
  RETURN c;
END $$;

-- Fills the answer with the job as it is now.
CREATE FUNCTION belay.answer_with(a belay.answer, p_id bigint, c belay.cancellations) RETURNS belay.answer
LANGUAGE plpgsql AS $$
BEGIN
  SELECT s.status, s.etag, s.job, s.queue INTO a.status, a.etag, a.job, a.queue
  FROM belay.job_states(ARRAY[p_id]) s;
  IF c.job_id IS NOT NULL THEN
    a.cancellation := belay.cancellation_text(c);
    a.cancellation_n := c.n;
    a.worker_id := CASE WHEN c.stopped_at IS NULL THEN c.worker_id END;
    a.attempt := c.attempt;
  END IF;
  RETURN a;
END $$;

-- One cancel, decided by the place that is held. cancellation.md's table is this function.
-- p_more: {"retry": "requeue"}, {"undo_seconds": n}, or {"due": cancel_at}, when that time has come.
CREATE FUNCTION belay.cancel_one(
  p_id bigint, p_abort boolean, p_delete boolean, p_reason text, p_actor text, p_cause text, p_grace int,
  p_only_if text[], p_attempt int, p_if_match text, p_more json DEFAULT NULL) RETURNS belay.answer LANGUAGE plpgsql AS $$
DECLARE
  a belay.answer;
  h record;
  c belay.cancellations;
  requeue boolean := coalesce(p_more ->> 'retry' = 'requeue', false);
  undo boolean;
BEGIN
  SELECT * INTO h FROM belay.look_at(p_id, p_if_match IS NOT NULL);
  IF h.status IS NULL THEN
    a.result := 'job-not-found';
    RETURN a;
  END IF;
  undo := p_more ->> 'undo_seconds' IS NOT NULL
          AND (h.status = 'todo' OR h.status = 'doing' AND p_abort AND NOT belay.is_told(p_id));
  IF NOT h.status = ANY (p_only_if) OR h.attempt <> p_attempt OR (p_if_match <> '*' AND h.etag <> ALL (string_to_array(p_if_match, ','))) THEN
    a.result := 'precondition-failed';
  ELSIF p_more ->> 'due' <> coalesce((SELECT j.options ->> 'cancel_at' FROM belay.jobs j WHERE j.id = p_id), '') THEN
    a.result := 'not_due';
  ELSIF undo THEN
    a.result := 'cancel_pending';
    c := belay.cancel_later(p_id, h.status, p_abort, p_reason, p_actor, p_grace, (p_more ->> 'undo_seconds')::int);
  ELSIF h.status = 'todo' AND requeue THEN
    a.result := 'already_todo';
    c := belay.last_receipt(p_id);
  ELSIF h.status = 'todo' THEN
    a.result := 'cancelled';
    c := belay.cancel_todo(p_id, p_abort, p_delete, p_reason, p_actor, p_cause);
  ELSIF h.status = 'doing' AND NOT p_abort THEN
    a.result := 'job-running';
  ELSIF h.status = 'doing' THEN
    a.result := 'aborting';
    c := belay.abort_doing(p_id, h.attempt, h.lease_id, h.worker_id, p_delete, p_reason, p_actor, p_cause, p_grace,
                           requeue);
  ELSIF h.status IN ('succeeded', 'failed') THEN
    a.result := 'job-finished';
    c := belay.last_receipt(p_id);
  ELSE
    a.result := 'already_' || h.status;
    c := belay.last_receipt(p_id);
  END IF;
  a := belay.answer_with(a, p_id, c);
  IF p_delete AND (a.result = 'cancelled' OR a.result LIKE 'already%')
     OR a.result = 'cancelled' AND (SELECT j.options ->> 'delete_policy' = 'always' FROM belay.jobs j WHERE j.id = p_id) THEN
    PERFORM belay.forget(ARRAY[p_id], ARRAY[p_actor]);
  END IF;
  RETURN a;
END $$;

-- The plain case for many at once: todo, ready, no lock, no precondition, not to be deleted. Answers what it did; the
-- rest is left to cancel_one. Rows are taken by id.
CREATE FUNCTION belay.cancel_ready(p_ords int[], p_ids bigint[], p_abort boolean[], p_reason text[], p_actor text[],
                                   p_cause text[]) RETURNS SETOF belay.answer LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY
  WITH d AS (SELECT DISTINCT ON (x.id) x.* FROM unnest(p_ords, p_ids, p_abort, p_reason, p_actor, p_cause)
             x (ord, id, abort, reason, actor, cause) ORDER BY x.id, x.ord),
  j AS MATERIALIZED (
    SELECT d.ord, d.abort, d.reason, d.actor, d.cause, j.*
    FROM d CROSS JOIN LATERAL (SELECT * FROM belay.jobs j WHERE j.id = d.id AND j.lock IS NULL
                                 AND j.queueing_lock IS NULL
                                 AND (j.options IS NULL OR NOT belay.has_consequences(j.options)) OFFSET 0) j),
  g AS MATERIALIZED (
    DELETE FROM belay.ready r USING j WHERE r.queue_id = j.queue_id AND r.priority = j.priority AND r.id = j.id
    RETURNING j.*, clock_timestamp() AS now),
  e AS (INSERT INTO belay.ends (id, status, attempts, finished_at) SELECT g.id, 4, g.attempts, g.now FROM g),
  k AS MATERIALIZED ( -- the receipt as a whole row, so that the answer need not be joined with what was inserted
    SELECT g.*, ROW(g.id, coalesce((SELECT max(x.n) FROM belay.cancellations x WHERE x.job_id = g.id), 0) + 1, NULL, NULL,
                    NULL, g.cause, g.reason, g.actor, g.abort, false, NULL, g.now, NULL, NULL, NULL, g.now, 'cancelled',
                    NULL, 1, NULL, false)::belay.cancellations AS receipt FROM g),
  c AS (INSERT INTO belay.cancellations SELECT (k.receipt).* FROM k),
  t AS (SELECT k.ord, k.receipt, q.name AS queue,
               belay.job_text(k.id, q.name, t.name, k.priority, k.args, 'cancelled', k.attempts, k.max_attempts, NULL,
                              NULL, k.tags, k.metadata, k.scheduled_at, k.created_at, NULL, k.now, NULL, NULL, NULL,
                              CASE WHEN p.at IS NOT NULL THEN belay.progress_text(p) END,
                              NULL, k.timeout_ms, k.deadline, k.options) AS job
        FROM k JOIN belay.queues q ON q.id = k.queue_id JOIN belay.tasks t ON t.id = k.task_id
        LEFT JOIN belay.progress p ON p.job_id = k.id OFFSET 0)
  SELECT t.ord, 'cancelled', 'cancelled', belay.etag_text(t.job), t.job, belay.cancellation_text(t.receipt),
         (t.receipt).n, NULL::bigint, NULL::int, t.queue
  FROM t;
  PERFORM belay.follow(p_ids);
END $$;

-- The same for many that run: held already, abort asked for, no precondition, not to be deleted, not asked before. Answers
-- what it did; the rest is left to cancel_one.
CREATE FUNCTION belay.abort_held(p_ords int[], p_ids bigint[], p_reason text[], p_actor text[], p_cause text[],
                                 p_grace int[]) RETURNS SETOF belay.answer LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY
  WITH d AS (SELECT DISTINCT ON (x.id) x.* FROM unnest(p_ords, p_ids, p_reason, p_actor, p_cause, p_grace)
             x (ord, id, reason, actor, cause, grace) ORDER BY x.id, x.ord),
  k AS MATERIALIZED (
    SELECT d.ord, j.*, l.at, l.worker_id, w.name AS worker,
           ROW(d.id, coalesce((SELECT max(x.n) FROM belay.cancellations x WHERE x.job_id = d.id), 0) + 1, j.attempts + 1,
               l.worker_id, l.id, d.cause, d.reason, d.actor, true, false, d.grace, clock_timestamp(), NULL, NULL,
               clock_timestamp() + d.grace * interval '1 second', NULL, NULL, NULL, 1, NULL,
               false)::belay.cancellations AS receipt
    FROM d
    CROSS JOIN LATERAL (SELECT * FROM belay.lease_of(d.id) OFFSET 0) l
    CROSS JOIN LATERAL (SELECT * FROM belay.jobs j WHERE j.id = d.id OFFSET 0) j
    LEFT JOIN belay.workers w ON w.id = l.worker_id
    WHERE NOT EXISTS (SELECT FROM belay.cancellations o WHERE o.job_id = d.id AND o.stopped_at IS NULL)
      AND (j.options IS NULL OR NOT belay.is_undoable(j.options))),
  c AS (INSERT INTO belay.cancellations SELECT (k.receipt).* FROM k),
  t AS (SELECT k.ord, k.receipt, q.name AS queue,
               belay.job_text(k.id, q.name, t.name, k.priority, k.args, 'doing', k.attempts + 1, k.max_attempts, k.lock,
                              k.queueing_lock, k.tags, k.metadata, k.scheduled_at, k.created_at, k.at, NULL, k.worker,
                              NULL, NULL, CASE WHEN p.at IS NOT NULL THEN belay.progress_text(p) END,
                              (k.receipt).requested_at, k.timeout_ms, k.deadline, k.options) AS job
        FROM k JOIN belay.queues q ON q.id = k.queue_id JOIN belay.tasks t ON t.id = k.task_id
        LEFT JOIN belay.progress p ON p.job_id = k.id OFFSET 0)
  SELECT t.ord, 'aborting', 'doing', belay.etag_text(t.job), t.job, belay.cancellation_text(t.receipt),
         (t.receipt).n, (t.receipt).worker_id, (t.receipt).attempt, t.queue
  FROM t;
  PERFORM pg_notify('belay_abort', x.worker_id::text)
  FROM (SELECT DISTINCT c.worker_id FROM belay.cancellations c WHERE c.job_id = ANY (p_ids) AND c.stopped_at IS NULL) x;
END $$;

-- The plain case of one: it waits in ready and has no locks, or it runs and was not asked before; no precondition, not to be
-- deleted. NULL result: it is not that case, and nothing was done.
CREATE FUNCTION belay.cancel_plain(p_id bigint, p_abort boolean, p_reason text, p_actor text, p_cause text, p_grace int)
RETURNS belay.answer LANGUAGE plpgsql AS $$
DECLARE
  a belay.answer;
  c belay.cancellations;
  j belay.jobs;
  h record;
BEGIN
  SELECT * INTO j FROM belay.jobs WHERE id = p_id;
  IF j.lock IS NULL AND j.queueing_lock IS NULL AND (j.options IS NULL OR NOT belay.has_consequences(j.options)) THEN
    DELETE FROM belay.ready r WHERE r.queue_id = j.queue_id AND r.priority = j.priority AND r.id = p_id;
    IF FOUND THEN
      a.result := 'cancelled';
      SELECT * INTO j FROM belay.jobs WHERE id = p_id; -- an attempt may have come and gone since the first look
      c := belay.end_todo(p_id, j.attempts, p_abort, false, p_reason, p_actor, p_cause);
      PERFORM belay.follow(ARRAY[p_id]);
      IF j.lock IS NOT NULL THEN -- and it may have changed its lock
        PERFORM belay.release(ARRAY[j.lock], ARRAY[p_id]);
      END IF;
      RETURN belay.answer_with(a, p_id, c);
    END IF;
  END IF;
  IF p_abort THEN
    BEGIN -- a lease that the job has just left must not stay held: what follows would wait out of order
      SELECT l.id, l.worker_id, (SELECT x.attempts + 1 FROM belay.jobs x WHERE x.id = p_id) AS attempt INTO STRICT h
      FROM belay.leases l WHERE l.hi >= p_id AND l.lo <= p_id AND l.job_ids @> ARRAY[p_id] ORDER BY l.hi LIMIT 1 FOR UPDATE;
    EXCEPTION WHEN no_data_found THEN
      RETURN a;
    END;
    a.result := 'aborting';
    c := belay.abort_doing(p_id, h.attempt, h.id, h.worker_id, false, p_reason, p_actor, p_cause, p_grace);
    RETURN belay.answer_with(a, p_id, c);
  END IF;
  RETURN a;
END $$;

CREATE FUNCTION belay.cancel_jobs(
  p_ids bigint[], p_abort boolean[], p_delete boolean[], p_reason text[], p_actor text[], p_cause text[],
  p_grace int[], p_only_if text[], p_attempt int[], p_if_match text[], p_more json[] DEFAULT NULL)
RETURNS SETOF belay.answer LANGUAGE plpgsql AS $$
DECLARE
  a belay.answer;
  x record;
  done int[] := '{}';
  cancelled bigint[] := '{}';
  locks text[];
  holders bigint[];
  known bigint[];
  held boolean := false;
BEGIN
  IF cardinality(p_ids) = 1 AND NOT p_delete[1] AND p_only_if[1] IS NULL AND p_attempt[1] IS NULL
     AND p_if_match[1] IS NULL AND p_more[1] IS NULL THEN
    a := belay.cancel_plain(p_ids[1], p_abort[1], p_reason[1], p_actor[1], p_cause[1], p_grace[1]);
    IF a.result IS NOT NULL THEN
      a.ord := 1;
      RETURN NEXT a;
      RETURN;
    END IF;
  END IF;
  SELECT y.known INTO known FROM belay.all_locks_of(p_ids) y;
  SELECT array_agg(y.ord::int) AS ords, array_agg(y.id) AS ids, array_agg(y.abort) AS abort, array_agg(y.reason) AS reason,
         array_agg(y.actor) AS actor, array_agg(y.cause) AS cause, array_agg(y.grace) AS grace INTO x
  FROM unnest(p_ids, p_abort, p_delete, p_reason, p_actor, p_cause, p_grace, p_only_if, p_attempt, p_if_match, p_more)
       WITH ORDINALITY y (id, abort, del, reason, actor, cause, grace, only_if, attempt, if_match, more, ord)
  WHERE NOT y.del AND y.only_if IS NULL AND y.attempt IS NULL AND y.if_match IS NULL AND y.more IS NULL;
  IF cardinality(p_ids) > 1 AND x.ords IS NOT NULL THEN
    held := cardinality(x.ords) < cardinality(p_ids);
    IF held THEN
      PERFORM belay.hold_jobs(p_ids);
    END IF;
    FOR a IN SELECT * FROM belay.cancel_ready(x.ords, x.ids, x.abort, x.reason, x.actor, x.cause) LOOP
      done := done || a.ord;
      RETURN NEXT a;
    END LOOP;
  END IF;
  IF cardinality(done) = cardinality(p_ids) THEN
    RETURN;
  END IF;
  IF NOT held THEN
    PERFORM belay.hold_jobs(ARRAY(SELECT p_ids[i] FROM generate_subscripts(p_ids, 1) i WHERE NOT i = ANY (done)));
  END IF;
  IF cardinality(p_ids) > 1 AND x.ords IS NOT NULL THEN
    SELECT array_agg(y.ord) AS ords, array_agg(y.id) AS ids, array_agg(y.reason) AS reason, array_agg(y.actor) AS actor,
           array_agg(y.cause) AS cause, array_agg(y.grace) AS grace INTO x
    FROM unnest(x.ords, x.ids, x.abort, x.reason, x.actor, x.cause, x.grace)
         y (ord, id, abort, reason, actor, cause, grace)
    WHERE y.abort AND y.id = ANY (known) AND NOT y.ord = ANY (done);
    FOR a IN SELECT * FROM belay.abort_held(x.ords, x.ids, x.reason, x.actor, x.cause, x.grace) LOOP
      done := done || a.ord;
      RETURN NEXT a;
    END LOOP;
  END IF;
  SELECT y.locks, y.ids INTO locks, holders FROM belay.all_locks_of(p_ids) y; -- a retry may have changed one until now
  FOR x IN SELECT * FROM unnest(p_ids, p_abort, p_delete, p_reason, p_actor, p_cause, p_grace, p_only_if, p_attempt,
                                p_if_match, p_more)
           WITH ORDINALITY y (id, abort, del, reason, actor, cause, grace, only_if, attempt, if_match, more, ord)
           WHERE NOT y.ord = ANY (done) ORDER BY y.id, y.ord LOOP
    IF x.id = ANY (known) THEN
      a := belay.cancel_one(x.id, x.abort, x.del, x.reason, x.actor, x.cause, x.grace, x.only_if::text[], x.attempt,
                            x.if_match, x.more);
    ELSE
      a := NULL;
      a.result := 'job-not-found';
    END IF;
    a.ord := x.ord;
    IF a.result = 'cancelled' OR a.result = 'cancel_pending' AND a.status = 'todo' THEN
      cancelled := cancelled || x.id;
    END IF;
    RETURN NEXT a;
  END LOOP;
  PERFORM belay.release(locks, ARRAY(SELECT CASE WHEN i = ANY (cancelled) THEN i END FROM unnest(holders) i));
END $$;

-- One delete. A running job goes when it has stopped, and only where abort was asked.
CREATE FUNCTION belay.delete_one(p_id bigint, p_abort boolean, p_reason text, p_actor text, p_grace int,
                                 p_if_match text) RETURNS belay.answer LANGUAGE plpgsql AS $$
DECLARE
  a belay.answer;
  h record;
  c belay.cancellations;
BEGIN
  SELECT * INTO h FROM belay.look_at(p_id, p_if_match IS NOT NULL);
  IF h.status IS NULL THEN
    a.result := 'job-not-found';
    RETURN a;
  END IF;
  IF p_if_match <> '*' AND h.etag <> ALL (string_to_array(p_if_match, ',')) THEN
    a.result := 'precondition-failed';
  ELSIF h.status = 'doing' AND NOT p_abort THEN
    a.result := 'job-running';
  ELSIF h.status = 'doing' THEN
    a.result := 'aborting';
    c := belay.abort_doing(p_id, h.attempt, h.lease_id, h.worker_id, true, p_reason, p_actor, 'user', p_grace);
  ELSE
    a.result := 'deleted';
    IF h.status = 'todo' THEN
      c := belay.cancel_todo(p_id, p_abort, true, p_reason, p_actor, 'user');
    END IF;
  END IF;
  a := belay.answer_with(a, p_id, c);
  IF a.result = 'deleted' THEN
    PERFORM belay.forget(ARRAY[p_id], ARRAY[p_actor]);
  END IF;
  RETURN a;
END $$;

CREATE FUNCTION belay.delete_jobs(p_ids bigint[], p_abort boolean[], p_reason text[], p_actor text[], p_grace int[],
                                  p_if_match text[]) RETURNS SETOF belay.answer LANGUAGE plpgsql AS $$
DECLARE
  a belay.answer;
  x record;
  deleted bigint[] := '{}';
  locks text[];
  holders bigint[];
  known bigint[];
BEGIN
  SELECT y.known INTO known FROM belay.all_locks_of(p_ids) y;
  PERFORM belay.hold_jobs(p_ids);
  SELECT y.locks, y.ids INTO locks, holders FROM belay.all_locks_of(p_ids) y; -- a retry may have changed one until now
  FOR x IN SELECT * FROM unnest(p_ids, p_abort, p_reason, p_actor, p_grace, p_if_match)
           WITH ORDINALITY y (id, abort, reason, actor, grace, if_match, ord) ORDER BY y.id, y.ord LOOP
    IF x.id = ANY (known) THEN
      a := belay.delete_one(x.id, x.abort, x.reason, x.actor, x.grace, x.if_match);
    ELSE
      a := NULL;
      a.result := 'job-not-found';
    END IF;
    a.ord := x.ord;
    IF a.result = 'deleted' THEN
      deleted := deleted || x.id;
    END IF;
    RETURN NEXT a;
  END LOOP;
  PERFORM belay.release(locks, ARRAY(SELECT CASE WHEN i = ANY (deleted) THEN i END FROM unnest(holders) i));
END $$;

-- A terminal job starts again, with a clean slate: attempt numbers go on, the count towards max_attempts begins anew.
-- p_more: what is to change, see changed(), and when it may start (scheduled_us since 1970, or delay_ms). The caller gives the
-- locks their turns, and has named the queue.
CREATE FUNCTION belay.retry_one(p_id bigint, p_actor text, p_if_match text, p_more json, OUT result text,
                                OUT existing_id bigint, OUT status text, OUT etag text, OUT job text, OUT queue text,
                                OUT scheduled boolean) LANGUAGE plpgsql AS $$
DECLARE
  h record;
  was belay.jobs;
  j belay.jobs;
  e belay.ends;
  run_at CONSTANT timestamptz := coalesce(
    timestamptz '1970-01-01 00:00:00+00' + (p_more ->> 'scheduled_us')::bigint * interval '1 microsecond',
    now() + (p_more ->> 'delay_ms')::bigint * interval '1 millisecond');
BEGIN
  scheduled := false;
  SELECT * INTO h FROM belay.look_at(p_id, p_if_match IS NOT NULL);
  IF h.status IS NULL THEN
    result := 'job-not-found';
    RETURN;
  END IF;
  SELECT * INTO j FROM belay.jobs WHERE id = p_id;
  result := CASE WHEN p_if_match <> '*' AND h.etag <> ALL (string_to_array(p_if_match, ',')) THEN 'precondition-failed'
                 WHEN h.status IN ('todo', 'doing') THEN 'job-not-finished' ELSE 'retried' END;
  was := j;
  IF p_more IS NOT NULL THEN
    j := belay.changed(j, p_more);
  END IF;
  IF result = 'retried' AND j.queueing_lock IS NOT NULL THEN
    INSERT INTO belay.uniq (queueing_lock, id) VALUES (j.queueing_lock, p_id) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
      result := 'already-enqueued';
      existing_id := (SELECT u.id FROM belay.uniq u WHERE u.queueing_lock = j.queueing_lock);
    END IF;
  END IF;
  IF result = 'retried' THEN
    PERFORM belay.keep_schedule(was);
    INSERT INTO belay.events (job_id, at, rank, type, attempt, actor, detail)
    SELECT p_id, v.at, v.rank, v.type, v.attempt, v.actor, v.detail FROM belay.row_events(p_id) v WHERE v.rank > 1;
    INSERT INTO belay.events (job_id, type, actor, detail)
    VALUES (p_id, 'retried', p_actor, belay.changes_text('{"by_hand":true}', p_more, run_at));
    DELETE FROM belay.ends WHERE id = p_id RETURNING * INTO e;
    DELETE FROM belay.progress WHERE job_id = p_id;
    PERFORM belay.follow_again(p_id, j.options);
    UPDATE belay.jobs x SET attempts = e.attempts, attempts_base = e.attempts - x.uncounted, scheduled_at = run_at,
                            deadline = CASE WHEN x.deadline > clock_timestamp() THEN x.deadline END,
                            queue_id = j.queue_id, priority = j.priority, lock = j.lock,
                            queueing_lock = j.queueing_lock, max_attempts = j.max_attempts
    WHERE x.id = p_id;
    scheduled := coalesce(run_at > now(), false);
    j.scheduled_at := run_at;
    PERFORM belay.put_todo(j);
  END IF;
  SELECT s.status, s.etag, s.job, s.queue INTO status, etag, job, queue FROM belay.job_states(ARRAY[p_id]) s;
END $$;

CREATE FUNCTION belay.retry_jobs(p_ids bigint[], p_actor text[], p_if_match text[], p_more json[] DEFAULT '{}')
RETURNS TABLE (ord int, result text, existing_id bigint, status text, etag text, job text, queue text, scheduled boolean)
LANGUAGE plpgsql AS $$
DECLARE
  x record;
  locks text[];
  known bigint[];
BEGIN
  IF num_nonnulls(VARIADIC p_more) > 0 THEN
    PERFORM belay.name_queues(ARRAY(SELECT m ->> 'queue' FROM unnest(p_more) m WHERE m ->> 'queue' IS NOT NULL));
  END IF;
  SELECT y.known INTO known FROM belay.all_locks_of(p_ids) y;
  IF cardinality(p_ids) > 1 THEN -- before any row, as take_queueing_locks() does
    PERFORM belay.lock_names(4995, ARRAY(SELECT j.queueing_lock FROM belay.jobs j WHERE j.id = ANY (p_ids))
                                   || ARRAY(SELECT m ->> 'queueing_lock' FROM unnest(p_more) m));
  END IF;
  PERFORM belay.hold_jobs(p_ids);
  SELECT y.locks || ARRAY(SELECT m ->> 'lock' FROM unnest(p_more) m WHERE m ->> 'lock' IS NOT NULL) INTO locks
  FROM belay.all_locks_of(p_ids) y; -- a retry may have changed one until now
  FOR x IN SELECT * FROM unnest(p_ids, p_actor, p_if_match, p_more) WITH ORDINALITY y (id, actor, if_match, more, n)
           ORDER BY y.id, y.n LOOP
    SELECT x.n, 'job-not-found' INTO ord, result, existing_id, status, etag, job, queue, scheduled;
    IF x.id = ANY (known) THEN
      SELECT x.n, r.* INTO ord, result, existing_id, status, etag, job, queue, scheduled
      FROM belay.retry_one(x.id, x.actor, x.if_match, x.more) r;
    END IF;
    RETURN NEXT;
  END LOOP;
  PERFORM belay.release(locks, NULL);
END $$;

-- Public: cancel in the caller's own transaction, with the rights of the schema's owner. docs/sql.md is its page.
CREATE FUNCTION belay.cancel(job_id bigint, abort boolean DEFAULT false, delete boolean DEFAULT false,
                             reason text DEFAULT NULL, actor text DEFAULT NULL, grace_seconds int DEFAULT NULL,
                             retry text DEFAULT 'none', undo_seconds int DEFAULT NULL)
RETURNS json LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  a belay.answer;
  problem text := CASE
    WHEN length(reason) > 1024 THEN 'reason must have at most 1024 characters'
    WHEN length(actor) > 255 THEN 'actor must have at most 255 characters'
    WHEN grace_seconds NOT BETWEEN 0 AND 3600 THEN 'grace_seconds must be from 0 to 3600'
    WHEN retry NOT IN ('none', 'requeue') THEN 'retry must be none or requeue'
    WHEN retry = 'requeue' AND (abort IS NOT TRUE OR delete) THEN 'retry => requeue needs abort, and no delete'
    WHEN undo_seconds NOT BETWEEN 1 AND 86400 THEN 'undo_seconds must be from 1 to 86400'
    WHEN undo_seconds IS NOT NULL AND (retry = 'requeue' OR delete) THEN 'undo_seconds does not go with requeue or delete' END;
BEGIN
  IF problem IS NOT NULL THEN
    RAISE EXCEPTION '%', problem USING ERRCODE = 'invalid_parameter_value';
  END IF;
  SELECT * INTO a FROM belay.cancel_jobs(
    ARRAY[job_id], ARRAY[coalesce(abort, false)], ARRAY[coalesce(delete, false)], ARRAY[reason], ARRAY[actor],
    ARRAY['user'::text], ARRAY[grace_seconds], ARRAY[NULL::text], ARRAY[NULL::int], ARRAY[NULL::text],
    ARRAY[CASE WHEN retry = 'requeue' THEN json '{"retry":"requeue"}'
               WHEN undo_seconds IS NOT NULL THEN json_build_object('undo_seconds', undo_seconds) END]);
  RETURN concat('{"result":"', a.result, '","job":', coalesce(a.job, 'null'), ',"cancellation":',
                coalesce(a.cancellation, 'null'), '}')::json;
END $$;
REVOKE ALL ON FUNCTION belay.cancel FROM PUBLIC;

-- The places where a todo job may stand.
CREATE FUNCTION belay.todo_places() RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
  SELECT '{scheduled,waits,blocked,parked,ready}'::text[]
$$;

-- What has the ids of all jobs with one of these statuses: the small tables that say it.
CREATE FUNCTION belay.status_source(p_statuses text[]) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
  sources text[] := '{}';
  ended CONSTANT text[] := ARRAY['succeeded', 'failed', 'cancelled', 'aborted'];
BEGIN
  IF 'todo' = ANY (p_statuses) THEN
    sources := ARRAY(SELECT format('SELECT id FROM belay.%I', x) FROM unnest(belay.todo_places()) x);
  END IF;
  IF 'doing' = ANY (p_statuses) THEN
    sources := sources || 'SELECT u.id FROM belay.leases l, unnest(l.job_ids) u (id)'::text;
  END IF;
  IF p_statuses && ended THEN
    sources := sources || format('SELECT id FROM belay.ends WHERE status = ANY (%L::smallint[])',
      ARRAY(SELECT array_position(ended, s) + 1 FROM unnest(p_statuses) s WHERE s = ANY (ended)));
  END IF;
  RETURN array_to_string(sources, ' UNION ALL ');
END $$;

-- What a filter says of the row of a job, as conditions on `j`. Written out, and planned for each use: so a filter costs what it
-- asks for.
CREATE FUNCTION belay.job_conditions(f json) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT concat(
    CASE WHEN f ->> 'task' IS NOT NULL THEN format(' AND j.task_id = %s', coalesce(
      (SELECT t.id FROM belay.tasks t WHERE t.name = f ->> 'task'), -1)) END,
    CASE WHEN f ->> 'tag' IS NOT NULL THEN format(' AND j.tags @> ARRAY[%L]', f ->> 'tag') END,
    CASE WHEN f ->> 'lock' IS NOT NULL THEN format(' AND j.lock = %L', f ->> 'lock') END,
    CASE WHEN f ->> 'metadata' IS NOT NULL THEN
      format(' AND coalesce(j.metadata, ''{}'')::jsonb @> %L::jsonb', f ->> 'metadata') END,
    CASE WHEN f ->> 'created_after' IS NOT NULL THEN
      format(' AND j.created_at >= %L::timestamptz', f ->> 'created_after') END,
    CASE WHEN f ->> 'created_before' IS NOT NULL THEN
      format(' AND j.created_at < %L::timestamptz', f ->> 'created_before') END)
$$;

-- Lists. A filter on the status starts from the small tables that say it; one on the parent from its children. One row of nulls:
-- there is no such parent.
CREATE FUNCTION belay.list_jobs(
  p_statuses text[], p_queue text, p_task text, p_tag text, p_lock text, p_after timestamptz, p_before timestamptz,
  p_ascending boolean, p_after_id bigint, p_limit int, p_parent bigint DEFAULT NULL,
  p_more json DEFAULT NULL)
RETURNS TABLE (id bigint, job text) LANGUAGE plpgsql STABLE AS $$
DECLARE
  source text;
  ids bigint[];
BEGIN
  IF p_parent IS NOT NULL AND NOT EXISTS (SELECT FROM belay.jobs j WHERE j.id = p_parent) THEN
    RETURN QUERY VALUES (NULL::bigint, NULL::text);
    RETURN;
  END IF;
  IF p_statuses IS NOT NULL THEN
    source := 'JOIN (' || belay.status_source(p_statuses) || ') s ON s.id = j.id';
  END IF;
  EXECUTE concat('SELECT ARRAY(SELECT j.id FROM belay.jobs j ', source,
      CASE WHEN p_parent IS NOT NULL THEN ' JOIN belay.children f ON f.id = j.id AND f.parent_id = $4' END, ' WHERE true',
      CASE WHEN p_after_id IS NOT NULL THEN CASE WHEN p_ascending THEN ' AND j.id > $1' ELSE ' AND j.id < $1' END END,
      CASE WHEN p_queue IS NOT NULL THEN ' AND j.queue_id = (SELECT id FROM belay.queues WHERE name = $2)' END,
      belay.job_conditions(json_build_object('task', p_task, 'tag', p_tag, 'lock', p_lock, 'created_after', p_after,
                                             'created_before', p_before)),
      CASE WHEN p_more IS NOT NULL THEN belay.list_conditions(p_more) END,
      ' ORDER BY j.id ', CASE WHEN p_ascending THEN 'ASC' ELSE 'DESC' END, ' LIMIT $3)')
  INTO ids USING p_after_id, p_queue, p_limit, p_parent;
  RETURN QUERY SELECT s.id, s.job FROM belay.job_states(ids) s
               ORDER BY CASE WHEN p_ascending THEN s.id ELSE -s.id END;
END $$;
