-- job_cancel: cancel, or ask a running job to stop; each row decided by the place that is held.
-- only_if is an array literal of statuses, if_match etags with commas or '*'; null: any. more: what few ask for, {"retry": "requeue"}.
-- $1 ids bigint[]
-- $2 abort boolean[]
-- $3 delete boolean[]
-- $4 reason text[]
-- $5 actor text[]
-- $6 cause text[]
-- $7 grace_seconds int[]
-- $8 only_if text[]
-- $9 attempt int[]
-- $10 if_match text[]
-- $11 more json[]
SELECT ord, result, status, etag, job, cancellation, cancellation_n, worker_id, attempt, queue
FROM belay.cancel_jobs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ORDER BY ord
