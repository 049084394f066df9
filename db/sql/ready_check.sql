-- ready_check: whether this database can be written. A standby cannot.
SELECT NOT pg_is_in_recovery() AS writable
