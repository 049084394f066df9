-- job_progress: how far running jobs are; fenced by the lease, newest only.
-- $1 ids bigint[]
-- $2 leases bigint[]
-- $3 workers bigint[]
-- $4 percents text[]
-- $5 messages text[]
-- $6 shields text[]
-- $7 shield_us bigint[]
-- percent and shield may be null; shield_us is for how long the section has lasted.
WITH d AS MATERIALIZED (SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7) WITH ORDINALITY
                          x (id, lease, worker, percent, message, shield, shield_us, ord)),
f AS MATERIALIZED ( -- the lease is locked: no report comes after the end of its job
  SELECT d.* FROM d JOIN belay.leases l ON l.id = d.lease AND l.worker_id = d.worker AND d.id = ANY (l.job_ids)
  ORDER BY l.id FOR SHARE OF l),
p AS (
  INSERT INTO belay.progress (job_id, percent, message, shield, shield_at)
  SELECT DISTINCT ON (f.id) f.id, f.percent::real, f.message, f.shield,
         CASE WHEN f.shield IS NOT NULL THEN clock_timestamp() - f.shield_us * interval '1 microsecond' END
  FROM f ORDER BY f.id, f.ord DESC
  ON CONFLICT (job_id) DO UPDATE SET percent = excluded.percent, message = excluded.message, at = excluded.at,
                                     shield = excluded.shield, shield_at = excluded.shield_at
  RETURNING job_id)
SELECT d.ord::int, p.job_id IS NOT NULL AS taken FROM d LEFT JOIN p ON p.job_id = d.id ORDER BY d.ord
