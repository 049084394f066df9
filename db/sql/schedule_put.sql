-- schedule_put: makes a schedule or changes it. result: created, updated, or invalid with pointer and detail.
-- tags is an array literal; timeout_ms null: the task's; paused null: as it is.
-- $1 name text
-- $2 cron text
-- $3 timezone text
-- $4 task text
-- $5 queue text
-- $6 args json
-- $7 priority int
-- $8 lock text
-- $9 queueing_lock text
-- $10 max_attempts int
-- $11 tags text
-- $12 metadata json
-- $13 timeout_ms int
-- $14 max_delay_ms bigint
-- $15 paused boolean
SELECT result, pointer, detail, etag, schedule
FROM belay.put_schedule($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text[], $12, $13, $14, $15)
