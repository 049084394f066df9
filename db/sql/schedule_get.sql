-- schedule_get: a schedule with its next five times; no row when there is none.
-- $1 name text
SELECT belay.etag_text(d.t) AS etag, d.t AS schedule
FROM (SELECT belay.schedule_text(s, 5) AS t FROM belay.schedules s WHERE s.name = $1 OFFSET 0) d
