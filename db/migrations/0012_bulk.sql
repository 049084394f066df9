-- Many jobs by one request: a filter becomes an operation, which any node takes on a step at a time, and a standing rule also
-- meets what comes later. The row of an operation is its state: where the walk is and what came of it are committed with the
-- jobs of each step, so a crash loses nothing and counts nothing twice.

CREATE TABLE belay.operations (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text NOT NULL,                       -- cancel, retry, delete
  filter json NOT NULL,                     -- as it was asked for; {}: all
  abort boolean NOT NULL,
  delete_requested boolean NOT NULL,
  reason text,
  actor text,
  grace_seconds int,
  changes json,                             -- of a retry: p_more of belay.retry_one()
  until timestamptz,                        -- not null: a standing rule
  status text NOT NULL DEFAULT 'running',   -- running, done, cancelled
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at timestamptz,
  -- the walk
  up_to bigint,                             -- the newest job that was there; null: any
  stage int NOT NULL DEFAULT 1,             -- of belay.operation_stages()
  at bigint NOT NULL DEFAULT 0,             -- the block, or the last id, within the stage
  passes int NOT NULL DEFAULT 0,
  walked bigint NOT NULL DEFAULT 0,         -- blocks of the first pass, for progress
  blocks bigint,                            -- of all stages, when it began
  due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  seen xid8,                                -- all transactions before it have ended, or are counted in
  older int NOT NULL DEFAULT 0,             -- those that may not see the rule, at the last pass
  leases_to bigint NOT NULL DEFAULT 0,      -- what runs was looked at up to this lease
  running bigint[] NOT NULL DEFAULT '{}',   -- jobs that ran then, and are in no count yet
  -- what came of it
  matched bigint NOT NULL DEFAULT 0,
  cancelled bigint NOT NULL DEFAULT 0,
  aborting bigint NOT NULL DEFAULT 0,
  retried bigint NOT NULL DEFAULT 0,
  deleted bigint NOT NULL DEFAULT 0,
  already bigint NOT NULL DEFAULT 0,
  finished bigint NOT NULL DEFAULT 0,
  failed bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
CREATE INDEX operations_running ON belay.operations (id) WHERE status = 'running';

-- The rules that stand: whoever puts jobs in asks whether there is any, and that is all that a job without a rule pays.
CREATE TABLE belay.rules (operation_id bigint PRIMARY KEY, until timestamptz NOT NULL);
-- What rules have met since the operation's row was written last: rows of their own, because all who put jobs in would
-- wait for one another at a counter.
CREATE TABLE belay.rule_hits (operation_id bigint NOT NULL, n bigint NOT NULL);
CREATE INDEX rule_hits_operation ON belay.rule_hits (operation_id);

-- What a retry changes, as it was asked for. A lock that is null there is taken away.
CREATE FUNCTION belay.operation_changes(p_more json) RETURNS json LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN p_more IS NOT NULL THEN
           (p_more::jsonb - 'scheduled_us' - 'delay_ms')
           || CASE WHEN p_more -> 'delay_ms' IS NULL THEN '{}'
                   ELSE jsonb_build_object('delay_seconds', (p_more ->> 'delay_ms')::numeric / 1000) END
           || CASE WHEN p_more -> 'scheduled_us' IS NULL THEN '{}'
                   ELSE jsonb_build_object('scheduled_at', belay.time_text(
                     timestamptz '1970-01-01 00:00:00+00' + (p_more ->> 'scheduled_us')::bigint * interval '1 microsecond')) END
         END::json
$$;

CREATE FUNCTION belay.operation_text(o belay.operations) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
  hits bigint := (SELECT coalesce(sum(h.n), 0) FROM belay.rule_hits h WHERE h.operation_id = o.id);
BEGIN
  RETURN concat(
    '{"id":', o.id, ',"kind":"', o.kind, '","filter":', o.filter, ',"status":"', o.status,
    '","standing":', (o.until IS NOT NULL)::text, ',"until":', coalesce('"' || belay.time_text(o.until) || '"', 'null'),
    ',"abort":', o.abort::text, ',"delete":', o.delete_requested::text,
    ',"reason":', coalesce(to_json(o.reason)::text, 'null'), ',"actor":', coalesce(to_json(o.actor)::text, 'null'),
    ',"grace_seconds":', coalesce(o.grace_seconds::text, 'null'),
    ',"changes":', coalesce(belay.operation_changes(o.changes)::text, 'null'),
    ',"counts":{"matched":', o.matched + hits, ',"cancelled":', o.cancelled + hits, ',"aborting":', o.aborting,
    ',"retried":', o.retried, ',"deleted":', o.deleted, ',"already":', o.already, ',"finished":', o.finished,
    ',"failed":', o.failed, '},"progress":{"percent":',
    CASE WHEN o.status = 'done' OR o.until IS NOT NULL AND o.passes > 0 THEN 100
         WHEN o.passes > 0 THEN 99
         ELSE least(99, 100 * o.walked / greatest(o.blocks, 1)) END,
    '},"created_at":"', belay.time_text(o.created_at),
    '","finished_at":', coalesce('"' || belay.time_text(o.finished_at) || '"', 'null'), '}');
END $$;

-- -- filters -----------------------------------------------------------------------------------------

CREATE FUNCTION belay.operation_statuses(o belay.operations) RETURNS text[] LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN o.filter ->> 'status' IS NOT NULL THEN ARRAY(SELECT json_array_elements_text(o.filter -> 'status'))
              WHEN o.kind = 'cancel' THEN '{todo,doing}'::text[]
              WHEN o.kind = 'retry' THEN '{failed,cancelled,aborted}'
              ELSE '{todo,doing,succeeded,failed,cancelled,aborted}' END
$$;

-- What the filter says of the queue, apart from job_conditions(), as one on p_alias: where a job stands is a row that names its
-- queue, so that the jobs of others need not be looked at.
CREATE FUNCTION belay.queue_condition(o belay.operations, p_alias text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN o.filter ->> 'queue' IS NULL THEN ''
              ELSE format(' AND %s.queue_id = %s', p_alias, coalesce(
                (SELECT q.id FROM belay.queues q WHERE q.name = o.filter ->> 'queue'), -1)) END
$$;
-- `p`, a row that names a job's id and perhaps its queue, with its job where the filter has to see that.
CREATE FUNCTION belay.with_job(o belay.operations, p_has_queue boolean, OUT joined text, OUT conditions text)
LANGUAGE plpgsql STABLE AS $$
BEGIN
  conditions := belay.job_conditions(o.filter) || CASE WHEN NOT p_has_queue THEN belay.queue_condition(o, 'j') ELSE '' END;
  joined := CASE WHEN conditions <> '' THEN
              'CROSS JOIN LATERAL (SELECT * FROM belay.jobs j WHERE j.id = p.id OFFSET 0) j' ELSE '' END;
  conditions := conditions || CASE WHEN p_has_queue THEN belay.queue_condition(o, 'p') ELSE '' END
             || coalesce(' AND p.id <= ' || o.up_to, '');
END $$;

-- What is walked over, in the order of the locks; and a look at the end whether anything has moved past the walk.
CREATE FUNCTION belay.operation_stages(o belay.operations) RETURNS text[] LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN o.kind <> 'retry' AND 'todo' = ANY (s) THEN belay.todo_places() ELSE '{}' END
      || CASE WHEN o.kind <> 'retry' AND 'doing' = ANY (s) AND o.abort THEN '{leases}'::text[] ELSE '{}' END
      || CASE WHEN o.kind <> 'cancel' AND s && '{succeeded,failed,cancelled,aborted}' THEN '{ends}'::text[] ELSE '{}' END
      || CASE WHEN o.kind <> 'retry' AND s && '{todo,doing}' THEN '{check}'::text[] ELSE '{}' END
  FROM (SELECT belay.operation_statuses(o) AS s) x
$$;

-- -- what is done to jobs ----------------------------------------------------------------------------

-- Todo jobs whose places this transaction has removed: they will never start. The caller hands their locks on, last.
CREATE FUNCTION belay.end_removed(o belay.operations, p_ids bigint[], OUT locks text[], OUT holders bigint[])
LANGUAGE plpgsql AS $$
DECLARE
  stopped_at timestamptz := clock_timestamp();
BEGIN
  WITH j AS MATERIALIZED (
    SELECT j.id, j.attempts, j.lock, j.queueing_lock, j.options
    FROM unnest(p_ids) u (id) CROSS JOIN LATERAL (SELECT * FROM belay.jobs j WHERE j.id = u.id OFFSET 0) j),
  e AS (INSERT INTO belay.ends (id, status, attempts, finished_at) SELECT j.id, 4, j.attempts, stopped_at FROM j),
  c AS (INSERT INTO belay.cancellations (job_id, n, cause, reason, actor, abort, delete_requested, requested_at, stopped_at,
                                         outcome)
        SELECT j.id, coalesce((SELECT max(x.n) FROM belay.cancellations x WHERE x.job_id = j.id), 0) + 1, 'user',
               o.reason, o.actor, o.abort, o.delete_requested, stopped_at, stopped_at, 'cancelled' FROM j),
  w AS (DELETE FROM belay.needs n USING j WHERE n.id = j.id),
  u AS (DELETE FROM belay.uniq q USING j
        WHERE j.queueing_lock IS NOT NULL AND q.queueing_lock = j.queueing_lock AND q.id = j.id),
  h AS (UPDATE belay.jobs x SET options = belay.without_hold(j.options) FROM j
        WHERE x.id = j.id AND j.options IS NOT NULL AND j.options -> 'hold' IS NOT NULL)
  SELECT array_agg(j.lock), array_agg(j.id) INTO locks, holders FROM j WHERE j.lock IS NOT NULL;
END $$;

-- What follows their end, and what goes.
CREATE FUNCTION belay.leave_removed(o belay.operations, p_ids bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  gone bigint[] := belay.follow(p_ids);
BEGIN
  IF o.delete_requested THEN
    PERFORM belay.forget(p_ids, array_fill(o.actor, ARRAY[cardinality(p_ids)]));
  ELSE
    PERFORM belay.leave_nothing(gone);
  END IF;
END $$;

-- Takes the todo jobs of some blocks of a place out of it. By blocks, because that is the one order that all places have,
-- and a walk by any index would go over the same dead entries again and again. A row that is busy is left to the next pass:
-- nobody waits here, so no order of locks matters.
CREATE FUNCTION belay.remove_from(o belay.operations, p_place text, p_from bigint, p_blocks bigint) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
  w record := belay.with_job(o, true);
  ids bigint[];
BEGIN
  EXECUTE format(
    'WITH g AS (DELETE FROM belay.%1$I WHERE ctid = ANY (ARRAY(
       SELECT p.ctid FROM belay.%1$I p %2$s WHERE p.ctid >= %3$L AND p.ctid < %4$L %5$s
       FOR UPDATE OF p SKIP LOCKED)) RETURNING id)
     SELECT array_agg(id) FROM g',
    p_place, w.joined, format('(%s,0)', p_from), format('(%s,0)', p_from + p_blocks), w.conditions) INTO ids;
  RETURN coalesce(ids, '{}');
