-- queue_name: queues that are about to be named, made where they were never seen.
-- $1 names text[]
SELECT 1 AS ord FROM belay.name_queues($1)
