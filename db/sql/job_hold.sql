-- job_hold: todo jobs that must not start before they are released; until null: by hand.
-- $1 ids bigint[]
-- $2 actor text[]
-- $3 reason text[]
-- $4 until timestamptz[]
SELECT ord, result, etag, job FROM belay.hold_by_hand($1, $2, $3, $4) ORDER BY ord