END $$;

-- Asks the jobs of the next leases to stop. Leases are taken by id, as everybody does, and looked at second: what they list
-- when they are held is what runs. Only in the first pass is one that was asked before asked again.
CREATE FUNCTION belay.abort_leases(INOUT o belay.operations, p_n int, OUT looked int) LANGUAGE plpgsql AS $$
DECLARE
  w record := belay.with_job(o, false);
  held belay.leases;
  ids bigint[] := '{}';
  of_lease bigint[] := '{}';
  again bigint;
  fresh bigint;
BEGIN
  looked := 0;
  FOR held IN SELECT * FROM belay.leases x WHERE x.id > o.at ORDER BY x.id LIMIT 100 FOR UPDATE LOOP
    ids := ids || held.job_ids;
    of_lease := of_lease || array_fill(held.id, ARRAY[cardinality(held.job_ids)]);
    o.at := held.id;
    looked := looked + greatest(cardinality(held.job_ids), 1);
    EXIT WHEN looked >= p_n;
  END LOOP;
  IF ids = '{}' THEN
    RETURN;
  END IF;
  EXECUTE format('SELECT array_agg(p.id), array_agg(p.lease) FROM unnest($1, $2) p (id, lease) %s WHERE true %s',
                 w.joined, w.conditions) INTO ids, of_lease USING ids, of_lease;
  WITH m AS MATERIALIZED (
    SELECT x.id, x.lease, l.worker_id,
           EXISTS (SELECT FROM belay.cancellations c WHERE c.job_id = x.id AND c.stopped_at IS NULL) AS asked
    FROM unnest(ids, of_lease) x (id, lease) JOIN belay.leases l ON l.id = x.lease),
  a AS ( -- as belay.abort_doing() has it
    UPDATE belay.cancellations c
    SET cause = CASE c.cause WHEN 'timeout' THEN 'user' ELSE c.cause END,
        reason = CASE c.cause WHEN 'timeout' THEN o.reason ELSE c.reason END,
        actor = CASE c.cause WHEN 'timeout' THEN o.actor ELSE c.actor END,
        delete_requested = c.delete_requested OR o.delete_requested, requests = c.requests + 1, requeue = false,
        grace_seconds = least(c.grace_seconds, o.grace_seconds),
        force_at = least(c.force_at, clock_timestamp() + o.grace_seconds * interval '1 second')
    FROM m WHERE c.job_id = m.id AND c.stopped_at IS NULL AND (o.passes = 0 OR c.cause = 'timeout')
    RETURNING c.worker_id),
  f AS (
    INSERT INTO belay.cancellations (job_id, n, attempt, worker_id, lease_id, cause, reason, actor, abort,
                                     delete_requested, grace_seconds, force_at)
    SELECT m.id, coalesce((SELECT max(x.n) FROM belay.cancellations x WHERE x.job_id = m.id), 0) + 1, j.attempts + 1,
           m.worker_id, m.lease, 'user', o.reason, o.actor, true, o.delete_requested, o.grace_seconds,
           clock_timestamp() + o.grace_seconds * interval '1 second'
    FROM m CROSS JOIN LATERAL (SELECT j.attempts FROM belay.jobs j WHERE j.id = m.id OFFSET 0) j
    WHERE NOT m.asked RETURNING worker_id),
  n AS (SELECT pg_notify('belay_abort', y.worker_id::text)
        FROM (SELECT worker_id FROM a UNION SELECT worker_id FROM f) y)
  SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM f), (SELECT count(*) FROM n) INTO again, fresh;
  o.running := belay.without(o.running, ids);
  o.matched := o.matched + again + fresh;
  o.aborting := o.aborting + again + fresh;
