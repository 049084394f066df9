-- What follows the end of a job, in the transaction that ends it.

-- Jobs whose end has consequences. What they are is in jobs.options; a job without any has no row, and pays nothing.
CREATE TABLE belay.follows (job_id bigint PRIMARY KEY)
  WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);

CREATE FUNCTION belay.has_consequences(p_options json) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN coalesce(p_options ->> 'delete_policy', 'never') <> 'never' OR p_options -> 'on_success' IS NOT NULL
         OR p_options -> 'on_failure' IS NOT NULL OR p_options -> 'on_cancel' IS NOT NULL OR belay.is_undoable(p_options);
END $$;

-- What is wrong with a job to follow, in words; null: nothing. Over HTTP the door checks it (new_job.c).
CREATE FUNCTION belay.follow_problem(p_name text, p_next json) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN CASE
    WHEN p_next IS NULL THEN NULL
    WHEN json_typeof(p_next) <> 'object' THEN p_name || ' must be a JSON object'
    WHEN coalesce(json_typeof(p_next -> 'task'), '') <> 'string' OR length(p_next ->> 'task') NOT BETWEEN 1 AND 128
      THEN p_name || '.task must have 1 to 128 characters'
    WHEN json_typeof(p_next -> 'args') <> 'object' THEN p_name || '.args must be a JSON object'
    WHEN json_typeof(p_next -> 'queue') <> 'string' OR length(p_next ->> 'queue') NOT BETWEEN 1 AND 128
      THEN p_name || '.queue must have 1 to 128 characters'
    WHEN p_next ->> 'priority' !~ '^-?[0-9]{1,9}$' THEN p_name || '.priority must be a whole number'
    WHEN p_next ->> 'max_attempts' !~ '^([1-9][0-9]{0,2}|1000)$' THEN p_name || '.max_attempts must be from 1 to 1000'
  END;
END $$;

-- The queues, or the tasks, of the jobs that may follow: whoever puts a job in names them with its own, because whoever ends it
-- would wait, with leases in hand, for somebody who names the same.
CREATE FUNCTION belay.follow_names(p_options json[], p_member text) RETURNS text[] LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF num_nonnulls(VARIADIC p_options) = 0 THEN
    RETURN '{}';
  END IF;
  RETURN ARRAY(SELECT DISTINCT coalesce(f.next ->> p_member, 'default') FROM unnest(p_options) o
               CROSS JOIN LATERAL (VALUES (o -> 'on_success'), (o -> 'on_failure'), (o -> 'on_cancel')) f (next)
               WHERE f.next IS NOT NULL);
END $$;

-- The job that an ended one asked for: it has no locks, so that whoever ends jobs waits for nothing more here (D16).
CREATE FUNCTION belay.follow_with(p_next json, p_id bigint, p_on text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  made bigint;
  queue text := coalesce(p_next ->> 'queue', 'default');
BEGIN
  SELECT x.id INTO made FROM belay.insert_jobs(
    ARRAY[0], ARRAY[p_next ->> 'task'], ARRAY[queue], ARRAY[coalesce((p_next ->> 'priority')::int, 0)],
    ARRAY[coalesce(p_next -> 'args', '{}')], ARRAY[coalesce((p_next ->> 'max_attempts')::int, 1)], ARRAY['{}'],
    ARRAY['{}'::json], ARRAY[NULL::timestamptz], ARRAY[NULL::bigint], ARRAY[NULL::text], ARRAY[NULL::text], ARRAY[false],
    ARRAY[NULL::int], ARRAY[NULL::timestamptz], ARRAY[NULL::bigint],
    ARRAY[json_build_object('origin', json_build_object('job_id', p_id, 'on', p_on))]) x;
  INSERT INTO belay.events (job_id, type, detail) VALUES (p_id, 'followed', json_build_object('on', p_on, 'job_id', made));
  IF p_on = 'cancel' THEN
    UPDATE belay.cancellations SET compensation_job_id = made
    WHERE job_id = p_id AND n = (SELECT max(c.n) FROM belay.cancellations c WHERE c.job_id = p_id);
  END IF;
  PERFORM pg_notify('belay_ready', queue);
  RETURN made;
END $$;

-- Every statement that ends jobs calls this when their ends are written, before it forgets any of them; jobs that have not ended
-- are passed over. Answers those that
-- their delete policy removes, which the caller does when it needs them no more: leave_nothing().
CREATE FUNCTION belay.follow(p_ids bigint[]) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
  x record;
  happened text;
  gone bigint[] := '{}';
BEGIN
  IF NOT EXISTS (SELECT FROM belay.follows) THEN
    RETURN '{}';
  END IF;
  FOR x IN WITH f AS (DELETE FROM belay.follows f WHERE f.job_id = ANY (p_ids)
                        AND EXISTS (SELECT FROM (SELECT e.id FROM belay.ends e WHERE e.id = f.job_id OFFSET 0) e)
                      RETURNING f.job_id)
           SELECT f.job_id, e.status, j.options FROM f
           CROSS JOIN LATERAL (SELECT j.options FROM belay.jobs j WHERE j.id = f.job_id OFFSET 0) j
           CROSS JOIN LATERAL (SELECT e.status FROM belay.ends e WHERE e.id = f.job_id OFFSET 0) e ORDER BY f.job_id LOOP
    IF belay.is_undoable(x.options) THEN
      PERFORM belay.close_pending(x.job_id, x.status);
    END IF;
    PERFORM belay.tell_family(x.job_id, x.status);
    happened := CASE x.status WHEN 2 THEN 'success' WHEN 3 THEN 'failure' ELSE 'cancel' END;
    IF x.options -> ('on_' || happened) IS NOT NULL THEN
      PERFORM belay.follow_with(x.options -> ('on_' || happened), x.job_id, happened);
    END IF;
    IF x.options ->> 'delete_policy' = 'always' OR x.options ->> 'delete_policy' = 'successful' AND x.status = 2 THEN
      gone := gone || x.job_id;
    END IF;
  END LOOP;
  RETURN gone;
END $$;

-- An ended job that is todo again: its next end has the consequences that the last one had.
CREATE FUNCTION belay.follow_again(p_id bigint, p_options json) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF belay.has_consequences(p_options) OR EXISTS (SELECT FROM belay.children c WHERE c.parent_id = p_id AND c.cascades) THEN
    INSERT INTO belay.follows (job_id) VALUES (p_id);
  END IF;
END $$;

CREATE FUNCTION belay.leave_nothing(p_ids bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF p_ids <> '{}' THEN
    PERFORM belay.forget(p_ids, array_fill('delete_policy'::text, ARRAY[cardinality(p_ids)]));
  END IF;
END $$;
