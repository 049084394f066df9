-- How a job, a receipt and an event look as JSON. The text of args, metadata and result is what came, byte for byte.

CREATE FUNCTION belay.time_text(p_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

CREATE FUNCTION belay.progress_text(p belay.progress) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN concat('{"percent":', coalesce(p.percent::text, 'null'), ',"message":', coalesce(to_json(p.message)::text, 'null'),
                ',"at":"', belay.time_text(p.at), '","shield":',
                CASE WHEN p.shield IS NULL THEN 'null'
                     ELSE concat('{"name":', to_json(p.shield), ',"since":"', belay.time_text(p.shield_at), '"}') END, '}');
END $$;

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

-- What few jobs ask for, as members of the document. One column holds all of it, so that a job without any pays for none.
CREATE FUNCTION belay.options_text(p_options json) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF p_options IS NULL THEN
    RETURN ',"traceparent":null,"limit_key":null,"hold":null,"cancel_at":null,"retry":null,"lock_strict":false,"delete_policy":"never","on_success":null,"on_failure":null,"on_cancel":null,"origin":null,"parent_id":null,"on_parent_cancel":null,"depends_on":[]';
  END IF;
  RETURN concat(',"traceparent":', coalesce((p_options -> 'traceparent')::text, 'null'),
                ',"limit_key":', coalesce((p_options -> 'limit_key')::text, 'null'),
                ',"hold":', coalesce((p_options -> 'hold')::text, 'null'),
                ',"cancel_at":', coalesce((p_options -> 'cancel_at')::text, 'null'),
                ',"retry":', coalesce((p_options -> 'retry')::text, 'null'),
                ',"lock_strict":', coalesce((p_options -> 'lock_strict')::text, 'false'),
                ',"delete_policy":', coalesce((p_options -> 'delete_policy')::text, '"never"'),
                ',"on_success":', coalesce((p_options -> 'on_success')::text, 'null'),
                ',"on_failure":', coalesce((p_options -> 'on_failure')::text, 'null'),
                ',"on_cancel":', coalesce((p_options -> 'on_cancel')::text, 'null'),
                ',"origin":', coalesce((p_options -> 'origin')::text, 'null'),
                ',"parent_id":', coalesce((p_options -> 'parent_id')::text, 'null'),
                ',"on_parent_cancel":', coalesce((p_options -> 'on_parent_cancel')::text,
                                                 CASE WHEN p_options -> 'parent_id' IS NULL THEN 'null' ELSE '"detach"' END),
                ',"depends_on":', coalesce((p_options -> 'depends_on')::text, '[]'));
END $$;

-- The job's document. plpgsql, because its expressions are run without the set-up of a query.
CREATE FUNCTION belay.job_text(
  p_id bigint, p_queue text, p_task text, p_priority int, p_args json, p_status text, p_attempt int,
  p_max_attempts int, p_lock text, p_queueing_lock text, p_tags text[], p_metadata json,
  p_scheduled_at timestamptz, p_created_at timestamptz, p_started_at timestamptz,
  p_finished_at timestamptz, p_worker text, p_result json, p_error json, p_progress text,
  p_abort_requested_at timestamptz, p_timeout_ms int DEFAULT NULL, p_deadline timestamptz DEFAULT NULL,
  p_options json DEFAULT NULL)
RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN concat(
    '{"id":', p_id, ',"queue":', to_json(p_queue), ',"task":', to_json(p_task),
    ',"priority":', p_priority, ',"args":', coalesce(p_args::text, '{}'),
    ',"status":"', p_status, '","attempt":', p_attempt, ',"max_attempts":', p_max_attempts,
    ',"timeout_seconds":', coalesce(trim_scale(p_timeout_ms / 1000.0)::text, 'null'),
    ',"lock":', coalesce(to_json(p_lock)::text, 'null'),
    ',"queueing_lock":', coalesce(to_json(p_queueing_lock)::text, 'null'),
    ',"tags":', CASE WHEN p_tags <> '{}' THEN to_json(p_tags)::text ELSE '[]' END, -- to_json() of an array costs 4 us
    ',"metadata":', coalesce(p_metadata::text, '{}'),
    ',"scheduled_at":', coalesce('"' || belay.time_text(p_scheduled_at) || '"', 'null'),
    ',"deadline":', coalesce('"' || belay.time_text(p_deadline) || '"', 'null'),
    belay.options_text(p_options),
    ',"created_at":"', to_char(p_created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    '","started_at":', coalesce('"' || belay.time_text(p_started_at) || '"', 'null'),
    ',"finished_at":', coalesce('"' || belay.time_text(p_finished_at) || '"', 'null'),
    ',"worker":', coalesce(to_json(p_worker)::text, 'null'),
    ',"result":', coalesce(p_result::text, 'null'), ',"error":', coalesce(p_error::text, 'null'),
    ',"progress":', coalesce(p_progress, 'null'),
    ',"abort_requested_at":', coalesce('"' || belay.time_text(p_abort_requested_at) || '"', 'null'),
    ',"actions":', belay.actions_text(p_status, p_abort_requested_at IS NOT NULL), '}');
END $$;

-- A hash of the document: it changes with whatever changes there, and with nothing else.
CREATE FUNCTION belay.etag_text(p_job text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT to_hex(hashtextextended(p_job, 0))
$$;

-- The lease that a job is in: seldom far from the first one that ends at or behind it. Ordered, because the hot connections
-- have sequential scans switched off: one that cannot be avoided would make the planner blind to every other cost.
CREATE FUNCTION belay.lease_of(p_id bigint) RETURNS SETOF belay.leases LANGUAGE sql STABLE AS $$
  SELECT * FROM belay.leases l WHERE l.hi >= p_id AND l.lo <= p_id AND l.job_ids @> ARRAY[p_id] ORDER BY l.hi LIMIT 1
$$;

-- Where these jobs stand, all seen in one snapshot. Unknown ids give no row. OFFSET 0 keeps the planner from walking over
-- all jobs, and from writing a document twice.
CREATE FUNCTION belay.job_states(p_ids bigint[])
RETURNS TABLE (id bigint, status text, attempt int, etag text, lease_id bigint, worker_id bigint,
               queue text, lock text, job text)
LANGUAGE sql STABLE AS $$
  SELECT y.id, y.status, y.attempt, belay.etag_text(y.job), y.lease_id, y.worker_id, y.queue, y.lock, y.job
  FROM (
    SELECT x.id, x.status, x.attempt, x.lease_id, x.on_worker AS worker_id, q.name AS queue, x.lock,
           belay.job_text(x.id, q.name, t.name, x.priority, x.args, x.status, x.attempt, x.max_attempts, x.lock,
                          x.queueing_lock, x.tags, x.metadata, x.scheduled_at, x.created_at, x.started_at,
                          x.finished_at, w.name, x.result, x.error,
                          CASE WHEN p.at IS NOT NULL THEN belay.progress_text(p) END,
                          x.abort_requested_at, x.timeout_ms, x.deadline, x.options) AS job
    FROM (
      SELECT j.*, e.finished_at, e.result, e.error, l.id AS lease_id,
             coalesce(e.worker_id, l.worker_id) AS on_worker,
             CASE WHEN e.id IS NOT NULL THEN e.started_at ELSE l.at END AS started_at,
             CASE WHEN e.id IS NOT NULL
                    THEN (ARRAY['succeeded', 'failed', 'cancelled', 'aborted'])[e.status - 1]
                  WHEN l.id IS NOT NULL THEN 'doing' ELSE 'todo' END AS status,
             CASE WHEN e.id IS NOT NULL THEN e.attempts WHEN l.id IS NOT NULL THEN j.attempts + 1
                  ELSE j.attempts END AS attempt,
             (SELECT max(c.requested_at) FROM belay.cancellations c
              WHERE c.job_id = j.id AND c.attempt IS NOT NULL
                AND CASE WHEN e.id IS NULL THEN c.stopped_at IS NULL
                         ELSE c.attempt = e.attempts AND c.outcome <> 'cancelled' END) AS abort_requested_at
      FROM unnest(p_ids) u (id)
      CROSS JOIN LATERAL (SELECT * FROM belay.jobs j WHERE j.id = u.id OFFSET 0) j
      LEFT JOIN LATERAL (SELECT * FROM belay.ends e WHERE e.id = j.id OFFSET 0) e ON true
      LEFT JOIN LATERAL (SELECT * FROM belay.lease_of(j.id) WHERE e.id IS NULL OFFSET 0) l ON true
      OFFSET 0
    ) x
    JOIN belay.queues q ON q.id = x.queue_id
    JOIN belay.tasks t ON t.id = x.task_id
    LEFT JOIN belay.workers w ON w.id = x.on_worker
    LEFT JOIN belay.progress p ON p.job_id = x.id
    OFFSET 0
  ) y
$$;

-- In SQL, because it is inlined: to take a row apart in plpgsql costs as much again as the text.
CREATE FUNCTION belay.cancellation_text(c belay.cancellations) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT concat(
    '{"id":', c.n, ',"job_id":', c.job_id, ',"attempt":', coalesce(c.attempt::text, 'null'),
    ',"cause":"', c.cause, '","reason":', coalesce(to_json(c.reason)::text, 'null'),
    ',"actor":', coalesce(to_json(c.actor)::text, 'null'),
    ',"requested_at":"', belay.time_text(c.requested_at),
    '","delivered_at":', coalesce('"' || belay.time_text(c.delivered_at) || '"', 'null'),
    ',"acknowledged_at":', coalesce('"' || belay.time_text(c.acknowledged_at) || '"', 'null'),
    ',"stopped_at":', coalesce('"' || belay.time_text(nullif(c.stopped_at, 'infinity')) || '"', 'null'),
    ',"outcome":', coalesce(to_json(c.outcome)::text, 'null'),
    ',"message":', coalesce(to_json(c.message)::text, 'null'),
    ',"grace_seconds":', coalesce(c.grace_seconds::text, 'null'),
    ',"force_at":', coalesce('"' || belay.time_text(c.force_at) || '"', 'null'),
    ',"delete_requested":', c.delete_requested::text, ',"abort":', c.abort::text,
    ',"compensation_job_id":', coalesce(c.compensation_job_id::text, 'null'),
    ',"retry":"', CASE WHEN c.requeue THEN 'requeue' ELSE 'none' END, '"}')
$$;

-- What the rows of a job tell of its life: the present attempt, and where it began. These rows can go; whoever removes or
-- rewrites one puts what it told into events.
CREATE FUNCTION belay.row_events(p_id bigint)
RETURNS TABLE (at timestamptz, rank int, type text, attempt int, actor text, detail json) LANGUAGE sql STABLE AS $$
  SELECT j.created_at, 0, 'deferred', NULL::int, NULL::text, NULL::json FROM belay.jobs j WHERE j.id = p_id
  UNION ALL
  SELECT j.created_at, 1, 'scheduled', NULL, NULL, json_build_object('scheduled_at', belay.time_text(j.scheduled_at))
  FROM belay.jobs j WHERE j.id = p_id AND j.scheduled_at IS NOT NULL AND j.attempts = 0
    AND NOT EXISTS (SELECT FROM belay.events v WHERE v.job_id = p_id AND v.type = 'retried') -- which tells its own
  UNION ALL
  SELECT l.at, 2, 'started', j.attempts + 1, NULL, json_build_object('worker', w.name)
  FROM belay.jobs j CROSS JOIN LATERAL belay.lease_of(j.id) l LEFT JOIN belay.workers w ON w.id = l.worker_id
  WHERE j.id = p_id
  UNION ALL
  SELECT e.started_at, 2, 'started', e.attempts, NULL, json_build_object('worker', w.name)
  FROM belay.ends e LEFT JOIN belay.workers w ON w.id = e.worker_id
  WHERE e.id = p_id AND e.started_at IS NOT NULL
  UNION ALL
  SELECT p.at, 3, 'progress', NULL, NULL, json_build_object('percent', p.percent, 'message', p.message)
  FROM belay.progress p WHERE p.job_id = p_id AND p.percent IS NOT NULL
  UNION ALL
  SELECT greatest(e.finished_at, ( -- each time is counted back from a statement of its own: a slow one tells a late time
           SELECT max(greatest(r.delivered_at, r.acknowledged_at)) FROM belay.cancellations r
           WHERE r.job_id = e.id AND r.attempt = e.attempts)), 7, (ARRAY['succeeded', 'failed', 'cancelled', 'aborted'])[e.status - 1], e.attempts, c.actor,
         coalesce(e.error, CASE WHEN c.n IS NOT NULL THEN
           json_build_object('cancellation', c.n, 'cause', c.cause, 'reason', c.reason) END)
  FROM belay.ends e LEFT JOIN LATERAL (
    SELECT c.n, c.actor, c.cause, c.reason FROM belay.cancellations c
    WHERE e.status = 4 AND c.job_id = e.id AND c.attempt IS NULL ORDER BY c.n DESC LIMIT 1) c ON true
  WHERE e.id = p_id
$$;

-- The life of a job in order: what rows tell, and what was recorded because no row would.
CREATE FUNCTION belay.job_events(p_id bigint, p_after bigint, p_limit int)
RETURNS TABLE (id bigint, event text) LANGUAGE sql STABLE AS $$
  WITH e AS (
    SELECT * FROM belay.row_events(p_id)
    UNION ALL
    SELECT s.at, s.rank, s.type, c.attempt, c.actor,
           json_build_object('cancellation', c.n, 'cause', c.cause, 'reason', c.reason)
    FROM belay.cancellations c,
         LATERAL (VALUES (c.requested_at, 4, 'abort_requested'), (c.delivered_at, 5, 'delivered'),
                         (c.acknowledged_at, 6, 'acknowledged')) s (at, rank, type)
    WHERE c.job_id = p_id AND c.attempt IS NOT NULL AND s.at IS NOT NULL
    UNION ALL
    SELECT v.at, v.rank, v.type, v.attempt, v.actor, v.detail FROM belay.events v WHERE v.job_id = p_id
  ), n AS (SELECT row_number() OVER (ORDER BY at, rank) AS id, e.* FROM e)
  SELECT n.id, concat('{"id":', n.id, ',"job_id":', p_id, ',"at":"', belay.time_text(n.at), '","type":"',
           n.type, '","attempt":', coalesce(n.attempt::text, 'null'),
           ',"actor":', coalesce(to_json(n.actor)::text, 'null'),
           ',"detail":', coalesce(n.detail::text, 'null'), '}')
  FROM n WHERE n.id > coalesce(p_after, 0) ORDER BY n.id LIMIT p_limit
$$;
