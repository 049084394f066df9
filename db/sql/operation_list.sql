-- operation_list: one page of operations, the newest first; before_id is where the last page ended. Null: any.
-- $1 status text
-- $2 standing boolean
-- $3 before_id bigint
-- $4 row_limit int
SELECT o.id, belay.operation_text(o) FROM belay.operations o
WHERE ($1 IS NULL OR o.status = $1) AND ($2 IS NULL OR (o.until IS NOT NULL) = $2) AND ($3 IS NULL OR o.id < $3)
ORDER BY o.id DESC LIMIT $4
