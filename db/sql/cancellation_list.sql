-- cancellation_list: all receipts of jobs; the job may be gone.
-- $1 ids bigint[]
SELECT u.ord::int, belay.cancellation_text(c) AS cancellation
FROM unnest($1) WITH ORDINALITY u (id, ord)
JOIN belay.cancellations c ON c.job_id = u.id
ORDER BY u.ord, c.n
