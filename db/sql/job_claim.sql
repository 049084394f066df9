-- job_claim: up to n jobs under one lease, in no order: sort by priority desc, id.
-- queues: array literal, null for all. sure: how many start at once. lows: {"priority": id}, where to begin; null: at the start.
-- $1 worker bigint
-- $2 n int
-- $3 sure int
-- $4 queues text
-- $5 lows json
SELECT id, lease, queue, task, priority, attempt, counted, max_attempts, args, has_lock, timeout_ms, options
FROM belay.claim($1, $2, $3, $4::text[], $5)
