-- job_finish: what workers say of jobs that have ended. taken false: the lease is not ours any more.
-- started_us: after the claim, null: never started; the other times: ago.
-- $1 ids bigint[]
-- $2 leases bigint[]
-- $3 workers bigint[]
-- $4 attempts int[]
-- $5 statuses text[]
-- $6 results json[]
-- $7 errors json[]
-- $8 started_us bigint[]
-- $9 finished_us_ago bigint[]
-- $10 messages text[]
-- $11 killed boolean[]
-- $12 delivered_us_ago bigint[]
-- $13 acknowledged_us_ago bigint[]
SELECT ord, id, taken, status, outcome
FROM belay.finish($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ORDER BY ord
