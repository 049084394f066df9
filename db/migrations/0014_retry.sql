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
