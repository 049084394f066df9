-- worker_stop: a worker leaves; one that still has a lease stays until that runs out.
-- $1 worker bigint
UPDATE belay.workers SET gone_at = now(), running = 0
WHERE id = $1 AND NOT EXISTS (SELECT FROM belay.leases l WHERE l.worker_id = $1)
