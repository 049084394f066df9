-- When jobs are tried again, taken back, and thrown away.

-- What is wrong with a retry strategy, or null; as handlers/strategy.c has it.
CREATE FUNCTION belay.retry_fault(p_retry json, p_max_attempts int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  x record;
BEGIN
  IF json_typeof(p_retry) <> 'object' THEN
    RETURN 'retry must be a JSON object';
  ELSIF p_max_attempts = 1 THEN
    RETURN 'retry says when to try again, but max_attempts is 1';
  END IF;
  FOR x IN SELECT e.key, e.value, json_typeof(e.value) AS type FROM json_each(p_retry) e LOOP
    IF x.type = 'null' THEN
      CONTINUE;
    ELSIF x.key = 'kind' AND (p_retry ->> 'kind') IN ('fixed', 'linear', 'exponential') AND x.type = 'string' THEN
      CONTINUE;
    ELSIF x.key IN ('wait_seconds', 'max_wait_seconds') AND x.type = 'number' THEN
      CONTINUE WHEN (p_retry ->> x.key)::numeric BETWEEN 0 AND 604800;
    ELSIF x.key = 'jitter' AND x.type = 'boolean' THEN
      CONTINUE;
    ELSIF x.key = 'on' AND x.type = 'array' THEN
      CONTINUE WHEN json_array_length(x.value) <= 20 AND NOT EXISTS (
        SELECT FROM json_array_elements(x.value) k
        WHERE json_typeof(k) <> 'string' OR length(k #>> '{}') NOT BETWEEN 1 AND 64);
    END IF;
    RETURN format('retry: %s is not as it should be: kind is fixed, linear or exponential, wait_seconds and '
                  'max_wait_seconds are from 0 to 604800, jitter is true or false, on has at most 20 words', x.key);
  END LOOP;
  RETURN NULL;
END $$;

-- The job as it shall be from its next attempt on: p_more has what changes. A lock that is null there is taken away. The caller
-- has named the queue.
CREATE FUNCTION belay.changed(j belay.jobs, p_more json) RETURNS belay.jobs LANGUAGE plpgsql AS $$
DECLARE
  m CONSTANT jsonb := p_more;
BEGIN
  j.queue_id := coalesce((SELECT q.id FROM belay.queues q WHERE q.name = m ->> 'queue'), j.queue_id);
  j.priority := coalesce((m ->> 'priority')::int, j.priority);
  j.max_attempts := coalesce((m ->> 'max_attempts')::int, j.max_attempts);
  IF m ? 'lock' THEN
    j.lock := m ->> 'lock';
  END IF;
  IF m ? 'queueing_lock' THEN
    j.queueing_lock := m ->> 'queueing_lock';
  END IF;
  RETURN j;
END $$;

-- What an event tells, and what has changed.
CREATE FUNCTION belay.changes_text(p_detail json, p_more json, p_run_at timestamptz) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
  IF p_more IS NULL THEN
    RETURN p_detail;
  END IF;
  RETURN p_detail::jsonb || (p_more::jsonb - 'scheduled_us' - 'delay_ms')
         || CASE WHEN p_run_at IS NULL THEN '{}' ELSE jsonb_build_object('scheduled_at', belay.time_text(p_run_at)) END;
END $$;

-- doing -> todo as requeue_one() has it, for an attempt that counts, with what its task wants to be different. Under another lock
-- it has no turn. The caller has named the queue, and gives both locks their turns. Whoever takes the other queue is told.
CREATE FUNCTION belay.requeue_changed(p_job belay.jobs, p_next json, p_run_at timestamptz, OUT scheduled boolean)
LANGUAGE plpgsql AS $$
DECLARE
  j belay.jobs := belay.changed(p_job, p_next);
BEGIN
  PERFORM belay.keep_schedule(p_job);
  UPDATE belay.jobs SET attempts = attempts + 1, scheduled_at = p_run_at, queue_id = j.queue_id, priority = j.priority,
                        lock = j.lock WHERE id = j.id;
  IF j.lock IS NOT DISTINCT FROM p_job.lock THEN
    scheduled := belay.requeue_one(j, true, false, p_run_at);
  ELSE
    scheduled := p_run_at > clock_timestamp();
    j.scheduled_at := CASE WHEN scheduled THEN p_run_at END;
    PERFORM belay.put_todo(j);
  END IF;
  IF j.queue_id <> p_job.queue_id AND NOT scheduled THEN
    PERFORM pg_notify('belay_ready', q.name) FROM belay.queues q WHERE q.id = j.queue_id;
  END IF;
END $$;

-- Of the jobs that a worker says have ended: those that were asked to stop and to start again go back. Each counts as an attempt,
-- whatever is left of max_attempts. One that has succeeded has succeeded. The caller holds the leases, and looks at the locks.
CREATE FUNCTION belay.requeue_aborted(
  p_ids bigint[], p_leases bigint[], p_workers bigint[], p_statuses text[], p_started_us bigint[], p_messages text[],
  p_killed boolean[], p_delivered_us bigint[], p_acknowledged_us bigint[], p_told_at timestamptz)
RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
  again bigint[] := '{}';
  j belay.jobs;
  x record;
BEGIN
  FOR x IN SELECT d.*, l.at, c.n
           FROM unnest(p_ids, p_leases, p_workers, p_statuses, p_started_us, p_messages, p_killed, p_delivered_us,
                       p_acknowledged_us) d (id, lease, worker, status, started_us, message, killed, delivered_us, acknowledged_us)
           CROSS JOIN LATERAL (SELECT l.at FROM belay.leases l WHERE l.id = d.lease AND l.worker_id = d.worker OFFSET 0) l
           CROSS JOIN LATERAL (SELECT c.n FROM belay.cancellations c
                               WHERE c.job_id = d.id AND c.stopped_at IS NULL AND c.requeue OFFSET 0) c
           WHERE d.status IN ('aborted', 'failed') LOOP
    IF NOT belay.leave_lease(x.lease, x.id) THEN
      CONTINUE;
    END IF;
    SELECT * INTO j FROM belay.jobs WHERE jobs.id = x.id;
    PERFORM belay.close_receipts(ARRAY[x.id], ARRAY['requeued'], ARRAY[x.message], ARRAY[x.delivered_us],
                                 ARRAY[x.acknowledged_us], p_told_at),
            belay.requeue_one(j, true, true, NULL),
            belay.keep_attempt(x.id, j.attempts + 1, x.at + x.started_us * interval '1 microsecond', x.worker, 'retried',
              json_build_object('cancellation', x.n, 'kind', CASE WHEN x.killed THEN 'killed' ELSE x.status END,
                                'message', x.message, 'next_at', belay.time_text(p_told_at)));
    again := again || x.id;
  END LOOP;
  RETURN again;
END $$;

-- A step of the walk over ended jobs, see maintain_retain.sql. Ids rise with the time of creation, so the walk is over at the first
-- job that is younger than the shortest retention: none behind it has ended earlier than that.
CREATE FUNCTION belay.retain(p_ages bigint[], p_after bigint, p_limit int, OUT removed int, OUT next_after bigint)
LANGUAGE plpgsql AS $$
DECLARE
  young CONSTANT timestamptz := now() - (SELECT min(a) FROM unnest(p_ages) a WHERE a > 0) * interval '1 second';
  looked bigint[] := ARRAY(SELECT e.id FROM belay.ends e WHERE e.id > p_after ORDER BY e.id LIMIT p_limit);
  old bigint[] := ARRAY(SELECT e.id FROM belay.ends e WHERE e.id = ANY (looked) AND p_ages[e.status - 1] > 0
                          AND e.finished_at < now() - p_ages[e.status - 1] * interval '1 second'
                        ORDER BY e.id FOR UPDATE SKIP LOCKED);
BEGIN
  removed := cardinality(old);
  IF cardinality(looked) = p_limit
     AND (SELECT j.created_at <= young FROM belay.jobs j WHERE j.id = looked[p_limit]) THEN
    next_after := looked[p_limit];
  END IF;
  IF removed > 0 THEN
    PERFORM belay.forget(old, array_fill('retention'::text, ARRAY[removed]));
  END IF;
END $$;

-- The same for the audit trail, see maintain_trail.sql. What belongs to a job that is still there stays as long as the job.
CREATE FUNCTION belay.retain_trail(p_age_s bigint, p_after bigint, p_limit int, OUT removed int, OUT next_after bigint)
LANGUAGE plpgsql AS $$
DECLARE
  old CONSTANT timestamptz := now() - p_age_s * interval '1 second';
  looked bigint[] := ARRAY(SELECT v.job_id FROM belay.events v WHERE v.job_id > p_after ORDER BY v.job_id, v.id LIMIT p_limit);
  gone bigint[] := ARRAY(SELECT DISTINCT i FROM unnest(looked) i
                         WHERE NOT EXISTS (SELECT FROM (SELECT j.id FROM belay.jobs j WHERE j.id = i OFFSET 0) j));
BEGIN
  IF cardinality(looked) = p_limit THEN
    next_after := looked[p_limit];
  END IF;
  DELETE FROM belay.events WHERE ctid = ANY (ARRAY(
    SELECT v.ctid FROM belay.events v WHERE v.job_id = ANY (gone) AND v.at < old FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS removed = ROW_COUNT;
  DELETE FROM belay.cancellations WHERE ctid = ANY (ARRAY(
    SELECT c.ctid FROM belay.cancellations c WHERE c.job_id = ANY (gone) AND c.stopped_at < old FOR UPDATE SKIP LOCKED));
END $$;
