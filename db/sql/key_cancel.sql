-- key_cancel: cancels what came with an idempotency key, or will come. One row a job, as job_cancel; result waiting: none has come.
-- $1 key text
-- $2 reason text
-- $3 actor text
-- $4 ttl_seconds int
-- $5 abort boolean
-- $6 grace_seconds int
SELECT ord, result, status, etag, job, cancellation, cancellation_n, worker_id, attempt, queue, job_id, is_new, by_key
FROM belay.cancel_key($1, $2, $3, $4, $5, $6)
