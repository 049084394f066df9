-- cancellation_list: all receipts of jobs; the job may be gone. One row with null for a job that has none.
-- $1 ids bigint[]
SELECT u.ord::int, CASE WHEN c.job_id IS NOT NULL THEN belay.cancellation_text(c) END AS cancellation
FROM unnest($1) WITH ORDINALITY u (id, ord)
LEFT JOIN belay.cancellations c ON c.job_id = u.id
WHERE c.job_id IS NOT NULL OR EXISTS (SELECT FROM belay.jobs j WHERE j.id = u.id)
   OR EXISTS (SELECT FROM belay.events v WHERE v.job_id = u.id)
ORDER BY u.ord, c.n