END $$;

-- The ended jobs among the next p_n ends: deleted here, or started again.
CREATE FUNCTION belay.take_ends(INOUT o belay.operations, p_n int, OUT looked int) LANGUAGE plpgsql AS $$
DECLARE
  w record := belay.with_job(o, false);
  statuses text[] := belay.operation_statuses(o);
  ids bigint[];
  last bigint;
  r record;
BEGIN
  SELECT max(x.id), count(*) INTO last, looked
  FROM (SELECT e.id FROM belay.ends e WHERE e.id > o.at AND e.id <= o.up_to ORDER BY e.id LIMIT p_n) x;
  IF looked = 0 THEN
    RETURN;
  END IF;
  EXECUTE format(
    'SELECT array_agg(x.id) FROM (
       SELECT p.id FROM belay.ends p %s WHERE p.id > %s AND p.id <= %s AND p.status = ANY (%L::smallint[]) %s
       ORDER BY p.id %s) x',
    w.joined, o.at, last,
    ARRAY(SELECT array_position(ARRAY['succeeded', 'failed', 'cancelled', 'aborted'], s) + 1
          FROM unnest(statuses) s WHERE s NOT IN ('todo', 'doing')),
    w.conditions, CASE o.kind WHEN 'delete' THEN 'FOR UPDATE OF p' ELSE '' END) INTO ids;
  o.at := last;
  IF ids IS NULL THEN
    RETURN;
  ELSIF o.kind = 'delete' THEN
    PERFORM belay.forget(ids, array_fill(o.actor, ARRAY[cardinality(ids)]));
    o.matched := o.matched + cardinality(ids);
    o.deleted := o.deleted + cardinality(ids);
    RETURN;
  END IF;
  SELECT count(*) FILTER (WHERE x.result <> 'job-not-found') AS matched,
         count(*) FILTER (WHERE x.result = 'retried') AS retried,
         count(*) FILTER (WHERE x.result = 'job-not-finished') AS already INTO r
  FROM belay.retry_jobs(ids, array_fill(o.actor, ARRAY[cardinality(ids)]),
                        array_fill(NULL::text, ARRAY[cardinality(ids)]), array_fill(o.changes, ARRAY[cardinality(ids)])) x;
  o.matched := o.matched + r.matched;
  o.retried := o.retried + r.retried;
  o.already := o.already + r.already;
  o.failed := o.failed + r.matched - r.retried - r.already;
