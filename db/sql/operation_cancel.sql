-- operation_cancel: stops an operation where it is, and revokes a standing rule.
-- $1 id bigint
SELECT result, document FROM belay.cancel_operation($1)
