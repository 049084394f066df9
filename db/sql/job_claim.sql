-- job_claim: up to n jobs under one lease, in no order: sort by priority desc, id.
-- queues: array literal of names and patterns, null for all. sure: how many start at once. lows: {"priority": id}, where to begin;
-- null: at the start.
-- $1 worker bigint
-- $2 n int
-- $3 sure int
-- $4 queues text
-- $5 lows json
SELECT id, lease, queue, task, priority, attempt, counted, max_attempts, args, has_lock, timeout_ms, options, waited_ms
FROM belay.claim($1, $2, $3, CASE WHEN $4 ~ '[*?!]' THEN belay.queues_of($4::text[]) ELSE $4::text[] END, $5)
