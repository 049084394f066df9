-- Gates: what must not start now although it is its turn. A queue, a task or a limit key has a gate while it is paused or
-- limited. Without any gate a claim is what it always was.
--
-- A claim sieves the jobs that it has picked: those before a gate that is shut or full are put into `parked`, once, and leave
-- it when a claim takes them. So nothing waits at the head of `ready`, and whoever pauses or limits touches one row. How many
-- run is counted from the leases, which name the limited gates of their jobs: there is no counter that could drift.
-- All of it is under one mutex, the last thing that a statement takes: two claims cannot both have the last place.

CREATE TABLE belay.gates (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('queue', 'task', 'key')),
  name text NOT NULL,
  ref int, -- the queue's or the task's id
  paused_at timestamptz, -- null: not paused
  paused_until timestamptz, -- null: until it is resumed
  paused_by text,
  reason text,
  max_running int,
  limited_at timestamptz, -- since when max_running is not null
  rate double precision, -- starts a second
  burst int,
  tokens double precision, -- as they were at tokens_at
  tokens_at timestamptz,
  UNIQUE (kind, name)
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX gates_ref ON belay.gates (kind, ref);

-- Todo, like ready, scheduled and blocked. gate_id 0: held by hand; -1: to be cancelled soon. Such a job has no turn of its lock;
-- every other has.
CREATE TABLE belay.parked (gate_id int NOT NULL, priority int NOT NULL, id bigint NOT NULL, queue_id int NOT NULL)
  WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
CREATE UNIQUE INDEX parked_line ON belay.parked (gate_id, priority DESC, id);
CREATE UNIQUE INDEX parked_job ON belay.parked (id);

-- Until when jobs are held: a calendar, as deadlines is one. The hold itself is among the job's options.
CREATE TABLE belay.holds (until timestamptz NOT NULL, id bigint NOT NULL);
CREATE UNIQUE INDEX holds_end ON belay.holds (until, id);

ALTER TABLE belay.leases ADD gates int[]; -- the limited gates that its jobs are behind; null: none
CREATE INDEX leases_gates ON belay.leases (id) WHERE gates IS NOT NULL;

CREATE FUNCTION belay.lock_gates() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(4996, 0);
END $$;

CREATE FUNCTION belay.is_paused(g belay.gates) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT g.paused_at IS NOT NULL AND (g.paused_until IS NULL OR g.paused_until > clock_timestamp())
$$;

CREATE FUNCTION belay.tokens_of(g belay.gates) RETURNS double precision LANGUAGE sql STABLE AS $$
  SELECT least(g.burst, g.tokens + g.rate * extract(epoch FROM clock_timestamp() - g.tokens_at)::double precision)
$$;

-- How many jobs of a gate run under leases that were made before it had a limit, or just then by a claim that did not know.
CREATE FUNCTION belay.running_before(g belay.gates) RETURNS int LANGUAGE plpgsql STABLE AS $$
DECLARE
  oldest timestamptz := (SELECT l.at FROM belay.leases l ORDER BY l.id LIMIT 1);
BEGIN
  IF oldest IS NULL OR oldest > g.limited_at + interval '10 seconds' THEN
    RETURN 0;
  END IF;
  RETURN (SELECT count(*) FROM belay.leases l CROSS JOIN unnest(l.job_ids) u (id)
          CROSS JOIN LATERAL (SELECT j.queue_id, j.task_id, j.options FROM belay.jobs j WHERE j.id = u.id OFFSET 0) j
          WHERE l.at < g.limited_at + interval '10 seconds' AND NOT coalesce(l.gates @> ARRAY[g.id], false)
            AND CASE g.kind WHEN 'queue' THEN j.queue_id = g.ref WHEN 'task' THEN j.task_id = g.ref
                            ELSE j.options ->> 'limit_key' = g.name END);
END $$;

-- How many jobs run behind each limited gate: {"gate": n}. Leases of which an end is just being written still count.
CREATE FUNCTION belay.running_of_gates() RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN coalesce((SELECT jsonb_object_agg(x.g, x.n) FROM (
    SELECT u.g, sum(cardinality(l.job_ids)) AS n FROM belay.leases l CROSS JOIN unnest(l.gates) u (g)
    WHERE l.gates IS NOT NULL GROUP BY u.g) x), '{}');
END $$;

