-- ready_check: whether this database can be written, and its schema's version.
SELECT (SELECT max(version) FROM belay.migrations) AS version, NOT pg_is_in_recovery() AS writable
