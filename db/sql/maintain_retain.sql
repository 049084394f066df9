-- maintain_retain: ended jobs that are older than the retention of their status go; a step of a walk over their ids.
-- ages: an array literal of seconds, for succeeded, failed, cancelled and aborted; 0: for ever. next_after null: the walk is over.
-- $1 ages text
-- $2 after bigint
-- $3 row_limit int
SELECT removed, next_after FROM belay.retain($1::bigint[], $2, $3)
