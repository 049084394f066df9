-- Until when jobs may take, waiting included. A calendar beside the jobs, as scheduled is one: a job without a deadline has no row
-- here and pays nothing, and one that ends in time leaves its row to be dropped when it comes up.
CREATE TABLE belay.deadlines (at timestamptz NOT NULL, id bigint NOT NULL)
  WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
CREATE UNIQUE INDEX deadlines_due ON belay.deadlines (at, id);

CREATE FUNCTION belay.mind_deadline(p_at timestamptz, p_id bigint) RETURNS void LANGUAGE sql AS $$
  INSERT INTO belay.deadlines (at, id) SELECT p_at, p_id WHERE p_at IS NOT NULL ON CONFLICT DO NOTHING
$$;

-- What is past its deadline: a todo job is cancelled, a running one is asked to stop, with the guards of every other cancel.
-- Each node may do it at any time. One row a job; the last row has no job, and says when the next deadline comes.
CREATE FUNCTION belay.expire(p_limit int) RETURNS TABLE (job_id bigint, result text, next_due_ms bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  ids bigint[];
  ats timestamptz[];
  stale int[]; -- an attempt that there is not, of those that another job has replaced meanwhile
  n int;
BEGIN
  WITH d AS (DELETE FROM belay.deadlines WHERE ctid = ANY (ARRAY(
               SELECT x.ctid FROM belay.deadlines x WHERE x.at <= now() ORDER BY x.at, x.id
               LIMIT p_limit FOR UPDATE SKIP LOCKED)) RETURNING id, at)
  SELECT array_agg(d.id ORDER BY d.id), array_agg(d.at ORDER BY d.id) INTO ids, ats
  FROM d CROSS JOIN LATERAL (SELECT j.deadline FROM belay.jobs j WHERE j.id = d.id OFFSET 0) j
  WHERE j.deadline = d.at
    AND NOT EXISTS (SELECT FROM (SELECT e.id FROM belay.ends e WHERE e.id = d.id OFFSET 0) e);
  n := cardinality(ids);
  IF n > 0 THEN
    stale := array_fill(NULL::int, ARRAY[n]);
    IF EXISTS (SELECT FROM unnest(ids) u (id) CROSS JOIN LATERAL (SELECT j.queueing_lock FROM belay.jobs j WHERE j.id = u.id OFFSET 0) j
               WHERE j.queueing_lock IS NOT NULL) THEN
      PERFORM belay.hold_jobs(ids);
      stale := ARRAY(SELECT CASE WHEN j.deadline = u.at THEN NULL ELSE -1 END FROM unnest(ids, ats) WITH ORDINALITY u (id, at, ord)
                     LEFT JOIN LATERAL (SELECT j.deadline FROM belay.jobs j WHERE j.id = u.id OFFSET 0) j ON true ORDER BY u.ord);
    END IF;
    RETURN QUERY
    SELECT ids[a.ord], a.result, NULL::bigint
    FROM belay.cancel_jobs(ids, array_fill(true, ARRAY[n]), array_fill(false, ARRAY[n]), array_fill(NULL::text, ARRAY[n]),
                           array_fill(NULL::text, ARRAY[n]), array_fill('deadline'::text, ARRAY[n]),
                           array_fill(NULL::int, ARRAY[n]), array_fill(NULL::text, ARRAY[n]),
                           stale, array_fill(NULL::text, ARRAY[n])) a
    WHERE a.result <> 'precondition-failed';
  END IF;
  RETURN QUERY SELECT NULL::bigint, NULL::text,
                      (SELECT greatest(0, ceil(extract(epoch FROM x.at - clock_timestamp()) * 1000))::bigint
                       FROM belay.deadlines x ORDER BY x.at LIMIT 1);
END $$;