END $$;

-- -- what ends by itself meanwhile --------------------------------------------------------------------

CREATE FUNCTION belay.without(p_ids bigint[], p_others bigint[]) RETURNS bigint[] LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN CASE WHEN p_ids = '{}' THEN p_ids ELSE ARRAY(SELECT unnest(p_ids) EXCEPT SELECT unnest(p_others)) END;
END $$;

-- Notes which jobs run that the filter means: all, when the request is made, and what was claimed since the last look. Whatever
-- ends is first seen here, unless it starts and ends between two looks. Nothing to note where ended jobs are meant, too. A job
-- that the operation itself has asked to stop is in its counts already; before the first step it has asked none.
CREATE FUNCTION belay.see_running(INOUT o belay.operations) LANGUAGE plpgsql AS $$
DECLARE
  statuses text[] := belay.operation_statuses(o);
  newest bigint := (SELECT max(l.id) FROM belay.leases l);
  w record;
  ids bigint[];
BEGIN
  IF newest > o.leases_to AND 'doing' = ANY (statuses) AND NOT statuses && '{succeeded,failed,cancelled,aborted}' THEN
    w := belay.with_job(o, false);
    EXECUTE format(
      'SELECT array_agg(p.id) FROM (
         SELECT u.id FROM belay.leases l, unnest(l.job_ids) u (id) WHERE l.id > %s AND l.id <= %s) p %s
       WHERE NOT EXISTS (SELECT FROM belay.cancellations c
                         WHERE %L AND c.job_id = p.id AND c.stopped_at IS NULL AND c.cause <> ''timeout'') %s',
      o.leases_to, newest, w.joined, o.abort AND o.seen IS NOT NULL, w.conditions) INTO ids;
    o.leases_to := newest;
    o.running := o.running || belay.without(coalesce(ids, '{}'), o.running);
  END IF;
