#!/usr/bin/env bash
# bench/horizon.sh SOCKET_DIR SECONDS: does the rate hold while somebody else keeps a transaction open?
#
# An open transaction keeps dead rows from being cleaned up, and every claim would have to walk over them. 20,000 jobs a second are
# offered to one node for SECONDS with such a transaction open; the answer compares the rate of the last fifth with the
# rate of the first fifth. Prints one line of JSON: {"kept": ratio, "note": "..."}.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$1 seconds=$2
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
sql() { "$bin/psql" -XqAt -h "$dir" -U belay -d horizon -c "$1"; }

"$bin/createdb" -h "$dir" -U belay horizon
url="postgresql:///horizon?host=$dir&user=belay"
DATABASE_URL=$url build/belay migrate >/dev/null
sql "insert into belay.queues (name) values ('bench'); insert into belay.tasks (name) values ('echo')"
port=$((20000 + RANDOM % 20000))
DATABASE_URL=$url build/belay serve --port "$port" --log-level error --concurrency 2 --prefetch 2000 &
node=$!
trap 'kill $node $holder 2>/dev/null || true; wait 2>/dev/null || true' EXIT
until curl -sf -o /dev/null "http://127.0.0.1:$port/readyz"; do sleep 0.02; done

cat >"$dir/offer.sql" <<'SQL'
WITH j AS (INSERT INTO belay.jobs (id, queue_id, task_id, priority, args)
           SELECT nextval('belay.job_id_seq'), 1, 1, 0, '{}' FROM generate_series(1, 1000)
           RETURNING id, queue_id, priority)
INSERT INTO belay.ready (queue_id, priority, id) SELECT queue_id, priority, id FROM j;
SQL
"$bin/psql" -XqAt -h "$dir" -U belay -d horizon \
    -c "begin isolation level repeatable read" -c "select 1" -c "select pg_sleep($seconds)" >/dev/null &
holder=$!
"$bin/pgbench" -n -M prepared -c 2 -R 20 -T "$seconds" -f "$dir/offer.sql" -h "$dir" -U belay horizon >/dev/null 2>&1 &

window=$((seconds / 5))
# The number of jobs that ended inside one window. ends is append-only, so its rows can be counted by time.
ended() { sql "select count(*) from belay.ends"; }
sleep 1
a=$(ended)
sleep "$window"
first=$(($(ended) - a))
sleep $((seconds - 2 * window - 2))
a=$(ended)
sleep "$window"
last=$(($(ended) - a))
awk -v f="$first" -v l="$last" -v w="$window" 'BEGIN {
    printf "{\"kept\": %.2f, \"note\": \"%d/s in the first %d s, %d/s in the last\"}\n", f > 0 ? l / f : 0, f / w, w, l / w }'
