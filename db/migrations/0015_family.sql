-- Families: jobs that belong to another (parent_id), and jobs that wait for the success of others (depends_on).
--
-- What the end of a job does to its family takes places of other jobs, and whoever ends jobs must not wait for those. So the end
-- leaves a row in sweeps, by belay.follow(), and a transaction of its own does the rest in steps. A job that is put in for a
-- parent holds the parent's place meanwhile: either it sees the end, or the end sees it.

-- at: when it was put in; a sweep has nothing to do with those that came after the end that it is of.
CREATE TABLE belay.children (
  parent_id bigint NOT NULL,
  id bigint NOT NULL,
  cascades boolean NOT NULL, -- it is cancelled with its parent
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (parent_id, id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);

-- Todo, like ready, scheduled and blocked: it depends on what has not succeeded yet. It has no turn of its lock.
CREATE TABLE belay.waits (
  id bigint PRIMARY KEY,
  priority int NOT NULL,
  queue_id int NOT NULL,
  run_at timestamptz
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);

-- Of each job in waits, those that it still waits for.
CREATE TABLE belay.needs (
  parent_id bigint NOT NULL,
  id bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (parent_id, id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX needs_of ON belay.needs (id);

-- Ends that a family has still to be told of. A sweep that is not done goes to the end of the line, behind all others.
CREATE TABLE belay.sweeps (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  parent_id bigint NOT NULL,
  status smallint NOT NULL, -- as in ends; 0: the job is no more, and its children are nobody's
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  after_id bigint NOT NULL DEFAULT 0 -- children up to here have been told
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX sweeps_parent ON belay.sweeps (parent_id);

CREATE FUNCTION belay.has_family(p_options json) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN p_options -> 'parent_id' IS NOT NULL OR p_options -> 'depends_on' IS NOT NULL;
END $$;

-- In words, for receipts.
CREATE FUNCTION belay.parent_ended(p_id bigint, p_status text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN concat('job ', p_id, CASE p_status WHEN 'failed' THEN ' failed' ELSE ' was ' || p_status END);
END $$;

-- -- jobs in ----------------------------------------------------------------------------------------------------------------

-- What a new job is to an older one: its child, or, needs, dependent on it.
CREATE TYPE belay.relation AS (g int, id bigint, parent_id bigint, needs boolean, cascades boolean);

CREATE FUNCTION belay.relations_of(p_grps int[], p_ids bigint[], p_options json[]) RETURNS belay.relation[]
LANGUAGE plpgsql AS $$
BEGIN
  RETURN ARRAY(
    WITH o AS MATERIALIZED (
      SELECT x.g, x.id, x.options FROM unnest(p_grps, p_ids, p_options) x (g, id, options)
      WHERE x.options IS NOT NULL AND belay.has_family(x.options))
    SELECT ROW(o.g, o.id, (o.options ->> 'parent_id')::bigint, false,
               coalesce(o.options ->> 'on_parent_cancel' = 'cascade', false))::belay.relation
    FROM o WHERE o.options -> 'parent_id' IS NOT NULL
    UNION ALL
    SELECT DISTINCT ROW(o.g, o.id, d.value::bigint, true, false)::belay.relation
    FROM o CROSS JOIN LATERAL json_array_elements_text(o.options -> 'depends_on') d);
END $$;

-- The jobs that such options name: whoever puts jobs in while it holds others holds these with them.
CREATE FUNCTION belay.parents_of(p_options json[]) RETURNS bigint[] LANGUAGE plpgsql AS $$
BEGIN
  IF num_nonnulls(VARIADIC p_options) = 0 THEN
    RETURN '{}';
  END IF;
  RETURN ARRAY(SELECT DISTINCT r.parent_id FROM unnest(belay.relations_of(NULL, NULL, p_options)) r);
END $$;

-- Holds the parents of new jobs, looks at them, and makes the new ones known to those that have not ended. The caller has not
-- yet put in anything that somebody may wait for.
CREATE FUNCTION belay.join_families(p_refused int[], p_grps int[], p_ids bigint[], p_options json[]) RETURNS belay.family
LANGUAGE plpgsql AS $$
DECLARE
  f belay.family;
  relations belay.relation[] := belay.relations_of(p_grps, p_ids, p_options);
  statuses jsonb; -- of the parents that there are: {"31": "doing"}
BEGIN
  f.parents := ARRAY(SELECT DISTINCT r.parent_id FROM unnest(relations) r);
  PERFORM belay.hold_jobs(f.parents);
  statuses := (SELECT jsonb_object_agg(u.id, p.status)
               FROM unnest(f.parents) u (id) CROSS JOIN LATERAL belay.place_of(u.id) p WHERE p.status IS NOT NULL);
  SELECT array_agg(x.id), array_agg(x.parent_id),
         array_agg(CASE WHEN x.needs THEN 'dependency-not-found' ELSE 'parent-not-found' END),
         p_refused || coalesce(array_agg(x.g), '{}')
  INTO f.lost, f.lost_parent, f.lost_as, f.refused
  FROM (SELECT DISTINCT ON (r.id) r.* FROM unnest(relations) r WHERE statuses ->> r.parent_id::text IS NULL
        ORDER BY r.id, r.needs, r.parent_id) x;
  relations := ARRAY(SELECT r FROM unnest(relations) r WHERE r.g <> ALL (f.refused));
  SELECT coalesce(array_agg(x.id), '{}'), array_agg(belay.parent_ended(x.parent_id, x.status)) INTO f.doomed, f.reasons
  FROM (SELECT DISTINCT ON (r.id) r.id, r.parent_id, statuses ->> r.parent_id::text AS status FROM unnest(relations) r
        WHERE r.needs AND statuses ->> r.parent_id::text IN ('failed', 'cancelled', 'aborted')
           OR r.cascades AND statuses ->> r.parent_id::text IN ('cancelled', 'aborted')
        ORDER BY r.id, r.needs, r.parent_id) x;
  INSERT INTO belay.children (parent_id, id, cascades)
  SELECT r.parent_id, r.id, r.cascades FROM unnest(relations) r WHERE NOT r.needs;
  relations := ARRAY(SELECT r FROM unnest(relations) r
                     WHERE r.id <> ALL (f.doomed) AND statuses ->> r.parent_id::text IN ('todo', 'doing'));
  INSERT INTO belay.needs (parent_id, id) SELECT r.parent_id, r.id FROM unnest(relations) r WHERE r.needs;
  INSERT INTO belay.follows (job_id) SELECT DISTINCT r.parent_id FROM unnest(relations) r WHERE r.needs OR r.cascades
  ON CONFLICT DO NOTHING;
  f.waiting := f.doomed || ARRAY(SELECT DISTINCT r.id FROM unnest(relations) r WHERE r.needs);
  RETURN f;
END $$;

-- Those of the new jobs that came too late: they end before they were anywhere.
CREATE FUNCTION belay.end_doomed(p_ids bigint[], p_want boolean[], f belay.family) RETURNS SETOF belay.inserted
LANGUAGE plpgsql AS $$
DECLARE
  made belay.inserted;
  x record;
BEGIN
  FOR x IN SELECT u.ord::int, u.id, d.reason, u.want, j.options FROM unnest(p_ids, p_want) WITH ORDINALITY u (id, want, ord)
           JOIN unnest(f.doomed, f.reasons) d (id, reason) ON d.id = u.id
           CROSS JOIN LATERAL (SELECT j.options FROM belay.jobs j WHERE j.id = u.id OFFSET 0) j ORDER BY u.id LOOP
    PERFORM belay.cancel_todo(x.id, false, false, x.reason, NULL, 'parent');
    made := ROW(x.ord, x.id, 'created', NULL, false, NULL, NULL, false);
    IF x.want THEN
      SELECT s.etag, s.job INTO made.etag, made.job FROM belay.job_states(ARRAY[x.id]) s;
    END IF;
    IF x.options ->> 'delete_policy' = 'always' THEN
      PERFORM belay.forget(ARRAY[x.id], ARRAY['delete_policy']);
    END IF;
    RETURN NEXT made;
  END LOOP;
END $$;

-- Whether the end of a job, which is held, concerns others.
CREATE FUNCTION belay.is_awaited(p_id bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN EXISTS (SELECT FROM belay.needs n WHERE n.parent_id = p_id)
         OR EXISTS (SELECT FROM belay.children c WHERE c.parent_id = p_id AND c.cascades);
END $$;

-- -- ends -------------------------------------------------------------------------------------------------------------------

-- A job has ended, as p_status in ends says: who has to be told of it is told soon.
CREATE FUNCTION belay.tell_family(p_id bigint, p_status int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM belay.needs n WHERE n.parent_id = p_id)
     OR p_status IN (4, 5) AND EXISTS (SELECT FROM belay.children c WHERE c.parent_id = p_id AND c.cascades) THEN
    INSERT INTO belay.sweeps (parent_id, status) VALUES (p_id, p_status);
    PERFORM pg_notify('belay_sweep', '');
  END IF;
END $$;

-- What is removed is nobody's child any more, and nobody's parent.
CREATE FUNCTION belay.leave_families(p_ids bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM belay.children c USING (
    SELECT j.id, (j.options ->> 'parent_id')::bigint AS parent_id
    FROM unnest(p_ids) u (id) CROSS JOIN LATERAL (SELECT * FROM belay.jobs j WHERE j.id = u.id OFFSET 0) j
    WHERE j.options -> 'parent_id' IS NOT NULL) x
  WHERE c.parent_id = x.parent_id AND c.id = x.id;
  INSERT INTO belay.sweeps (parent_id, status)
  SELECT u.id, 0 FROM unnest(p_ids) u (id) WHERE EXISTS (SELECT FROM belay.children c WHERE c.parent_id = u.id);
END $$;

-- Sweeps of one kind, with those that they are about. left: how many more may be taken; done: those that have no more.
CREATE TYPE belay.swept AS (
  n_left int, done bigint[], again belay.sweeps[], parents bigint[], ids bigint[], aborts boolean[], reasons text[]);

-- Who waits for the success of s.parent_id.
CREATE FUNCTION belay.sweep_needs(x belay.swept, s belay.sweeps, p_reason text) RETURNS belay.swept LANGUAGE plpgsql AS $$
DECLARE
  found bigint[] := ARRAY(SELECT n.id FROM belay.needs n WHERE n.parent_id = s.parent_id AND n.at <= s.at
                          ORDER BY n.id LIMIT x.n_left);
  n int := cardinality(found);
BEGIN
  x.n_left := x.n_left - n;
  IF n > 0 THEN
    x.ids := x.ids || found;
    x.parents := x.parents || array_fill(s.parent_id, ARRAY[n]);
    x.aborts := x.aborts || array_fill(false, ARRAY[n]);
    x.reasons := x.reasons || array_fill(p_reason, ARRAY[n]);
  END IF;
  RETURN x;
END $$;

-- The children of s.parent_id that have not ended and are to end with it; s.after_id moves on.
CREATE FUNCTION belay.sweep_children(INOUT x belay.swept, INOUT s belay.sweeps, p_reason text) LANGUAGE plpgsql AS $$
DECLARE
  found bigint[] := ARRAY(SELECT c.id FROM belay.children c
                          WHERE c.parent_id = s.parent_id AND c.id > s.after_id AND c.cascades AND c.at <= s.at
                            AND NOT EXISTS (SELECT FROM (SELECT e.id FROM belay.ends e WHERE e.id = c.id OFFSET 0) e)
                          ORDER BY c.id LIMIT x.n_left);
  n int := cardinality(found);
BEGIN
  x.n_left := x.n_left - n;
  IF n > 0 THEN
    s.after_id := found[n];
    x.ids := x.ids || found;
    x.parents := x.parents || array_fill(s.parent_id, ARRAY[n]);
    x.aborts := x.aborts || array_fill(true, ARRAY[n]);
    x.reasons := x.reasons || array_fill(p_reason, ARRAY[n]);
  END IF;
END $$;

-- Those that waited for what has succeeded: ready, scheduled, or in the line of their lock, once nothing else is missing. Answers
-- how many may start now.
CREATE FUNCTION belay.release_waiting(p_parents bigint[], p_ids bigint[]) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  j belay.jobs;
  locks text[];
  n int := 0;
BEGIN
  PERFORM belay.hold_jobs(ARRAY(SELECT DISTINCT i FROM unnest(p_ids) i)); -- one that is held by hand is not in waits
  DELETE FROM belay.needs n USING unnest(p_parents, p_ids) u (parent_id, id) WHERE n.parent_id = u.parent_id AND n.id = u.id;
  FOR j IN WITH w AS (DELETE FROM belay.waits w WHERE w.id = ANY (p_ids)
                        AND NOT EXISTS (SELECT FROM belay.needs n WHERE n.id = w.id) RETURNING w.id)
           SELECT x.* FROM w CROSS JOIN LATERAL (SELECT * FROM belay.jobs x WHERE x.id = w.id OFFSET 0) x LOOP
    PERFORM belay.put_todo(j);
    n := n + 1;
  END LOOP;
  SELECT y.locks INTO locks FROM belay.all_locks_of(p_ids) y;
  IF locks IS NOT NULL THEN
    PERFORM belay.promote(locks);
  END IF;
  RETURN n;
END $$;

-- The children of jobs that are no more: only the rows that say so. False: there are more. Rows that somebody else is at are
-- passed over, because who removes jobs may wait for ours.
CREATE FUNCTION belay.sweep_gone(s belay.sweeps, p_limit int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM belay.sweeps o WHERE o.parent_id = s.parent_id AND o.status <> 0) THEN
    RETURN false;
  END IF;
  DELETE FROM belay.children WHERE ctid = ANY (ARRAY(
    SELECT c.ctid FROM belay.children c WHERE c.parent_id = s.parent_id LIMIT p_limit FOR UPDATE SKIP LOCKED));
  RETURN NOT EXISTS (SELECT FROM belay.children c WHERE c.parent_id = s.parent_id);
END $$;

-- Sweeps of the kind of the first, as far as p_limit jobs go.
CREATE FUNCTION belay.take_sweeps(p_taken belay.sweeps[], p_limit int) RETURNS belay.swept LANGUAGE plpgsql AS $$
DECLARE
  x belay.swept;
  s belay.sweeps;
  y record;
  reason text;
  first int := p_taken[1].status;
  more boolean;
BEGIN
  x.n_left := p_limit;
  FOREACH s IN ARRAY p_taken LOOP
    CONTINUE WHEN least(s.status, 3) <> least(first, 3);
    EXIT WHEN x.n_left <= 0;
    reason := belay.parent_ended(s.parent_id, (ARRAY['succeeded', 'failed', 'cancelled', 'aborted'])[s.status - 1]);
    IF s.status = 0 THEN
      more := NOT belay.sweep_gone(s, x.n_left);
    ELSE
      x := belay.sweep_needs(x, s, reason);
      IF s.status > 3 THEN
        y := belay.sweep_children(x, s, reason);
        x := y.x;
        s := y.s;
      END IF;
      more := x.n_left <= 0;
    END IF;
    x.done := x.done || s.id;
    IF more THEN
      x.again := x.again || s;
    END IF;
  END LOOP;
  RETURN x;
END $$;

-- One step: some of the ends that families have to be told of, to p_limit jobs at most. Every node calls this; SKIP LOCKED shares
-- the work, and what a node that dies has not committed is done by the next. A step does one kind only, because each takes its rows
-- in the order of all others. One row a job that was cancelled or asked to stop; the last row has no job: how many wait no
-- longer, and whether there is more to do.
CREATE FUNCTION belay.sweep(p_limit int) RETURNS TABLE (job_id bigint, result text, released int, more boolean)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  most CONSTANT int := 100;
  taken belay.sweeps[] := ARRAY(SELECT s FROM belay.sweeps s ORDER BY s.id LIMIT most FOR UPDATE SKIP LOCKED);
  x belay.swept;
  v record;
  n int := 0;
BEGIN
  IF taken = '{}' THEN
    RETURN QUERY VALUES (NULL::bigint, NULL::text, 0, false);
    RETURN;
  END IF;
  x := belay.take_sweeps(taken, p_limit);
  DELETE FROM belay.sweeps s WHERE s.id = ANY (x.done);
  INSERT INTO belay.sweeps (parent_id, status, at, after_id)
  SELECT a.parent_id, a.status, a.at, a.after_id FROM unnest(x.again) a;
  IF taken[1].status = 2 AND x.ids IS NOT NULL THEN
    n := belay.release_waiting(x.parents, x.ids);
  ELSIF x.ids IS NOT NULL THEN
    SELECT array_agg(y.id ORDER BY y.id) AS ids, array_agg(y.abort ORDER BY y.id) AS aborts, array_agg(y.reason ORDER BY y.id) AS reasons,
           array_agg(CASE WHEN NOT y.abort THEN '{todo}' END ORDER BY y.id) AS only_if, count(*)::int AS n INTO v
    FROM (SELECT u.id, bool_or(u.abort) AS abort, min(u.reason) AS reason
          FROM unnest(x.ids, x.aborts, x.reasons) u (id, abort, reason) GROUP BY u.id) y;
    RETURN QUERY
    SELECT v.ids[a.ord], a.result, NULL::int, NULL::boolean
    FROM belay.cancel_jobs(v.ids, v.aborts, array_fill(false, ARRAY[v.n]), v.reasons, array_fill(NULL::text, ARRAY[v.n]),
                           array_fill('parent'::text, ARRAY[v.n]), array_fill(NULL::int, ARRAY[v.n]), v.only_if,
                           array_fill(NULL::int, ARRAY[v.n]), array_fill(NULL::text, ARRAY[v.n])) a;
  END IF;
  RETURN QUERY VALUES (NULL::bigint, NULL::text, n,
                       x.ids IS NOT NULL OR cardinality(x.done) < cardinality(taken) OR x.again IS NOT NULL);
END $$;

-- -- explain ----------------------------------------------------------------------------------------------------------------

-- In waits: others have to succeed before it.
CREATE FUNCTION belay.explain_waits(j belay.jobs, p_node json) RETURNS belay.explanation LANGUAGE plpgsql STABLE AS $$
DECLARE
  x belay.explanation;
  ids bigint[] := ARRAY(SELECT n.parent_id FROM belay.needs n WHERE n.id = j.id ORDER BY n.parent_id);
  n int := cardinality(ids);
BEGIN
  x.since := j.created_at;
  x.reason := 'waits_for_jobs';
  x.facts := json_build_object('jobs', (
    SELECT json_agg(json_build_object('id', u.id, 'status', p.status) ORDER BY u.id)
    FROM unnest(ids) u (id) CROSS JOIN LATERAL belay.place_of(u.id) p));
  x.why := concat('it is waiting for job ', ids[1], CASE WHEN n > 1 THEN format(' and %s more', n - 1) END, ' to succeed');
  x.what := CASE n WHEN 1 THEN 'it may start when that has succeeded, and is cancelled if it ends in another way'
                   ELSE 'it may start when all of them have succeeded, and is cancelled if one ends in another way' END;
  RETURN x;
END $$;
