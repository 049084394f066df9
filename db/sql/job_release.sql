-- job_release: jobs that are held go back to where they would be.
-- $1 ids bigint[]
-- $2 actor text[]
SELECT ord, result, etag, job, queue FROM belay.release_by_hand($1, $2) ORDER BY ord
