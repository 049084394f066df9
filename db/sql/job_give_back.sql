-- job_give_back: jobs that go back to todo: kinds retry, timeout, killed, shutdown, unstarted.
-- An open receipt ends them instead, but not that of a timeout.
-- next: null, or what is to be different from the next attempt on: queue, priority, lock.
-- $1 ids bigint[]
-- $2 leases bigint[]
-- $3 workers bigint[]
-- $4 attempts int[]
-- $5 kinds text[]
-- $6 delay_ms bigint[]
-- $7 errors json[]
-- $8 messages text[]
-- $9 next json[]
SELECT ord, id, taken, status, outcome, scheduled
FROM belay.give_back($1, $2, $3, $4, $5, $6, $7, $8, $9) ORDER BY ord
