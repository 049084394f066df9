-- How a job, a receipt and an event look as JSON. The text of args, metadata and result is what came, byte for byte.

CREATE FUNCTION belay.time_text(p_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- What each action would do now, in words.
CREATE FUNCTION belay.actions_text(p_status text, p_aborting boolean) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE
    WHEN p_status = 'todo' THEN
      '{"cancel":{"allowed":true,"effect":"it will never start"},"abort":{"allowed":true,"effect":"it will never start"},"delete":{"allowed":true,"effect":"it will never start, and is removed"},"retry":{"allowed":false,"effect":"refused: it has not ended"}}'
    WHEN p_status = 'doing' AND p_aborting THEN
      '{"cancel":{"allowed":false,"effect":"refused: it runs, and was asked to stop already"},"abort":{"allowed":true,"effect":"the same receipt, and the signal again"},"delete":{"allowed":false,"effect":"refused: it runs; with abort=true it is removed when it has stopped"},"retry":{"allowed":false,"effect":"refused: it has not ended"}}'
    WHEN p_status = 'doing' THEN
      '{"cancel":{"allowed":false,"effect":"refused: it runs; use abort=true"},"abort":{"allowed":true,"effect":"it is asked to stop"},"delete":{"allowed":false,"effect":"refused: it runs; with abort=true it is stopped, then removed"},"retry":{"allowed":false,"effect":"refused: it has not ended"}}'
    WHEN p_status IN ('cancelled', 'aborted') THEN
      '{"cancel":{"allowed":true,"effect":"nothing changes"},"abort":{"allowed":true,"effect":"nothing changes"},"delete":{"allowed":true,"effect":"it is removed"},"retry":{"allowed":true,"effect":"it waits to start again"}}'
    ELSE
      '{"cancel":{"allowed":false,"effect":"refused: it has finished"},"abort":{"allowed":false,"effect":"refused: it has finished"},"delete":{"allowed":true,"effect":"it is removed"},"retry":{"allowed":true,"effect":"it waits to start again"}}'
  END
$$;

-- The job's document. plpgsql, because its expressions are run without the set-up of a query.
CREATE FUNCTION belay.job_text(
  p_id bigint, p_queue text, p_task text, p_priority int, p_args json, p_status text, p_attempt int,
  p_max_attempts int, p_lock text, p_queueing_lock text, p_tags text[], p_metadata json,
  p_scheduled_at timestamptz, p_created_at timestamptz, p_started_at timestamptz,
  p_finished_at timestamptz, p_worker text, p_result json, p_error json, p_progress text,
  p_abort_requested_at timestamptz) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN concat(
    '{"id":', p_id, ',"queue":', to_json(p_queue), ',"task":', to_json(p_task),
    ',"priority":', p_priority, ',"args":', coalesce(p_args::text, '{}'),
    ',"status":"', p_status, '","attempt":', p_attempt, ',"max_attempts":', p_max_attempts,
    ',"lock":', coalesce(to_json(p_lock)::text, 'null'),
    ',"queueing_lock":', coalesce(to_json(p_queueing_lock)::text, 'null'),
    ',"tags":', coalesce(to_json(p_tags)::text, '[]'),
    ',"metadata":', coalesce(p_metadata::text, '{}'),
    ',"scheduled_at":', coalesce('"' || belay.time_text(p_scheduled_at) || '"', 'null'),
    ',"created_at":"', to_char(p_created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    '","started_at":', coalesce('"' || belay.time_text(p_started_at) || '"', 'null'),
    ',"finished_at":', coalesce('"' || belay.time_text(p_finished_at) || '"', 'null'),
    ',"worker":', coalesce(to_json(p_worker)::text, 'null'),
    ',"result":', coalesce(p_result::text, 'null'), ',"error":', coalesce(p_error::text, 'null'),
    ',"progress":', coalesce(p_progress, 'null'),
    ',"abort_requested_at":', coalesce('"' || belay.time_text(p_abort_requested_at) || '"', 'null'),
    ',"actions":', belay.actions_text(p_status, p_abort_requested_at IS NOT NULL), '}');
END $$;

-- Changes with whatever changes in the document.
CREATE FUNCTION belay.etag_text(
  p_id bigint, p_status text, p_attempt int, p_scheduled_at timestamptz, p_finished_at timestamptz,
  p_progress_at timestamptz, p_abort_requested_at timestamptz, p_max_attempts int) RETURNS text
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN to_hex(hashtextextended(concat_ws('/', p_id, p_status, p_attempt,
    extract(epoch FROM p_scheduled_at), extract(epoch FROM p_finished_at), 'p',
    extract(epoch FROM p_progress_at), 'a', extract(epoch FROM p_abort_requested_at),
    p_max_attempts), 0));
END $$;

-- Where these jobs stand, all seen in one snapshot. Unknown ids give no row.
CREATE FUNCTION belay.job_states(p_ids bigint[])
RETURNS TABLE (id bigint, status text, attempt int, etag text, lease_id bigint, worker_id bigint,
               queue text, lock text, job text)
LANGUAGE sql STABLE AS $$
  SELECT x.id, x.status, x.attempt,
         belay.etag_text(x.id, x.status, x.attempt, x.scheduled_at, x.finished_at, x.progress_at,
                         x.abort_requested_at, x.max_attempts),
         x.lease_id, x.worker_id, x.queue, x.lock,
         belay.job_text(x.id, x.queue, x.task, x.priority, x.args, x.status, x.attempt,
                        x.max_attempts, x.lock, x.queueing_lock, x.tags, x.metadata,
                        x.scheduled_at, x.created_at, x.started_at, x.finished_at, x.worker,
                        x.result, x.error, x.progress, x.abort_requested_at)
  FROM (
    SELECT j.id, q.name AS queue, t.name AS task, j.priority, j.args, j.max_attempts, j.lock,
           j.queueing_lock, j.tags, j.metadata, j.scheduled_at, j.created_at, j.status,
           CASE j.status WHEN 'todo' THEN j.attempts WHEN 'doing' THEN j.attempts + 1
                         ELSE j.end_attempts END AS attempt,
           coalesce(j.started_at, j.lease_at) AS started_at, j.finished_at, j.lease_id,
           w.id AS worker_id, w.name AS worker, j.result, j.error, p.at AS progress_at,
           CASE WHEN p.at IS NOT NULL THEN concat('{"percent":', p.percent, ',"message":',
             coalesce(to_json(p.message)::text, 'null'), ',"at":"', belay.time_text(p.at), '"}')
           END AS progress,
           (SELECT max(c.requested_at) FROM belay.cancellations c
            WHERE c.job_id = j.id AND c.abort AND c.attempt IS NOT NULL
              AND c.attempt = coalesce(j.end_attempts, j.attempts + 1)) AS abort_requested_at
    FROM (
      SELECT j.*, e.attempts AS end_attempts, e.started_at, e.finished_at, e.result, e.error,
             l.id AS lease_id, l.at AS lease_at, coalesce(e.worker_id, l.worker_id) AS on_worker,
             CASE WHEN e.id IS NOT NULL
                    THEN (ARRAY['succeeded', 'failed', 'cancelled', 'aborted'])[e.status - 1]
                  WHEN l.id IS NOT NULL THEN 'doing' ELSE 'todo' END AS status
      FROM unnest(p_ids) u (id) JOIN belay.jobs j ON j.id = u.id
      LEFT JOIN belay.ends e ON e.id = j.id
      LEFT JOIN LATERAL (SELECT l.id, l.at, l.worker_id FROM belay.leases l
                         WHERE e.id IS NULL AND l.job_ids @> ARRAY[j.id] LIMIT 1) l ON true
    ) j
    JOIN belay.queues q ON q.id = j.queue_id
    JOIN belay.tasks t ON t.id = j.task_id
    LEFT JOIN belay.workers w ON w.id = j.on_worker
    LEFT JOIN belay.progress p ON p.job_id = j.id
  ) x
$$;

CREATE FUNCTION belay.cancellation_text(c belay.cancellations) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN concat(
    '{"id":', c.n, ',"job_id":', c.job_id, ',"attempt":', coalesce(c.attempt::text, 'null'),
    ',"cause":"', c.cause, '","reason":', coalesce(to_json(c.reason)::text, 'null'),
    ',"actor":', coalesce(to_json(c.actor)::text, 'null'),
    ',"requested_at":"', belay.time_text(c.requested_at),
    '","delivered_at":', coalesce('"' || belay.time_text(c.delivered_at) || '"', 'null'),
    ',"acknowledged_at":', coalesce('"' || belay.time_text(c.acknowledged_at) || '"', 'null'),
    ',"stopped_at":', coalesce('"' || belay.time_text(c.stopped_at) || '"', 'null'),
    ',"outcome":', coalesce(to_json(c.outcome)::text, 'null'),
    ',"message":', coalesce(to_json(c.message)::text, 'null'),
    ',"grace_seconds":', coalesce(c.grace_seconds::text, 'null'),
    ',"force_at":', coalesce('"' || belay.time_text(c.force_at) || '"', 'null'),
    ',"delete_requested":', c.delete_requested::text, ',"abort":', c.abort::text, '}');
END $$;

-- The life of a job in order: what rows tell, and what was recorded because no row would.
CREATE FUNCTION belay.job_events(p_id bigint, p_after bigint, p_limit int)
RETURNS TABLE (id bigint, event text) LANGUAGE sql STABLE AS $$
  WITH e (at, rank, type, attempt, actor, detail) AS (
    SELECT j.created_at, 0, 'deferred', NULL::int, NULL::text, NULL::json FROM belay.jobs j WHERE j.id = p_id
    UNION ALL
    SELECT j.created_at, 1, 'scheduled', NULL, NULL, json_build_object('scheduled_at', belay.time_text(j.scheduled_at))
    FROM belay.jobs j WHERE j.id = p_id AND j.scheduled_at IS NOT NULL AND j.attempts = 0
    UNION ALL
    SELECT l.at, 2, 'started', j.attempts + 1, NULL, json_build_object('worker', w.name)
    FROM belay.jobs j JOIN belay.leases l ON l.job_ids @> ARRAY[j.id]
    LEFT JOIN belay.workers w ON w.id = l.worker_id
    WHERE j.id = p_id AND NOT EXISTS (SELECT FROM belay.ends x WHERE x.id = p_id)
    UNION ALL
    SELECT x.started_at, 2, 'started', x.attempts, NULL, json_build_object('worker', w.name)
    FROM belay.ends x LEFT JOIN belay.workers w ON w.id = x.worker_id
    WHERE x.id = p_id AND x.started_at IS NOT NULL
    UNION ALL
    SELECT x.finished_at, 7, (ARRAY['succeeded', 'failed', 'cancelled', 'aborted'])[x.status - 1], x.attempts, NULL,
           x.error
    FROM belay.ends x WHERE x.id = p_id
    UNION ALL
    SELECT p.at, 3, 'progress', NULL, NULL, json_build_object('percent', p.percent, 'message', p.message)
    FROM belay.progress p WHERE p.job_id = p_id
    UNION ALL
    SELECT s.at, s.rank, s.type, c.attempt, c.actor,
           json_build_object('cancellation', c.n, 'cause', c.cause, 'reason', c.reason)
    FROM belay.cancellations c,
         LATERAL (VALUES (c.requested_at, 4, 'abort_requested'), (c.delivered_at, 5, 'delivered'),
                         (c.acknowledged_at, 6, 'acknowledged')) s (at, rank, type)
    WHERE c.job_id = p_id AND c.attempt IS NOT NULL AND s.at IS NOT NULL
    UNION ALL
    SELECT v.at, 8, v.type, v.attempt, v.actor, v.detail FROM belay.events v WHERE v.job_id = p_id
  ), n AS (SELECT row_number() OVER (ORDER BY at, rank) AS id, e.* FROM e)
  SELECT n.id, concat('{"id":', n.id, ',"job_id":', p_id, ',"at":"', belay.time_text(n.at), '","type":"',
           n.type, '","attempt":', coalesce(n.attempt::text, 'null'),
           ',"actor":', coalesce(to_json(n.actor)::text, 'null'),
           ',"detail":', coalesce(n.detail::text, 'null'), '}')
  FROM n WHERE n.id > coalesce(p_after, 0) ORDER BY n.id LIMIT p_limit
$$;
