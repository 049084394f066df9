-- key_get: a cancel that came before its job.
-- $1 key text
SELECT belay.by_key_text(k) FROM belay.keys k
WHERE k.key = $1 AND k.cancelled_at IS NOT NULL AND k.expires_at > clock_timestamp()
