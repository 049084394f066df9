-- job_delete: delete; a running job goes when it has stopped, where abort was asked.
-- $1 ids bigint[]
-- $2 abort boolean[]
-- $3 reason text[]
-- $4 actor text[]
-- $5 grace_seconds int[]
-- $6 if_match text[]
SELECT ord, result, status, etag, job, cancellation, cancellation_n, worker_id, attempt, queue
FROM belay.delete_jobs($1, $2, $3, $4, $5, $6) ORDER BY ord
