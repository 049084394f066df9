-- job_get: jobs as they stand; unknown ids give no row.
-- $1 ids bigint[]
SELECT u.ord::int, s.id, s.status, s.etag, s.job
FROM unnest($1) WITH ORDINALITY u (id, ord) JOIN belay.job_states($1) s ON s.id = u.id
ORDER BY u.ord
