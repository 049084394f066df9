-- A reader that goes on from where it was gets each event of a job once.

-- The mark of an event is the same whatever row tells it, and whenever: `started` of an attempt moves from a lease to an end and on
-- to events, and its time becomes more exact on the way. So neither time nor place is one. progress is one row that changes, and is
-- another event each time; a job that was restored can be cancelled twice.
CREATE FUNCTION belay.event_mark(p_type text, p_attempt int, p_at timestamptz, p_detail json, p_row bigint) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
  SELECT left(md5(concat_ws(' ', p_type, CASE
    WHEN p_type IN ('started', 'succeeded', 'failed', 'aborted') THEN p_attempt::bigint
    WHEN p_type IN ('abort_requested', 'delivered', 'acknowledged') THEN (p_detail ->> 'cancellation')::bigint
    WHEN p_type = 'deferred' THEN 0
    WHEN p_type IN ('scheduled', 'progress', 'cancelled') THEN (extract(epoch FROM p_at) * 1000000)::bigint
    ELSE p_row END)), 10)
$$;

-- The whole life in order: what rows tell, and what was recorded because no row would.
CREATE FUNCTION belay.life(p_id bigint)
RETURNS TABLE (id bigint, at timestamptz, type text, attempt int, actor text, detail json, mark text) LANGUAGE sql STABLE AS $$
  WITH e AS (
    SELECT r.*, NULL::bigint AS n FROM belay.row_events(p_id) r
    UNION ALL
    SELECT s.at, s.rank, s.type, c.attempt, c.actor,
           json_build_object('cancellation', c.n, 'cause', c.cause, 'reason', c.reason), NULL
    FROM belay.cancellations c,
         LATERAL (VALUES (c.requested_at, 4, 'abort_requested'), (c.delivered_at, 5, 'delivered'),
                         (c.acknowledged_at, 6, 'acknowledged')) s (at, rank, type)
    WHERE c.job_id = p_id AND c.attempt IS NOT NULL AND s.at IS NOT NULL
    UNION ALL
    SELECT v.at, v.rank, v.type, v.attempt, v.actor, v.detail, v.id FROM belay.events v WHERE v.job_id = p_id
  )
  SELECT row_number() OVER (ORDER BY e.at, e.rank), e.at, e.type, e.attempt, e.actor, e.detail,
         belay.event_mark(e.type, e.attempt, e.at, e.detail, e.n)
  FROM e
$$;

-- Those that were not seen, and in `seen` what has been with them: a time in microseconds (20 hexadecimal digits), before which all
-- have been, and the marks (10 digits) of the last 300, which are all where there are no more. It is what was seen that counts
-- and not what was last: an event may come late, with an earlier time.
CREATE FUNCTION belay.unseen_events(p_id bigint, p_after bigint, p_seen text, p_limit int)
RETURNS TABLE (id bigint, event text, seen text) LANGUAGE sql STABLE AS $$
  WITH before AS MATERIALIZED (
    SELECT coalesce(('x' || substr(nullif(p_seen, ''), 5, 16))::bit(64)::bigint, 0) AS us
  ), marks AS MATERIALIZED (
    SELECT substr(p_seen, 21 + 10 * i, 10) AS mark FROM generate_series(0, length(p_seen) / 10 - 3) i
  ), l AS MATERIALIZED (
    SELECT l.*, (extract(epoch FROM l.at) * 1000000)::bigint AS us, l.mark IN (SELECT m.mark FROM marks m) AS is_marked
    FROM belay.life(p_id) l
  ), page AS MATERIALIZED (
    SELECT l.* FROM l, before b WHERE NOT l.is_marked AND l.us >= b.us AND l.id > coalesce(p_after, 0) ORDER BY l.id LIMIT p_limit
  ), known AS MATERIALIZED (
    SELECT l.mark, l.us FROM l WHERE l.is_marked OR l.id IN (SELECT p.id FROM page p)
    ORDER BY l.us DESC FETCH FIRST 300 ROWS WITH TIES
  )
  SELECT n.id, concat('{"id":', n.id, ',"job_id":', p_id, ',"at":"', belay.time_text(n.at), '","type":"',
           n.type, '","attempt":', coalesce(n.attempt::text, 'null'),
           ',"actor":', coalesce(to_json(n.actor)::text, 'null'),
           ',"detail":', coalesce(n.detail::text, 'null'), '}'),
         concat(lpad(to_hex(CASE WHEN (SELECT count(*) FROM known) < 300 THEN (SELECT b.us FROM before b)
                                 ELSE (SELECT min(k.us) FROM known k) END), 20, '0'),
                (SELECT string_agg(k.mark, '' ORDER BY k.us) FROM known k))
  FROM page n ORDER BY n.id
$$;

CREATE OR REPLACE FUNCTION belay.job_events(p_id bigint, p_after bigint, p_limit int)
RETURNS TABLE (id bigint, event text) LANGUAGE sql STABLE AS $$
  SELECT e.id, e.event FROM belay.unseen_events(p_id, p_after, NULL, p_limit) e
$$;
