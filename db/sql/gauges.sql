-- gauges: how many jobs of each queue stand where, how long the first of each queue has waited, and how many workers live.
-- $1 lease_ms bigint
-- A scrape must not cost more because there are more jobs: of a table of more than 1,024 pages (about 190,000 rows) so many are
-- read, at random, and the counts are estimates; of more than 4,000 running jobs every so-and-so-many-th. At most 1,000 queues.
WITH q AS MATERIALIZED (SELECT q.id, q.name FROM belay.queues q ORDER BY q.id LIMIT 1000),
share AS MATERIALIZED (
  SELECT least(1, 1024.0 * 8192 / greatest(1, pg_relation_size('belay.ready')))::float8 AS ready,
         least(1, 1024.0 * 8192 / greatest(1, pg_relation_size('belay.scheduled')))::float8 AS scheduled,
         least(1, 1024.0 * 8192 / greatest(1, pg_relation_size('belay.blocked')))::float8 AS blocked,
         least(1, 1024.0 * 8192 / greatest(1, pg_relation_size('belay.parked')))::float8 AS parked,
         least(1, 1024.0 * 8192 / greatest(1, pg_relation_size('belay.waits')))::float8 AS waiting,
         greatest(1, (SELECT sum(cardinality(l.job_ids)) FROM belay.leases l) / 4000)::int AS stride),
n AS (
  SELECT r.queue_id, 'todo' AS status, count(*) / (SELECT ready FROM share) AS n
  FROM belay.ready r TABLESAMPLE SYSTEM ((SELECT ready * 100 FROM share)) GROUP BY 1
  UNION ALL
  SELECT r.queue_id, 'scheduled', count(*) / (SELECT scheduled FROM share)
  FROM belay.scheduled r TABLESAMPLE SYSTEM ((SELECT scheduled * 100 FROM share)) GROUP BY 1
  UNION ALL
  SELECT r.queue_id, 'blocked', count(*) / (SELECT blocked FROM share)
  FROM belay.blocked r TABLESAMPLE SYSTEM ((SELECT blocked * 100 FROM share)) GROUP BY 1
  UNION ALL
  SELECT r.queue_id, 'parked', count(*) / (SELECT parked FROM share)
  FROM belay.parked r TABLESAMPLE SYSTEM ((SELECT parked * 100 FROM share)) GROUP BY 1
  UNION ALL
  SELECT r.queue_id, 'waiting', count(*) / (SELECT waiting FROM share)
  FROM belay.waits r TABLESAMPLE SYSTEM ((SELECT waiting * 100 FROM share)) GROUP BY 1
  UNION ALL
  SELECT j.queue_id, 'doing', count(*) * min(s.stride)
  FROM share s, belay.leases l CROSS JOIN LATERAL unnest(l.job_ids) WITH ORDINALITY u (id, n)
  CROSS JOIN LATERAL (SELECT j.queue_id FROM belay.jobs j WHERE j.id = u.id OFFSET 0) j
  WHERE (l.id + u.n) % s.stride = 0 GROUP BY 1)
SELECT 'jobs' AS gauge, q.name AS queue, w.status, round(coalesce(n.n, 0)::numeric)::bigint AS value
FROM q CROSS JOIN unnest(ARRAY['todo', 'scheduled', 'blocked', 'waiting', 'parked', 'doing']) w (status)
LEFT JOIN n ON n.queue_id = q.id AND n.status = w.status
UNION ALL
SELECT 'latency_us', q.name, NULL,
       coalesce((SELECT greatest(0, extract(epoch FROM clock_timestamp() - greatest(j.created_at, j.scheduled_at)) * 1000000)::bigint
                 FROM (SELECT r.id FROM belay.ready r WHERE r.queue_id = q.id ORDER BY r.priority DESC, r.id LIMIT 1) f
                 CROSS JOIN LATERAL (SELECT j.created_at, j.scheduled_at FROM belay.jobs j WHERE j.id = f.id OFFSET 0) j), 0)
FROM q
UNION ALL
SELECT 'workers', NULL, NULL, count(*)
FROM belay.workers w WHERE w.gone_at IS NULL AND w.heartbeat_at > now() - $1 * interval '1 millisecond'