END $$;

-- Which of the next p_n of them have ended; those that wait again are the walk's to find. One that ended as cancelled was todo
-- again before.
CREATE FUNCTION belay.count_ended(INOUT o belay.operations, p_n int) LANGUAGE plpgsql AS $$
DECLARE
  rest bigint[];
  n bigint;
BEGIN
  IF o.running <> '{}' THEN
    SELECT array_agg(u.id) FILTER (WHERE e.id IS NULL AND j.id IS NOT NULL),
           count(*) FILTER (WHERE e.status <> 4 OR e.id IS NULL AND j.id IS NULL AND NOT o.delete_requested) INTO rest, n
    FROM unnest(o.running[:p_n]) u (id)
    LEFT JOIN LATERAL (SELECT x.id, x.status FROM belay.ends x WHERE x.id = u.id OFFSET 0) e ON true
    LEFT JOIN LATERAL (SELECT x.id FROM belay.jobs x WHERE x.id = u.id OFFSET 0) j ON true;
    o.running := o.running[p_n + 1:] || rest;
    o.matched := o.matched + n;
    o.finished := o.finished + n;
  END IF;
END $$;

-- -- the steps of an operation -----------------------------------------------------------------------

-- Transactions that began before `seen`, and may put in a job without having seen the rule.
CREATE FUNCTION belay.older_than(p_seen xid8) RETURNS int LANGUAGE sql STABLE AS $$
  SELECT count(*)::int FROM pg_stat_activity a
  WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
    AND greatest(age(a.backend_xid), age(a.backend_xmin)) > age(p_seen::xid)
$$;

-- Begins a pass over all stages. The newest job is looked up in the first step, which comes after the request was committed.
CREATE FUNCTION belay.begin_pass(INOUT o belay.operations, p_stages text[]) LANGUAGE plpgsql AS $$
BEGIN
  o.stage := 1;
  o.at := 0;
  IF o.seen IS NULL THEN
    o.seen := pg_snapshot_xmax(pg_current_snapshot());
    o.blocks := (SELECT sum(CASE s WHEN 'ends' THEN o.up_to / 100 WHEN 'check' THEN 1
                            ELSE pg_relation_size('belay.' || s) / 8192 + 1 END) FROM unnest(p_stages) s);
  END IF;
  IF o.until IS NOT NULL THEN
    o.older := belay.older_than(o.seen);
  END IF;
END $$;

-- One look over all places, in one snapshot, in which each job stands in exactly one: a job that has moved past the walk is
-- found here, and walked to again. What runs and was not asked to stop is seen in the same snapshot.
CREATE FUNCTION belay.check_operation(o belay.operations, OUT is_left boolean, OUT running bigint[]) LANGUAGE plpgsql AS $$
DECLARE
  p record := belay.with_job(o, true);
  l record := belay.with_job(o, false);
  statuses text[] := belay.operation_statuses(o);
BEGIN
  EXECUTE format(
    'SELECT %s AND EXISTS (SELECT FROM (%s) p %s WHERE true %s),
            ARRAY(SELECT p.id FROM (SELECT u.id FROM belay.leases l, unnest(l.job_ids) u (id) WHERE %s) p %s WHERE NOT EXISTS (
               SELECT FROM belay.cancellations c WHERE %s AND c.job_id = p.id AND c.stopped_at IS NULL AND c.cause <> ''timeout'')
             %s)',
    ('todo' = ANY (statuses))::text,
    (SELECT string_agg(format('SELECT id, queue_id FROM belay.%I', x), ' UNION ALL ') FROM unnest(belay.todo_places()) x),
    p.joined, p.conditions, ('doing' = ANY (statuses))::text, l.joined, o.abort::text, l.conditions) INTO is_left, running;
  is_left := is_left OR o.abort AND running <> '{}';
