-- abort_stages: when open receipts reached the node, and the task. Written while the job runs.
-- $1 ids bigint[]
-- $2 workers bigint[]
-- $3 attempts int[]
-- $4 delivered_us_ago bigint[]
-- $5 acknowledged_us_ago bigint[]
WITH d AS MATERIALIZED (SELECT * FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY x (id, worker, attempt, delivered, acknowledged, ord)),
u AS (
  UPDATE belay.cancellations c
  SET delivered_at = coalesce(c.delivered_at, belay.stage_at(c.requested_at, d.delivered, statement_timestamp())),
      acknowledged_at = coalesce(c.acknowledged_at, belay.stage_at(greatest(c.requested_at, c.delivered_at), d.acknowledged, statement_timestamp()))
  FROM d WHERE c.job_id = d.id AND c.worker_id = d.worker AND c.attempt = d.attempt AND c.stopped_at IS NULL
  RETURNING c.job_id)
SELECT d.ord::int FROM d JOIN u ON u.job_id = d.id ORDER BY d.ord
