-- worker_list: the workers that are here, or were until their lease ran out.
-- $1 lease_ms bigint
SELECT id, json_build_object('id', id, 'name', name, 'host', host, 'pid', pid, 'version', version,
         'concurrency', concurrency, 'running', running, 'queues', queues,
         'queue_concurrency', coalesce(limits -> 'queue_concurrency', '{}'), 'task_concurrency', coalesce(limits -> 'task_concurrency', '{}'), 'started_at', belay.time_text(started_at),
         'heartbeat_at', belay.time_text(heartbeat_at),
         'alive', heartbeat_at > now() - $1 * interval '1 millisecond')::text AS worker
FROM belay.workers WHERE gone_at IS NULL ORDER BY id
