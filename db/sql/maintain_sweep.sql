-- maintain_sweep: tells families of ends, in one step. The last row has no job: how many no longer wait, and whether there is more.
-- $1 row_limit int
SELECT job_id, result, released, more FROM belay.sweep($1)
