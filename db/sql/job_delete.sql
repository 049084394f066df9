-- job_delete: delete; a running job goes when it has stopped, where abort was asked.
-- $1 ids bigint[]
-- $2 abort boolean[]
-- $3 reason text[]
-- $4 actor text[]
-- $5 grace_seconds int[]
-- $6 if_match text[]
SELECT x.ord::int, a.result, a.status, a.etag, a.job, a.cancellation, a.cancellation_n, a.worker_id, a.attempt,
       a.queue
FROM unnest($1, $2, $3, $4, $5, $6) WITH ORDINALITY x (id, abort, reason, actor, grace, if_match, ord),
     LATERAL belay.delete_one(x.id, x.abort, x.reason, x.actor, x.grace, x.if_match) a
ORDER BY x.ord