-- How many jobs these gates let through now. Asked under the mutex it stays so.
CREATE FUNCTION belay.free_of_gates(p_ids int[]) RETURNS TABLE (id int, free int, limited boolean, rated boolean)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  running jsonb := belay.running_of_gates();
BEGIN
  RETURN QUERY
  SELECT g.id,
         CASE WHEN belay.is_paused(g) THEN 0
              ELSE greatest(0, least(1000000, floor(belay.tokens_of(g)),
                     g.max_running - coalesce((running ->> g.id::text)::int, 0)
                                   - CASE WHEN g.max_running IS NOT NULL THEN belay.running_before(g) END))::int END,
         g.max_running IS NOT NULL, g.rate IS NOT NULL
  FROM unnest(p_ids) u (id) CROSS JOIN LATERAL (SELECT * FROM belay.gates g WHERE g.id = u.id OFFSET 0) g;
END $$;

-- Where a claim need not look: with few queues those that are shut are left out, and their jobs stay where they are. With many
-- it would cost more than to park what is met. suffices: no other job can be behind a gate.
CREATE FUNCTION belay.open_queues(p_queues text[], OUT queues text[], OUT suffices boolean) LANGUAGE plpgsql AS $$
DECLARE
  few CONSTANT int := 32;
  ids int[] := ARRAY(SELECT g.id FROM belay.gates g WHERE g.kind = 'queue' LIMIT few + 1);
  shut text[];
BEGIN
  queues := p_queues;
  suffices := false;
  IF ids = '{}' OR cardinality(ids) > few OR p_queues IS NULL
     AND (SELECT count(*) FROM (SELECT FROM belay.queues LIMIT few + 1) x) > few THEN
    RETURN;
  END IF;
  shut := ARRAY(SELECT g.name FROM belay.free_of_gates(ids) f JOIN belay.gates g ON g.id = f.id WHERE f.free = 0);
  IF shut <> '{}' THEN
    queues := ARRAY(SELECT n FROM unnest(coalesce(p_queues, ARRAY(SELECT q.name FROM belay.queues q))) n
                    WHERE n <> ALL (shut));
    suffices := cardinality(shut) = cardinality(ids) AND NOT EXISTS (SELECT FROM belay.gates g WHERE g.kind <> 'queue')
            AND NOT EXISTS (SELECT FROM belay.parked p WHERE p.gate_id > 0);
  END IF;
END $$;

-- The gates that jobs wait at, those held by hand left out.
CREATE FUNCTION belay.gates_with_parked() RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
  ids int[] := '{}';
  g int := 0;
BEGIN
  LOOP
    g := (SELECT p.gate_id FROM belay.parked p WHERE p.gate_id > g ORDER BY p.gate_id LIMIT 1);
    EXIT WHEN g IS NULL;
    ids := ids || g;
  END LOOP;
  RETURN ids;
END $$;

-- Locks the best parked jobs of the gates that are open, as many as each lets through. p_queues, p_tasks: as in pick_of().
CREATE FUNCTION belay.pick_parked(p_n int, p_gates int[], p_queues text[], p_tasks text[], p_of boolean) RETURNS tid[]
LANGUAGE plpgsql AS $$
DECLARE
  queue_ids int[] := ARRAY(SELECT q.id FROM belay.queues q WHERE q.name = ANY (p_queues));
  task_ids int[] := ARRAY(SELECT t.id FROM belay.tasks t WHERE t.name = ANY (p_tasks));
  tids tid[];
BEGIN
  tids := ARRAY(
    SELECT x.at FROM belay.free_of_gates(p_gates) f
    CROSS JOIN LATERAL (
      SELECT p.ctid AS at, p.priority, p.id FROM belay.parked p
      WHERE p.gate_id = f.id AND (p_queues IS NULL OR p.queue_id = ANY (queue_ids))
        AND (p_tasks IS NULL OR ((SELECT j.task_id FROM belay.jobs j WHERE j.id = p.id) = ANY (task_ids)) = p_of)
      ORDER BY p.priority DESC, p.id LIMIT least(f.free, p_n)) x
    ORDER BY x.priority DESC, x.id LIMIT p_n);
  RETURN ARRAY(SELECT p.ctid FROM belay.parked p WHERE p.ctid = ANY (tids) AND p.gate_id > 0 FOR UPDATE SKIP LOCKED);
END $$;

-- A job that was picked. line: the gate that it is parked at; null: it is ready.
CREATE TYPE belay.candidate AS (at tid, line int, priority int, id bigint, queue_id int, gates int[]);

