-- task_counts: how many jobs of each task stand where, by name. Of tables of more than 256 pages so many are read, at random,
-- and the counts are estimates: each row means a look at its job.
WITH share AS MATERIALIZED (
  SELECT belay.share_to_count('belay.ready', 256) AS ready, belay.share_to_count('belay.scheduled', 256) AS scheduled,
         belay.share_to_count('belay.blocked', 256) AS blocked,
         belay.share_to_count('belay.parked', 256) AS parked, belay.share_to_count('belay.waits', 256) AS waits,
         belay.share_to_count('belay.ends', 256) AS ends),
p AS (
  SELECT r.id, 'todo' AS what, s.ready AS share
  FROM share s, belay.ready r TABLESAMPLE SYSTEM ((SELECT ready * 100 FROM share))
  UNION ALL
  SELECT r.id, 'todo', s.scheduled FROM share s, belay.scheduled r TABLESAMPLE SYSTEM ((SELECT scheduled * 100 FROM share))
  UNION ALL
  SELECT r.id, 'todo', s.blocked FROM share s, belay.blocked r TABLESAMPLE SYSTEM ((SELECT blocked * 100 FROM share))
  UNION ALL
  SELECT r.id, 'todo', s.parked FROM share s, belay.parked r TABLESAMPLE SYSTEM ((SELECT parked * 100 FROM share))
  UNION ALL
  SELECT r.id, 'todo', s.waits FROM share s, belay.waits r TABLESAMPLE SYSTEM ((SELECT waits * 100 FROM share))
  UNION ALL
  SELECT u.id, 'doing', 1 FROM belay.leases l CROSS JOIN LATERAL unnest(l.job_ids) u (id)
  UNION ALL
  SELECT e.id, (ARRAY['succeeded', 'failed', 'cancelled', 'aborted'])[e.status - 1], s.ends
  FROM share s, belay.ends e TABLESAMPLE SYSTEM ((SELECT ends * 100 FROM share))),
n AS (
  SELECT j.task_id, p.what, round(sum(1 / p.share)::numeric)::bigint AS n, bool_or(p.share < 1) AS estimated
  FROM p CROSS JOIN LATERAL (SELECT j.task_id FROM belay.jobs j WHERE j.id = p.id OFFSET 0) j GROUP BY 1, 2),
c AS (SELECT task_id, json_object_agg(what, n) AS of, bool_or(estimated) AS estimated FROM n GROUP BY 1)
SELECT t.name, concat('{',
         (SELECT string_agg(concat('"', w, '":', coalesce(c.of ->> w, '0')), ',' ORDER BY o)
          FROM unnest(ARRAY['todo', 'doing', 'succeeded', 'failed', 'cancelled', 'aborted']) WITH ORDINALITY x (w, o)),
         ',"estimated":', coalesce(c.estimated, false)::text, '}') AS jobs
FROM belay.tasks t LEFT JOIN c ON c.task_id = t.id
ORDER BY t.name
