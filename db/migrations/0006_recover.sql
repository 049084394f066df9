-- A claim whose answer was lost has made a lease that its worker does not know: its jobs would be doing for ever, while the
-- worker lives. The worker says which leases it knows; the jobs of the others go back, unstarted.
CREATE FUNCTION belay.recover(p_worker bigint, p_known bigint[]) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  ids bigint[];
  leases bigint[];
  given_back int;
BEGIN
  SELECT array_agg(u.id ORDER BY l.id), array_agg(l.id ORDER BY l.id) INTO ids, leases
  FROM belay.leases l, unnest(l.job_ids) u (id)
  WHERE l.worker_id = p_worker AND NOT l.id = ANY (p_known);
  IF ids IS NULL THEN
    RETURN 0;
  END IF;
  SELECT count(*) FILTER (WHERE b.taken) INTO given_back
  FROM belay.give_back(ids, leases, array_fill(p_worker, ARRAY[cardinality(ids)]),
                       array_fill(0, ARRAY[cardinality(ids)]), array_fill('unstarted'::text, ARRAY[cardinality(ids)]),
                       array_fill(NULL::bigint, ARRAY[cardinality(ids)]),
                       array_fill(NULL::json, ARRAY[cardinality(ids)]),
                       array_fill(NULL::text, ARRAY[cardinality(ids)])) b;
  RETURN given_back;
END $$;
