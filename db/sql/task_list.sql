-- task_list: the names of tasks for which there ever was a job.
SELECT name, json_build_object('name', name)::text AS task FROM belay.tasks ORDER BY name