CREATE FUNCTION belay.candidates(p_ready tid[], p_parked tid[]) RETURNS belay.candidate[] LANGUAGE plpgsql AS $$
BEGIN
  RETURN (
    SELECT array_agg(ROW(c.at, c.line, c.priority, c.id, c.queue_id, array_remove(ARRAY[
             (SELECT g.id FROM belay.gates g WHERE g.kind = 'queue' AND g.ref = c.queue_id),
             (SELECT g.id FROM belay.gates g WHERE g.kind = 'task' AND g.ref = j.task_id),
             CASE WHEN j.options IS NOT NULL THEN
               (SELECT g.id FROM belay.gates g WHERE g.kind = 'key' AND g.name = j.options ->> 'limit_key') END], NULL)
           )::belay.candidate ORDER BY c.priority DESC, c.id)
    FROM (SELECT r.ctid AS at, NULL::int AS line, r.priority, r.id, r.queue_id
          FROM belay.ready r WHERE r.ctid = ANY (p_ready)
          UNION ALL
          SELECT p.ctid, p.gate_id, p.priority, p.id, p.queue_id
          FROM belay.parked p WHERE p.ctid = ANY (p_parked)) c
    CROSS JOIN LATERAL (SELECT j.task_id, j.options FROM belay.jobs j WHERE j.id = c.id OFFSET 0) j);
END $$;

-- The gates that a claim has to do with, and how many jobs each lets through: arrays side by side.
CREATE TYPE belay.open_gates AS (ids int[], free int[], limited boolean[], rated boolean[]);

-- What a claim may take of its candidates, in their order, at most p_n; those before a gate that is shut are parked there. What
-- is taken has left ready and parked when this returns. lease_gates: the limited gates of each, as text; null: none.
-- n_parked: how many were moved, n_left: how many were not looked at.
CREATE FUNCTION belay.sieve(p_candidates belay.candidate[], p_n int, OUT ids bigint[], OUT lease_gates text[], OUT n_parked int,
                            OUT n_left int) LANGUAGE plpgsql AS $$
DECLARE
  o belay.open_gates;
  before int[];
  c belay.candidate;
  g int;
  at int;
  stop int;
  limits int[];
  n int := 0;
  from_ready tid[] := '{}';
  from_parked tid[] := '{}';
  to_park belay.parked[] := '{}';
BEGIN
  ids := '{}'; lease_gates := '{}';
  SELECT array_agg(f.id), array_agg(f.free), array_agg(f.limited), array_agg(f.rated) INTO o
  FROM belay.free_of_gates(ARRAY(SELECT DISTINCT x FROM unnest(p_candidates) y CROSS JOIN unnest(y.gates) x)) f;
  before := o.free;
  FOREACH c IN ARRAY p_candidates LOOP
    EXIT WHEN cardinality(ids) = p_n;
    n := n + 1;
    stop := NULL;
    limits := NULL;
    FOREACH g IN ARRAY c.gates LOOP
      at := array_position(o.ids, g);
      IF o.free[at] = 0 THEN
        stop := g;
        EXIT;
      END IF;
      IF o.limited[at] THEN
        limits := limits || g;
      END IF;
    END LOOP;
    CONTINUE WHEN stop = c.line;
    IF c.line IS NULL THEN
      from_ready := from_ready || c.at;
    ELSE
      from_parked := from_parked || c.at;
    END IF;
    IF stop IS NOT NULL THEN
      to_park := to_park || ROW(stop, c.priority, c.id, c.queue_id)::belay.parked;
      CONTINUE;
    END IF;
    ids := ids || c.id;
    lease_gates := lease_gates || limits::text;
    FOREACH g IN ARRAY c.gates LOOP
      at := array_position(o.ids, g);
      IF at IS NOT NULL THEN -- else it has gone meanwhile
        o.free[at] := o.free[at] - 1;
      END IF;
    END LOOP;
  END LOOP;
  DELETE FROM belay.ready WHERE ctid = ANY (from_ready);
  DELETE FROM belay.parked WHERE ctid = ANY (from_parked);
  INSERT INTO belay.parked SELECT * FROM unnest(to_park);
  UPDATE belay.gates y SET tokens = belay.tokens_of(y) - (x.b - x.f), tokens_at = clock_timestamp()
  FROM unnest(o.ids, o.rated, before, o.free) x (id, rated, b, f) WHERE x.rated AND x.b > x.f AND y.id = x.id;
  n_parked := cardinality(to_park);
  n_left := cardinality(p_candidates) - n;
END $$;

