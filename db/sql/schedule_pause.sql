-- schedule_pause: pauses it or lets it go on; no row when there is none.
-- $1 name text
-- $2 paused boolean
SELECT belay.etag_text(d.t) AS etag, d.t AS schedule
FROM (SELECT belay.schedule_text(s, 5) AS t FROM belay.pause_schedule($1, $2) s OFFSET 0) d
