-- gate_limit: the limits of a queue, task or key, instead of those that it had; null: none.
-- $1 kind text
-- $2 name text
-- $3 max_running int
-- $4 rate_per_second text
-- $5 burst int
SELECT belay.limit_to($1, $2, $3, $4::double precision, $5) AS gate
