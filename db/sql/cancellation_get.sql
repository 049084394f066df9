-- cancellation_get: receipts by job and number.
-- $1 ids bigint[]
-- $2 ns int[]
SELECT u.ord::int, belay.cancellation_text(c) AS cancellation, md5(c::text) AS etag
FROM unnest($1, $2) WITH ORDINALITY u (id, n, ord)
JOIN belay.cancellations c ON c.job_id = u.id AND c.n = u.n
ORDER BY u.ord
