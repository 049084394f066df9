-- The tables. Where a job stands is its status: a row in ready, scheduled, blocked or parked makes it todo; a lease that lists it
-- makes it doing; a row in ends says how it ended. No column that changes is indexed in jobs, so the hot path writes
-- each job once and its end once.

CREATE TABLE belay.queues (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE
);

CREATE TABLE belay.tasks (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE
);

-- Rows stay when a worker has gone: ended jobs name it.
CREATE TABLE belay.workers (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  host text,
  pid int,
  version text,
  concurrency int NOT NULL DEFAULT 0,
  running int NOT NULL DEFAULT 0,
  started_at timestamptz NOT NULL DEFAULT now(),
  heartbeat_at timestamptz NOT NULL DEFAULT now(),
  gone_at timestamptz
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX workers_here ON belay.workers (id) WHERE gone_at IS NULL;

CREATE SEQUENCE belay.job_id_seq AS bigint MAXVALUE 9007199254740991;

-- The job as asked for; rewritten only by retry, rescue and release (no index holds what they change).
CREATE TABLE belay.jobs (
  id bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  scheduled_at timestamptz,
  queue_id int NOT NULL,
  task_id int NOT NULL,
  priority int NOT NULL DEFAULT 0,
  attempts smallint NOT NULL DEFAULT 0,      -- starts so far, without the one under way
  uncounted smallint NOT NULL DEFAULT 0,     -- of these, those that max_attempts does not count
  attempts_base smallint NOT NULL DEFAULT 0, -- where counting began: moved by a manual retry
  max_attempts smallint NOT NULL DEFAULT 1,
  timeout_ms int,       -- of one attempt; null: the task's, 0: none
  deadline timestamptz, -- of the job as a whole; belay.deadlines is its calendar
  lock text,
  queueing_lock text,
  tags text[],
  args json,
  metadata json,
  options json,         -- what few jobs ask for: belay.options_text() lists it; null: nothing
  PRIMARY KEY (id)
) PARTITION BY RANGE (id);

CREATE TABLE belay.ready (queue_id int NOT NULL, priority int NOT NULL, id bigint NOT NULL)
  WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0,
        autovacuum_analyze_threshold = 2000000000);
CREATE UNIQUE INDEX ready_pick ON belay.ready (queue_id, priority DESC, id);
CREATE INDEX ready_any ON belay.ready (priority DESC, id);

-- lock: the line that it joins when it is due; null: none, or it has its turn already.
CREATE TABLE belay.scheduled (
  run_at timestamptz NOT NULL, id bigint NOT NULL, queue_id int NOT NULL, priority int NOT NULL, lock text);
CREATE UNIQUE INDEX scheduled_due ON belay.scheduled (run_at, id);

CREATE TABLE belay.blocked (
  lock text NOT NULL, priority int NOT NULL, id bigint NOT NULL, queue_id int NOT NULL,
  run_at timestamptz);
CREATE UNIQUE INDEX blocked_line ON belay.blocked (lock, priority DESC, id);

CREATE TABLE belay.held (lock text PRIMARY KEY, id bigint NOT NULL);          -- whose turn it is
CREATE TABLE belay.uniq (queueing_lock text PRIMARY KEY, id bigint NOT NULL); -- the todo job of each

-- One row a claim: the only mark of "doing", and the fence. job_ids are those that have not ended or gone back, in queue
-- order; the first `sure` of them were to start at once, the rest were claimed ahead. lo and hi enclose them: whoever looks
-- for the lease of a job passes over most leases without a look into their arrays.
CREATE TABLE belay.leases (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  worker_id bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  sure int NOT NULL DEFAULT 1,
  lo bigint NOT NULL,
  hi bigint NOT NULL,
  job_ids bigint[] NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_threshold = 2000000000);
CREATE INDEX leases_span ON belay.leases (hi, lo);
ALTER TABLE belay.leases ALTER job_ids SET STORAGE EXTERNAL; -- ids hardly compress, and are written with each claim

