-- abort_poll: the open receipts of a worker; grace_ms null: the task's own.
-- $1 worker bigint
SELECT job_id, attempt, n, cause, reason, actor,
       CASE WHEN force_at IS NOT NULL -- greatest() alone would make no grace at all of null
            THEN greatest(0, ceil(extract(epoch FROM force_at - clock_timestamp()) * 1000))::bigint END AS grace_ms,
       delete_requested, requests,
       greatest(0, extract(epoch FROM clock_timestamp() - requested_at) * 1000000)::bigint AS requested_us_ago
FROM belay.cancellations WHERE worker_id = $1 AND stopped_at IS NULL ORDER BY job_id
