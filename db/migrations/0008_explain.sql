-- Why a job has not started, why it has not stopped, or how it ended: in fields, and in one sentence that also says what comes next.
-- One function a place, one row of its CASE a reason. To add a reason: its row where it has to win (a reason that stops more stands
-- before one that stops less), its word in the document's enum, and a line in docs/explain.md.

ALTER TABLE belay.workers ADD queues text[]; -- those that it takes jobs from: names and patterns; null: all
ALTER TABLE belay.workers ADD limits json;   -- how many it runs at a time: {"queue_concurrency": {"mail": 2}, "task_concurrency": {}}

-- reason: the word; why: the first half of the sentence; since: when that began; what, at: what comes next and when, null
-- when nobody knows; facts: the reason's own fields.
CREATE TYPE belay.explanation AS (reason text, why text, since timestamptz, what text, at timestamptz, facts json);

CREATE FUNCTION belay.span_text(p_span interval) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  s numeric := greatest(0, extract(epoch FROM p_span));
BEGIN
  RETURN CASE WHEN s < 120 THEN to_char(s, 'FM990.0') || ' s' WHEN s < 7200 THEN round(s / 60) || ' min'
              WHEN s < 172800 THEN round(s / 3600) || ' h' ELSE round(s / 86400) || ' days' END;
END $$;

-- Rows of an index up to the first thousand: how many are before somebody is asked for to get an idea.
CREATE FUNCTION belay.ahead_of(j belay.jobs) RETURNS int LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (SELECT count(*) FROM (
    (SELECT FROM belay.ready r WHERE r.queue_id = j.queue_id AND r.priority > j.priority LIMIT 1001)
    UNION ALL
    (SELECT FROM belay.ready r WHERE r.queue_id = j.queue_id AND r.priority = j.priority AND r.id < j.id LIMIT 1001)
    LIMIT 1001) x);
END $$;

-- In ready: only a worker is missing.
CREATE FUNCTION belay.explain_ready(j belay.jobs, p_node json) RETURNS belay.explanation LANGUAGE plpgsql STABLE AS $$
DECLARE
  x belay.explanation;
  queue text := (SELECT q.name FROM belay.queues q WHERE q.id = j.queue_id);
  ahead int;
  takers record;
BEGIN
  SELECT count(*) AS n, coalesce(sum(w.running), 0) AS running, coalesce(sum(w.concurrency), 0) AS concurrency INTO takers
  FROM belay.workers w
  WHERE w.gone_at IS NULL AND w.concurrency > 0 AND belay.takes_queue(w.queues, queue)
    AND w.heartbeat_at > clock_timestamp() - (p_node ->> 'lease_ms')::int * interval '1 millisecond';
  ahead := belay.ahead_of(j);
  x.since := greatest(j.created_at, j.scheduled_at);
  x.facts := json_build_object('queue', queue, 'ahead', least(ahead, 1000), 'ahead_is_more', ahead > 1000,
                               'workers', takers.n, 'running', takers.running, 'concurrency', takers.concurrency);
  SELECT * INTO x.reason, x.why, x.what FROM (SELECT
    CASE WHEN takers.n = 0 THEN 'no_worker' WHEN ahead > 0 THEN 'in_line' WHEN takers.running >= takers.concurrency THEN 'workers_busy'
         ELSE 'starting' END,
    CASE WHEN takers.n = 0 THEN format('no live worker takes jobs of the queue "%s"', queue)
         WHEN ahead > 0 THEN format('%s %s before it in the queue "%s"',
           CASE WHEN ahead > 1000 THEN 'more than 1000' ELSE ahead::text END,
           CASE ahead WHEN 1 THEN 'job is' ELSE 'jobs are' END, queue)
         WHEN takers.running >= takers.concurrency THEN format('it is the first of the queue "%s", and the workers that take it are busy',
                                                     queue)
         ELSE format('it is the first of the queue "%s"', queue) END,
    CASE WHEN takers.n = 0 THEN 'it starts when such a worker does' WHEN ahead > 0 THEN 'it starts when those before it have'
         WHEN takers.running >= takers.concurrency THEN 'it starts when one of their jobs has ended'
         ELSE 'it starts: a worker is about to take it' END) r (reason, why, what);
  RETURN x;
END $$;

-- In scheduled: it has a time.
CREATE FUNCTION belay.explain_scheduled(j belay.jobs, p_node json) RETURNS belay.explanation LANGUAGE plpgsql STABLE AS $$
DECLARE
  x belay.explanation;
  retry boolean := j.attempts > j.attempts_base + j.uncounted;
