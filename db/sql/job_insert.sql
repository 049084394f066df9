-- job_insert: jobs in, many requests in one statement; the rows of one group all or none.
-- tags are array literals; scheduled_at and delay_ms null: now; timeout_ms null: the task's; no deadline: none.
-- $1 grp int[]
-- $2 tasks text[]
-- $3 queues text[]
-- $4 priorities int[]
-- $5 args json[]
-- $6 max_attempts int[]
-- $7 tags text[]
-- $8 metadata json[]
-- $9 scheduled_at timestamptz[]
-- $10 delay_ms bigint[]
-- $11 locks text[]
-- $12 queueing_locks text[]
-- $13 want_json boolean[]
-- $14 timeout_ms int[]
-- $15 deadlines timestamptz[]
-- $16 deadline_ms bigint[]
SELECT ord, id, result, existing_id, scheduled, etag, job, has_deadline
FROM belay.insert_jobs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) ORDER BY ord
