-- job_retry: a terminal job starts again, by hand.
-- more: null, or what changes: queue, priority, lock, queueing_lock, max_attempts; scheduled_us or delay_ms.
-- $1 ids bigint[]
-- $2 actor text[]
-- $3 if_match text[]
-- $4 more json[]
SELECT ord, result, existing_id, status, etag, job, queue, scheduled
FROM belay.retry_jobs($1, $2, $3, $4) ORDER BY ord
