-- What was cancelled by mistake comes back.

-- One restore, decided by the place that is held. The job keeps its time, its attempts and what it has told; a deadline that
-- has passed is no more.
CREATE FUNCTION belay.restore_one(p_id bigint, p_actor text, p_if_match text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  h record;
  j belay.jobs;
BEGIN
  SELECT * INTO h FROM belay.look_at(p_id, p_if_match IS NOT NULL);
  IF h.status IS NULL THEN
    RETURN 'job-not-found';
  ELSIF p_if_match <> '*' AND h.etag <> ALL (string_to_array(p_if_match, ',')) THEN
    RETURN 'precondition-failed';
  ELSIF h.status <> 'cancelled' THEN
    RETURN 'job-not-cancelled';
  END IF;
  SELECT * INTO j FROM belay.jobs WHERE id = p_id;
  IF j.queueing_lock IS NOT NULL THEN
    INSERT INTO belay.uniq (queueing_lock, id) VALUES (j.queueing_lock, p_id) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
      RETURN 'already-enqueued';
    END IF;
  END IF;
  INSERT INTO belay.events (job_id, at, rank, type, attempt, actor, detail)
  SELECT p_id, v.at, v.rank, v.type, v.attempt, v.actor, v.detail FROM belay.row_events(p_id) v WHERE v.type = 'cancelled';
  INSERT INTO belay.events (job_id, type, actor) VALUES (p_id, 'restored', p_actor);
  DELETE FROM belay.ends WHERE id = p_id;
  PERFORM belay.follow_again(p_id, j.options);
  IF j.deadline <= clock_timestamp() THEN
    UPDATE belay.jobs SET deadline = NULL WHERE id = p_id;
  END IF;
  PERFORM belay.put_todo(j);
  RETURN 'restored';
END $$;

-- Cancelled jobs are todo again, as they were. Locks as retry_jobs() takes them.
CREATE FUNCTION belay.restore_jobs(p_ids bigint[], p_actor text[], p_if_match text[])
RETURNS TABLE (ord int, result text, etag text, job text, queue text) LANGUAGE plpgsql AS $$
DECLARE
  x record;
  locks text[];
  known bigint[];
BEGIN
  SELECT y.known INTO known FROM belay.all_locks_of(p_ids) y;
  IF cardinality(p_ids) > 1 THEN
    PERFORM belay.lock_names(4995, ARRAY(SELECT j.queueing_lock FROM belay.jobs j WHERE j.id = ANY (p_ids)));
  END IF;
  PERFORM belay.hold_jobs(p_ids);
  SELECT y.locks INTO locks FROM belay.all_locks_of(p_ids) y; -- a retry may have changed one until now
  FOR x IN SELECT * FROM unnest(p_ids, p_actor, p_if_match) WITH ORDINALITY y (id, actor, if_match, n)
           ORDER BY y.id, y.n LOOP
    SELECT x.n, 'job-not-found' INTO ord, result, etag, job, queue;
    IF x.id = ANY (known) THEN
      result := belay.restore_one(x.id, x.actor, x.if_match);
      SELECT s.etag, s.job, s.queue INTO etag, job, queue FROM belay.job_states(ARRAY[x.id]) s;
    END IF;
    RETURN NEXT;
  END LOOP;
  PERFORM belay.release(locks, NULL);
END $$;
