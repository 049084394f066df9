-- maintain_due: what is due becomes ready. next_due_ms null: nothing is scheduled.
-- $1 row_limit int
SELECT moved, queues, next_due_ms FROM belay.due($1)
