-- Jobs in, and the turns of locks.

-- Queues and tasks are made when they are first named.
CREATE FUNCTION belay.name_queues(p_names text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM unnest(p_names) n WHERE NOT EXISTS (SELECT FROM belay.queues q WHERE q.name = n)) THEN
    INSERT INTO belay.queues (name) SELECT DISTINCT n FROM unnest(p_names) n ORDER BY n ON CONFLICT DO NOTHING;
  END IF;
END $$;

CREATE FUNCTION belay.name_tasks(p_names text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM unnest(p_names) n WHERE NOT EXISTS (SELECT FROM belay.tasks t WHERE t.name = n)) THEN
    INSERT INTO belay.tasks (name) SELECT DISTINCT n FROM unnest(p_names) n ORDER BY n ON CONFLICT DO NOTHING;
  END IF;
END $$;

-- One mutex a bucket of lock names, taken in bucket order, so that two callers cannot deadlock. A bucket, because one
-- advisory lock a name would fill PostgreSQL's lock table.
CREATE FUNCTION belay.lock_turns(p_locks text[]) RETURNS void LANGUAGE sql AS $$
  SELECT pg_advisory_xact_lock(4994, b) FROM (SELECT DISTINCT hashtext(l) & 1023 AS b FROM unnest(p_locks) l ORDER BY 1) x
$$;

