-- operation_get: one operation.
-- $1 id bigint
SELECT belay.operation_text(o) FROM belay.operations o WHERE o.id = $1
