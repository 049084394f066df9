-- Schedules: cron expressions, when their next time comes, and the jobs that their ticks make. All of it is decided here, with
-- PostgreSQL's own time zones, so that every node agrees and a tick is one statement.

-- A parsed expression: bit n of a mask is set when the value n is meant.
CREATE TYPE belay.cron AS (
  second bigint, minute bigint, hour bigint, day bigint, month bigint, weekday bigint,
  either_day boolean, -- day and weekday are both restricted: one that fits is enough
  real_time boolean   -- every second, minute or hour is meant: it goes by the time that passes, not by the clock on the wall
);

CREATE FUNCTION belay.refuse_cron(p_what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '%', p_what USING ERRCODE = 'invalid_parameter_value';
END $$;

-- One end of a range: a number, or a name of the list, which begins at p_least.
CREATE FUNCTION belay.cron_value(p_text text, p_where text, p_least int, p_most int, p_names text[])
RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  value int := p_least + array_position(p_names, upper(p_text)) - 1;
BEGIN
  IF value IS NULL AND p_text ~ '^[0-9]{1,4}$' THEN
    value := p_text::int;
  END IF;
  IF value BETWEEN p_least AND p_most THEN
    RETURN value;
  END IF;
  PERFORM belay.refuse_cron(concat(p_where, ' takes numbers from ', p_least, ' to ', p_most,
    ' or names from ' || p_names[1] || ' to ' || p_names[cardinality(p_names)], ', *, lists, ranges and steps; not "', p_text, '"'));
END $$;

-- One item of a field's list: *, 5, 1-5, either of the ranges with /step.
CREATE FUNCTION belay.cron_item(p_text text, p_where text, p_least int, p_most int, p_names text[])
RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  part text[] := regexp_match(p_text, '^([^/]*?)(?:-([^-/]*))?(?:/(.*))?$');
  low int := p_least;
  high int := p_most;
  mask bigint := 0;
BEGIN
  IF part[1] <> '*' OR part[2] IS NOT NULL THEN
    low := belay.cron_value(part[1], p_where, p_least, p_most, p_names);
    high := CASE WHEN p_most = 7 AND upper(part[2]) = 'SUN' THEN 7 -- FRI-SUN
                 ELSE belay.cron_value(coalesce(part[2], part[1]), p_where, p_least, p_most, p_names) END;
  END IF;
  IF high < low THEN
    PERFORM belay.refuse_cron(format('%s has the range %s, which runs backwards; write %s-%s,%s-%s', p_where, p_text,
                                     part[1], p_most, p_least, part[2]));
  ELSIF part[3] IS NOT NULL AND part[1] <> '*' AND part[2] IS NULL THEN
    PERFORM belay.refuse_cron(format('%s has a step without a range; write %s-%s/%s', p_where, part[1], p_most, part[3]));
  ELSIF part[3] !~ '^[0-9]{1,4}$' OR part[3]::int NOT BETWEEN 1 AND p_most THEN
    PERFORM belay.refuse_cron(format('%s takes steps from 1 to %s, not "%s"', p_where, p_most, part[3]));
  END IF;
  FOR n IN low .. high BY coalesce(part[3]::int, 1) LOOP
    mask := mask | (1::bigint << n);
  END LOOP;
  RETURN mask;
END $$;

CREATE FUNCTION belay.cron_field(p_text text, p_where text, p_least int, p_most int, p_names text[] DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  item text;
  mask bigint := 0;
BEGIN
  FOREACH item IN ARRAY string_to_array(p_text, ',') LOOP
    mask := mask | belay.cron_item(item, p_where, p_least, p_most, p_names);
  END LOOP;
  RETURN mask;
END $$;

-- Five fields, or six with the seconds first, or a word. What is wrong is said in an exception (invalid_parameter_value).
CREATE FUNCTION belay.cron_parse(p_cron text) RETURNS belay.cron LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  words CONSTANT json := '{"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
                           "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *"}';
  f text[] := regexp_split_to_array(btrim(coalesce(words ->> lower(btrim(p_cron, E' \t')), p_cron), E' \t'), '[ \t]+');
  c belay.cron;
BEGIN
  IF f[1] LIKE '@%' THEN
    PERFORM belay.refuse_cron(format('%s is not known; there are %s', f[1],
                                     (SELECT string_agg(k, ', ') FROM json_object_keys(words) k)));
  ELSIF cardinality(f) NOT BETWEEN 5 AND 6 THEN
    PERFORM belay.refuse_cron(format('has %s fields; it takes 5 (minute hour day month weekday) or 6 (the second first)',
                                     CASE WHEN f[1] = '' THEN 0 ELSE cardinality(f) END));
  END IF;
  IF cardinality(f) = 5 THEN
    f := array_prepend('0', f);
  END IF;
  c.second := belay.cron_field(f[1], 'the second', 0, 59);
  c.minute := belay.cron_field(f[2], 'the minute', 0, 59);
  c.hour := belay.cron_field(f[3], 'the hour', 0, 23);
  c.day := belay.cron_field(f[4], 'the day', 1, 31);
  c.month := belay.cron_field(f[5], 'the month', 1, 12, '{JAN,FEB,MAR,APR,MAY,JUN,JUL,AUG,SEP,OCT,NOV,DEC}');
  c.weekday := belay.cron_field(f[6], 'the weekday', 0, 7, '{SUN,MON,TUE,WED,THU,FRI,SAT}');
  c.weekday := c.weekday | (c.weekday >> 7); -- 7 is Sunday, too
  c.either_day := f[4] NOT LIKE '*%' AND f[6] NOT LIKE '*%';
  c.real_time := f[1] LIKE '*%' OR f[2] LIKE '*%' OR f[3] LIKE '*%';
  RETURN c;
END $$;

-- The first time of a day, in seconds, from p_from on; null: none is left.
CREATE FUNCTION belay.cron_time(c belay.cron, p_from int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  minute int := p_from % 3600 / 60;
  second int := p_from % 60;
BEGIN
  FOR h IN p_from / 3600 .. 23 LOOP
    IF (c.hour >> h) & 1 = 1 THEN
      FOR m IN minute .. 59 LOOP
        IF (c.minute >> m) & 1 = 1 THEN
          FOR s IN second .. 59 LOOP
            IF (c.second >> s) & 1 = 1 THEN
              RETURN h * 3600 + m * 60 + s;
            END IF;
          END LOOP;
        END IF;
        second := 0;
      END LOOP;
    END IF;
    minute := 0;
    second := 0;
  END LOOP;
  RETURN NULL;
END $$;

-- The first time on the wall from p_from on, whether or not a zone has it. Null: none in 41 years, and so none at all: the
-- calendar has all its Februaries within 40 (about a year like 2100).
CREATE FUNCTION belay.cron_local(c belay.cron, p_from timestamp) RETURNS timestamp LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  day date := p_from::date;
  last CONSTANT date := day + 15000;
  from_second int := extract(epoch FROM p_from - day);
  by_day boolean;
  by_weekday boolean;
  found int;
BEGIN
  WHILE day <= last LOOP
    IF (c.month >> extract(month FROM day)::int) & 1 = 0 THEN
      day := date_trunc('month', day::timestamp) + interval '1 month';
    ELSE
      by_day := (c.day >> extract(day FROM day)::int) & 1 = 1;
      by_weekday := (c.weekday >> extract(dow FROM day)::int) & 1 = 1;
      IF by_day AND by_weekday OR c.either_day AND (by_day OR by_weekday) THEN
        found := belay.cron_time(c, from_second);
        IF found IS NOT NULL THEN
          RETURN day + found * interval '1 second';
        END IF;
      END IF;
      day := day + 1;
    END IF;
    from_second := 0;
  END LOOP;
  RETURN NULL;
END $$;

CREATE FUNCTION belay.zone_offset(p_zone text, p_at timestamptz) RETURNS interval LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (p_at AT TIME ZONE p_zone) - (p_at AT TIME ZONE 'UTC');
END $$;

-- When the clocks change between two instants with different offsets; by halves, to the second.
CREATE FUNCTION belay.zone_change(p_zone text, p_low timestamptz, p_high timestamptz)
RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
DECLARE
  before CONSTANT interval := belay.zone_offset(p_zone, p_low);
  low bigint := floor(extract(epoch FROM p_low));
  high bigint := ceil(extract(epoch FROM p_high));
  middle bigint;
BEGIN
  WHILE high - low > 1 LOOP
    middle := (low + high) / 2;
    IF belay.zone_offset(p_zone, to_timestamp(middle)) = before THEN
      low := middle;
    ELSE
      high := middle;
    END IF;
  END LOOP;
  RETURN to_timestamp(high);
END $$;

-- The instant of a time on the wall: the first, where the clocks show it twice; when they change, where they skip it. Hours and
-- not days are added, because a day of an instant has the session's zone in it.
CREATE FUNCTION belay.zone_instant(p_zone text, p_local timestamp) RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
DECLARE
  one CONSTANT timestamptz := p_local AT TIME ZONE p_zone;
  other CONSTANT timestamptz :=
    (p_local - belay.zone_offset(p_zone, one - interval '24 hours')) AT TIME ZONE 'UTC';
BEGIN
  IF other AT TIME ZONE p_zone = p_local THEN
    RETURN least(one, other);
  ELSIF one AT TIME ZONE p_zone = p_local THEN
    RETURN one;
  END IF;
  RETURN belay.zone_change(p_zone, one - interval '24 hours', one + interval '24 hours');
END $$;

-- By the clock on the wall: each time that fits comes once. Later times have later instants, so the first that is good is it.
CREATE FUNCTION belay.cron_wall_after(c belay.cron, p_zone text, p_after timestamptz)
RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
DECLARE
  local timestamp := date_trunc('second', p_after AT TIME ZONE p_zone);
  found timestamptz;
BEGIN
  LOOP
    local := belay.cron_local(c, local + interval '1 second');
    found := belay.zone_instant(p_zone, local);
    IF local IS NULL OR found > p_after THEN
      RETURN found;
    END IF;
  END LOOP;
END $$;

-- By the time that passes: from change to change of the clocks the wall is as good as a clock. A day at a time is looked at
-- for a change; where the next time is farther, all but its last day and a bit is passed over.
CREATE FUNCTION belay.cron_real_after(c belay.cron, p_zone text, p_after timestamptz)
RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
DECLARE
  at timestamptz := date_trunc('second', p_after) + interval '1 second';
  ahead timestamptz;
  found timestamptz;
BEGIN
  LOOP
    found := (belay.cron_local(c, at AT TIME ZONE p_zone) - belay.zone_offset(p_zone, at)) AT TIME ZONE 'UTC';
    ahead := at + interval '24 hours';
    IF belay.zone_offset(p_zone, at) <> belay.zone_offset(p_zone, ahead) THEN
      ahead := belay.zone_change(p_zone, at, ahead);
    END IF;
    IF found IS NULL OR found < ahead THEN
      RETURN found;
    END IF;
    at := CASE WHEN ahead < at + interval '24 hours' THEN ahead ELSE greatest(ahead, found - interval '26 hours') END;
  END LOOP;
END $$;

CREATE FUNCTION belay.cron_after(c belay.cron, p_zone text, p_after timestamptz)
RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF c.real_time THEN
    RETURN belay.cron_real_after(c, p_zone, p_after);
  END IF;
  RETURN belay.cron_wall_after(c, p_zone, p_after);
END $$;

-- Public: the next time of an expression after an instant; null when there is none at all.
CREATE FUNCTION belay.cron_next(cron text, timezone text DEFAULT 'UTC', after timestamptz DEFAULT now())
RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN belay.cron_after(belay.cron_parse(cron), timezone, after);
END $$;

-- A schedule, and where it stands. Times that are due are taken with the row's lock, in the transaction that makes their jobs
-- and moves next_at on: so each tick comes once, however many nodes look.
CREATE TABLE belay.schedules (
  name text COLLATE "C" PRIMARY KEY,
  cron text NOT NULL,
  timezone text NOT NULL,
  task text NOT NULL,
  queue text NOT NULL,
  args json NOT NULL,
  priority int NOT NULL,
  lock text,
  queueing_lock text,
  max_attempts int NOT NULL,
  tags text[] NOT NULL,
  metadata json NOT NULL,
  timeout_ms int,               -- of one attempt; null: the task's, 0: none
  max_delay_ms bigint NOT NULL, -- older ticks are not caught up
  paused boolean NOT NULL,
  next_at timestamptz,          -- null: paused
  last_tick_at timestamptz,     -- the time that the tick was meant for
  last_job_id bigint,
  ticks bigint NOT NULL DEFAULT 0,   -- that made a job
  skipped bigint NOT NULL DEFAULT 0, -- that did not: the queueing lock was taken
  missed_at timestamptz,        -- the first of the ticks that were too old, the last time that there were any
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
CREATE INDEX schedules_due ON belay.schedules (next_at) WHERE next_at IS NOT NULL;

-- The object with one member more, its other bytes as they were.
CREATE FUNCTION belay.with_member(p_object json, p_key text, p_value json) RETURNS json LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  open CONSTANT text := rtrim(left(rtrim(p_object::text, E' \t\n\r'), -1), E' \t\n\r');
BEGIN
  RETURN concat(open, CASE WHEN right(open, 1) <> '{' THEN ',' END, to_json(p_key), ':', p_value, '}');
END $$;

-- The next times, as a list.
CREATE FUNCTION belay.next_times_text(p_cron text, p_zone text, p_first timestamptz, p_count int)
RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
  c CONSTANT belay.cron := belay.cron_parse(p_cron);
  at timestamptz := p_first;
  texts text[] := '{}';
BEGIN
  WHILE at IS NOT NULL AND cardinality(texts) < p_count LOOP
    texts := texts || belay.time_text(at);
    at := belay.cron_after(c, p_zone, at);
  END LOOP;
  RETURN to_json(texts)::text;
END $$;

CREATE FUNCTION belay.instant_text(p_at timestamptz) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN coalesce('"' || belay.time_text(p_at) || '"', 'null');
END $$;

-- The schedule's document; the list has it without next_times, which take a while.
CREATE FUNCTION belay.schedule_text(s belay.schedules, p_times int) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN concat(
    '{"name":', to_json(s.name), ',"cron":', to_json(s.cron), ',"timezone":', to_json(s.timezone),
    ',"task":', to_json(s.task), ',"queue":', to_json(s.queue), ',"args":', s.args, ',"priority":', s.priority,
    ',"lock":', coalesce(to_json(s.lock)::text, 'null'),
    ',"queueing_lock":', coalesce(to_json(s.queueing_lock)::text, 'null'), ',"max_attempts":', s.max_attempts,
    ',"tags":', to_json(s.tags), ',"metadata":', s.metadata,
    ',"timeout_seconds":', coalesce(trim_scale(s.timeout_ms / 1000.0)::text, 'null'),
    ',"max_delay_seconds":', trim_scale(s.max_delay_ms / 1000.0), ',"paused":', s.paused::text,
    ',"next_at":', belay.instant_text(s.next_at), ',"last_tick_at":', belay.instant_text(s.last_tick_at),
    ',"last_job_id":', coalesce(s.last_job_id::text, 'null'), ',"ticks":', s.ticks, ',"skipped":', s.skipped,
    ',"missed_at":', belay.instant_text(s.missed_at), ',"created_at":', belay.instant_text(s.created_at),
    ',"updated_at":', belay.instant_text(s.updated_at),
    CASE WHEN p_times > 0 THEN
      concat(',"next_times":', belay.next_times_text(s.cron, s.timezone, s.next_at, p_times)) END, '}');
END $$;

-- What is wrong with a schedule, if anything, and where. The zone's name must be the one that PostgreSQL lists: AT TIME ZONE takes
-- more, as "X/Y+3", and means what nobody would expect. The list is read from files, so a zone that is in use is not looked up.
CREATE FUNCTION belay.schedule_problem(s belay.schedules, OUT pointer text, OUT detail text, OUT next_at timestamptz)
LANGUAGE plpgsql AS $$
BEGIN
  pointer := '/cron';
  BEGIN
    next_at := belay.cron_after(belay.cron_parse(s.cron), 'UTC', now());
  EXCEPTION WHEN invalid_parameter_value THEN
    detail := SQLERRM;
    RETURN;
  END;
  IF next_at IS NULL THEN
    detail := 'never comes: no year has such a day';
  ELSIF NOT EXISTS (SELECT FROM belay.schedules x WHERE x.timezone = s.timezone)
        AND NOT EXISTS (SELECT FROM pg_timezone_names z WHERE z.name = s.timezone) THEN
    pointer := '/timezone';
    detail := 'is not a time zone; it takes a name of the IANA list, as Europe/Berlin or UTC';
  ELSIF EXISTS (SELECT FROM json_object_keys(s.args) k WHERE k = 'timestamp') THEN
    pointer := '/args/timestamp';
    detail := 'is given by the tick';
  ELSIF EXISTS (SELECT FROM json_object_keys(s.metadata) k WHERE k = 'schedule') THEN
    pointer := '/metadata/schedule';
    detail := 'is given by the schedule';
  ELSE
    pointer := NULL;
    next_at := belay.cron_after(belay.cron_parse(s.cron), s.timezone, now());
  END IF;
END $$;

-- Makes a schedule or changes it. A tick that is due stays due unless the times change; paused null: as it is.
CREATE FUNCTION belay.put_schedule(
  p_name text, p_cron text, p_timezone text, p_task text, p_queue text, p_args json, p_priority int, p_lock text,
  p_queueing_lock text, p_max_attempts int, p_tags text[], p_metadata json, p_timeout_ms int, p_max_delay_ms bigint,
  p_paused boolean)
RETURNS TABLE (result text, pointer text, detail text, etag text, schedule text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  s belay.schedules;
  problem record;
  is_new boolean;
BEGIN
  s := (p_name, p_cron, p_timezone, p_task, p_queue, p_args, p_priority, p_lock, p_queueing_lock, p_max_attempts, p_tags,
        p_metadata, p_timeout_ms, p_max_delay_ms, coalesce(p_paused, false), NULL, NULL, NULL, 0, 0, NULL, now(), now());
  SELECT * INTO problem FROM belay.schedule_problem(s);
  IF problem.pointer IS NOT NULL THEN
    RETURN QUERY SELECT 'invalid', problem.pointer, problem.detail, NULL::text, NULL::text;
    RETURN;
  END IF;
  IF NOT s.paused THEN
    s.next_at := problem.next_at;
  END IF;
  INSERT INTO belay.schedules AS o SELECT s.*
  ON CONFLICT (name) DO UPDATE SET
    cron = s.cron, timezone = s.timezone, task = s.task, queue = s.queue, args = s.args, priority = s.priority,
    lock = s.lock, queueing_lock = s.queueing_lock, max_attempts = s.max_attempts, tags = s.tags, metadata = s.metadata,
    timeout_ms = s.timeout_ms, max_delay_ms = s.max_delay_ms, paused = coalesce(p_paused, o.paused),
    next_at = CASE WHEN coalesce(p_paused, o.paused) THEN NULL
                   WHEN o.next_at IS NOT NULL AND (o.cron, o.timezone) = (s.cron, s.timezone) THEN o.next_at
                   ELSE problem.next_at END,
    updated_at = CASE WHEN (o.cron, o.timezone, o.task, o.queue, o.args::text, o.priority, o.lock, o.queueing_lock,
                            o.max_attempts, o.tags, o.metadata::text, o.timeout_ms, o.max_delay_ms)
                           IS DISTINCT FROM
                           (s.cron, s.timezone, s.task, s.queue, s.args::text, s.priority, s.lock, s.queueing_lock,
                            s.max_attempts, s.tags, s.metadata::text, s.timeout_ms, s.max_delay_ms)
                           OR coalesce(p_paused, o.paused) <> o.paused
                      THEN now() ELSE o.updated_at END
  RETURNING o.xmax = 0 INTO is_new;
  RETURN QUERY
  SELECT CASE WHEN is_new THEN 'created' ELSE 'updated' END, NULL::text, NULL::text, belay.etag_text(d.t), d.t
  FROM (SELECT belay.schedule_text(o, 5) AS t FROM belay.schedules o WHERE o.name = p_name OFFSET 0) d;
END $$;

-- Ticks that come while it is paused are not caught up; one that is not paused goes on as it did.
CREATE FUNCTION belay.pause_schedule(p_name text, p_paused boolean) RETURNS SETOF belay.schedules LANGUAGE plpgsql AS $$
BEGIN
  UPDATE belay.schedules s
  SET paused = p_paused, updated_at = now(),
      next_at = CASE WHEN NOT p_paused THEN belay.cron_next(s.cron, s.timezone, now()) END
  WHERE s.name = p_name AND s.paused <> p_paused;
  RETURN QUERY SELECT * FROM belay.schedules s WHERE s.name = p_name;
END $$;

-- A job for each of these times, in one call of insert_jobs() so that the order of locks is kept. A job's queueing lock is its
-- own group: that it is taken keeps no other out.
CREATE FUNCTION belay.insert_ticks(p_schedules belay.schedules[], p_times timestamptz[], p_want boolean)
RETURNS SETOF belay.inserted LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY
  SELECT i.* FROM (
    SELECT array_agg(x.ord::int ORDER BY x.ord) AS grps, array_agg(x.task ORDER BY x.ord) AS tasks,
           array_agg(x.queue ORDER BY x.ord) AS queues, array_agg(x.priority ORDER BY x.ord) AS priorities,
           array_agg(belay.with_member(x.args, 'timestamp', to_json(floor(extract(epoch FROM p_times[x.ord]))::bigint))
                     ORDER BY x.ord) AS args,
           array_agg(x.max_attempts ORDER BY x.ord) AS max_attempts, array_agg(x.tags::text ORDER BY x.ord) AS tags,
           array_agg(belay.with_member(x.metadata, 'schedule', to_json(x.name)) ORDER BY x.ord) AS metadata,
           array_agg(x.lock ORDER BY x.ord) AS locks, array_agg(x.queueing_lock ORDER BY x.ord) AS queueing_locks,
           array_agg(x.timeout_ms ORDER BY x.ord) AS timeouts, count(*)::int AS n
    FROM unnest(p_schedules) WITH ORDINALITY
         x (name, cron, timezone, task, queue, args, priority, lock, queueing_lock, max_attempts, tags, metadata, timeout_ms,
            max_delay_ms, paused, next_at, last_tick_at, last_job_id, ticks, skipped, missed_at, created_at, updated_at, ord)
  ) a CROSS JOIN LATERAL belay.insert_jobs(
    p_grps => a.grps, p_tasks => a.tasks, p_queues => a.queues, p_priorities => a.priorities, p_args => a.args,
    p_max_attempts => a.max_attempts, p_tags => a.tags, p_metadata => a.metadata,
    p_scheduled_at => array_fill(NULL::timestamptz, ARRAY[a.n]), p_delay_ms => array_fill(NULL::bigint, ARRAY[a.n]),
    p_locks => a.locks, p_queueing_locks => a.queueing_locks, p_want => array_fill(p_want, ARRAY[a.n]),
    p_timeout_ms => a.timeouts, p_deadlines => array_fill(NULL::timestamptz, ARRAY[a.n]),
    p_deadline_ms => array_fill(NULL::bigint, ARRAY[a.n])) i
  WHERE a.n > 0;
END $$;

-- A job of the schedule now, besides its ticks and also when it is paused.
CREATE FUNCTION belay.run_schedule(p_name text)
RETURNS TABLE (result text, job_id bigint, existing_id bigint, queue text, etag text, job text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  s belay.schedules;
  made belay.inserted;
BEGIN
  SELECT * INTO s FROM belay.schedules x WHERE x.name = p_name FOR UPDATE;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  SELECT * INTO made FROM belay.insert_ticks(ARRAY[s], ARRAY[now()], true);
  IF made.result = 'created' THEN
    UPDATE belay.schedules x SET last_job_id = made.id WHERE x.name = p_name;
  END IF;
  RETURN QUERY SELECT made.result, made.id, made.existing_id, s.queue, made.etag, made.job;
END $$;

-- What is due becomes jobs: each tick of a schedule that is not older than its max_delay, 50 at a time. Each node may do it at any
-- time. One row a tick and one for ticks that were missed; the last row has no schedule, and says when the next tick comes.
CREATE FUNCTION belay.tick(p_limit int)
RETURNS TABLE (schedule text, tick_at timestamptz, result text, job_id bigint, next_due_ms bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  s belay.schedules;
  c belay.cron;
  at timestamptz;
  due belay.schedules[] := '{}';
  times timestamptz[] := '{}';
  made belay.inserted;
  most int;
BEGIN
  FOR s IN SELECT * FROM belay.schedules x WHERE x.next_at <= now() ORDER BY x.next_at, x.name LIMIT p_limit
           FOR UPDATE SKIP LOCKED LOOP
    BEGIN
      c := belay.cron_parse(s.cron);
      at := s.next_at;
      IF at < now() - s.max_delay_ms * interval '1 millisecond' THEN
        RETURN QUERY SELECT s.name, at, 'missed', NULL::bigint, NULL::bigint;
        s.missed_at := at;
        at := belay.cron_after(c, s.timezone, now() - s.max_delay_ms * interval '1 millisecond' - interval '1 microsecond');
      END IF;
      most := cardinality(times) + 50;
      WHILE at <= now() AND cardinality(times) < most LOOP
        due := due || s;
        times := times || at;
        s.last_tick_at := at;
        at := belay.cron_after(c, s.timezone, at);
      END LOOP;
    EXCEPTION WHEN invalid_parameter_value THEN -- the zone is not known any more; others must not wait for it
      RETURN QUERY SELECT s.name, s.next_at, SQLERRM, NULL::bigint, NULL::bigint;
      UPDATE belay.schedules x SET paused = true WHERE x.name = s.name;
      at := NULL;
    END;
    UPDATE belay.schedules x SET next_at = at, last_tick_at = s.last_tick_at, missed_at = s.missed_at WHERE x.name = s.name;
  END LOOP;
  FOR made IN SELECT * FROM belay.insert_ticks(due, times, false) i ORDER BY i.ord LOOP
    UPDATE belay.schedules x
    SET ticks = x.ticks + (made.result = 'created')::int, skipped = x.skipped + (made.result <> 'created')::int,
        last_job_id = CASE WHEN made.result = 'created' THEN made.id ELSE x.last_job_id END
    WHERE x.name = (due[made.ord]).name;
    RETURN QUERY SELECT (due[made.ord]).name, times[made.ord], CASE WHEN made.result = 'created' THEN 'made' ELSE 'skipped' END,
                        CASE WHEN made.result = 'created' THEN made.id ELSE made.existing_id END, NULL::bigint;
  END LOOP;
  RETURN QUERY SELECT NULL::text, NULL::timestamptz, NULL::text, NULL::bigint,
                      (SELECT greatest(0, ceil(extract(epoch FROM x.next_at - clock_timestamp()) * 1000))::bigint
                       FROM belay.schedules x WHERE x.next_at IS NOT NULL ORDER BY x.next_at LIMIT 1);
END $$;
