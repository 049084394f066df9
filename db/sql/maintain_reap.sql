-- maintain_reap: the jobs of workers that are gone.
-- $1 lease_ms bigint
-- $2 row_limit int
SELECT job_id, worker_id, status FROM belay.reap($1, $2)
