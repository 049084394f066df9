-- maintain_tick: makes the jobs of the ticks that are due. result: made, skipped (the queueing lock is taken), missed (too old).
-- The last row has no schedule: next_due_ms, null: there is none.
-- $1 row_limit int
SELECT schedule, belay.time_text(tick_at) AS tick_at, result, job_id, next_due_ms FROM belay.tick($1)
