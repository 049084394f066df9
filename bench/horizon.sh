#!/usr/bin/env bash
# bench/horizon.sh SOCKET_DIR SECONDS: does the rate hold while somebody else keeps a transaction open?
#
# An open transaction keeps dead rows from being cleaned up, and every claim would have to walk over them. 20,000 jobs a
# second are offered to one node for SECONDS with such a transaction open; the answer compares what ended in the last
# fifth with what ended in the second fifth. Prints one line of JSON: {"kept": ratio, "note": "..."}.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$1 seconds=$2
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
sql() { "$bin/psql" -XqAt -h "$dir" -U belay -d horizon -c "$1"; }

"$bin/createdb" -h "$dir" -U belay horizon
url="postgresql:///horizon?host=$dir&user=belay"
DATABASE_URL=$url build/belay migrate >/dev/null 2>&1
sql "INSERT INTO belay.queues (name) VALUES ('bench'); INSERT INTO belay.tasks (name) VALUES ('echo')"
port=$((20000 + RANDOM % 12000))
DATABASE_URL=$url build/belay serve --port "$port" --log-level error --concurrency 2 --prefetch 2000 &
node=$!
trap 'kill $node $holder $offer 2>/dev/null || true; wait 2>/dev/null || true' EXIT
until curl -sf -o /dev/null "http://127.0.0.1:$port/readyz"; do sleep 0.02; done

cat >"$dir/offer.sql" <<'SQL'
WITH j AS (INSERT INTO belay.jobs (id, queue_id, task_id, priority, args)
           SELECT nextval('belay.job_id_seq'), 1, 1, 0, '{}' FROM generate_series(1, 1000)
           RETURNING id, queue_id, priority)
INSERT INTO belay.ready (queue_id, priority, id) SELECT queue_id, priority, id FROM j;
SELECT pg_notify('belay_ready', 'bench');
SQL
"$bin/psql" -XqAt -h "$dir" -U belay -d horizon \
    -c "BEGIN ISOLATION LEVEL REPEATABLE READ" -c "SELECT 1" -c "SELECT pg_sleep($seconds + 5)" >/dev/null &
holder=$!
sleep 0.2
from=$(sql "SELECT clock_timestamp()")
"$bin/pgbench" -n -M prepared -c 2 -R 20 -T "$seconds" -f "$dir/offer.sql" -h "$dir" -U belay horizon >/dev/null 2>&1 &
offer=$!
sleep "$seconds"
sql "WITH w AS (SELECT floor(extract(epoch FROM finished_at - '$from') / ($seconds / 5.0)) AS fifth, count(*)::numeric AS n
                FROM belay.ends GROUP BY 1),
     r AS (SELECT coalesce(sum(n) FILTER (WHERE fifth = 1), 0) AS first, coalesce(sum(n) FILTER (WHERE fifth = 4), 0) AS last,
                  $seconds / 5.0 AS s FROM w)
     SELECT json_build_object('kept', round(last / greatest(first, 1), 2), 'note',
              format('%s/s in the second fifth, %s/s in the last', round(first / s), round(last / s))) FROM r"
