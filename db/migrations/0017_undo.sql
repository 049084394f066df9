-- What was cancelled by mistake comes back: for good, or, with undo_seconds, before it has had any effect.

-- -- a cancel that can be undone ------------------------------------------------------------

-- When pending cancels are due: a calendar, as deadlines is one. That the job is to be cancelled is among its options (cancel_at),
-- and has a row in follows, so that whatever ends it closes the receipt, which is pending until then: stopped_at is infinity, no
-- outcome. No worker sees such a receipt. A todo job is parked at -1, or stays in waits or held by hand, which no claim takes from.
CREATE TABLE belay.undos (at timestamptz NOT NULL, id bigint NOT NULL)
  WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
CREATE UNIQUE INDEX undos_due ON belay.undos (at, id);
CREATE UNIQUE INDEX cancellations_pending ON belay.cancellations (job_id) WHERE stopped_at = 'infinity';

CREATE FUNCTION belay.is_undoable(p_options json) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN p_options IS NOT NULL AND p_options -> 'cancel_at' IS NOT NULL;
END $$;

-- Whether a running job was asked to stop for good: then there is nothing to undo any more.
CREATE FUNCTION belay.is_told(p_id bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN EXISTS (SELECT FROM belay.cancellations c
                 WHERE c.job_id = p_id AND c.stopped_at IS NULL AND c.cause <> 'timeout' AND NOT c.requeue);
END $$;

-- Whether the end of a job has consequences after its options have changed.
CREATE FUNCTION belay.mind_consequences(p_id bigint, p_options json) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF belay.has_consequences(p_options) THEN
    INSERT INTO belay.follows (job_id) VALUES (p_id) ON CONFLICT DO NOTHING;
  ELSIF NOT belay.is_awaited(p_id) THEN
    DELETE FROM belay.follows f WHERE f.job_id = p_id;
  END IF;
END $$;

-- A cancel that comes true later. Asked again it is the same receipt; the earlier time holds. The caller holds the job, and hands
-- the lock of one that is todo on.
CREATE FUNCTION belay.cancel_later(p_id bigint, p_status text, p_abort boolean, p_reason text, p_actor text, p_grace int,
                                   p_seconds int) RETURNS belay.cancellations LANGUAGE plpgsql AS $$
DECLARE
  j belay.jobs;
  c belay.cancellations;
  due CONSTANT timestamptz := clock_timestamp() + p_seconds * interval '1 second';
BEGIN
  SELECT * INTO j FROM belay.jobs WHERE id = p_id;
  UPDATE belay.cancellations x
  SET requests = x.requests + 1, abort = x.abort OR p_abort, grace_seconds = least(x.grace_seconds, p_grace)
  WHERE x.job_id = p_id AND x.stopped_at = 'infinity' RETURNING * INTO c;
  IF FOUND AND due >= (j.options ->> 'cancel_at')::timestamptz THEN
    RETURN c;
  END IF;
  IF c.job_id IS NULL THEN
    INSERT INTO belay.cancellations (job_id, n, cause, reason, actor, abort, delete_requested, grace_seconds, stopped_at)
    VALUES (p_id, belay.next_receipt(p_id), 'user', p_reason, p_actor, p_abort, false, p_grace, 'infinity') RETURNING * INTO c;
    INSERT INTO belay.events (job_id, type, actor, detail)
    VALUES (p_id, 'cancel_pending', p_actor, json_build_object('cancellation', c.n, 'reason', p_reason,
                                                               'cancel_at', belay.time_text(due)));
  END IF;
  j.options := (coalesce(j.options::jsonb, '{}') || jsonb_build_object('cancel_at', belay.time_text(due)))::json;
  UPDATE belay.jobs SET options = j.options WHERE id = p_id;
  INSERT INTO belay.undos (at, id) VALUES (due, p_id) ON CONFLICT DO NOTHING;
  PERFORM belay.mind_consequences(p_id, j.options);
  IF p_status = 'todo' AND j.options -> 'hold' IS NULL AND NOT EXISTS (SELECT FROM belay.waits w WHERE w.id = p_id) THEN
    PERFORM belay.leave_place(j), belay.put_todo(j);
  END IF;
  RETURN c;
END $$;

-- end_todo() of a job that was to be cancelled later: the same receipt, with the words of whoever does it.
CREATE FUNCTION belay.end_pending(p_id bigint, p_attempts int, p_delete boolean, p_reason text, p_actor text, p_cause text)
RETURNS belay.cancellations LANGUAGE plpgsql AS $$
DECLARE
  c belay.cancellations;
BEGIN
  INSERT INTO belay.ends (id, status, attempts) VALUES (p_id, 4, p_attempts);
  UPDATE belay.cancellations x
  SET cause = p_cause, reason = coalesce(p_reason, x.reason), actor = coalesce(p_actor, x.actor),
      delete_requested = p_delete, stopped_at = clock_timestamp(), outcome = 'cancelled'
  WHERE x.job_id = p_id AND x.stopped_at = 'infinity' RETURNING * INTO c;
  RETURN c;
END $$;

-- The same of a running job: from now on the receipt is an open one, and asks the attempt to stop. Nulls: there is none.
CREATE FUNCTION belay.begin_pending(p_id bigint, p_attempt int, p_lease bigint, p_worker bigint, p_delete boolean, p_reason text,
                                    p_actor text, p_cause text, p_grace int) RETURNS belay.cancellations LANGUAGE plpgsql AS $$
DECLARE
  c belay.cancellations;
BEGIN
  UPDATE belay.cancellations x
  SET attempt = p_attempt, worker_id = p_worker, lease_id = p_lease, cause = p_cause, reason = coalesce(p_reason, x.reason),
      actor = coalesce(p_actor, x.actor), abort = true, delete_requested = p_delete, requested_at = clock_timestamp(),
      grace_seconds = least(x.grace_seconds, p_grace), stopped_at = NULL,
      force_at = clock_timestamp() + least(x.grace_seconds, p_grace) * interval '1 second'
  WHERE x.job_id = p_id AND x.stopped_at = 'infinity' RETURNING * INTO c;
  IF FOUND THEN
    UPDATE belay.jobs SET options = belay.without_cancel(options) WHERE id = p_id;
  END IF;
  RETURN c;
END $$;

CREATE FUNCTION belay.without_cancel(p_options json) RETURNS json LANGUAGE sql IMMUTABLE AS $$
  SELECT nullif((p_options::jsonb - 'cancel_at')::text, '{}')::json
$$;

-- The job has ended, as p_status in ends says: what is still pending has become of no use. Of an attempt that was cancelled before
-- it began the receipt says which.
CREATE FUNCTION belay.close_pending(p_id bigint, p_status int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE belay.cancellations c
  SET stopped_at = clock_timestamp(), outcome = (ARRAY['completed', 'failed', 'cancelled', 'aborted'])[p_status - 1],
      attempt = (SELECT e.attempts + 1 FROM belay.ends e WHERE e.id = p_id AND p_status = 4 AND e.worker_id IS NOT NULL)
  WHERE c.job_id = p_id AND c.stopped_at = 'infinity';
  UPDATE belay.jobs SET options = belay.without_cancel(options) WHERE id = p_id;
END $$;

-- What is due is cancelled, or asked to stop, unless it was restored: as expire() has it.
CREATE FUNCTION belay.end_undos(p_limit int) RETURNS TABLE (job_id bigint, result text, next_due_ms bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  x record;
BEGIN
  WITH d AS (DELETE FROM belay.undos WHERE ctid = ANY (ARRAY(
               SELECT u.ctid FROM belay.undos u WHERE u.at <= now() ORDER BY u.at, u.id
               LIMIT p_limit FOR UPDATE SKIP LOCKED)) RETURNING id, at)
  SELECT array_agg(d.id ORDER BY d.id) AS ids, array_agg(c.reason ORDER BY d.id) AS reasons,
         array_agg(c.actor ORDER BY d.id) AS actors, array_agg(c.grace_seconds ORDER BY d.id) AS graces,
         array_agg(json_build_object('due', belay.time_text(d.at)) ORDER BY d.id) AS more, count(*)::int AS n INTO x
  FROM d CROSS JOIN LATERAL (SELECT j.options FROM belay.jobs j WHERE j.id = d.id OFFSET 0) j
  CROSS JOIN LATERAL (SELECT * FROM belay.cancellations c WHERE c.job_id = d.id AND c.stopped_at = 'infinity' OFFSET 0) c
  WHERE j.options ->> 'cancel_at' = belay.time_text(d.at);
  IF x.n > 0 THEN
    RETURN QUERY
    SELECT x.ids[a.ord], a.result, NULL::bigint
    FROM belay.cancel_jobs(x.ids, array_fill(true, ARRAY[x.n]), array_fill(false, ARRAY[x.n]), x.reasons, x.actors,
                           array_fill('user'::text, ARRAY[x.n]), x.graces, array_fill(NULL::text, ARRAY[x.n]),
                           array_fill(NULL::int, ARRAY[x.n]), array_fill(NULL::text, ARRAY[x.n]), x.more) a;
  END IF;
  RETURN QUERY SELECT NULL::bigint, NULL::text,
                      (SELECT greatest(0, ceil(extract(epoch FROM u.at - clock_timestamp()) * 1000))::bigint
                       FROM belay.undos u ORDER BY u.at LIMIT 1);
END $$;

CREATE FUNCTION belay.explain_pending(j belay.jobs, p_what text) RETURNS belay.explanation LANGUAGE plpgsql STABLE AS $$
DECLARE
  x belay.explanation;
  c belay.cancellations;
BEGIN
  SELECT * INTO c FROM belay.cancellations y WHERE y.job_id = j.id AND y.stopped_at = 'infinity';
  x.reason := 'cancel_pending';
  x.since := c.requested_at;
  x.at := j.options ->> 'cancel_at';
  x.why := concat(coalesce(c.actor, 'a user'), ' has cancelled it', ' (' || to_json(c.reason) || ')', ', and until ',
                  j.options ->> 'cancel_at', ' it can be restored');
  x.what := p_what;
  x.facts := json_build_object('cancellation', belay.cancellation_text(c)::json);
  RETURN x;
END $$;

-- -- restore ---------------------------------------------------------------------------------

-- A pending cancel is taken back. The caller holds the job, and gives its lock its turn.
CREATE FUNCTION belay.take_back(j belay.jobs, p_actor text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE belay.cancellations c SET stopped_at = clock_timestamp(), outcome = 'restored'
  WHERE c.job_id = j.id AND c.stopped_at = 'infinity';
  j.options := belay.without_cancel(j.options);
  UPDATE belay.jobs SET options = j.options WHERE id = j.id;
  PERFORM belay.mind_consequences(j.id, j.options);
  INSERT INTO belay.events (job_id, type, actor) VALUES (j.id, 'restored', p_actor);
  DELETE FROM belay.parked p WHERE p.id = j.id AND p.gate_id = -1;
  IF FOUND THEN
    PERFORM belay.put_todo(j);
  END IF;
END $$;

-- One restore, decided by the place that is held. The job keeps its time, its attempts and what it has told; a deadline that
-- has passed is no more.
CREATE FUNCTION belay.restore_one(p_id bigint, p_actor text, p_if_match text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  h record;
  j belay.jobs;
BEGIN
  SELECT * INTO h FROM belay.look_at(p_id, p_if_match IS NOT NULL);
  IF h.status IS NULL THEN
    RETURN 'job-not-found';
  ELSIF p_if_match <> '*' AND h.etag <> ALL (string_to_array(p_if_match, ',')) THEN
    RETURN 'precondition-failed';
  END IF;
  SELECT * INTO j FROM belay.jobs WHERE id = p_id;
  IF belay.is_undoable(j.options) AND NOT belay.is_told(p_id) THEN
    PERFORM belay.take_back(j, p_actor);
    RETURN 'restored';
  ELSIF h.status <> 'cancelled' THEN
    RETURN 'job-not-cancelled';
  END IF;
  IF j.queueing_lock IS NOT NULL THEN
    INSERT INTO belay.uniq (queueing_lock, id) VALUES (j.queueing_lock, p_id) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
      RETURN 'already-enqueued';
    END IF;
  END IF;
  INSERT INTO belay.events (job_id, at, rank, type, attempt, actor, detail)
  SELECT p_id, v.at, v.rank, v.type, v.attempt, v.actor, v.detail FROM belay.row_events(p_id) v WHERE v.type = 'cancelled';
  INSERT INTO belay.events (job_id, type, actor) VALUES (p_id, 'restored', p_actor);
  DELETE FROM belay.ends WHERE id = p_id;
  PERFORM belay.follow_again(p_id, j.options);
  IF j.deadline <= clock_timestamp() THEN
    UPDATE belay.jobs SET deadline = NULL WHERE id = p_id;
  END IF;
  PERFORM belay.put_todo(j);
  RETURN 'restored';
END $$;

-- Cancelled jobs are todo again, as they were. Locks as retry_jobs() takes them.
CREATE FUNCTION belay.restore_jobs(p_ids bigint[], p_actor text[], p_if_match text[])
RETURNS TABLE (ord int, result text, etag text, job text, queue text) LANGUAGE plpgsql AS $$
DECLARE
  x record;
  locks text[];
  known bigint[];
BEGIN
  SELECT y.known INTO known FROM belay.all_locks_of(p_ids) y;
  IF cardinality(p_ids) > 1 THEN
    PERFORM belay.lock_names(4995, ARRAY(SELECT j.queueing_lock FROM belay.jobs j WHERE j.id = ANY (p_ids)));
  END IF;
  PERFORM belay.hold_jobs(p_ids);
  SELECT y.locks INTO locks FROM belay.all_locks_of(p_ids) y; -- a retry may have changed one until now
  FOR x IN SELECT * FROM unnest(p_ids, p_actor, p_if_match) WITH ORDINALITY y (id, actor, if_match, n)
           ORDER BY y.id, y.n LOOP
    SELECT x.n, 'job-not-found' INTO ord, result, etag, job, queue;
    IF x.id = ANY (known) THEN
      result := belay.restore_one(x.id, x.actor, x.if_match);
      SELECT s.etag, s.job, s.queue INTO etag, job, queue FROM belay.job_states(ARRAY[x.id]) s;
    END IF;
    RETURN NEXT;
  END LOOP;
  PERFORM belay.release(locks, NULL);
END $$;
