-- Idempotency keys, what happens when a queueing lock is taken, and cancels that come before the job.

-- One row a key, until it expires: the request that came with it and its answer, or, while there is no hash, a cancel that
-- waits for the request. Whoever holds the row decides. Keys are taken before all else, in their order.
CREATE TABLE belay.keys (
  key text PRIMARY KEY,
  hash text,                 -- of operation and body; null: no request has come yet
  expires_at timestamptz NOT NULL,
  status int,                -- of the answer
  etag text,
  body text,
  job_ids bigint[] NOT NULL DEFAULT '{}',
  cancelled_at timestamptz,  -- the cancel that was there first; null: there was none
  reason text,
  actor text
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX keys_expired ON belay.keys (expires_at);

CREATE FUNCTION belay.sweep_keys(p_limit int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  n int;
BEGIN
  DELETE FROM belay.keys WHERE ctid = ANY (ARRAY(
    SELECT k.ctid FROM belay.keys k WHERE k.expires_at <= now() ORDER BY k.expires_at LIMIT p_limit FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END $$;

-- A job as job_put.sql has it. ord: its number in the statement, g: that of its request.
CREATE TYPE belay.put_row AS (
  ord int, g int, task text, queue text, priority int, args json, max_attempts int, tags text, metadata json,
  scheduled_at timestamptz, delay_ms bigint, lock text, queueing_lock text, want boolean, timeout_ms int,
  deadline timestamptz, deadline_ms bigint, options json, key text, hash text, ttl_seconds int, on_conflict text);

-- What became of it: created, existing, replaced, cancelled, already-enqueued, refused (for another of its batch), or again:
-- somebody else was at it. aborted: the running jobs that it supersedes, with commas.
CREATE TYPE belay.put_done AS (
  ord int, g int, id bigint, result text, existing_id bigint, scheduled boolean, etag text, job text, has_deadline boolean,
  aborted text);

CREATE FUNCTION belay.is_refusal(p_result text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT p_result IN ('already-enqueued', 'refused', 'parent-not-found', 'dependency-not-found')
$$;

-- The answer to a request: done, replayed, already-enqueued or a job that is missing (by existing_id; place: which of the batch), key-reused, again.
CREATE TYPE belay.put_answer AS (
  ord int, result text, status int, job_id bigint, existing_id bigint, place int, etag text, body text, n_new int,
  n_ready int, in_calendar boolean);

-- Which keys are ours, and which of these were cancelled before. A key that another request has just taken is waited for, and is
-- not ours when that one is done; nor when it expires only later. In one order, so that two callers cannot deadlock.
CREATE FUNCTION belay.insert_keys(p_keys text[], p_hashes text[], p_ttls int[], OUT won text[], OUT doomed text[])
LANGUAGE plpgsql AS $$
BEGIN
  WITH i AS (
    INSERT INTO belay.keys AS k (key, hash, expires_at)
    SELECT x.key, x.hash, clock_timestamp() + x.ttl * interval '1 second'
    FROM unnest(p_keys, p_hashes, p_ttls) x (key, hash, ttl) ORDER BY x.key
    ON CONFLICT (key) DO UPDATE
    SET hash = excluded.hash, expires_at = excluded.expires_at, status = NULL, etag = NULL, body = NULL, job_ids = '{}',
        cancelled_at = CASE WHEN k.expires_at > clock_timestamp() THEN k.cancelled_at END
    WHERE k.hash IS NULL OR k.expires_at <= clock_timestamp()
    RETURNING k.key, k.cancelled_at IS NOT NULL AS doomed)
  SELECT coalesce(array_agg(i.key), '{}'), coalesce(array_agg(i.key) FILTER (WHERE i.doomed), '{}') INTO won, doomed FROM i;
END $$;

-- The same, of rows. One key that somebody holds for longer must not hold up the others: then each is asked for alone.
CREATE FUNCTION belay.take_keys(p_rows belay.put_row[], OUT won text[], OUT doomed text[]) LANGUAGE plpgsql AS $$
DECLARE
  keys text[];
  hashes text[];
  ttls int[];
  patience text := current_setting('lock_timeout');
  x record;
BEGIN
  won := '{}';
  doomed := '{}';
  SELECT array_agg(k.key), array_agg(k.hash), array_agg(k.ttl_seconds) INTO keys, hashes, ttls
  FROM (SELECT DISTINCT ON (r.key) r.key, r.hash, r.ttl_seconds FROM unnest(p_rows) r WHERE r.key IS NOT NULL
        ORDER BY r.key, r.g) k;
  IF keys IS NULL THEN
    RETURN;
  END IF;
  BEGIN
    SELECT i.won, i.doomed INTO won, doomed FROM belay.insert_keys(keys, hashes, ttls) i;
    RETURN;
  EXCEPTION WHEN lock_not_available THEN
    PERFORM set_config('lock_timeout', '20ms', true);
  END;
  FOR i IN 1 .. cardinality(keys) LOOP
    BEGIN
      SELECT * INTO x FROM belay.insert_keys(ARRAY[keys[i]], ARRAY[hashes[i]], ARRAY[ttls[i]]);
      won := won || x.won;
      doomed := doomed || x.doomed;
    EXCEPTION WHEN lock_not_available THEN
      NULL; -- it is neither ours nor to be seen: again
    END;
  END LOOP;
  PERFORM set_config('lock_timeout', patience, true);
END $$;

-- Rows as insert_jobs() takes them.
CREATE FUNCTION belay.insert_rows(p_rows belay.put_row[], p_promote boolean) RETURNS SETOF belay.put_done
LANGUAGE plpgsql AS $$
DECLARE
  a record;
BEGIN
  IF cardinality(p_rows) = 0 THEN
    RETURN;
  END IF;
  SELECT array_agg(r.g) AS grps, array_agg(r.task) AS tasks, array_agg(r.queue) AS queues, array_agg(r.priority) AS priorities,
         array_agg(r.args) AS args, array_agg(r.max_attempts) AS max_attempts, array_agg(r.tags) AS tags,
         array_agg(r.metadata) AS metadata, array_agg(r.scheduled_at) AS scheduled_at, array_agg(r.delay_ms) AS delay_ms,
         array_agg(r.lock) AS locks, array_agg(r.queueing_lock) AS queueing_locks, array_agg(r.want) AS want,
         array_agg(r.timeout_ms) AS timeout_ms, array_agg(r.deadline) AS deadlines,
         array_agg(r.deadline_ms) AS deadline_ms, array_agg(r.options) AS options INTO a
  FROM unnest(p_rows) r;
  RETURN QUERY
  SELECT p_rows[i.ord].ord, p_rows[i.ord].g, i.id, i.result, i.existing_id, i.scheduled, i.etag, i.job, i.has_deadline,
         NULL::text
  FROM belay.insert_jobs(a.grps, a.tasks, a.queues, a.priorities, a.args, a.max_attempts, a.tags, a.metadata, a.scheduled_at,
                         a.delay_ms, a.locks, a.queueing_locks, a.want, a.timeout_ms, a.deadlines, a.deadline_ms,
                         a.options, true, p_promote) i;
END $$;

-- A row as it stands in jobs, but for what only an attempt tells.
CREATE FUNCTION belay.job_of(r belay.put_row) RETURNS belay.jobs LANGUAGE plpgsql AS $$
DECLARE
  j belay.jobs;
BEGIN
  j.created_at := now();
  j.queue_id := (SELECT q.id FROM belay.queues q WHERE q.name = r.queue);
  j.task_id := (SELECT t.id FROM belay.tasks t WHERE t.name = r.task);
  j.priority := r.priority;
  j.attempts := 0;
  j.uncounted := 0;
  j.attempts_base := 0;
  j.max_attempts := r.max_attempts;
  j.timeout_ms := r.timeout_ms;
  j.deadline := coalesce(r.deadline, now() + r.deadline_ms * interval '1 millisecond');
  j.scheduled_at := coalesce(r.scheduled_at, now() + r.delay_ms * interval '1 millisecond');
  j.lock := r.lock;
  j.queueing_lock := r.queueing_lock;
  j.tags := r.tags::text[];
  j.args := r.args;
  j.metadata := r.metadata;
  j.options := r.options;
  RETURN j;
END $$;

-- Jobs whose cancel was there before them: they never were anywhere but at their end, and took no lock.
CREATE FUNCTION belay.insert_cancelled(p_rows belay.put_row[]) RETURNS SETOF belay.put_done LANGUAGE plpgsql AS $$
DECLARE
  r belay.put_row;
  d belay.put_done;
  j belay.jobs;
  c belay.cancellations;
  gone bigint[] := '{}';
BEGIN
  FOREACH r IN ARRAY p_rows LOOP
    j := belay.job_of(r);
    j.id := nextval('belay.job_id_seq');
    INSERT INTO belay.jobs SELECT j.*;
    PERFORM belay.mind_deadline(j.deadline, j.id); -- it may be restored
    SELECT e.* INTO c FROM belay.keys k CROSS JOIN LATERAL
      belay.end_todo(j.id, 0, true, false, k.reason, k.actor, 'user') e WHERE k.key = r.key;
    IF belay.has_consequences(j.options) THEN
      INSERT INTO belay.follows (job_id) VALUES (j.id);
      gone := gone || belay.follow(ARRAY[j.id]);
      c := belay.last_receipt(j.id);
    END IF;
    d := ROW(r.ord, r.g, j.id, 'cancelled', NULL, false, NULL, NULL, false, NULL);
    IF r.want THEN
      SELECT s.etag, concat(left(s.job, -1), ',"cancellation":', belay.cancellation_text(c), '}') INTO d.etag, d.job
      FROM belay.job_states(ARRAY[j.id]) s;
    END IF;
    RETURN NEXT d;
  END LOOP;
  PERFORM belay.leave_nothing(gone);
END $$;

-- A waiting job, held, becomes what another one was to be: the same id, the same queueing lock, an attempt count that begins
-- anew. The caller gives the locks their turns.
CREATE FUNCTION belay.replace_todo(p_id bigint, r belay.put_row) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  j belay.jobs;
  n belay.jobs := belay.job_of(r);
  place text;
BEGIN
  SELECT * INTO j FROM belay.jobs WHERE id = p_id;
  IF belay.has_family(j.options) OR belay.has_family(n.options) THEN -- it stays in its own family, and waits for whom it waited
    n.options := nullif((coalesce(n.options::jsonb, '{}') - '{parent_id,on_parent_cancel,depends_on}'::text[]) || coalesce((
      SELECT jsonb_object_agg(o.key, o.value) FROM jsonb_each(j.options::jsonb) o
      WHERE o.key IN ('parent_id', 'on_parent_cancel', 'depends_on')), '{}'), '{}')::json;
  END IF;
  IF j.options -> 'hold' IS NOT NULL THEN -- who holds it by hand is not overruled
    n.options := (coalesce(n.options::jsonb, '{}') || jsonb_build_object('hold', j.options -> 'hold'))::json;
  END IF;
  IF belay.is_undoable(j.options) THEN -- nor is who cancels it
    n.options := (coalesce(n.options::jsonb, '{}') || jsonb_build_object('cancel_at', j.options -> 'cancel_at'))::json;
  END IF;
  PERFORM belay.keep_schedule(j);
  place := belay.leave_place(j);
  DELETE FROM belay.progress x WHERE x.job_id = p_id;
  UPDATE belay.jobs x
  SET queue_id = n.queue_id, task_id = n.task_id, priority = n.priority, attempts_base = x.attempts - x.uncounted,
      max_attempts = n.max_attempts, timeout_ms = n.timeout_ms, deadline = n.deadline, scheduled_at = n.scheduled_at,
      lock = n.lock, tags = n.tags, args = n.args, metadata = n.metadata, options = n.options
  WHERE x.id = p_id;
  IF n.deadline IS DISTINCT FROM j.deadline THEN
    DELETE FROM belay.deadlines WHERE ctid = ANY (ARRAY( -- if it is busy it has come up, and is dropped
      SELECT x.ctid FROM belay.deadlines x WHERE x.at = j.deadline AND x.id = p_id FOR UPDATE SKIP LOCKED));
    PERFORM belay.mind_deadline(n.deadline, p_id);
  END IF;
  PERFORM belay.mind_consequences(p_id, n.options);
  IF n.options -> 'hold' IS NOT NULL THEN
    INSERT INTO belay.parked (gate_id, priority, id, queue_id) VALUES (0, n.priority, p_id, n.queue_id);
  ELSIF place = 'waits' THEN
    INSERT INTO belay.waits (id, priority, queue_id, run_at) VALUES (p_id, n.priority, n.queue_id, n.scheduled_at);
  ELSE
    n.id := p_id;
    PERFORM belay.put_todo(n);
  END IF;
  INSERT INTO belay.events (job_id, type, detail) VALUES (p_id, 'replaced', json_build_object('on_conflict', r.on_conflict));
END $$;

-- Who is in the way of the rows that say on_conflict: the job that waits with their queueing lock, and those that run. Only
-- what is to be changed (to_hold) has to be held.
CREATE FUNCTION belay.takers(p_rows belay.put_row[])
RETURNS TABLE (ord int, job belay.put_row, waiting bigint, running bigint[], to_hold bigint[]) LANGUAGE sql STABLE AS $$
  SELECT r.ord, r, u.id, d.ids, d.ids || CASE WHEN u.id IS NOT NULL AND r.on_conflict <> 'ignore' THEN ARRAY[u.id] END
  FROM unnest(p_rows) r
  LEFT JOIN LATERAL (SELECT u.id FROM belay.uniq u WHERE u.queueing_lock = r.queueing_lock OFFSET 0) u ON true
  CROSS JOIN LATERAL (
    SELECT CASE WHEN r.on_conflict = 'abort_replace' THEN ARRAY(
      SELECT i.id FROM belay.leases l CROSS JOIN LATERAL unnest(l.job_ids) i (id)
      CROSS JOIN LATERAL (SELECT j.queueing_lock FROM belay.jobs j WHERE j.id = i.id OFFSET 0) j
      WHERE j.queueing_lock = r.queueing_lock ORDER BY i.id) END AS ids OFFSET 0) d
  WHERE r.on_conflict <> 'reject' AND r.queueing_lock IS NOT NULL
$$;

-- Holds those that are in the way, and those that the new ones belong to; what the look before found still holds then.
CREATE FUNCTION belay.hold_takers(p_rows belay.put_row[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  ids bigint[];
  parents bigint[] := belay.parents_of(ARRAY(SELECT r.options FROM unnest(p_rows) r));
BEGIN
  FOR look IN 1 .. 10 LOOP
    BEGIN
      ids := ARRAY(SELECT DISTINCT i FROM belay.takers(p_rows) t, unnest(t.to_hold) i ORDER BY i);
      PERFORM belay.hold_jobs(ids || parents);
      IF ids = ARRAY(SELECT DISTINCT i FROM belay.takers(p_rows) t, unnest(t.to_hold) i ORDER BY i) THEN
        RETURN;
      END IF;
      RAISE serialization_failure;
    EXCEPTION WHEN serialization_failure THEN
      NULL; -- one of them has moved on: let go, and look again
    END;
  END LOOP;
  RAISE EXCEPTION 'the jobs keep moving' USING ERRCODE = 'serialization_failure';
END $$;

-- The running ones are asked to stop, for the sake of the job p_id. Answers them, with commas.
CREATE FUNCTION belay.supersede(p_running bigint[], p_id bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  x record;
BEGIN
  FOR x IN SELECT i.id, p.* FROM unnest(p_running) i (id) CROSS JOIN LATERAL belay.place_of(i.id) p
           WHERE p.status = 'doing' ORDER BY i.id LOOP
    PERFORM belay.abort_doing(x.id, x.attempt, x.lease_id, x.worker_id, false, format('superseded by job %s', p_id), NULL,
                              'superseded', NULL);
  END LOOP;
  RETURN array_to_string(p_running, ',');
END $$;

-- One round of put_over(), under its savepoint: p_rows are held. Replacing first, because it needs no lock's turn, and
-- inserting last.
CREATE FUNCTION belay.put_held(p_rows belay.put_row[]) RETURNS SETOF belay.put_done LANGUAGE plpgsql AS $$
DECLARE
  t record;
  r belay.put_row;
  d belay.put_done;
  settled int[] := '{}';
  aborting int[] := ARRAY(SELECT x.ord FROM unnest(p_rows) x WHERE x.on_conflict = 'abort_replace');
BEGIN
  FOR t IN SELECT * FROM belay.takers(p_rows) x WHERE x.waiting IS NOT NULL ORDER BY x.ord LOOP
    r := t.job;
    settled := settled || t.ord;
    d := ROW(r.ord, r.g, t.waiting, 'existing', NULL, false, NULL, NULL, false, NULL);
    IF r.on_conflict <> 'ignore' THEN
      PERFORM belay.replace_todo(t.waiting, r);
      d.result := 'replaced';
      d.aborted := belay.supersede(t.running, t.waiting);
      SELECT coalesce(j.scheduled_at > now(), false), j.deadline IS NOT NULL INTO d.scheduled, d.has_deadline
      FROM belay.jobs j WHERE j.id = t.waiting;
    END IF;
    IF r.want THEN
      SELECT s.etag, s.job INTO d.etag, d.job FROM belay.job_states(ARRAY[t.waiting]) s;
    END IF;
    RETURN NEXT d;
  END LOOP;
  FOR d IN SELECT * FROM belay.insert_rows(ARRAY(SELECT x FROM unnest(p_rows) x WHERE x.ord <> ALL (settled)), false) LOOP
    IF d.result = 'created' AND d.ord = ANY (aborting) THEN
      d.aborted := (SELECT belay.supersede(x.running, d.id) FROM belay.takers(p_rows) x WHERE x.ord = d.ord);
    END IF;
    RETURN NEXT d;
  END LOOP;
END $$;

-- Jobs in, with what they say of a queueing lock that is taken. The order is that of all others: queueing locks, what is in the
-- way, inserts, turns. A request that is refused after some of its jobs were put over others is undone with the savepoint,
-- and the rest begins again without it.
CREATE FUNCTION belay.put_over(p_rows belay.put_row[]) RETURNS SETOF belay.put_done LANGUAGE plpgsql AS $$
DECLARE
  left_rows belay.put_row[];
  special int[] := ARRAY(SELECT DISTINCT r.g FROM unnest(p_rows) r WHERE r.on_conflict <> 'reject' AND r.queueing_lock IS NOT NULL);
  done belay.put_done[];
  refused belay.put_done[] := '{}';
  locks text[];
  holders bigint[];
BEGIN
  IF special = '{}' THEN
    RETURN QUERY SELECT * FROM belay.insert_rows(p_rows, true);
    RETURN;
  END IF;
  PERFORM belay.lock_names(4995, ARRAY(SELECT r.queueing_lock FROM unnest(p_rows) r));
  -- One queueing lock, one request at a time: the next has to see what this one leaves.
  refused := ARRAY(
    SELECT ROW(r.ord, r.g, NULL, CASE WHEN r.twice THEN 'already-enqueued' ELSE 'again' END, NULL, false, NULL, NULL, false,
               NULL)::belay.put_done
    FROM (SELECT x.ord, x.g, count(*) OVER (PARTITION BY x.queueing_lock, x.g) > 1 AS twice,
                 x.g <> min(x.g) OVER (PARTITION BY x.queueing_lock) AS later
          FROM unnest(p_rows) x WHERE x.queueing_lock IS NOT NULL AND x.g = ANY (special)) r
    WHERE r.twice OR r.later);
  LOOP
    left_rows := ARRAY(SELECT r FROM unnest(p_rows) r WHERE r.g NOT IN (SELECT x.g FROM unnest(refused) x) ORDER BY r.ord);
    BEGIN
      PERFORM belay.hold_takers(left_rows);
      SELECT array_agg(j.lock), array_agg(j.id) INTO locks, holders FROM belay.takers(left_rows) t
      CROSS JOIN LATERAL (SELECT j.id, j.lock FROM belay.jobs j WHERE j.id = t.waiting AND j.lock IS NOT NULL OFFSET 0) j
      WHERE t.waiting = ANY (t.to_hold);
      done := ARRAY(SELECT d FROM belay.put_held(left_rows) d);
      IF EXISTS (SELECT FROM unnest(done) d WHERE belay.is_refusal(d.result) AND d.g = ANY (special)) THEN
        RAISE EXCEPTION 'refused' USING ERRCODE = 'BL001';
      END IF;
      EXIT;
    EXCEPTION WHEN SQLSTATE 'BL001' THEN -- who would have had to see the newcomer may try again
      refused := refused || ARRAY(
        SELECT ROW(d.ord, d.g, NULL, CASE WHEN d.result = 'already-enqueued' AND r.on_conflict <> 'reject' THEN 'again'
                                          ELSE d.result END, d.existing_id, false, NULL, NULL, false, NULL)::belay.put_done
        FROM unnest(done) d JOIN unnest(p_rows) r ON r.ord = d.ord
        WHERE belay.is_refusal(d.result) AND d.g = ANY (special));
    END;
  END LOOP;
  RETURN QUERY SELECT * FROM unnest(refused || done);
  PERFORM belay.release(locks || ARRAY(SELECT r.lock FROM unnest(left_rows) r WHERE r.lock IS NOT NULL)
                        || (SELECT y.locks FROM belay.all_locks_of(belay.parents_of(ARRAY(SELECT r.options FROM unnest(left_rows) r))) y),
                        holders);
END $$;

-- One job of belay.enqueue() that has an on_conflict. The caller's transaction may be one that sees nothing new however often it
-- looks; whoever began it has to begin it again.
CREATE FUNCTION belay.enqueue_over(r belay.put_row) RETURNS belay.inserted LANGUAGE plpgsql AS $$
DECLARE
  d belay.put_done;
BEGIN
  PERFORM belay.name_queues(r.queue || belay.follow_names(ARRAY[r.options], 'queue')),
          belay.name_tasks(r.task || belay.follow_names(ARRAY[r.options], 'task'));
  FOR look IN 1 .. 3 LOOP
    SELECT * INTO d FROM belay.put_over(ARRAY[r]);
    IF d.result <> 'again' THEN
      RETURN ROW(d.ord, d.id, d.result, d.existing_id, d.scheduled, NULL::text, NULL::text, d.has_deadline)::belay.inserted;
    END IF;
  END LOOP;
  RAISE EXCEPTION 'another transaction is at the queueing lock "%"', r.queueing_lock USING ERRCODE = 'serialization_failure';
END $$;

-- What a request is answered, of what became of its jobs.
CREATE FUNCTION belay.put_answer_of(p_done belay.put_done[]) RETURNS belay.put_answer LANGUAGE plpgsql AS $$
DECLARE
  a belay.put_answer;
  d belay.put_done;
BEGIN
  SELECT min(x.ord), CASE WHEN bool_or(x.result = 'again') THEN 'again'
                          WHEN bool_or(belay.is_refusal(x.result)) THEN 'already-enqueued' ELSE 'done' END,
         CASE WHEN bool_or(x.result IN ('created', 'cancelled')) THEN 201 ELSE 200 END,
         count(*) FILTER (WHERE x.result IN ('created', 'cancelled')),
         count(*) FILTER (WHERE x.result IN ('created', 'replaced') AND NOT x.scheduled), bool_or(x.scheduled OR x.has_deadline)
  INTO a.ord, a.result, a.status, a.n_new, a.n_ready, a.in_calendar FROM unnest(p_done) x;
  IF a.result = 'already-enqueued' THEN
    SELECT CASE x.result WHEN 'refused' THEN a.result ELSE x.result END, x.existing_id, x.ord - a.ord
    INTO a.result, a.existing_id, a.place FROM unnest(p_done) x WHERE belay.is_refusal(x.result)
    ORDER BY x.result <> 'refused' DESC, x.ord LIMIT 1;
  ELSIF p_done[1].job IS NOT NULL THEN
    d := p_done[1];
    a.job_id := d.id;
    a.etag := d.etag;
    a.body := CASE WHEN d.aborted IS NULL THEN d.job ELSE concat(left(d.job, -1), ',"superseded":[', d.aborted, ']}') END;
  ELSIF a.result = 'done' THEN
    SELECT concat('{"count":', count(*), ',"ids":[', string_agg(x.id::text, ',' ORDER BY x.ord), ']',
                  CASE WHEN bool_or(x.result <> 'created') THEN
                    concat(',"results":["', string_agg(x.result, '","' ORDER BY x.ord), '"]') END,
                  CASE WHEN bool_or(x.aborted IS NOT NULL) THEN
                    concat(',"superseded":[', string_agg(nullif(x.aborted, ''), ',' ORDER BY x.ord), ']') END, '}')
    INTO a.body FROM unnest(p_done) x;
  END IF;
  RETURN a;
END $$;

-- $1.. are arrays of the same length, as of insert_jobs(), with a key (null: none), a hash, and on_conflict for each. One row a
-- request.
CREATE FUNCTION belay.put_jobs(
  p_grps int[], p_tasks text[], p_queues text[], p_priorities int[], p_args json[], p_max_attempts int[],
  p_tags text[], p_metadata json[], p_scheduled_at timestamptz[], p_delay_ms bigint[], p_locks text[],
  p_queueing_locks text[], p_want boolean[], p_timeout_ms int[], p_deadlines timestamptz[], p_deadline_ms bigint[],
  p_options json[], p_keys text[], p_hashes text[], p_ttl_seconds int[], p_on_conflict text[])
RETURNS SETOF belay.put_answer LANGUAGE plpgsql AS $$
DECLARE
  rows belay.put_row[];
  won text[];
  doomed text[];
  ours int[];
  done belay.put_done[];
  a belay.put_answer;
  request record;
BEGIN
  rows := ARRAY(
    SELECT ROW(x.ord::int, x.g, x.task, x.queue, x.priority, x.args, x.max_attempts, x.tags, x.metadata, x.at, x.delay, x.lock,
               x.queueing_lock, x.want, x.timeout_ms, x.deadline, x.deadline_ms, x.options, x.key, x.hash, x.ttl,
               x.on_conflict)::belay.put_row
    FROM unnest(p_grps, p_tasks, p_queues, p_priorities, p_args, p_max_attempts, p_tags, p_metadata, p_scheduled_at,
                p_delay_ms, p_locks, p_queueing_locks, p_want, p_timeout_ms, p_deadlines, p_deadline_ms, p_options, p_keys,
                p_hashes, p_ttl_seconds, p_on_conflict)
         WITH ORDINALITY x (g, task, queue, priority, args, max_attempts, tags, metadata, at, delay, lock, queueing_lock,
                            want, timeout_ms, deadline, deadline_ms, options, key, hash, ttl, on_conflict, ord));
  SELECT t.won, t.doomed INTO won, doomed FROM belay.take_keys(rows) t;
  PERFORM belay.name_queues(p_queues || belay.follow_names(p_options, 'queue')),
          belay.name_tasks(p_tasks || belay.follow_names(p_options, 'task'));
  ours := ARRAY(SELECT min(r.g) FROM unnest(rows) r WHERE r.key IS NULL OR r.key = ANY (won)
                GROUP BY r.key, CASE WHEN r.key IS NULL THEN r.g END);
  done := ARRAY(SELECT d FROM belay.insert_cancelled(ARRAY(
                  SELECT r FROM unnest(rows) r WHERE r.g = ANY (ours) AND r.key = ANY (doomed))) d)
       || ARRAY(SELECT d FROM belay.put_over(ARRAY(
                  SELECT r FROM unnest(rows) r WHERE r.g = ANY (ours) AND (r.key = ANY (doomed)) IS NOT TRUE)) d);
  FOR request IN SELECT d.g, array_agg(d ORDER BY d.ord) AS done, min(rows[d.ord].key) AS key, array_agg(d.id ORDER BY d.ord) AS ids
           FROM unnest(done) d GROUP BY d.g LOOP
    a := belay.put_answer_of(request.done);
    IF a.result = 'done' THEN
      UPDATE belay.keys k SET status = a.status, etag = a.etag, body = a.body, job_ids = request.ids
      WHERE k.key = request.key;
    ELSE -- nothing was done, so there is nothing to remember
      DELETE FROM belay.keys k WHERE k.key = request.key;
    END IF;
    RETURN NEXT a;
  END LOOP;
  RETURN QUERY
  SELECT r.ord, CASE WHEN k.key IS NULL THEN 'again' WHEN k.hash <> r.hash THEN 'key-reused' ELSE 'replayed' END,
         k.status, k.job_ids[1], NULL::bigint, NULL::int, k.etag, k.body, 0, 0, false
  FROM (SELECT DISTINCT ON (r.g) r.* FROM unnest(rows) r WHERE r.g <> ALL (ours) ORDER BY r.g, r.ord) r
  LEFT JOIN LATERAL (SELECT * FROM belay.keys k WHERE k.key = r.key OFFSET 0) k ON true;
END $$;

-- A cancel that came before its job, as it is shown.
CREATE FUNCTION belay.by_key_text(k belay.keys) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN concat('{"key":', to_json(k.key), ',"reason":', coalesce(to_json(k.reason)::text, 'null'),
                ',"actor":', coalesce(to_json(k.actor)::text, 'null'),
                ',"requested_at":"', belay.time_text(k.cancelled_at), '","expires_at":"', belay.time_text(k.expires_at),
                '","job_ids":', to_json(k.job_ids), '}');
END $$;

-- Cancels what came with a key, or what will: one row a job, or one that waits. A request with the key that is under way is
-- waited for: either it finds the cancel, or the cancel finds its jobs.
CREATE FUNCTION belay.cancel_key(p_key text, p_reason text, p_actor text, p_ttl_seconds int, p_abort boolean, p_grace int)
RETURNS TABLE (ord int, result text, status text, etag text, job text, cancellation text, cancellation_n int,
               worker_id bigint, attempt int, queue text, job_id bigint, is_new boolean, by_key text)
LANGUAGE plpgsql AS $$
DECLARE
  k belay.keys;
  at timestamptz := clock_timestamp();
  n int;
BEGIN
  INSERT INTO belay.keys AS x (key, expires_at, cancelled_at, reason, actor)
  VALUES (p_key, at + p_ttl_seconds * interval '1 second', at, p_reason, p_actor)
  ON CONFLICT (key) DO UPDATE
  SET hash = NULL, expires_at = excluded.expires_at, status = NULL, etag = NULL, body = NULL, job_ids = '{}',
      cancelled_at = CASE WHEN x.expires_at > at THEN x.cancelled_at ELSE at END, reason = p_reason, actor = p_actor
  WHERE x.hash IS NULL OR x.expires_at <= at
  RETURNING x.* INTO k;
  IF FOUND THEN
    RETURN QUERY SELECT 1, 'waiting', NULL, NULL, NULL, NULL, NULL::int, NULL::bigint, NULL::int, NULL, NULL::bigint,
                        k.cancelled_at = at, belay.by_key_text(k);
    RETURN;
  END IF;
  SELECT * INTO k FROM belay.keys x WHERE x.key = p_key;
  n := cardinality(k.job_ids);
  RETURN QUERY
  SELECT a.*, k.job_ids[a.ord], false, CASE WHEN k.cancelled_at IS NOT NULL THEN belay.by_key_text(k) END
  FROM belay.cancel_jobs(k.job_ids, array_fill(p_abort, ARRAY[n]), array_fill(false, ARRAY[n]),
                         array_fill(p_reason, ARRAY[n]), array_fill(p_actor, ARRAY[n]), array_fill('user'::text, ARRAY[n]),
                         array_fill(p_grace, ARRAY[n]), array_fill(NULL::text, ARRAY[n]), array_fill(NULL::int, ARRAY[n]),
                         array_fill(NULL::text, ARRAY[n])) a ORDER BY a.ord;
END $$;

-- The cancel goes, while no request has come. waiting: it is gone; used, by the jobs that it shows; or no row.
CREATE FUNCTION belay.forget_key(p_key text) RETURNS TABLE (result text, by_key text) LANGUAGE plpgsql AS $$
DECLARE
  k belay.keys;
BEGIN
  SELECT * INTO k FROM belay.keys x WHERE x.key = p_key AND x.expires_at > clock_timestamp() AND x.cancelled_at IS NOT NULL
  FOR UPDATE;
  IF FOUND AND k.hash IS NULL THEN
    DELETE FROM belay.keys x WHERE x.key = p_key;
    RETURN QUERY SELECT 'waiting', belay.by_key_text(k);
  ELSIF FOUND THEN
    RETURN QUERY SELECT 'used', belay.by_key_text(k);
  END IF;
END $$;
