-- job_retry: a terminal job starts again, by hand.
-- $1 ids bigint[]
-- $2 actor text[]
-- $3 if_match text[]
SELECT x.ord::int, a.result, a.existing_id, a.status, a.etag, a.job, a.queue
FROM unnest($1, $2, $3) WITH ORDINALITY x (id, actor, if_match, ord),
     LATERAL belay.retry_one(x.id, x.actor, x.if_match) a
ORDER BY x.ord
