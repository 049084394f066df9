-- maintain_expire: cancels and aborts what is past its deadline. The last row has no job: next_due_ms, null: there is none.
-- $1 row_limit int
SELECT job_id, result, next_due_ms FROM belay.expire($1)