BEGIN
  x.since := j.created_at;
  x.facts := json_build_object('scheduled_at', belay.time_text(j.scheduled_at));
  x.reason := CASE WHEN retry THEN 'waits_for_retry' ELSE 'waits_for_time' END;
  x.why := CASE WHEN retry THEN format('attempt %s did not succeed, and the next waits for its time', j.attempts)
                ELSE 'it is scheduled for later' END;
  x.what := 'it may start';
  x.at := j.scheduled_at;
  RETURN x;
END $$;

-- In blocked: another job has its lock.
CREATE FUNCTION belay.explain_blocked(j belay.jobs, p_node json) RETURNS belay.explanation LANGUAGE plpgsql STABLE AS $$
DECLARE
  x belay.explanation;
  holder bigint := (SELECT h.id FROM belay.held h WHERE h.lock = j.lock);
  holder_is text := (SELECT p.status FROM belay.place_of(holder) p);
  ahead int := (SELECT count(*) FROM (
    (SELECT FROM belay.blocked b WHERE b.lock = j.lock AND b.priority > j.priority LIMIT 1001)
    UNION ALL
    (SELECT FROM belay.blocked b WHERE b.lock = j.lock AND b.priority = j.priority AND b.id < j.id LIMIT 1001)
    LIMIT 1001) y);
BEGIN
  x.since := j.created_at;
  x.reason := 'lock_held';
  x.facts := json_build_object('lock', j.lock, 'held_by', holder, 'holder_status', holder_is,
                               'ahead', least(ahead, 1000), 'ahead_is_more', ahead > 1000);
  x.why := format('its lock "%s" is held by job %s, which is %s', j.lock, coalesce(holder::text, '?'), coalesce(holder_is, '?'));
  x.what := CASE ahead WHEN 0 THEN 'it gets the lock when that job has ended'
                       ELSE format('it gets the lock when that job and %s %s ended',
                                   CASE WHEN ahead > 1000 THEN 'more than 1000' ELSE ahead::text END,
                                   CASE ahead WHEN 1 THEN 'other before it has' ELSE 'others before it have' END) END;
  RETURN x;
END $$;

-- No place row says any more: it is on its way from one to another.
CREATE FUNCTION belay.explain_todo(j belay.jobs, p_node json) RETURNS belay.explanation LANGUAGE plpgsql STABLE AS $$
DECLARE
  gate int := (SELECT p.gate_id FROM belay.parked p WHERE p.id = j.id);
  is_ready boolean := EXISTS (
    SELECT FROM belay.ready r WHERE r.queue_id = j.queue_id AND r.priority = j.priority AND r.id = j.id);
  x belay.explanation;
BEGIN
  IF belay.is_undoable(j.options) THEN
    RETURN belay.explain_pending(j, 'it is cancelled');
  ELSIF gate = 0 THEN
    RETURN belay.explain_held(j);
  ELSIF gate IS NOT NULL OR is_ready THEN
    x := belay.explain_gate(j);
    RETURN CASE WHEN x.reason IS NULL THEN belay.explain_ready(j, p_node) ELSE x END;
  END IF;
  RETURN CASE
    WHEN EXISTS (SELECT FROM belay.scheduled s WHERE s.run_at = j.scheduled_at AND s.id = j.id)
      THEN belay.explain_scheduled(j, p_node)
    WHEN EXISTS (SELECT FROM belay.waits w WHERE w.id = j.id) THEN belay.explain_waits(j, p_node)
    ELSE belay.explain_blocked(j, p_node) END;
END $$;

-- What follows the grace of an open receipt, as the task's kind allows; NULL: nothing, whatever the request said.
CREATE FUNCTION belay.explain_force(c belay.cancellations, p_task json, OUT what text, OUT at timestamptz)
LANGUAGE plpgsql STABLE AS $$
BEGIN
  what := CASE p_task ->> 'after_grace' WHEN 'kill' THEN 'it is killed' WHEN 'cancel' THEN 'what it waits for is cancelled once more' END;
  IF what IS NOT NULL THEN
    at := coalesce(c.force_at, c.delivered_at + (p_task ->> 'grace_ms')::bigint * interval '1 millisecond');
  END IF;
END $$;

-- It was asked to stop, and its worker is well.
CREATE FUNCTION belay.explain_abort(l belay.leases, c belay.cancellations, p_worker text, p_node json, p_task json)
RETURNS belay.explanation LANGUAGE plpgsql STABLE AS $$
DECLARE
  x belay.explanation;
  p belay.progress;
  f record;
  now timestamptz := clock_timestamp();
