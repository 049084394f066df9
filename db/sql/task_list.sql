-- task_list: what the database knows of tasks, as members of its document. Counts every running job: for people, not for polling.
WITH d AS (
  SELECT j.task_id, count(*) AS n
  FROM belay.leases l, unnest(l.job_ids) u (id) JOIN belay.jobs j ON j.id = u.id GROUP BY 1)
SELECT t.name, concat(belay.gate_text(g), ',"doing":', coalesce(d.n, 0), ',"parked":',
         (SELECT count(*) FROM belay.parked p WHERE p.gate_id = g.id)) AS members
FROM belay.tasks t LEFT JOIN belay.gates g ON g.kind = 'task' AND g.ref = t.id LEFT JOIN d ON d.task_id = t.id
WHERE g.id IS NOT NULL OR d.n > 0
UNION ALL SELECT '', '' -- so that nothing to tell is not taken for no answer
