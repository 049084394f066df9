-- operation_preview: what a bulk request by filter would meet; is_exact false: at least so many.
-- $1 kind text
-- $2 filter json
-- $3 look int
-- $4 sample int
SELECT matched, is_exact, sample
FROM belay.preview_operation(belay.operation_of($1, $2, true, false, NULL, NULL, NULL, NULL), $3, $4)
