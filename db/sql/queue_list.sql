-- queue_list: how many jobs of each queue stand where. Every job that has not ended is counted; of ends at most 1,024 pages are read,
-- at random, and above that their counts are estimates.
WITH share AS MATERIALIZED (SELECT belay.share_to_count('belay.ends', 1024) AS ends),
n AS (
  SELECT queue_id, 'todo' AS what, count(*) AS n FROM belay.ready GROUP BY 1
  UNION ALL SELECT queue_id, 'scheduled', count(*) FROM belay.scheduled GROUP BY 1
  UNION ALL SELECT queue_id, 'blocked', count(*) FROM belay.blocked GROUP BY 1
  UNION ALL SELECT queue_id, 'parked', count(*) FROM belay.parked GROUP BY 1
  UNION ALL SELECT queue_id, 'waiting', count(*) FROM belay.waits GROUP BY 1
  UNION ALL SELECT j.queue_id, 'doing', count(*)
  FROM belay.leases l, unnest(l.job_ids) u (id) JOIN belay.jobs j ON j.id = u.id GROUP BY 1
  UNION ALL SELECT j.queue_id, (ARRAY['succeeded', 'failed', 'cancelled', 'aborted'])[e.status - 1],
                   round((count(*) / (SELECT ends FROM share))::numeric)::bigint
  FROM belay.ends e TABLESAMPLE SYSTEM ((SELECT ends * 100 FROM share))
  CROSS JOIN LATERAL (SELECT j.queue_id FROM belay.jobs j WHERE j.id = e.id OFFSET 0) j GROUP BY 1, e.status),
c AS (SELECT queue_id, json_object_agg(what, n) AS of FROM n GROUP BY 1)
SELECT q.name, concat('{"name":', to_json(q.name), ',', belay.gate_text(g),
         (SELECT string_agg(concat(',"', w, '":', coalesce(c.of ->> w,
            '0')), '' ORDER BY o)
          FROM unnest(ARRAY['todo', 'scheduled', 'blocked', 'waiting', 'parked', 'doing', 'succeeded', 'failed', 'cancelled', 'aborted'])
               WITH ORDINALITY x (w, o)),
         ',"estimated":', ((SELECT ends FROM share) < 1)::text, '}') AS queue
FROM belay.queues q LEFT JOIN c ON c.queue_id = q.id
LEFT JOIN belay.gates g ON g.kind = 'queue' AND g.ref = q.id
ORDER BY q.name
