-- worker_heartbeat: a worker lives. alive false: it was given up, its leases are lost; register again.
-- $1 worker bigint
-- $2 running int
WITH u AS (UPDATE belay.workers SET heartbeat_at = now(), running = $2 WHERE id = $1 AND gone_at IS NULL RETURNING id)
SELECT EXISTS (SELECT FROM u) AS alive,
       (SELECT count(*) FROM belay.cancellations c WHERE c.worker_id = $1 AND c.stopped_at IS NULL)::int AS aborts
