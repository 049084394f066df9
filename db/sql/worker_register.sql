-- worker_register: a worker arrives.
-- $1 name text
-- $2 host text
-- $3 pid int
-- $4 version text
-- $5 concurrency int
INSERT INTO belay.workers (name, host, pid, version, concurrency) VALUES ($1, $2, $3, $4, $5) RETURNING id