END $$;

-- All stages are walked over: once more, or done, or, for a rule, until its time is over.
CREATE FUNCTION belay.end_pass(INOUT o belay.operations) LANGUAGE plpgsql AS $$
DECLARE
  stages text[] := belay.operation_stages(o);
  is_left boolean;
  running bigint[] := '{}';
BEGIN
  o.passes := o.passes + 1;
  o.due_at := clock_timestamp();
  IF 'check' = ANY (stages) THEN
    SELECT x.is_left, x.running INTO is_left, running FROM belay.check_operation(o) x;
    IF is_left THEN
      o := belay.begin_pass(o, stages);
      o.due_at := clock_timestamp() + interval '20 ms';
      RETURN;
    END IF;
  END IF;
  IF o.until > clock_timestamp() THEN
    IF belay.older_than(o.seen) < o.older THEN
      o := belay.begin_pass(o, stages);
    ELSE
      o.due_at := least(o.until, clock_timestamp() + CASE WHEN o.older > 0 THEN interval '0.2 s' ELSE interval '1 s' END);
    END IF;
    RETURN;
  END IF;
  DELETE FROM belay.rules r WHERE r.operation_id = o.id;
  IF NOT o.abort THEN
    o.matched := o.matched + cardinality(running);
    o.failed := o.failed + cardinality(running);
    o.running := belay.without(o.running, running);
  END IF;
  o := belay.count_ended(o, cardinality(o.running));
  o.running := '{}';
  o.status := 'done';
  o.finished_at := clock_timestamp();
END $$;

-- Walks on until p_n jobs have been looked at, or all stages are over. Places first, then leases, ends, and turns at last.
CREATE FUNCTION belay.walk(INOUT o belay.operations, p_n int, OUT looked int) LANGUAGE plpgsql AS $$
DECLARE
  per_block CONSTANT int := 150; -- rows of a place in a block, about
  stages text[] := belay.operation_stages(o);
  removed bigint[] := '{}';
  stage text;
  n int;
  many int;
  x record;
BEGIN
  looked := 0;
  WHILE looked < p_n LOOP
    stage := stages[o.stage];
    EXIT WHEN stage IS NULL OR stage = 'check';
    IF stage IN ('leases', 'ends') THEN
      IF stage = 'leases' THEN
        x := belay.abort_leases(o, p_n - looked);
      ELSE
        x := belay.take_ends(o, p_n - looked);
      END IF;
      o := x.o;
      n := x.looked;
    ELSE
      n := least((p_n - looked + per_block - 1) / per_block, pg_relation_size('belay.' || stage) / 8192 - o.at);
      IF n > 0 THEN
        removed := removed || belay.remove_from(o, stage, o.at, n);
        o.at := o.at + n;
        o.walked := o.walked + n;
      END IF;
      n := n * per_block;
    END IF;
    looked := looked + n;
    IF n <= 0 THEN
      o.stage := o.stage + 1;
      o.at := 0;
    END IF;
  END LOOP;
  many := cardinality(removed);
  IF many > 0 THEN
    x := belay.end_removed(o, removed);
    o.matched := o.matched + many;
    IF o.kind = 'delete' THEN
      o.deleted := o.deleted + many;
    ELSE
      o.cancelled := o.cancelled + many;
    END IF;
    PERFORM belay.leave_removed(o, removed);
    PERFORM belay.release(x.locks, x.holders);
  END IF;
  IF stages[o.stage] IS NULL OR stages[o.stage] = 'check' THEN
    o := belay.end_pass(o);
  END IF;
END $$;

