-- limit_key_list: the keys that have limits. Counts every running job: for people, not for polling.
SELECT g.name, concat('{"key":', to_json(g.name), ',', belay.gate_text(g), ',"running":', belay.running_at('key', g.name),
         ',"parked":', (SELECT count(*) FROM belay.parked p WHERE p.gate_id = g.id), '}') AS limit_key
FROM belay.gates g WHERE g.kind = 'key' AND num_nonnulls(g.max_running, g.rate) > 0
ORDER BY g.name
