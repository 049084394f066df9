-- job_explain: why jobs stand where they stand; unknown ids give no row.
-- $1 ids bigint[]
-- $2 nodes json[]
SELECT u.ord::int, x.explanation
FROM unnest($1, $2) WITH ORDINALITY u (id, node, ord) CROSS JOIN LATERAL belay.explain(u.id, u.node) x (explanation)
ORDER BY u.ord