-- One step of any operation, about p_n jobs; other nodes pass over it meanwhile. Any, because one whose step fails again and
-- again must not keep the others waiting. No operation: nothing is to be done now. next_ms: when to ask again.
CREATE FUNCTION belay.operation_step(p_n int)
RETURNS TABLE (operation_id bigint, kind text, looked int, status text, document text, wake int, next_ms bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  o belay.operations;
  before belay.operations;
  hits bigint;
  x record;
BEGIN
  SELECT * INTO o FROM belay.operations y WHERE y.status = 'running' AND y.due_at <= clock_timestamp()
  ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    next_ms := (SELECT ceil(extract(epoch FROM greatest(min(y.due_at) - clock_timestamp(), interval '1 ms')) * 1000)
                FROM belay.operations y WHERE y.status = 'running' HAVING count(*) > 0);
    RETURN NEXT;
    RETURN;
  END IF;
  before := o;
  IF o.seen IS NULL THEN
    o := belay.begin_pass(o, belay.operation_stages(o));
  END IF;
  IF o.until IS NOT NULL THEN
    WITH h AS (DELETE FROM belay.rule_hits h WHERE h.operation_id = o.id RETURNING h.n)
    SELECT coalesce(sum(h.n), 0) INTO hits FROM h;
    o.matched := o.matched + hits;
    o.cancelled := o.cancelled + hits;
  END IF;
  x := belay.walk(belay.see_running(o), p_n);
  o := belay.count_ended(x.o, 500);
  looked := x.looked;
  UPDATE belay.operations y
  SET status = o.status, finished_at = o.finished_at, stage = o.stage, at = o.at, passes = o.passes, walked = o.walked,
      blocks = o.blocks, due_at = greatest(o.due_at, clock_timestamp()), seen = o.seen, older = o.older,
      leases_to = o.leases_to, running = o.running,
      matched = o.matched, cancelled = o.cancelled, aborting = o.aborting, retried = o.retried, deleted = o.deleted,
      already = o.already, finished = o.finished, failed = o.failed
  WHERE y.id = o.id;
  operation_id := o.id;
  kind := o.kind;
  status := o.status;
  document := CASE WHEN o.status <> 'running' THEN belay.operation_text(o) END;
  wake := o.retried - before.retried;
  next_ms := greatest(0, ceil(extract(epoch FROM o.due_at - clock_timestamp()) * 1000));
  RETURN NEXT;
END $$;

-- -- from requests -----------------------------------------------------------------------------------

-- An operation that is not in the table: what a request says.
CREATE FUNCTION belay.operation_of(p_kind text, p_filter json, p_abort boolean, p_delete boolean, p_reason text, p_actor text,
                                   p_grace int, p_until timestamptz, p_changes json DEFAULT NULL) RETURNS belay.operations LANGUAGE plpgsql AS $$
DECLARE
  o belay.operations;
BEGIN
  o.kind := p_kind;
  o.filter := p_filter;
  o.abort := p_abort;
  o.delete_requested := p_delete OR p_kind = 'delete';
  o.reason := p_reason;
  o.actor := p_actor;
  o.grace_seconds := p_grace;
  o.until := p_until;
  o.changes := p_changes;
  o.up_to := CASE WHEN p_until IS NULL THEN (SELECT s.last_value FROM belay.job_id_seq s) END;
  RETURN o;
END $$;

-- No row: the time of the rule is over already.
CREATE FUNCTION belay.create_operation(o belay.operations) RETURNS TABLE (id bigint, document text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  IF o.until <= clock_timestamp() THEN
    RETURN;
  ELSIF o.until IS NOT NULL THEN -- a rule may be there before the first job of its queue or task
    PERFORM belay.name_queues(ARRAY[o.filter ->> 'queue']) WHERE o.filter ->> 'queue' IS NOT NULL;
    PERFORM belay.name_tasks(ARRAY[o.filter ->> 'task']) WHERE o.filter ->> 'task' IS NOT NULL;
  END IF;
  PERFORM belay.name_queues(ARRAY[o.changes ->> 'queue']) WHERE o.changes ->> 'queue' IS NOT NULL;
  o.running := '{}';
  o.leases_to := 0;
  o := belay.see_running(o);
  INSERT INTO belay.operations AS y (kind, filter, abort, delete_requested, reason, actor, grace_seconds, until, up_to, changes,
                                     leases_to, running)
  VALUES (o.kind, o.filter, o.abort, o.delete_requested, o.reason, o.actor, o.grace_seconds, o.until, o.up_to, o.changes,
          o.leases_to, o.running)
  RETURNING * INTO o;
  IF o.until IS NOT NULL THEN
    INSERT INTO belay.rules (operation_id, until) VALUES (o.id, o.until);
  END IF;
  RETURN QUERY SELECT o.id, belay.operation_text(o);
END $$;

-- What an operation would meet now: how many of the first p_look jobs, whether those were all, and some of them.
CREATE FUNCTION belay.preview_operation(o belay.operations, p_look int, p_sample int)
RETURNS TABLE (matched bigint, is_exact boolean, sample text) LANGUAGE plpgsql STABLE AS $$
DECLARE
  w record := belay.with_job(o, false);
  statuses text[] := belay.operation_statuses(o);
  looked bigint;
  ids bigint[];
BEGIN
  EXECUTE format(
    'WITH p AS MATERIALIZED (SELECT * FROM (%s) x LIMIT %s),
     m AS MATERIALIZED (SELECT p.id FROM p %s WHERE true %s)
     SELECT (SELECT count(*) FROM p), (SELECT count(*) FROM m), ARRAY(SELECT id FROM m ORDER BY id LIMIT %s)',
    belay.status_source(statuses), p_look, w.joined, w.conditions, p_sample) INTO looked, matched, ids;
  is_exact := looked < p_look;
  sample := (SELECT '[' || coalesce(string_agg(s.job, ',' ORDER BY s.id), '') || ']' FROM belay.job_states(ids) s);
  RETURN NEXT;
END $$;

-- Stops an operation where it is, and revokes a rule. What it has done stays done.
CREATE FUNCTION belay.cancel_operation(p_id bigint) RETURNS TABLE (result text, document text) LANGUAGE plpgsql AS $$
DECLARE
  o belay.operations;
BEGIN
  SELECT * INTO o FROM belay.operations x WHERE x.id = p_id FOR UPDATE;
  result := CASE WHEN NOT FOUND THEN 'operation-not-found' WHEN o.status = 'done' THEN 'operation-finished'
                 WHEN o.status = 'cancelled' THEN 'already_cancelled' ELSE 'cancelled' END;
  IF result = 'cancelled' THEN
    UPDATE belay.operations x SET status = 'cancelled', finished_at = clock_timestamp() WHERE x.id = p_id RETURNING * INTO o;
    DELETE FROM belay.rules r WHERE r.operation_id = p_id;
  END IF;
  document := CASE WHEN o.id IS NOT NULL THEN belay.operation_text(o) END;
  RETURN NEXT;
END $$;

-- -- what comes while a rule stands ------------------------------------------------------------------

-- Cancels, among the jobs that this transaction has just put in, those that a rule is for, and answers all with the
-- documents as they are now. An insert that began before the rule was there does not come here; the operation of the
-- rule waits for it to end, and looks once more. None of the jobs has had a turn of its lock
-- yet: the caller gives the turns, when all is in.
CREATE FUNCTION belay.obey_rules(p_made belay.inserted[]) RETURNS SETOF belay.inserted LANGUAGE plpgsql AS $$
DECLARE
  left_ids bigint[] := ARRAY(SELECT m.id FROM unnest(p_made) m
                             WHERE m.result = 'created' AND NOT EXISTS (SELECT FROM belay.ends e WHERE e.id = m.id));
  hit_ids bigint[];
  all_hit bigint[] := '{}';
  gone bigint[] := '{}';
  o belay.operations;
  w record;
BEGIN
  FOR o IN SELECT y.* FROM belay.rules r JOIN belay.operations y ON y.id = r.operation_id
           WHERE r.until > clock_timestamp() ORDER BY r.operation_id LOOP
    w := belay.with_job(o, false);
    EXECUTE format('SELECT array_agg(p.id) FROM unnest($1) p (id) %s WHERE true %s', w.joined, w.conditions)
    INTO hit_ids USING left_ids;
    CONTINUE WHEN hit_ids IS NULL;
    PERFORM belay.leave_place(j) FROM unnest(hit_ids) u (id)
    CROSS JOIN LATERAL (SELECT * FROM belay.jobs j WHERE j.id = u.id OFFSET 0) j;
    PERFORM belay.end_removed(o, hit_ids);
    INSERT INTO belay.rule_hits (operation_id, n) VALUES (o.id, cardinality(hit_ids));
    left_ids := ARRAY(SELECT unnest(left_ids) EXCEPT SELECT unnest(hit_ids));
    all_hit := all_hit || hit_ids;
    gone := gone || belay.follow(hit_ids) || CASE WHEN o.delete_requested THEN hit_ids END;
  END LOOP;
  RETURN QUERY
  SELECT m.ord, m.id, m.result, m.existing_id, m.scheduled AND s.id IS NULL, coalesce(s.etag, m.etag), coalesce(s.job, m.job),
         m.has_deadline AND s.id IS NULL
  FROM unnest(p_made) m
  LEFT JOIN LATERAL (SELECT y.id, y.etag, y.job FROM belay.job_states(ARRAY[m.id]) y WHERE m.id = ANY (all_hit)) s ON true;
  IF gone <> '{}' THEN
    PERFORM belay.forget(gone, array_fill(NULL::text, ARRAY[cardinality(gone)]));
  END IF;
END $$;
