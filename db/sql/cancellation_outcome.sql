-- cancellation_outcome: a receipt and its job, for a request that has waited. The columns are those of job_cancel;
-- result is the outcome, or 'aborting' or 'cancel_pending' while there is none. The job is null when it has been removed.
-- $1 ids bigint[]
-- $2 ns int[]
SELECT u.ord::int, coalesce(c.outcome, CASE WHEN c.stopped_at = 'infinity' THEN 'cancel_pending' ELSE 'aborting' END) AS result, s.status, s.etag, s.job,
       belay.cancellation_text(c) AS cancellation, c.n AS cancellation_n, c.worker_id, c.attempt, s.queue
FROM unnest($1, $2) WITH ORDINALITY u (id, n, ord)
JOIN belay.cancellations c ON c.job_id = u.id AND c.n = u.n
LEFT JOIN LATERAL belay.job_states(ARRAY[u.id]) s ON true
ORDER BY u.ord
