-- operation_step: the next step of a running operation, about row_limit jobs. operation_id null: there is nothing to do now;
-- next_ms null: no operation runs.
-- $1 row_limit int
SELECT operation_id, kind, looked, status, document, wake, next_ms FROM belay.operation_step($1)
