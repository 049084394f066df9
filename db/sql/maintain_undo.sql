-- maintain_undo: cancels and aborts what can be undone no more. The last row has no job: next_due_ms, null: there is none.
-- $1 row_limit int
SELECT job_id, result, next_due_ms FROM belay.end_undos($1)