-- The receipts. An open one (stopped_at is null) is the abort flag of a running job; there is no other. One that is pending
-- (stopped_at is infinity) has done nothing yet: see 0017_undo.sql.
CREATE TABLE belay.cancellations (
  job_id bigint NOT NULL,
  n int NOT NULL,
  attempt int,
  worker_id bigint,
  lease_id bigint,
  cause text NOT NULL,
  reason text,
  actor text,
  abort boolean NOT NULL,
  delete_requested boolean NOT NULL,
  grace_seconds int,
  requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  delivered_at timestamptz,
  acknowledged_at timestamptz,
  force_at timestamptz,
  stopped_at timestamptz,
  outcome text,
  message text,
  requests int NOT NULL DEFAULT 1, -- how often it was asked for while it was open
  compensation_job_id bigint,      -- the job that on_cancel asked for
  requeue boolean NOT NULL DEFAULT false, -- it waits to start again when it has stopped
  PRIMARY KEY (job_id, n)
);
CREATE INDEX cancellations_open ON belay.cancellations (worker_id) WHERE stopped_at IS NULL;
CREATE UNIQUE INDEX cancellations_open_job ON belay.cancellations (job_id) WHERE stopped_at IS NULL;

CREATE TABLE belay.ends (
  id bigint NOT NULL,
  started_at timestamptz,
  finished_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  worker_id bigint,
  status smallint NOT NULL, -- 2 succeeded, 3 failed, 4 cancelled, 5 aborted
  attempts smallint NOT NULL,
  rescued boolean, -- true: not told by the worker, which is gone
  result json,
  error json,
  PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE INDEX ends_bad ON belay.ends (status, id) WHERE status <> 2;

CREATE TABLE belay.progress (
  job_id bigint PRIMARY KEY,
  percent real, -- null: it has reported nothing but a shield
  message text,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  shield text, shield_at timestamptz -- the section that an abort does not reach, and since when
) WITH (fillfactor = 50);

-- Only what no other row tells. They survive the job.
CREATE TABLE belay.events (
  id bigint GENERATED ALWAYS AS IDENTITY,
  job_id bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  rank smallint NOT NULL DEFAULT 8, -- orders what happened at the same time
  type text NOT NULL,
  attempt int,
  actor text,
  detail json
);
CREATE INDEX events_job ON belay.events (job_id, id);

-- Ids are spread over partitions of 5,000,000, so that old jobs go by DROP and not by DELETE. Made beside and then attached:
-- CREATE TABLE .. PARTITION OF would wait for every reader of the parent, and all others would wait behind it.
CREATE FUNCTION belay.add_partition(p_n bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  width CONSTANT bigint := 5000000;
  parent text;
BEGIN
  IF to_regclass(format('belay.jobs_%s', p_n)) IS NOT NULL THEN
    RETURN false;
  END IF;
  FOREACH parent IN ARRAY ARRAY['jobs', 'ends'] LOOP
    EXECUTE format('CREATE TABLE belay.%1$s_%2$s (LIKE belay.%1$s INCLUDING DEFAULTS)', parent, p_n);
    EXECUTE format('ALTER TABLE belay.%1$s ATTACH PARTITION belay.%1$s_%2$s FOR VALUES FROM (%3$s) TO (%4$s)',
                   parent, p_n, p_n * width, (p_n + 1) * width);
  END LOOP;
  RETURN true;
END $$;
SELECT belay.add_partition(0), belay.add_partition(1);

-- Makes the partitions ahead of the sequence; two nodes may try at once.
CREATE FUNCTION belay.maintain_partitions() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  current bigint := (SELECT last_value / 5000000 FROM belay.job_id_seq);
  made int := 0;
BEGIN
  IF to_regclass(format('belay.ends_%s', current + 1)) IS NOT NULL
     AND to_regclass(format('belay.ends_%s', current + 2)) IS NOT NULL THEN
    RETURN 0;
  END IF;
  PERFORM pg_advisory_xact_lock(4993, 2);
  FOR n IN current .. current + 2 LOOP
    made := made + belay.add_partition(n)::int;
  END LOOP;
  RETURN made;
END $$;