-- Gives each free lock to the first of its line; takes it back from a head that has not started if a better one came.
CREATE FUNCTION belay.promote(p_locks text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM belay.lock_turns(p_locks);
  WITH u AS (SELECT DISTINCT l FROM unnest(p_locks) l),
  better AS (
    SELECT h.lock, h.id, j.queue_id, j.priority, j.scheduled_at
    FROM u JOIN belay.held h ON h.lock = u.l JOIN belay.jobs j ON j.id = h.id,
         LATERAL (SELECT b.priority, b.id FROM belay.blocked b WHERE b.lock = h.lock
                  ORDER BY b.priority DESC, b.id LIMIT 1) f -- the first only: the line may be long
    WHERE f.priority > j.priority OR f.priority = j.priority AND f.id < h.id),
  r AS (DELETE FROM belay.ready r USING better x
        WHERE r.queue_id = x.queue_id AND r.priority = x.priority AND r.id = x.id RETURNING x.*),
  s AS (DELETE FROM belay.scheduled s USING better x
        WHERE s.run_at = x.scheduled_at AND s.id = x.id RETURNING x.*),
  back AS (INSERT INTO belay.blocked (lock, priority, id, queue_id, run_at)
           SELECT lock, priority, id, queue_id, scheduled_at FROM r
           UNION ALL SELECT lock, priority, id, queue_id, scheduled_at FROM s RETURNING lock)
  DELETE FROM belay.held h USING back WHERE h.lock = back.lock;

  WITH u AS (SELECT DISTINCT l FROM unnest(p_locks) l
             WHERE NOT EXISTS (SELECT FROM belay.held h WHERE h.lock = l)),
  first AS (SELECT b.* FROM u, LATERAL (SELECT * FROM belay.blocked b WHERE b.lock = u.l
                                        ORDER BY b.priority DESC, b.id LIMIT 1) b),
  g AS (DELETE FROM belay.blocked b USING first f
        WHERE b.lock = f.lock AND b.priority = f.priority AND b.id = f.id RETURNING b.*),
  h AS (INSERT INTO belay.held (lock, id) SELECT lock, id FROM g),
  s AS (INSERT INTO belay.scheduled (run_at, id, queue_id, priority)
        SELECT run_at, id, queue_id, priority FROM g WHERE run_at > now())
  INSERT INTO belay.ready (queue_id, priority, id)
  SELECT queue_id, priority, id FROM g WHERE run_at IS NULL OR run_at <= now();
END $$;

-- The holders ended: free their locks, next please.
CREATE FUNCTION belay.release(p_locks text[], p_ids bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM belay.lock_turns(p_locks);
  DELETE FROM belay.held h USING unnest(p_locks, p_ids) x (l, i) WHERE h.lock = x.l AND h.id = x.i;
  PERFORM belay.promote(p_locks);
END $$;

-- The same for ids of which hardly any has a lock.
CREATE FUNCTION belay.release_ids(p_ids bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  locks text[];
  ids bigint[];
BEGIN
  IF NOT EXISTS (SELECT FROM belay.held) THEN
    RETURN;
  END IF;
  SELECT array_agg(j.lock), array_agg(j.id) INTO locks, ids
  FROM unnest(p_ids) u (id) JOIN belay.jobs j ON j.id = u.id WHERE j.lock IS NOT NULL;
  IF locks IS NOT NULL THEN
    PERFORM belay.release(locks, ids);
  END IF;
END $$;

CREATE TYPE belay.inserted AS (
  ord int, id bigint, result text, existing_id bigint, scheduled boolean, etag text, job text);

-- Jobs without lock, queueing lock or schedule: two plain inserts, ids in the order of the input.
CREATE FUNCTION belay.insert_plain(
  p_tasks text[], p_queues text[], p_priorities int[], p_args json[], p_max_attempts int[], p_tags text[],
  p_metadata json[], p_want boolean[]) RETURNS SETOF belay.inserted LANGUAGE sql AS $$
  WITH t AS MATERIALIZED (
    SELECT x.ord::int, nextval('belay.job_id_seq') AS id, q.id AS queue_id, k.id AS task_id, x.task, x.queue,
           x.priority, x.args, x.max_attempts, x.tags::text[] AS tags, x.metadata, x.want, now() AS created_at
    FROM unnest(p_tasks, p_queues, p_priorities, p_args, p_max_attempts, p_tags, p_metadata, p_want)
         WITH ORDINALITY x (task, queue, priority, args, max_attempts, tags, metadata, want, ord)
    JOIN belay.queues q ON q.name = x.queue JOIN belay.tasks k ON k.name = x.task),
  j AS (INSERT INTO belay.jobs (id, created_at, queue_id, task_id, priority, max_attempts, tags, args, metadata)
        SELECT id, created_at, queue_id, task_id, priority, max_attempts, tags, args, metadata FROM t),
  r AS (INSERT INTO belay.ready (queue_id, priority, id) SELECT queue_id, priority, id FROM t)
  SELECT ord, id, 'created', NULL::bigint, false,
         CASE WHEN want THEN belay.etag_text(id, 'todo', 0, NULL, NULL, NULL, NULL, max_attempts) END,
         CASE WHEN want THEN belay.job_text(id, queue, task, priority, args, 'todo', 0, max_attempts, NULL, NULL,
           tags, metadata, NULL, created_at, NULL, NULL, NULL, NULL, NULL, NULL, NULL) END
  FROM t
$$;

-- All or nothing for each group: the groups (p_grps) in which a queueing lock is taken get no row.
CREATE FUNCTION belay.take_queueing_locks(p_grps int[], p_ids bigint[], p_locks text[])
RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
  refused int[] := '{}';
  g int;
  wanted int;
  won bigint[];
BEGIN
  FOR g, wanted IN SELECT x.g, count(*) FROM unnest(p_grps, p_locks) x (g, l) WHERE x.l IS NOT NULL
                   GROUP BY x.g ORDER BY x.g LOOP
    WITH w AS (INSERT INTO belay.uniq (queueing_lock, id)
               SELECT x.l, x.i FROM unnest(p_grps, p_ids, p_locks) x (gg, i, l)
               WHERE x.gg = g AND x.l IS NOT NULL ORDER BY x.l, x.i ON CONFLICT DO NOTHING RETURNING id)
    SELECT coalesce(array_agg(id), '{}') INTO won FROM w;
    IF cardinality(won) < wanted THEN
      DELETE FROM belay.uniq u USING unnest(p_ids, p_locks) x (i, l)
      WHERE x.i = ANY (won) AND u.queueing_lock = x.l AND u.id = x.i;
      refused := refused || g;
    END IF;
  END LOOP;
  RETURN refused;
END $$;

-- $1.. are arrays of the same length; p_grps says which rows belong together.
CREATE FUNCTION belay.insert_jobs(
  p_grps int[], p_tasks text[], p_queues text[], p_priorities int[], p_args json[], p_max_attempts int[],
  p_tags text[], p_metadata json[], p_scheduled_at timestamptz[], p_delay_ms bigint[], p_locks text[],
  p_queueing_locks text[], p_want boolean[]) RETURNS SETOF belay.inserted LANGUAGE plpgsql AS $$
DECLARE
  ids bigint[];
  refused int[];
  locks text[];
BEGIN
  PERFORM belay.name_queues(p_queues), belay.name_tasks(p_tasks);
  IF array_remove(p_scheduled_at, NULL) = '{}' AND array_remove(p_delay_ms, NULL) = '{}'
     AND array_remove(p_locks, NULL) = '{}' AND array_remove(p_queueing_locks, NULL) = '{}' THEN
    RETURN QUERY SELECT * FROM belay.insert_plain(p_tasks, p_queues, p_priorities, p_args, p_max_attempts, p_tags,
                                                  p_metadata, p_want);
    RETURN;
  END IF;
  ids := ARRAY(SELECT nextval('belay.job_id_seq') FROM generate_series(1, cardinality(p_tasks)));
  refused := belay.take_queueing_locks(p_grps, ids, p_queueing_locks);
  RETURN QUERY
  WITH t AS MATERIALIZED (
    SELECT x.*, q.id AS queue_id, k.id AS task_id, x.tags_text::text[] AS tags,
           coalesce(x.at, now() + x.delay * interval '1 millisecond') AS run_at
    FROM unnest(p_grps, ids, p_tasks, p_queues, p_priorities, p_args, p_max_attempts, p_tags, p_metadata,
                p_scheduled_at, p_delay_ms, p_locks, p_queueing_locks, p_want)
         WITH ORDINALITY x (g, id, task, queue, priority, args, max_attempts, tags_text, metadata, at, delay, lock,
                            queueing_lock, want, ord)
    JOIN belay.queues q ON q.name = x.queue JOIN belay.tasks k ON k.name = x.task),
  ok AS (SELECT * FROM t WHERE NOT g = ANY (refused)),
  j AS (INSERT INTO belay.jobs (id, created_at, queue_id, task_id, priority, max_attempts, tags, args, metadata,
                                scheduled_at, lock, queueing_lock)
        SELECT id, now(), queue_id, task_id, priority, max_attempts, tags, args, metadata, run_at, lock,
               queueing_lock FROM ok),
  b AS (INSERT INTO belay.blocked (lock, priority, id, queue_id, run_at)
        SELECT lock, priority, id, queue_id, run_at FROM ok WHERE lock IS NOT NULL),
  s AS (INSERT INTO belay.scheduled (run_at, id, queue_id, priority)
        SELECT run_at, id, queue_id, priority FROM ok WHERE lock IS NULL AND run_at > now()),
  r AS (INSERT INTO belay.ready (queue_id, priority, id)
        SELECT queue_id, priority, id FROM ok WHERE lock IS NULL AND (run_at IS NULL OR run_at <= now()))
  SELECT t.ord::int, t.id,
         CASE WHEN NOT t.g = ANY (refused) THEN 'created'
              WHEN u.id IS NULL THEN 'refused' ELSE 'already-enqueued' END,
         CASE WHEN t.g = ANY (refused) THEN u.id END,
         coalesce(t.run_at > now(), false),
         CASE WHEN t.want THEN belay.etag_text(t.id, 'todo', 0, t.run_at, NULL, NULL, NULL, t.max_attempts) END,
         CASE WHEN t.want THEN belay.job_text(t.id, t.queue, t.task, t.priority, t.args, 'todo', 0, t.max_attempts,
           t.lock, t.queueing_lock, t.tags, t.metadata, t.run_at, now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL)
         END
  FROM t LEFT JOIN belay.uniq u ON u.queueing_lock = t.queueing_lock;
  locks := ARRAY(SELECT DISTINCT x.l FROM unnest(p_grps, p_locks) x (g, l)
                 WHERE x.l IS NOT NULL AND NOT x.g = ANY (refused));
  IF locks <> '{}' THEN
    PERFORM belay.promote(locks);
  END IF;
END $$;

-- Public: a job in the caller's own transaction. docs/sql.md is its page.
CREATE FUNCTION belay.enqueue(
  task text, args json DEFAULT '{}', queue text DEFAULT 'default', priority int DEFAULT 0,
  scheduled_at timestamptz DEFAULT NULL, lock text DEFAULT NULL, queueing_lock text DEFAULT NULL,
  max_attempts int DEFAULT 1, tags text[] DEFAULT '{}', metadata json DEFAULT '{}', wake boolean DEFAULT true)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  made belay.inserted;
BEGIN
  IF task IS NULL OR task = '' OR queue IS NULL OR queue = '' THEN
    RAISE EXCEPTION 'task and queue must not be empty' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF json_typeof(args) <> 'object' OR json_typeof(metadata) <> 'object' THEN
    RAISE EXCEPTION 'args and metadata must be JSON objects' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF max_attempts NOT BETWEEN 1 AND 1000 THEN
    RAISE EXCEPTION 'max_attempts must be from 1 to 1000, not %', max_attempts
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  SELECT * INTO made FROM belay.insert_jobs(
    ARRAY[0], ARRAY[task], ARRAY[queue], ARRAY[priority], ARRAY[args], ARRAY[max_attempts], ARRAY[tags::text],
    ARRAY[metadata], ARRAY[scheduled_at], ARRAY[NULL::bigint], ARRAY[lock], ARRAY[queueing_lock], ARRAY[false]);
  IF made.result <> 'created' THEN
    RAISE EXCEPTION 'queueing lock "%" is taken by job %', queueing_lock, made.existing_id
      USING ERRCODE = 'unique_violation';
  END IF;
  IF wake AND NOT made.scheduled THEN
    PERFORM pg_notify('belay_ready', queue);
  END IF;
  RETURN made.id;
END $$;

CREATE FUNCTION belay.job(job_id bigint) RETURNS json LANGUAGE sql STABLE AS $$
  SELECT s.job::json FROM belay.job_states(ARRAY[job_id]) s
$$;
