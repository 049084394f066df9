-- gate_pause: nothing of a queue or task starts any more; until null: before it is resumed.
-- $1 kind text
-- $2 name text
-- $3 actor text
-- $4 reason text
-- $5 until timestamptz
SELECT belay.pause($1, $2, $3, $4, $5) AS gate
