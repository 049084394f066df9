-- Jobs in, and the turns of locks.

-- Queues and tasks are made when they are first named. A batch names the same few again and again: each is looked up once.
CREATE FUNCTION belay.name_queues(p_names text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM (SELECT DISTINCT n FROM unnest(p_names) n) x
             WHERE NOT EXISTS (SELECT FROM belay.queues q WHERE q.name = x.n)) THEN
    INSERT INTO belay.queues (name) SELECT DISTINCT n FROM unnest(p_names) n ORDER BY n ON CONFLICT DO NOTHING;
  END IF;
END $$;

CREATE FUNCTION belay.name_tasks(p_names text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM (SELECT DISTINCT n FROM unnest(p_names) n) x
             WHERE NOT EXISTS (SELECT FROM belay.tasks t WHERE t.name = x.n)) THEN
    INSERT INTO belay.tasks (name) SELECT DISTINCT n FROM unnest(p_names) n ORDER BY n ON CONFLICT DO NOTHING;
  END IF;
END $$;

-- One mutex a bucket of names, taken in bucket order, so that two callers cannot deadlock. A bucket, because one advisory
-- lock a name would fill PostgreSQL's lock table.
CREATE FUNCTION belay.lock_names(p_class int, p_names text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(p_class, b)
  FROM (SELECT DISTINCT hashtext(n) & 1023 AS b FROM unnest(p_names) n WHERE n IS NOT NULL ORDER BY 1) x;
END $$;

-- Gives each free lock to the first of its line; takes it back from a head that has not started if a better one came.
-- Turns are the last thing that a statement takes: whoever has one waits for no row. So rows that are busy are passed over,
-- and whoever holds the row of a job that has a lock promotes before the end, whether or not it changed anything.
CREATE FUNCTION belay.promote(p_locks text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM belay.lock_names(4994, p_locks);
  WITH u AS (SELECT DISTINCT l FROM unnest(p_locks) l),
  better AS MATERIALIZED (
    SELECT h.lock, h.id, j.queue_id, j.priority, j.scheduled_at
    FROM u JOIN belay.held h ON h.lock = u.l
    CROSS JOIN LATERAL (SELECT * FROM belay.jobs j WHERE j.id = h.id OFFSET 0) j
    CROSS JOIN LATERAL (SELECT b.priority, b.id FROM belay.blocked b WHERE b.lock = h.lock
                        ORDER BY b.priority DESC, b.id LIMIT 1) f -- the first only: the line may be long
    WHERE f.priority > j.priority OR f.priority = j.priority AND f.id < h.id),
  r AS (DELETE FROM belay.ready WHERE ctid = ANY (ARRAY(
          SELECT r.ctid FROM better x
          JOIN belay.ready r ON r.queue_id = x.queue_id AND r.priority = x.priority AND r.id = x.id
          FOR UPDATE OF r SKIP LOCKED)) RETURNING id),
  s AS (DELETE FROM belay.scheduled WHERE ctid = ANY (ARRAY(
          SELECT s.ctid FROM better x JOIN belay.scheduled s ON s.run_at = x.scheduled_at AND s.id = x.id
          FOR UPDATE OF s SKIP LOCKED)) RETURNING id),
  p AS (DELETE FROM belay.parked WHERE ctid = ANY (ARRAY(
          SELECT p.ctid FROM better x JOIN belay.parked p ON p.id = x.id FOR UPDATE OF p SKIP LOCKED)) RETURNING id),
  back AS (INSERT INTO belay.blocked (lock, priority, id, queue_id, run_at)
           SELECT x.lock, x.priority, x.id, x.queue_id, x.scheduled_at
           FROM better x JOIN (SELECT id FROM r UNION ALL SELECT id FROM s UNION ALL SELECT id FROM p) y ON y.id = x.id RETURNING lock)
  DELETE FROM belay.held h USING back WHERE h.lock = back.lock;

  WITH u AS (SELECT DISTINCT l FROM unnest(p_locks) l
             WHERE NOT EXISTS (SELECT FROM belay.held h WHERE h.lock = l)),
  g AS (DELETE FROM belay.blocked b WHERE b.ctid = ANY (ARRAY(
          SELECT f.at FROM u, LATERAL (SELECT b.ctid AS at FROM belay.blocked b WHERE b.lock = u.l
                                       ORDER BY b.priority DESC, b.id LIMIT 1 FOR UPDATE SKIP LOCKED) f))
        RETURNING b.*),
  h AS (INSERT INTO belay.held (lock, id) SELECT lock, id FROM g),
  s AS (INSERT INTO belay.scheduled (run_at, id, queue_id, priority)
        SELECT run_at, id, queue_id, priority FROM g WHERE run_at > now())
  INSERT INTO belay.ready (queue_id, priority, id)
  SELECT queue_id, priority, id FROM g WHERE run_at IS NULL OR run_at <= now();
END $$;

-- The jobs of p_ids are done with their locks (null: only look at the line); next please.
CREATE FUNCTION belay.release(p_locks text[], p_ids bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF p_locks IS NULL OR p_locks = '{}' THEN
    RETURN;
  END IF;
  PERFORM belay.lock_names(4994, p_locks);
  DELETE FROM belay.held h USING unnest(p_locks, p_ids) x (l, i) WHERE h.lock = x.l AND h.id = x.i;
  PERFORM belay.promote(p_locks);
END $$;

-- Which of these jobs have which lock, for release(). Null: none has one, as most; and nobody holds any, mostly.
CREATE FUNCTION belay.locks_of(p_ids bigint[], OUT locks text[], OUT ids bigint[]) LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM belay.held) THEN
    SELECT array_agg(j.lock), array_agg(j.id) INTO locks, ids
    FROM unnest(p_ids) u (id) CROSS JOIN LATERAL (SELECT * FROM belay.jobs j WHERE j.id = u.id OFFSET 0) j
    WHERE j.lock IS NOT NULL;
  END IF;
END $$;

-- Whether a scheduled job of a lock holds the others of its line back; else it joins the line when it is due.
CREATE FUNCTION belay.is_lock_strict(p_options json) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN coalesce((p_options ->> 'lock_strict')::boolean, false);
END $$;

-- Puts a todo job, which is in no place, where it waits: for its time, in the line of its lock, or for a worker; or aside, while it
-- is to be cancelled soon. The caller gives the lock its turn.
CREATE FUNCTION belay.put_todo(j belay.jobs) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF belay.is_undoable(j.options) THEN
    INSERT INTO belay.parked (gate_id, priority, id, queue_id) VALUES (-1, j.priority, j.id, j.queue_id);
  ELSIF j.scheduled_at > now() AND (j.lock IS NULL OR NOT belay.is_lock_strict(j.options)) THEN
    INSERT INTO belay.scheduled (run_at, id, queue_id, priority, lock)
    VALUES (j.scheduled_at, j.id, j.queue_id, j.priority, j.lock);
  ELSIF j.lock IS NOT NULL THEN
    INSERT INTO belay.blocked (lock, priority, id, queue_id, run_at)
    VALUES (j.lock, j.priority, j.id, j.queue_id, j.scheduled_at);
  ELSE
    INSERT INTO belay.ready (queue_id, priority, id) VALUES (j.queue_id, j.priority, j.id);
  END IF;
END $$;

-- The other way: a todo job that is held leaves its place. Answers which that was.
CREATE FUNCTION belay.leave_place(j belay.jobs) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM belay.ready r WHERE r.queue_id = j.queue_id AND r.priority = j.priority AND r.id = j.id;
  IF FOUND THEN
    RETURN 'ready';
  END IF;
  IF j.scheduled_at IS NOT NULL THEN
    DELETE FROM belay.scheduled s WHERE s.run_at = j.scheduled_at AND s.id = j.id;
    IF FOUND THEN
      RETURN 'scheduled';
    END IF;
  END IF;
  IF j.lock IS NOT NULL THEN
    DELETE FROM belay.blocked b WHERE b.lock = j.lock AND b.priority = j.priority AND b.id = j.id;
    IF FOUND THEN
      RETURN 'blocked';
    END IF;
  END IF;
  DELETE FROM belay.waits w WHERE w.id = j.id;
  IF FOUND THEN
    RETURN 'waits';
  END IF;
  DELETE FROM belay.parked p WHERE p.id = j.id;
  RETURN CASE WHEN FOUND THEN 'parked' END;
END $$;

CREATE TYPE belay.inserted AS (
  ord int, id bigint, result text, existing_id bigint, scheduled boolean, etag text, job text,
  has_deadline boolean);

-- What new jobs find in their families (0015_family.sql). parents: all that they name, held. refused: the groups that are not
-- put in; lost: which of them name a job that is not there (lost_parent), and the result that says so. waiting: those whose place
-- is waits; doomed: of these, those that have nothing to wait for any more, and why.
CREATE TYPE belay.family AS (
  parents bigint[], refused int[], lost bigint[], lost_parent bigint[], lost_as text[], waiting bigint[], doomed bigint[],
  reasons text[]);

-- Jobs without lock, queueing lock or schedule: two plain inserts, ids in the order of the input. plpgsql, as all that is hot:
-- it keeps its plans, and a function in SQL is planned at each call.
CREATE FUNCTION belay.insert_plain(
  p_tasks text[], p_queues text[], p_priorities int[], p_args json[], p_max_attempts int[], p_tags text[],
  p_metadata json[], p_want boolean[]) RETURNS SETOF belay.inserted LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY
  WITH t AS MATERIALIZED (
    SELECT x.ord::int, nextval('belay.job_id_seq') AS id, q.id AS queue_id, k.id AS task_id, x.task, x.queue,
           x.priority, x.args, x.max_attempts, x.tags::text[] AS tags, x.metadata, x.want, now() AS created_at
    FROM unnest(p_tasks, p_queues, p_priorities, p_args, p_max_attempts, p_tags, p_metadata, p_want)
         WITH ORDINALITY x (task, queue, priority, args, max_attempts, tags, metadata, want, ord)
    CROSS JOIN LATERAL (SELECT q.id FROM belay.queues q WHERE q.name = x.queue OFFSET 0) q
    CROSS JOIN LATERAL (SELECT k.id FROM belay.tasks k WHERE k.name = x.task OFFSET 0) k),
  j AS (INSERT INTO belay.jobs (id, created_at, queue_id, task_id, priority, max_attempts, tags, args, metadata)
        SELECT t.id, t.created_at, t.queue_id, t.task_id, t.priority, t.max_attempts, t.tags, t.args, t.metadata FROM t),
  r AS (INSERT INTO belay.ready (queue_id, priority, id) SELECT t.queue_id, t.priority, t.id FROM t),
  d AS (
    SELECT t.ord, t.id,
           CASE WHEN t.want THEN belay.job_text(t.id, t.queue, t.task, t.priority, t.args, 'todo', 0, t.max_attempts,
             NULL, NULL, t.tags, t.metadata, NULL, t.created_at, NULL, NULL, NULL, NULL, NULL, NULL, NULL) END AS job
    FROM t OFFSET 0)
  SELECT d.ord, d.id, 'created', NULL::bigint, false, belay.etag_text(d.job), d.job, false FROM d;
END $$;

-- All or nothing for each group: the groups (p_grps) in which a queueing lock is taken get no row.
CREATE FUNCTION belay.take_queueing_locks(p_grps int[], p_ids bigint[], p_locks text[])
RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
  refused int[] := '{}';
  g int;
  wanted int;
  won bigint[];
BEGIN
  IF (SELECT count(DISTINCT l) FROM unnest(p_locks) l) > 1 THEN
    PERFORM belay.lock_names(4995, p_locks); -- two that wait for each other's rows would deadlock
  END IF;
  FOR g, wanted IN SELECT x.g, count(*) FROM unnest(p_grps, p_locks) x (g, l) WHERE x.l IS NOT NULL
                   GROUP BY x.g ORDER BY x.g LOOP
    FOR round IN 1 .. 3 LOOP
      WITH w AS (INSERT INTO belay.uniq (queueing_lock, id)
                 SELECT x.l, x.i FROM unnest(p_grps, p_ids, p_locks) x (gg, i, l)
                 WHERE x.gg = g AND x.l IS NOT NULL ORDER BY x.l, x.i ON CONFLICT DO NOTHING RETURNING id)
      SELECT coalesce(array_agg(w.id), '{}') INTO won FROM w;
      EXIT WHEN cardinality(won) = wanted;
      DELETE FROM belay.uniq u USING unnest(p_ids, p_locks) x (i, l)
      WHERE x.i = ANY (won) AND u.queueing_lock = x.l;
      EXIT WHEN EXISTS (SELECT FROM unnest(p_grps, p_locks) x (gg, l) JOIN belay.uniq u ON u.queueing_lock = x.l
                        WHERE x.gg = g); -- else it was claimed or cancelled meanwhile: the lock may be free
    END LOOP;
    IF cardinality(won) < wanted THEN
      refused := refused || g;
    END IF;
  END LOOP;
  RETURN refused;
END $$;

-- $1.. are arrays of the same length; p_grps says which rows belong together.
-- Not p_promote: the caller gives the locks their turns.
CREATE FUNCTION belay.insert_jobs(
  p_grps int[], p_tasks text[], p_queues text[], p_priorities int[], p_args json[], p_max_attempts int[],
  p_tags text[], p_metadata json[], p_scheduled_at timestamptz[], p_delay_ms bigint[], p_locks text[],
  p_queueing_locks text[], p_want boolean[], p_timeout_ms int[] DEFAULT '{}',
  p_deadlines timestamptz[] DEFAULT '{}', p_deadline_ms bigint[] DEFAULT '{}', p_options json[] DEFAULT '{}',
  p_obey boolean DEFAULT true, p_promote boolean DEFAULT true)
RETURNS SETOF belay.inserted LANGUAGE plpgsql AS $$
DECLARE
  ids bigint[];
  refused int[];
  locks text[];
  f belay.family;
  has_families boolean;
BEGIN
  IF p_obey AND EXISTS (SELECT FROM belay.rules) THEN -- mostly there is none
    RETURN QUERY SELECT * FROM belay.obey_rules(ARRAY(SELECT x FROM belay.insert_jobs(
      p_grps, p_tasks, p_queues, p_priorities, p_args, p_max_attempts, p_tags, p_metadata, p_scheduled_at, p_delay_ms, p_locks,
      p_queueing_locks, p_want, p_timeout_ms, p_deadlines, p_deadline_ms, p_options, false, false) x));
    locks := array_remove(p_locks, NULL); -- their turns once, for those that are in and those that the rules ended
    IF locks <> '{}' AND p_promote THEN
      PERFORM belay.promote(locks);
    END IF;
    RETURN;
  END IF;
  PERFORM belay.name_queues(p_queues || belay.follow_names(p_options, 'queue')),
          belay.name_tasks(p_tasks || belay.follow_names(p_options, 'task'));
  IF array_remove(p_scheduled_at, NULL) = '{}' AND array_remove(p_delay_ms, NULL) = '{}'
     AND array_remove(p_locks, NULL) = '{}' AND array_remove(p_queueing_locks, NULL) = '{}'
     AND array_remove(p_timeout_ms, NULL) = '{}' AND array_remove(p_deadlines, NULL) = '{}'
     AND array_remove(p_deadline_ms, NULL) = '{}' AND num_nonnulls(VARIADIC p_options) = 0 THEN
    RETURN QUERY SELECT * FROM belay.insert_plain(p_tasks, p_queues, p_priorities, p_args, p_max_attempts, p_tags,
                                                  p_metadata, p_want);
    RETURN;
  END IF;
  ids := ARRAY(SELECT nextval('belay.job_id_seq') FROM generate_series(1, cardinality(p_tasks)));
  has_families := EXISTS (SELECT FROM unnest(p_options) o WHERE o IS NOT NULL AND belay.has_family(o));
  IF has_families THEN
    PERFORM belay.lock_names(4995, p_queueing_locks); -- whoever holds a parent may want the same one
  END IF;
  refused := belay.take_queueing_locks(p_grps, ids, p_queueing_locks);
  f.waiting := '{}';
  f.doomed := '{}';
  IF has_families THEN
    f := belay.join_families(refused, p_grps, ids, p_options);
    refused := f.refused;
    DELETE FROM belay.uniq u USING unnest(p_grps, ids, p_queueing_locks) x (g, i, l)
    WHERE x.g = ANY (refused) AND u.queueing_lock = x.l AND u.id = x.i;
  END IF;
  RETURN QUERY
  WITH t AS MATERIALIZED (
    SELECT x.*, q.id AS queue_id, k.id AS task_id, x.tags_text::text[] AS tags,
           coalesce(x.at, now() + x.delay * interval '1 millisecond') AS run_at,
           coalesce(x.deadline_at, now() + x.deadline_ms * interval '1 millisecond') AS deadline
    FROM unnest(p_grps, ids, p_tasks, p_queues, p_priorities, p_args, p_max_attempts, p_tags, p_metadata,
                p_scheduled_at, p_delay_ms, p_locks, p_queueing_locks, p_want, p_timeout_ms, p_deadlines, p_deadline_ms,
                p_options)
         WITH ORDINALITY x (g, id, task, queue, priority, args, max_attempts, tags_text, metadata, at, delay, lock,
                            queueing_lock, want, timeout_ms, deadline_at, deadline_ms, options, ord)
    CROSS JOIN LATERAL (SELECT q.id FROM belay.queues q WHERE q.name = x.queue OFFSET 0) q
    CROSS JOIN LATERAL (SELECT k.id FROM belay.tasks k WHERE k.name = x.task OFFSET 0) k),
  ok AS (SELECT * FROM t WHERE NOT g = ANY (refused)),
  todo AS (SELECT * FROM ok WHERE id <> ALL (f.waiting)),
  j AS (INSERT INTO belay.jobs (id, created_at, queue_id, task_id, priority, max_attempts, tags, args, metadata,
                                scheduled_at, lock, queueing_lock, timeout_ms, deadline, options)
        SELECT id, now(), queue_id, task_id, priority, max_attempts, tags, args, metadata, run_at, lock,
               queueing_lock, timeout_ms, deadline, options FROM ok),
  l AS (INSERT INTO belay.deadlines (at, id) SELECT deadline, id FROM ok WHERE deadline IS NOT NULL),
  f AS (INSERT INTO belay.follows (job_id) SELECT id FROM ok WHERE options IS NOT NULL AND belay.has_consequences(options)),
  b AS (INSERT INTO belay.blocked (lock, priority, id, queue_id, run_at)
        SELECT lock, priority, id, queue_id, run_at FROM todo
        WHERE lock IS NOT NULL AND (run_at > now() AND NOT belay.is_lock_strict(options)) IS NOT TRUE),
  s AS (INSERT INTO belay.scheduled (run_at, id, queue_id, priority, lock)
        SELECT run_at, id, queue_id, priority, lock FROM todo
        WHERE run_at > now() AND (lock IS NULL OR NOT belay.is_lock_strict(options))),
  w AS (INSERT INTO belay.waits (id, priority, queue_id, run_at)
        SELECT id, priority, queue_id, run_at FROM ok WHERE id = ANY (f.waiting)),
  r AS (INSERT INTO belay.ready (queue_id, priority, id)
        SELECT queue_id, priority, id FROM todo WHERE lock IS NULL AND (run_at IS NULL OR run_at <= now()))
  SELECT t.ord::int, t.id,
         CASE WHEN NOT t.g = ANY (refused) THEN 'created'
              WHEN u.id IS NULL THEN coalesce(f.lost_as[array_position(f.lost, t.id)], 'refused') ELSE 'already-enqueued' END,
         CASE WHEN t.g = ANY (refused) THEN coalesce(u.id, f.lost_parent[array_position(f.lost, t.id)]) END,
         coalesce(t.run_at > now(), false),
         belay.etag_text(d.job), d.job, t.deadline IS NOT NULL
  FROM t LEFT JOIN belay.uniq u ON u.queueing_lock = t.queueing_lock
  CROSS JOIN LATERAL (
    SELECT CASE WHEN t.want THEN belay.job_text(t.id, t.queue, t.task, t.priority, t.args, 'todo', 0, t.max_attempts,
             t.lock, t.queueing_lock, t.tags, t.metadata, t.run_at, now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL,
             t.timeout_ms, t.deadline, t.options)
           END AS job OFFSET 0) d
  WHERE t.id <> ALL (f.doomed);
  IF f.doomed <> '{}' THEN
    RETURN QUERY SELECT * FROM belay.end_doomed(ids, p_want, f);
  END IF;
  locks := array_remove(p_locks, NULL);
  IF f.parents IS NOT NULL THEN -- whoever held the row of a job that has a lock looks at its line
    locks := locks || ARRAY(SELECT j.lock FROM unnest(f.parents) u (id)
                            CROSS JOIN LATERAL (SELECT j.lock FROM belay.jobs j WHERE j.id = u.id OFFSET 0) j
                            WHERE j.lock IS NOT NULL);
  END IF;
  IF locks <> '{}' AND p_promote THEN
    PERFORM belay.promote(locks);
  END IF;
END $$;

-- Public: a job in the caller's own transaction. docs/sql.md is its page. It runs with the rights of the schema's owner, so
-- that a caller needs none on the tables. Null means the default.
CREATE FUNCTION belay.enqueue(
  task text, args json DEFAULT '{}', queue text DEFAULT 'default', priority int DEFAULT 0,
  scheduled_at timestamptz DEFAULT NULL, lock text DEFAULT NULL, queueing_lock text DEFAULT NULL,
  max_attempts int DEFAULT 1, tags text[] DEFAULT '{}', metadata json DEFAULT '{}', wake boolean DEFAULT true,
  timeout_seconds numeric DEFAULT NULL, deadline timestamptz DEFAULT NULL, traceparent text DEFAULT NULL,
  lock_strict boolean DEFAULT NULL, delete_policy text DEFAULT NULL, on_success json DEFAULT NULL, on_failure json DEFAULT NULL, on_cancel json DEFAULT NULL,
  retry json DEFAULT NULL, limit_key text DEFAULT NULL,
  parent_id bigint DEFAULT NULL, on_parent_cancel text DEFAULT NULL, depends_on bigint[] DEFAULT NULL,
  on_conflict text DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made belay.inserted;
  options json := (
    SELECT json_object_agg(o.name, o.value)
    FROM (VALUES ('traceparent', to_json(traceparent)), ('limit_key', to_json(limit_key)),
                 ('lock_strict', CASE WHEN lock_strict THEN json 'true' END),
                 ('delete_policy', to_json(delete_policy)), ('on_success', on_success),
                 ('on_failure', on_failure), ('on_cancel', on_cancel), ('retry', retry), ('parent_id', to_json(parent_id)),
                 ('on_parent_cancel', to_json(on_parent_cancel)), ('depends_on', to_json(nullif(depends_on, '{}')))) o (name, value) WHERE o.value IS NOT NULL);
  problem text;
BEGIN
  args := coalesce(args, '{}');
  queue := coalesce(queue, 'default');
  max_attempts := coalesce(max_attempts, 1);
  metadata := coalesce(metadata, '{}');
  problem := CASE
    WHEN task IS NULL OR length(task) NOT BETWEEN 1 AND 128 THEN 'task must have 1 to 128 characters'
    WHEN length(queue) NOT BETWEEN 1 AND 128 THEN 'queue must have 1 to 128 characters'
    WHEN json_typeof(args) <> 'object' THEN 'args must be a JSON object'
    WHEN json_typeof(metadata) <> 'object' THEN 'metadata must be a JSON object'
    WHEN length(lock) NOT BETWEEN 1 AND 255 THEN 'lock must have 1 to 255 characters'
    WHEN length(queueing_lock) NOT BETWEEN 1 AND 255 THEN 'queueing_lock must have 1 to 255 characters'
    WHEN max_attempts NOT BETWEEN 1 AND 1000 THEN 'max_attempts must be from 1 to 1000'
    WHEN cardinality(tags) > 20 THEN 'tags must be at most 20'
    WHEN array_position(tags, NULL) IS NOT NULL
      OR EXISTS (SELECT FROM unnest(tags) t WHERE length(t) NOT BETWEEN 1 AND 64)
      THEN 'a tag must have 1 to 64 characters'
    WHEN scheduled_at NOT BETWEEN '1970-01-01 00:00Z' AND '9999-12-31 23:59Z'
      THEN 'scheduled_at must be from 1970 to 9999'
    WHEN timeout_seconds NOT BETWEEN 0 AND 604800 THEN 'timeout_seconds must be from 0 to 604800'
    WHEN on_parent_cancel NOT IN ('cascade', 'detach') THEN 'on_parent_cancel must be cascade or detach'
    WHEN on_parent_cancel IS NOT NULL AND parent_id IS NULL THEN 'on_parent_cancel needs a parent_id'
    WHEN on_conflict NOT IN ('reject', 'ignore', 'replace', 'abort_replace')
      THEN 'on_conflict must be reject, ignore, replace or abort_replace'
    WHEN on_conflict IS NOT NULL AND queueing_lock IS NULL THEN 'on_conflict needs a queueing_lock'
    WHEN cardinality(depends_on) > 20 THEN 'depends_on must be at most 20'
    WHEN array_position(depends_on, NULL) IS NOT NULL THEN 'depends_on must have no nulls'
    WHEN delete_policy NOT IN ('never', 'successful', 'always') THEN 'delete_policy must be never, successful or always'
    WHEN traceparent !~ '^(?!ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$' THEN 'traceparent must be as W3C Trace Context has it'
    WHEN limit_key !~ '^[A-Za-z0-9_.:-]{1,128}$' THEN 'limit_key must have 1 to 128 letters, digits and _ . : -'
    WHEN deadline NOT BETWEEN '1970-01-01 00:00Z' AND '9999-12-31 23:59Z' THEN 'deadline must be from 1970 to 9999'
    WHEN retry IS NOT NULL THEN belay.retry_fault(retry, max_attempts)
  END;
  problem := coalesce(problem, belay.follow_problem('on_success', on_success), belay.follow_problem('on_failure', on_failure),
                      belay.follow_problem('on_cancel', on_cancel));
  IF problem IS NOT NULL THEN
    RAISE EXCEPTION '%', problem USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF coalesce(on_conflict, 'reject') <> 'reject' THEN
    made := belay.enqueue_over(ROW(
      1, 0, task, queue, coalesce(priority, 0), args, max_attempts, coalesce(tags, '{}')::text, metadata, scheduled_at,
      NULL, lock, queueing_lock, false, ceil(timeout_seconds * 1000)::int, deadline, NULL, options, NULL, NULL, NULL,
      on_conflict));
  ELSE
    SELECT * INTO made FROM belay.insert_jobs(
      ARRAY[0], ARRAY[task], ARRAY[queue], ARRAY[coalesce(priority, 0)], ARRAY[args], ARRAY[max_attempts],
      ARRAY[coalesce(tags, '{}')::text], ARRAY[metadata], ARRAY[scheduled_at], ARRAY[NULL::bigint], ARRAY[lock],
      ARRAY[queueing_lock], ARRAY[false], ARRAY[ceil(timeout_seconds * 1000)::int], ARRAY[deadline], ARRAY[NULL::bigint],
      ARRAY[options]);
  END IF;
  IF made.result IN ('parent-not-found', 'dependency-not-found') THEN
    RAISE EXCEPTION 'there is no job %', made.existing_id USING ERRCODE = 'foreign_key_violation';
  END IF;
  IF made.result NOT IN ('created', 'existing', 'replaced') THEN
    RAISE EXCEPTION 'queueing lock "%" is taken by job %', queueing_lock, made.existing_id
      USING ERRCODE = 'unique_violation';
  END IF;
  IF coalesce(wake, true) AND NOT made.scheduled AND made.result <> 'existing' THEN
    PERFORM pg_notify('belay_ready', queue);
  END IF;
  RETURN made.id;
END $$;

-- Public: a job's document, as GET /jobs/33 shows it; null when there is none.
CREATE FUNCTION belay.job(job_id bigint) RETURNS json
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT s.job::json FROM belay.job_states(ARRAY[job_id]) s
$$;
REVOKE ALL ON FUNCTION belay.enqueue, belay.job FROM PUBLIC;
