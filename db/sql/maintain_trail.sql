-- maintain_trail: events and receipts of jobs that are no more go when they are older than age_s; a step of a walk over the ids of jobs.
-- next_after null: the walk is over.
-- $1 age_s bigint
-- $2 after bigint
-- $3 row_limit int
SELECT removed, next_after FROM belay.retain_trail($1, $2, $3)
