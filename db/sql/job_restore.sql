-- job_restore: jobs that were cancelled before they started are todo again, as they were.
-- $1 ids bigint[]
-- $2 actor text[]
-- $3 if_match text[]
SELECT ord, result, etag, job, queue FROM belay.restore_jobs($1, $2, $3) ORDER BY ord
