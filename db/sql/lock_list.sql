-- lock_list: one page of the locks that jobs have or wait for, by name; after is where the last page ended. lock: that one alone.
-- $1 after text
-- $2 lock text
-- $3 row_limit int
SELECT name, document FROM belay.list_locks($1, $2, $3)
