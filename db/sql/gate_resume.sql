-- gate_resume: it may start again.
-- $1 kind text
-- $2 name text
SELECT belay.resume($1, $2) AS gate
