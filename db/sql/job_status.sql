-- job_status: where jobs stand, cheaply, for requests that wait; 'deleted' for those of which only receipts are left.
-- $1 ids bigint[]
SELECT u.ord::int, u.id,
       CASE WHEN e.id IS NOT NULL THEN (ARRAY['succeeded', 'failed', 'cancelled', 'aborted'])[e.status - 1]
            WHEN j.id IS NULL THEN 'deleted'
            WHEN EXISTS (SELECT FROM belay.lease_of(u.id)) THEN 'doing'
            ELSE 'todo' END AS status,
       c.n AS cancellation_n, c.outcome
FROM unnest($1) WITH ORDINALITY u (id, ord)
LEFT JOIN belay.jobs j ON j.id = u.id
LEFT JOIN belay.ends e ON e.id = u.id
LEFT JOIN LATERAL (SELECT c.n, c.outcome FROM belay.cancellations c WHERE c.job_id = u.id
                   ORDER BY c.n DESC LIMIT 1) c ON true
WHERE j.id IS NOT NULL OR c.n IS NOT NULL OR EXISTS (SELECT FROM belay.events v WHERE v.job_id = u.id)
ORDER BY u.ord
