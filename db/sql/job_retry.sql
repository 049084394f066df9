-- job_retry: a terminal job starts again, by hand.
-- $1 ids bigint[]
-- $2 actor text[]
-- $3 if_match text[]
SELECT ord, result, existing_id, status, etag, job, queue FROM belay.retry_jobs($1, $2, $3) ORDER BY ord
