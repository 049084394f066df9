-- job_claim_of: job_claim for some tasks only, or for all but those, from the start.
-- It is a statement of its own so that the hot one has no parameters that it does not use.
-- $1 worker bigint
-- $2 n int
-- $3 sure int
-- $4 queues text
-- $5 tasks text
-- $6 of boolean
SELECT id, lease, queue, task, priority, attempt, counted, max_attempts, args, has_lock, timeout_ms, options, waited_ms
FROM belay.claim($1, $2, $3, CASE WHEN $4 ~ '[*?!]' THEN belay.queues_of($4::text[]) ELSE $4::text[] END, NULL, $5::text[], $6)
