-- job_events: the life of a job in order, deleted jobs too; after_id null: from the start.
-- What has been seen is left out, whatever its place is now; null: nothing has.
-- $1 id bigint
-- $2 after_id bigint
-- $3 row_limit int
-- $4 seen text
SELECT id, event, seen FROM belay.unseen_events($1, $2, $4, $3)
