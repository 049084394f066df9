-- What people ask about many jobs: lists by anything that a job says, the lines of locks, and counts by queue and task. And the
-- queues of a worker as patterns, which are the only thing here that is on the way of a job, where a worker has any.

-- The filters of a list that are no parameters of belay.list_jobs(), as conditions on `j`. Written out, and planned for each
-- list: so a filter costs what it asks for.
CREATE FUNCTION belay.list_conditions(p_more json) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN concat(
    belay.job_conditions(p_more), CASE WHEN p_more -> 'ids' IS NOT NULL THEN
      format(' AND j.id = ANY (%L::bigint[])', ARRAY(SELECT json_array_elements_text(p_more -> 'ids'))) END,
    CASE WHEN p_more ->> 'queueing_lock' IS NOT NULL THEN format(' AND j.queueing_lock = %L', p_more ->> 'queueing_lock') END,
    CASE WHEN p_more ->> 'scheduled_after' IS NOT NULL THEN
      format(' AND j.scheduled_at >= %L::timestamptz', p_more ->> 'scheduled_after') END,
    CASE WHEN p_more ->> 'scheduled_before' IS NOT NULL THEN
      format(' AND j.scheduled_at < %L::timestamptz', p_more ->> 'scheduled_before') END,
    CASE WHEN p_more ->> 'worker' IS NOT NULL THEN
      format(' AND (j.id = ANY (ARRAY(SELECT u.id FROM belay.leases l, unnest(l.job_ids) u (id) WHERE l.worker_id = ANY (%1$L)))'
             ' OR EXISTS (SELECT FROM belay.ends e WHERE e.id = j.id AND e.worker_id = ANY (%1$L)))',
             ARRAY(SELECT w.id FROM belay.workers w WHERE w.name = p_more ->> 'worker')) END);
END $$;

-- Locks that somebody has or waits for, by name: the next p_limit after p_after, or p_lock alone. A look into two indexes for
-- each, and at most 10,000 of its line are counted. Ended jobs are not: no index finds them by their lock.
CREATE FUNCTION belay.list_locks(p_after text, p_lock text, p_limit int) RETURNS TABLE (name text, document text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
  most CONSTANT int := 10000;
  holder bigint;
  next_id bigint;
  holder_is text;
  n int;
BEGIN
  name := coalesce(p_after, '');
  FOR i IN 1 .. p_limit LOOP
    name := CASE WHEN p_lock IS NULL THEN
              least((SELECT h.lock FROM belay.held h WHERE h.lock > name ORDER BY h.lock LIMIT 1),
                    (SELECT b.lock FROM belay.blocked b WHERE b.lock > name ORDER BY b.lock LIMIT 1))
            WHEN i = 1 THEN p_lock END;
    EXIT WHEN name IS NULL;
    holder := (SELECT h.id FROM belay.held h WHERE h.lock = name);
    holder_is := (SELECT p.status FROM belay.place_of(holder) p);
    next_id := (SELECT b.id FROM belay.blocked b WHERE b.lock = name ORDER BY b.priority DESC, b.id LIMIT 1);
    CONTINUE WHEN holder IS NULL AND next_id IS NULL;
    n := (SELECT count(*) FROM (SELECT FROM belay.blocked b WHERE b.lock = name LIMIT most + 1) x);
    document := (SELECT json_build_object(
        'lock', name,
        'holder', CASE WHEN j.id IS NOT NULL THEN json_build_object(
          'id', j.id, 'status', holder_is, 'queue', (SELECT q.name FROM belay.queues q WHERE q.id = j.queue_id),
          'task', (SELECT t.name FROM belay.tasks t WHERE t.id = j.task_id)) END,
        'waiting', least(n, most), 'waiting_is_more', n > most, 'next_id', next_id)
      FROM (SELECT 1) x LEFT JOIN LATERAL (SELECT * FROM belay.jobs y WHERE y.id = holder OFFSET 0) j ON true);
    RETURN NEXT;
  END LOOP;
END $$;

-- Which share of a table is read for a count: at most p_pages of its pages.
CREATE FUNCTION belay.share_to_count(p_table regclass, p_pages int) RETURNS float8 LANGUAGE sql STABLE AS $$
  SELECT least(1, p_pages * 8192.0 / greatest(1, pg_relation_size(p_table)
           + (SELECT coalesce(sum(pg_relation_size(i.inhrelid)), 0) FROM pg_inherits i WHERE i.inhparent = p_table)))::float8
$$;

-- The queues of a worker: names, patterns (* any text, ? one character), and those that it does not take (!). Without any but the
-- latter: all others.
CREATE FUNCTION belay.like_of(p_patterns text[], p_not boolean) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
  SELECT ARRAY(SELECT translate(regexp_replace(ltrim(p, '!'), '([\\%_])', '\\\1', 'g'), '*?', '%_')
               FROM unnest(p_patterns) p WHERE starts_with(p, '!') = p_not)
$$;
CREATE FUNCTION belay.takes_queue(p_patterns text[], p_queue text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT p_patterns IS NULL
      OR (belay.like_of(p_patterns, false) = '{}' OR p_queue LIKE ANY (belay.like_of(p_patterns, false)))
         AND NOT p_queue LIKE ANY (belay.like_of(p_patterns, true))
$$;

-- The same for a claim: the patterns are read once, and then every queue is looked at.
CREATE FUNCTION belay.queues_of(p_patterns text[]) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
DECLARE
  taken text[] := belay.like_of(p_patterns, false);
  left_out text[] := belay.like_of(p_patterns, true);
BEGIN
  RETURN ARRAY(SELECT q.name FROM belay.queues q
               WHERE (taken = '{}' OR q.name LIKE ANY (taken)) AND NOT q.name LIKE ANY (left_out));
END $$;
