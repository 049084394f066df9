-- schedule_delete: no row when there is none. Its jobs stay.
-- $1 name text
DELETE FROM belay.schedules WHERE name = $1 RETURNING name
