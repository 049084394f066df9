-- job_events: the life of a job in order, deleted jobs too; after_id null: from the start.
-- $1 id bigint
-- $2 after_id bigint
-- $3 row_limit int
SELECT id, event FROM belay.job_events($1, $2, $3)
