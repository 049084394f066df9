-- maintain_keys: removes keys that have expired, $1 at most; answers how many.
-- $1 row_limit int
SELECT belay.sweep_keys($1)
