-- key_forget: takes back a cancel that came before its job. waiting: it is gone; used: its job came already; no row: there is none.
-- $1 key text
SELECT result, by_key FROM belay.forget_key($1)