BEGIN
  SELECT * INTO p FROM belay.progress r WHERE r.job_id = c.job_id AND r.shield IS NOT NULL AND r.shield_at >= l.at;
  SELECT * INTO f FROM belay.explain_force(c, p_task);
  x.reason := CASE WHEN c.delivered_at IS NULL THEN 'not_delivered' WHEN p.shield IS NOT NULL THEN 'shielded'
                   WHEN c.acknowledged_at IS NULL THEN 'not_checked' ELSE 'winding_up' END;
  x.since := CASE x.reason WHEN 'not_delivered' THEN c.requested_at WHEN 'shielded' THEN p.shield_at
                           WHEN 'not_checked' THEN c.delivered_at ELSE c.acknowledged_at END;
  x.why := CASE x.reason
    WHEN 'not_delivered' THEN format('it was asked to stop %s ago, and its worker "%s" has not been told yet',
                                     belay.span_text(now - x.since), p_worker)
    WHEN 'shielded' THEN format('it was asked to stop, and has been in the shielded section "%s" for %s', p.shield,
                                belay.span_text(now - x.since))
    WHEN 'not_checked' THEN format('it was asked to stop, and its task has not checked for %s', belay.span_text(now - x.since))
    ELSE format('its task saw %s ago that it is to stop, and is winding up', belay.span_text(now - x.since)) END;
  x.what := CASE x.reason WHEN 'not_delivered' THEN 'the worker asks for itself'
                          ELSE coalesce(f.what, CASE x.reason WHEN 'shielded' THEN 'it goes on to the end of that section'
                            WHEN 'not_checked' THEN 'it goes on until the task checks or ends, because nothing can kill it'
                            ELSE 'it ends when the task does' END) END;
  x.at := CASE x.reason WHEN 'not_delivered' THEN c.requested_at + (p_node ->> 'poll_ms')::int * interval '1 millisecond'
                        ELSE f.at END;
  x.facts := json_build_object('worker', p_worker, 'cancellation', belay.cancellation_text(c)::json, 'shield', p.shield);
  RETURN x;
END $$;

-- In a lease: with a worker.
CREATE FUNCTION belay.explain_doing(j belay.jobs, l belay.leases, p_node json) RETURNS belay.explanation
LANGUAGE plpgsql STABLE AS $$
DECLARE
  x belay.explanation;
  w belay.workers;
  c belay.cancellations;
  task json := p_node -> 'tasks' -> (SELECT t.name FROM belay.tasks t WHERE t.id = j.task_id);
  lease interval := (p_node ->> 'lease_ms')::int * interval '1 millisecond';
  timeout_ms bigint := coalesce(j.timeout_ms, (task ->> 'timeout_ms')::bigint);
BEGIN
  SELECT * INTO w FROM belay.workers y WHERE y.id = l.worker_id;
  SELECT * INTO c FROM belay.cancellations y WHERE y.job_id = j.id AND y.stopped_at IS NULL;
  IF w.gone_at IS NOT NULL OR w.heartbeat_at < clock_timestamp() - lease / 2 THEN -- it comes with each third of a lease
    x.reason := 'worker_late';
    x.since := w.heartbeat_at;
    x.why := format('its worker "%s" has not been heard of for %s', w.name, belay.span_text(clock_timestamp() - w.heartbeat_at));
    x.what := CASE WHEN c.job_id IS NULL THEN 'it is taken from it, and starts again or ends'
                   ELSE 'it is taken from it, and ends as aborted' END;
    x.at := w.heartbeat_at + lease;
    x.facts := json_build_object('worker', w.name, 'heartbeat_at', belay.time_text(w.heartbeat_at), 'cancellation',
                                 CASE WHEN c.job_id IS NOT NULL THEN belay.cancellation_text(c)::json END);
  ELSIF c.job_id IS NOT NULL THEN
    x := belay.explain_abort(l, c, w.name, p_node, task);
  ELSIF belay.is_undoable(j.options) THEN
    x := belay.explain_pending(j, 'it is asked to stop');
  ELSE
    x.reason := 'running';
    x.since := l.at;
    x.why := format('worker "%s" has had it for %s, and nobody has asked it to stop', w.name,
                    belay.span_text(clock_timestamp() - l.at));
    x.at := least(CASE WHEN timeout_ms > 0 THEN l.at + timeout_ms * interval '1 millisecond' END, j.deadline);
    x.what := CASE WHEN x.at IS NULL THEN 'it ends when the task does'
                   WHEN x.at = j.deadline THEN 'it is asked to stop, because of its deadline'
                   ELSE 'it is asked to stop, because the attempt takes too long' END;
    x.facts := json_build_object('worker', w.name);
  END IF;
  RETURN x;
