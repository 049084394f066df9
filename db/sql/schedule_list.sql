-- schedule_list: one page of schedules, by name; after is where the last page ended.
-- $1 after text
-- $2 row_limit int
SELECT s.name, belay.schedule_text(s, 0) AS schedule
FROM belay.schedules s WHERE s.name > coalesce($1, '') COLLATE "C" ORDER BY s.name LIMIT $2
