-- schedule_run: a job of the schedule now. result: created or already-enqueued; no row when there is no such schedule.
-- $1 name text
SELECT result, job_id, existing_id, queue, etag, job FROM belay.run_schedule($1)
