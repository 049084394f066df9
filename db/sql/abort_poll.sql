-- abort_poll: the open receipts of a worker; grace_ms null: the task's own.
-- $1 worker bigint
SELECT job_id, attempt, n, cause, reason, actor,
       greatest(0, ceil(extract(epoch FROM force_at - clock_timestamp()) * 1000))::bigint AS grace_ms, delete_requested
FROM belay.cancellations WHERE worker_id = $1 AND stopped_at IS NULL ORDER BY job_id
