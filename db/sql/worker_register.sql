-- worker_register: a worker arrives; queues null: it takes jobs of all.
-- $1 name text
-- $2 host text
-- $3 pid int
-- $4 version text
-- $5 concurrency int
-- $6 queues text
-- $7 limits json
INSERT INTO belay.workers (name, host, pid, version, concurrency, queues, limits) VALUES ($1, $2, $3, $4, $5, $6::text[], $7) RETURNING id