-- The leases of jobs that have left ready and parked, one for each combination of limited gates. p_sure: as in claim().
CREATE FUNCTION belay.lease_jobs(p_worker bigint, p_sure int, p_ids bigint[], p_gates text[])
RETURNS TABLE (id bigint, lease bigint, queue text, task text, priority int, attempt int, counted int, max_attempts int,
               args json, has_lock boolean, timeout_ms int, options json, waited_ms bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH t AS MATERIALIZED (
    SELECT x.ord, x.gates, j.id, j.queue_id, j.task_id, j.priority, j.attempts, j.uncounted, j.attempts_base,
           j.max_attempts, j.args, j.lock, j.queueing_lock, j.timeout_ms, j.options, j.created_at, j.scheduled_at
    FROM unnest(p_ids, p_gates) WITH ORDINALITY x (id, gates, ord)
    CROSS JOIN LATERAL (SELECT * FROM belay.jobs j WHERE j.id = x.id OFFSET 0) j),
  l AS (INSERT INTO belay.leases (worker_id, sure, lo, hi, job_ids, gates)
        SELECT p_worker, count(*) FILTER (WHERE t.ord <= p_sure), min(t.id), max(t.id), array_agg(t.id ORDER BY t.ord),
               t.gates::int[] FROM t GROUP BY t.gates RETURNING id, gates),
  u AS (DELETE FROM belay.uniq USING t
        WHERE t.queueing_lock IS NOT NULL AND uniq.queueing_lock = t.queueing_lock AND uniq.id = t.id)
  SELECT t.id, l.id, q.name, k.name, t.priority, t.attempts + 1, t.attempts + 1 - t.uncounted - t.attempts_base,
         t.max_attempts::int, t.args, t.lock IS NOT NULL OR t.gates IS NOT NULL, t.timeout_ms, t.options,
         belay.waited_ms(t.created_at, t.scheduled_at)
  FROM t JOIN l ON l.gates::text IS NOT DISTINCT FROM t.gates
  JOIN belay.queues q ON q.id = t.queue_id JOIN belay.tasks k ON k.id = t.task_id;
END $$;

-- claim() where there are gates; p_open: those of p_queues to look at. It looks again, and wider, while what it meets has to be parked, 5,000 jobs at most; then
-- others are told that there may be more, as they are when it has held jobs that it did not take.
CREATE FUNCTION belay.claim_gated(p_worker bigint, p_n int, p_sure int, p_queues text[], p_open text[], p_lows json,
                                  p_tasks text[], p_of boolean)
RETURNS TABLE (id bigint, lease bigint, queue text, task text, priority int, attempt int, counted int, max_attempts int,
               args json, has_lock boolean, timeout_ms int, options json, waited_ms bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  lines int[];
  from_ready tid[];
  from_parked tid[];
  candidates belay.candidate[];
  s record;
  got int := 0;
  n_left int := 0;
BEGIN
  FOR look IN 1 .. 5 LOOP
    from_parked := '{}';
    lines := belay.gates_with_parked();
    IF lines <> '{}' THEN
      PERFORM belay.lock_gates();
      from_parked := belay.pick_parked(p_n - got, lines, p_queues, p_tasks, p_of);
    END IF;
    IF p_tasks IS NULL THEN
      from_ready := belay.pick(CASE look WHEN 1 THEN p_n ELSE 1000 END, p_open, p_lows);
    ELSE
      from_ready := belay.pick_of(p_n, p_open, p_tasks, p_of);
    END IF;
    candidates := belay.candidates(from_ready, from_parked);
    EXIT WHEN candidates IS NULL;
    IF EXISTS (SELECT FROM unnest(candidates) c WHERE c.gates <> '{}') THEN
      PERFORM belay.lock_gates();
    END IF;
    s := belay.sieve(candidates, p_n - got);
    IF s.ids <> '{}' THEN
      RETURN QUERY SELECT * FROM belay.lease_jobs(p_worker, greatest(0, p_sure - got), s.ids, s.lease_gates);
    END IF;
    got := got + cardinality(s.ids);
    n_left := CASE WHEN look > 1 THEN s.n_left ELSE 0 END;
    EXIT WHEN got >= p_n OR s.n_parked = 0;
    n_left := 1;
  END LOOP;
  IF n_left > 0 THEN
    PERFORM pg_notify('belay_ready', '');
  END IF;
END $$;

-- -- pause and limits ---------------------------------------------------------------------

CREATE FUNCTION belay.pause_text(g belay.gates) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN belay.is_paused(g) THEN
    concat('{"at":"', belay.time_text(g.paused_at), '","by":', coalesce(to_json(g.paused_by)::text, 'null'),
           ',"reason":', coalesce(to_json(g.reason)::text, 'null'),
           ',"until":', coalesce('"' || belay.time_text(g.paused_until) || '"', 'null'), '}') ELSE 'null' END
$$;

CREATE FUNCTION belay.limits_text(g belay.gates) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN num_nonnulls(g.max_running, g.rate) > 0 THEN
    concat('{"max_running":', coalesce(g.max_running::text, 'null'), ',"rate_per_second":', coalesce(g.rate::text, 'null'),
           ',"burst":', coalesce(g.burst::text, 'null'), '}') ELSE 'null' END
$$;

-- What a gate says of itself: members of a document. Null: there is no gate.
CREATE FUNCTION belay.gate_text(g belay.gates) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT concat('"paused":', coalesce(belay.is_paused(g), false)::text, ',"pause":', belay.pause_text(g),
                ',"limits":', belay.limits_text(g))
$$;

-- How many jobs run and how many are parked at a gate: counts every running job, for people.
CREATE FUNCTION belay.running_at(p_kind text, p_name text) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT count(*) FROM belay.leases l CROSS JOIN unnest(l.job_ids) u (id) JOIN belay.jobs j ON j.id = u.id
  WHERE CASE p_kind WHEN 'queue' THEN j.queue_id = (SELECT q.id FROM belay.queues q WHERE q.name = p_name)
                    WHEN 'task' THEN j.task_id = (SELECT t.id FROM belay.tasks t WHERE t.name = p_name)
                    ELSE j.options ->> 'limit_key' = p_name END
$$;

-- The gate of that name, made if there is none. It takes the mutex, so that no claim is at work with what was before.
CREATE FUNCTION belay.make_gate(p_kind text, p_name text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  IF p_kind = 'queue' THEN
    PERFORM belay.name_queues(ARRAY[p_name]);
  ELSIF p_kind = 'task' THEN
    PERFORM belay.name_tasks(ARRAY[p_name]);
  END IF;
  PERFORM belay.lock_gates();
  INSERT INTO belay.gates (kind, name, ref)
  VALUES (p_kind, p_name, CASE p_kind WHEN 'queue' THEN (SELECT q.id FROM belay.queues q WHERE q.name = p_name)
                                      WHEN 'task' THEN (SELECT t.id FROM belay.tasks t WHERE t.name = p_name) END)
  ON CONFLICT DO NOTHING;
  RETURN (SELECT g.id FROM belay.gates g WHERE g.kind = p_kind AND g.name = p_name);
END $$;

-- Nothing of it starts any more, until it is resumed or until p_until; what runs goes on. A pause that is repeated is replaced.
CREATE FUNCTION belay.pause(p_kind text, p_name text, p_actor text, p_reason text, p_until timestamptz) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
  gate int := belay.make_gate(p_kind, p_name);
  g belay.gates;
BEGIN
  UPDATE belay.gates x SET paused_at = CASE WHEN belay.is_paused(x) THEN x.paused_at ELSE clock_timestamp() END,
                           paused_by = p_actor, reason = p_reason, paused_until = p_until
  WHERE x.id = gate RETURNING * INTO g;
  RETURN concat('{"name":', to_json(p_name), ',', belay.gate_text(g), '}');
END $$;

CREATE FUNCTION belay.resume(p_kind text, p_name text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  g belay.gates;
BEGIN
  UPDATE belay.gates x SET paused_at = NULL, paused_by = NULL, reason = NULL, paused_until = NULL
  WHERE x.kind = p_kind AND x.name = p_name RETURNING * INTO g;
  RETURN concat('{"name":', to_json(p_name), ',', belay.gate_text(g), '}');
END $$;

-- Replaces the limits; null: none. A bucket that is new, or that has got another size, is full.
CREATE FUNCTION belay.limit_to(p_kind text, p_name text, p_max_running int, p_rate double precision, p_burst int) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
  gate int := belay.make_gate(p_kind, p_name);
  size int := CASE WHEN p_rate IS NOT NULL THEN coalesce(p_burst, greatest(1, ceil(p_rate))::int) END;
  g belay.gates;
BEGIN
  UPDATE belay.gates x SET max_running = p_max_running,
         limited_at = CASE WHEN p_max_running IS NOT NULL THEN coalesce(x.limited_at, clock_timestamp()) END,
         rate = p_rate, burst = size, tokens_at = clock_timestamp(),
         tokens = CASE WHEN x.burst = size THEN belay.tokens_of(x) ELSE size END
  WHERE x.id = gate RETURNING * INTO g;
  RETURN concat('{"name":', to_json(p_name), ',', belay.gate_text(g), '}');
END $$;

-- -- hold and release ---------------------------------------------------------------------

CREATE FUNCTION belay.without_hold(p_options json) RETURNS json LANGUAGE sql IMMUTABLE AS $$
  SELECT nullif((p_options::jsonb - 'hold')::text, '{}')::json
$$;

-- A job that has left waits or parked for good: it waits for nobody any more, and its options say that it is held no more.
CREATE FUNCTION belay.wait_no_more(p_id bigint, p_options json) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM belay.needs n WHERE n.id = p_id;
  IF p_options -> 'hold' IS NOT NULL THEN
    UPDATE belay.jobs SET options = belay.without_hold(options) WHERE id = p_id;
  END IF;
END $$;

-- Holds a todo job by hand: it will not start before it is released. It gives its turn of a lock to the next; the caller sees
-- to that. A hold that is repeated is replaced.
CREATE FUNCTION belay.hold_one(j belay.jobs, p_actor text, p_reason text, p_until timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM belay.leave_place(j); -- what it waits for stays in needs
  INSERT INTO belay.parked (gate_id, priority, id, queue_id) VALUES (0, j.priority, j.id, j.queue_id);
  UPDATE belay.jobs SET options = (coalesce(options::jsonb, '{}') || jsonb_build_object('hold', jsonb_build_object(
    'at', belay.time_text(clock_timestamp()), 'by', p_actor, 'reason', p_reason, 'until', belay.time_text(p_until))))::json
  WHERE id = j.id;
  IF p_until IS NOT NULL THEN
    INSERT INTO belay.holds (until, id) VALUES (p_until, j.id) ON CONFLICT DO NOTHING;
  END IF;
  INSERT INTO belay.events (job_id, type, actor, detail)
  VALUES (j.id, 'held', p_actor, json_build_object('reason', p_reason, 'until', belay.time_text(p_until)));
END $$;

CREATE FUNCTION belay.hold_by_hand(p_ids bigint[], p_actor text[], p_reason text[], p_until timestamptz[])
RETURNS TABLE (ord int, result text, etag text, job text) LANGUAGE plpgsql AS $$
DECLARE
  x record;
  j belay.jobs;
  locks text[];
  holders bigint[];
  known bigint[];
  held bigint[] := '{}';
BEGIN
  SELECT y.known INTO known FROM belay.all_locks_of(p_ids) y;
  PERFORM belay.hold_jobs(p_ids);
  SELECT y.locks, y.ids INTO locks, holders FROM belay.all_locks_of(p_ids) y; -- a retry may have changed one until now
  FOR x IN SELECT * FROM unnest(p_ids, p_actor, p_reason, p_until) WITH ORDINALITY y (id, actor, reason, until, n)
           ORDER BY y.id, y.n LOOP
    ord := x.n; result := 'job-not-found'; etag := NULL; job := NULL;
    IF x.id = ANY (known) THEN
      result := (SELECT CASE p.status WHEN 'todo' THEN 'held' WHEN 'doing' THEN 'job-running' ELSE 'job-finished' END
                 FROM belay.place_of(x.id) p WHERE p.status IS NOT NULL);
      result := coalesce(result, 'job-not-found'); -- deleted while this waited for it
    END IF;
    IF result = 'held' THEN
      SELECT * INTO j FROM belay.jobs WHERE id = x.id;
      PERFORM belay.hold_one(j, x.actor, x.reason, x.until);
      held := held || x.id;
    END IF;
    SELECT s.etag, s.job INTO etag, job FROM belay.job_states(ARRAY[x.id]) s;
    RETURN NEXT;
  END LOOP;
  PERFORM belay.release(locks, ARRAY(SELECT CASE WHEN i = ANY (held) THEN i END FROM unnest(holders) i));
END $$;

-- Jobs that are held by hand go back to where they would be; the caller holds them, and gives the locks their turns. Answers
-- which were.
CREATE FUNCTION belay.let_go(p_ids bigint[], p_actor text, OUT gone bigint[], OUT locks text[]) LANGUAGE plpgsql AS $$
DECLARE
  j belay.jobs;
BEGIN
  gone := '{}'; locks := '{}';
  FOR j IN WITH d AS (DELETE FROM belay.parked p WHERE p.id = ANY (p_ids) AND p.gate_id = 0 RETURNING p.id)
           SELECT x.* FROM d CROSS JOIN LATERAL (SELECT * FROM belay.jobs x WHERE x.id = d.id OFFSET 0) x LOOP
    UPDATE belay.jobs SET options = belay.without_hold(options) WHERE id = j.id;
    INSERT INTO belay.events (job_id, type, actor) VALUES (j.id, 'hold_ended', p_actor);
    IF EXISTS (SELECT FROM belay.needs n WHERE n.id = j.id) THEN
      INSERT INTO belay.waits (id, priority, queue_id, run_at) VALUES (j.id, j.priority, j.queue_id, j.scheduled_at);
    ELSE
      PERFORM belay.put_todo(j);
    END IF;
    gone := gone || j.id;
    IF j.lock IS NOT NULL THEN
      locks := locks || j.lock;
    END IF;
  END LOOP;
END $$;

CREATE FUNCTION belay.release_by_hand(p_ids bigint[], p_actor text[])
RETURNS TABLE (ord int, result text, etag text, job text, queue text) LANGUAGE plpgsql AS $$
DECLARE
  x record;
  r record;
  gone bigint[] := '{}';
  locks text[] := '{}';
BEGIN
  PERFORM belay.hold_jobs(p_ids);
  FOR x IN SELECT DISTINCT y.actor FROM unnest(p_actor) y (actor) LOOP
    r := belay.let_go(ARRAY(SELECT y.id FROM unnest(p_ids, p_actor) y (id, actor)
                            WHERE y.actor IS NOT DISTINCT FROM x.actor), x.actor);
    gone := gone || r.gone;
    locks := locks || r.locks;
  END LOOP;
  PERFORM belay.release(locks, NULL);
  RETURN QUERY
  SELECT u.n::int, CASE WHEN s.id IS NULL THEN 'job-not-found' WHEN u.id = ANY (gone) THEN 'released' ELSE 'not_held' END,
         s.etag, s.job, s.queue
  FROM unnest(p_ids) WITH ORDINALITY u (id, n) LEFT JOIN LATERAL belay.job_states(ARRAY[u.id]) s ON true;
END $$;

-- Holds that are over: how many, and the locks that the caller gives their turns. A row of somebody who is at work with the job
-- is left for the next look.
CREATE FUNCTION belay.end_holds(p_limit int, OUT n int, OUT locks text[]) LANGUAGE plpgsql AS $$
DECLARE
  ids bigint[];
  gone bigint[];
BEGIN
  n := 0;
  DELETE FROM belay.holds WHERE ctid = ANY (ARRAY( -- cancelled, released or held anew meanwhile
    SELECT h.ctid FROM belay.holds h WHERE h.until <= now()
      AND NOT EXISTS (SELECT FROM belay.jobs j WHERE j.id = h.id AND j.options -> 'hold' ->> 'until' = belay.time_text(h.until))
    ORDER BY h.until, h.id LIMIT p_limit FOR UPDATE SKIP LOCKED));
  ids := ARRAY(SELECT h.id FROM belay.holds h JOIN belay.parked p ON p.id = h.id JOIN belay.jobs j ON j.id = h.id
               WHERE h.until <= now() AND j.options -> 'hold' ->> 'until' = belay.time_text(h.until)
               ORDER BY h.until, h.id LIMIT p_limit FOR UPDATE OF h, p SKIP LOCKED);
  IF ids <> '{}' THEN
    DELETE FROM belay.holds h WHERE h.until <= now() AND h.id = ANY (ids);
    SELECT x.gone, x.locks INTO gone, locks FROM belay.let_go(ids, NULL) x;
    n := cardinality(gone);
  END IF;
END $$;

-- What time does to gates: pauses end, buckets fill. opened: how much may start that could not; next_ms: when to
-- look again, null: nothing is expected. A gate that is of no use any more goes with the last job that it parked.
CREATE FUNCTION belay.mind_gates(OUT opened int, OUT next_ms bigint) LANGUAGE plpgsql AS $$
DECLARE
  now_at timestamptz := clock_timestamp();
  waiting int[];
  n int;
BEGIN
  opened := 0;
  next_ms := (SELECT greatest(0, ceil(extract(epoch FROM h.until - now_at) * 1000)) FROM belay.holds h ORDER BY h.until LIMIT 1);
  IF NOT EXISTS (SELECT FROM belay.gates) THEN
    RETURN;
  ELSIF NOT pg_try_advisory_xact_lock(4996, 0) THEN
    next_ms := least(next_ms, 20); -- a claim is at work
    RETURN;
  END IF;
  UPDATE belay.gates g SET paused_at = NULL, paused_by = NULL, reason = NULL, paused_until = NULL
  WHERE g.paused_until <= now_at;
  GET DIAGNOSTICS n = ROW_COUNT;
  waiting := belay.gates_with_parked();
  DELETE FROM belay.gates g
  WHERE num_nonnulls(g.paused_at, g.max_running, g.rate) = 0 AND NOT g.id = ANY (waiting);
  waiting := waiting || ARRAY(SELECT g.id FROM belay.gates g WHERE g.kind = 'queue'
                                AND EXISTS (SELECT FROM belay.ready r WHERE r.queue_id = g.ref));
  opened := opened + n + (SELECT count(*) FROM belay.free_of_gates(waiting) f WHERE f.free > 0);
  next_ms := least(next_ms, (
    SELECT min(CASE WHEN g.paused_until IS NOT NULL
                      THEN greatest(0, ceil(extract(epoch FROM g.paused_until - now_at) * 1000))
                    WHEN g.rate IS NULL THEN NULL
                    WHEN g.id = ANY (waiting) -- until the next token
                      THEN greatest(10, ceil((1 - least(0.999, belay.tokens_of(g))) / g.rate * 1000))
                    ELSE 250 END) -- jobs may come that take all tokens
    FROM belay.gates g WHERE g.paused_until IS NOT NULL OR g.rate IS NOT NULL AND g.paused_at IS NULL));
END $$;

-- -- why a job waits ----------------------------------------------------------------------

CREATE FUNCTION belay.explain_held(j belay.jobs) RETURNS belay.explanation LANGUAGE plpgsql STABLE AS $$
DECLARE
  x belay.explanation;
  hold json := j.options -> 'hold';
BEGIN
  x.reason := 'held';
  x.since := hold ->> 'at';
  x.at := hold ->> 'until';
  x.why := concat('it is held', ' by ' || (hold ->> 'by'), ' (' || (hold -> 'reason')::text || ')');
  x.what := CASE WHEN x.at IS NULL THEN 'it waits until somebody releases it' ELSE 'it is released' END;
  x.facts := json_build_object('hold', hold);
  RETURN x;
END $$;

-- The first of a job's gates that lets nothing through now. No reason: all of them would let it pass.
CREATE FUNCTION belay.explain_gate(j belay.jobs) RETURNS belay.explanation LANGUAGE plpgsql STABLE AS $$
DECLARE
  x belay.explanation;
  g belay.gates;
  what text;
  running bigint;
BEGIN
  SELECT y.* INTO g FROM belay.gates y CROSS JOIN LATERAL belay.free_of_gates(ARRAY[y.id]) f
  WHERE (y.kind = 'queue' AND y.ref = j.queue_id OR y.kind = 'task' AND y.ref = j.task_id
         OR y.kind = 'key' AND y.name = j.options ->> 'limit_key') AND f.free = 0
  ORDER BY belay.is_paused(y) DESC, y.id LIMIT 1;
  IF NOT FOUND THEN
    RETURN x;
  END IF;
  what := format('%s "%s"', CASE g.kind WHEN 'key' THEN 'limit key' ELSE g.kind END, g.name);
  IF belay.is_paused(g) THEN
    x.reason := 'paused';
    x.since := g.paused_at;
    x.at := g.paused_until;
    x.why := concat('its ', what, ' is paused', ' by ' || g.paused_by, ' (' || to_json(g.reason)::text || ')');
    x.what := CASE WHEN x.at IS NULL THEN 'it waits until somebody resumes it' ELSE 'it may start' END;
    x.facts := json_build_object('kind', g.kind, 'name', g.name, 'pause', belay.pause_text(g)::json);
    RETURN x;
  END IF;
  running := belay.running_at(g.kind, g.name);
  x.since := greatest(j.created_at, j.scheduled_at);
  x.facts := json_build_object('kind', g.kind, 'name', g.name, 'limits', belay.limits_text(g)::json, 'running', running);
  IF g.rate IS NOT NULL AND belay.tokens_of(g) < 1 THEN
    x.reason := 'rate_reached';
    x.why := format('of its %s %s start in a second, and so many have', what, g.rate);
    x.what := 'the next starts';
    x.at := clock_timestamp() + (1 - belay.tokens_of(g)) / g.rate * interval '1 second';
  ELSE
    x.reason := 'limit_reached';
    x.why := format('of its %s %s of %s jobs that may run at a time are running', what, running, g.max_running);
    x.what := 'the next starts when one of them has ended';
  END IF;
  RETURN x;
END $$;