END $$;

-- In ends: over.
CREATE FUNCTION belay.explain_end(j belay.jobs, e belay.ends) RETURNS belay.explanation LANGUAGE plpgsql STABLE AS $$
DECLARE
  x belay.explanation;
  c belay.cancellations;
  worker text := (SELECT w.name FROM belay.workers w WHERE w.id = e.worker_id);
  attempts text;
  asked text;
BEGIN
  SELECT * INTO c FROM belay.cancellations y
  WHERE y.job_id = j.id AND (e.status = 4 OR y.attempt = e.attempts) AND y.cause <> 'timeout' ORDER BY y.n DESC LIMIT 1;
  attempts := format('attempt %s%s', e.attempts, ' on "' || worker || '"');
  asked := concat(CASE c.cause WHEN 'user' THEN concat(' by ', coalesce(c.actor, 'a user')) ELSE concat(', cause ', c.cause) END,
                  ' (' || to_json(c.reason) || ')');
  x.reason := (ARRAY['succeeded', 'failed', 'cancelled', 'aborted'])[e.status - 1];
  x.since := e.finished_at;
  x.why := CASE x.reason
    WHEN 'succeeded' THEN concat('it succeeded with ', attempts, CASE WHEN c.job_id IS NOT NULL THEN
                                 concat(', although it was asked to stop', asked) END)
    WHEN 'failed' THEN concat('it failed for good with ', attempts, CASE WHEN e.rescued THEN ', whose worker was lost' END,
                              ' (' || coalesce(nullif(e.error ->> 'message', ''), e.error ->> 'kind') || ')',
                              CASE WHEN c.job_id IS NOT NULL THEN concat(', after it was asked to stop', asked) END)
    WHEN 'cancelled' THEN concat('it was cancelled', asked, CASE e.attempts WHEN 0 THEN ' before it started'
                                 ELSE format(' after %s of its attempts', e.attempts) END)
    ELSE concat('it was stopped', asked, ' in ', attempts, CASE c.outcome WHEN 'killed' THEN ', and had to be killed'
                WHEN 'worker_lost' THEN ', whose worker was lost' ELSE ', by its own task' END) END;
  x.what := 'nothing, unless somebody retries or deletes it';
  x.facts := json_build_object('attempts', e.attempts, 'max_attempts', j.max_attempts, 'worker', worker, 'error', e.error,
                               'cancellation', CASE WHEN c.job_id IS NOT NULL THEN belay.cancellation_text(c)::json END);
  RETURN x;
END $$;

-- The document. p_node: what the node that is asked knows and the tables do not: {"lease_ms", "poll_ms", "tasks": {name: {"grace_ms",
-- "after_grace", "timeout_ms"}}}. All of it is seen in one snapshot. No row: there is no such job.
CREATE FUNCTION belay.explain(p_id bigint, p_node json) RETURNS SETOF text LANGUAGE plpgsql STABLE AS $$
DECLARE
  j belay.jobs;
  e belay.ends;
  l belay.leases;
  x belay.explanation;
  status text;
BEGIN
  SELECT * INTO j FROM belay.jobs y WHERE y.id = p_id;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  SELECT * INTO e FROM belay.ends y WHERE y.id = p_id;
  IF e.id IS NULL THEN
    SELECT * INTO l FROM belay.lease_of(p_id);
  END IF;
  IF e.id IS NOT NULL THEN
    x := belay.explain_end(j, e);
    status := x.reason;
  ELSIF l.id IS NOT NULL THEN
    x := belay.explain_doing(j, l, p_node);
    status := 'doing';
  ELSE
    x := belay.explain_todo(j, p_node);
    status := 'todo';
  END IF;
  RETURN NEXT json_build_object(
    'job_id', p_id, 'status', status, 'reason', x.reason,
    'sentence', concat(CASE WHEN status = 'todo' THEN 'It has not started: ' WHEN status = 'doing' AND x.reason NOT IN ('running', 'cancel_pending')
                                 THEN 'It has not stopped: ' WHEN status = 'doing' THEN 'It runs: ' ELSE 'It has ended: ' END,
                       x.why, '; next: ', x.what,
                       CASE WHEN x.at > clock_timestamp() THEN ' in ' || belay.span_text(x.at - clock_timestamp())
                            WHEN x.at IS NOT NULL THEN ' any moment' END, '.'),
    'since', belay.time_text(x.since), 'next', json_build_object('what', x.what, 'at', belay.time_text(x.at)), 'facts', x.facts);
END $$;
