#!/usr/bin/env bash
# make bench: every figure beside a limit that is measured in the same run on the same machine.
#
# Starts a PostgreSQL of its own (fsync on, default durability) and the service on it, measures, prints a table, keeps
# build/bench/results.json. BENCH_SCALE=0.1 makes it ten times smaller (for a look, not for figures).
set -euo pipefail
cd "$(dirname "$0")/.."

scale=${BENCH_SCALE:-1}
out=build/bench
dir=$(mktemp -d /tmp/belay-bench.XXXXXX)
results=$out/results.jsonl
mkdir -p "$out"
: >"$results"

n() { awk -v n="$1" -v s="$scale" 'BEGIN { v = int(n * s); print v < 64 ? 64 : v }'; }
field() { jq -r ".$1"; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", b > 0 ? a / b : 0 }'; }

# -- PostgreSQL ------------------------------------------------------------------------------------------

bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
as_postgres() { if [ "$(id -u)" = 0 ]; then setpriv --reuid postgres --regid postgres --init-groups "$@"; else "$@"; fi; }
[ "$(id -u)" = 0 ] && chown postgres "$dir"
as_postgres "$bin/initdb" -D "$dir/data" -A trust -E UTF8 --locale=C.UTF-8 -U belay >/dev/null
as_postgres "$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c shared_buffers=1GB \
    -c max_wal_size=8GB -c max_connections=100 >"$dir/postgres.log" 2>&1 &
postgres=$!
pids=()
cleanup() {
    [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true
    kill -INT "$postgres" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT
until "$bin/pg_isready" -q -h "$dir" -U belay; do sleep 0.05; done

url() { echo "postgresql:///$1?host=$dir&user=belay"; }
sql() { "$bin/psql" -XqAt -h "$dir" -U belay -d "$1" -c "$2"; }

# fresh NAME: an empty migrated database.
fresh() {
    "$bin/createdb" -h "$dir" -U belay "$1"
    DATABASE_URL=$(url "$1") build/belay migrate >/dev/null
}

# serve NAME FLAGS...: a node on database NAME; sets $port and $node. The time from exec to the first 200 goes to $started_ms.
serve() {
    local name=$1 log
    shift
    log=$dir/serve.$RANDOM.log
    port=$((20000 + RANDOM % 20000))
    local from
    from=$(date +%s%N)
    DATABASE_URL=$(url "$name") build/belay serve --port "$port" --log-level warn "$@" 2>"$log" &
    node=$!
    pids+=("$node")
    until curl -sf -o /dev/null "http://127.0.0.1:$port/readyz"; do
        kill -0 "$node" 2>/dev/null || { cat "$log" >&2; exit 1; }
        sleep 0.002
    done
    started_ms=$((($(date +%s%N) - from) / 1000000))
}

stop_node() {
    kill -TERM "$1"
    wait "$1" 2>/dev/null || true
}

rss_mb() { awk '/VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/$1/status"; }

# row WHAT FIGURE UNIT TARGET MET NOTE: a line of the table.
row() {
    printf '| %-66s | %12s %-6s | %-22s | %-4s | %s |\n' "$1" "$2" "$3" "$4" "$5" "$6"
    jq -cn --arg what "$1" --arg figure "$2" --arg unit "$3" --arg target "$4" --arg met "$5" --arg note "$6" \
        '$ARGS.named' >>"$results"
}
at_least() { awk -v a="$1" -v b="$2" 'BEGIN { print a + 0 >= b + 0 ? "yes" : "NO" }'; }
at_most() { awk -v a="$1" -v b="$2" 'BEGIN { print a + 0 <= b + 0 ? "yes" : "NO" }'; }

printf '| %-66s | %19s | %-22s | %-4s | %s |\n' what figure target met note
echo "|---|---|---|---|---|"

# -- enqueue -----------------------------------------------------------------------------------------------

fresh enqueue
serve enqueue --concurrency 0
row "exec to first 200" "$started_ms" ms "<= 100" "$(at_most "$started_ms" 100)" "PostgreSQL runs already"
row "memory, idle" "$(rss_mb "$node")" MB "<= 20" "$(at_most "$(rss_mb "$node")" 20)" ""

fresh pgbench
sql pgbench "insert into belay.queues (name) values ('bench'); insert into belay.tasks (name) values ('echo')"
cat >"$dir/insert.sql" <<'SQL'
WITH j AS (INSERT INTO belay.jobs (id, queue_id, task_id, priority, args)
           VALUES (nextval('belay.job_id_seq'), 1, 1, 0, '{"customer":4711,"text":"sixty-four bytes of args, more or less"}')
           RETURNING id, queue_id, priority)
INSERT INTO belay.ready (queue_id, priority, id) SELECT queue_id, priority, id FROM j;
SQL
peer() {
    "$bin/pgbench" -n -M prepared -c 16 -j 2 -T "$(awk -v s="$scale" 'BEGIN { print s < 1 ? 3 : 8 }')" \
        -f "$dir/insert.sql" -h "$dir" -U belay pgbench 2>/dev/null | awk '/^tps/ { printf "%d", $3 }'
}
best_of_two() { # the better of two runs of http_load, as JSON
    local a b
    a=$(build/bench/http_load "$@")
    b=$(build/bench/http_load "$@")
    printf '%s\n%s\n' "$a" "$b" | jq -sc 'max_by(.per_second)'
}
p1=$(peer)
single=$(best_of_two "$port" enqueue 64 "$(n 100000)")
p2=$(peer)
tps=$((p1 > p2 ? p1 : p2))
rate=$(echo "$single" | field per_second)
row "enqueue over HTTP, one job a request, 64 connections" "$rate" /s ">= 20000" "$(at_least "$rate" 20000)" \
    "p50 $(echo "$single" | field p50_ms) ms, p99 $(echo "$single" | field p99_ms) ms"
row "  the same against pgbench -c 16, one insert a transaction ($tps/s)" "$(ratio "$rate" "$tps")" x ">= 1.4" \
    "$(at_least "$(ratio "$rate" "$tps")" 1.4)" "same run"
many=$(best_of_two "$port" enqueue-batch 4 "$(n 300)" 1000)
rate=$(echo "$many" | field per_second)
row "enqueue over HTTP, 1,000 jobs a request, 4 connections" "$rate" /s ">= 80000" "$(at_least "$rate" 80000)" ""

# -- cancel ------------------------------------------------------------------------------------------------

first=$(sql enqueue "select min(id) from belay.ready")
jobs=$(n 60000)
one=$(build/bench/http_load "$port" cancel 64 "$jobs" "$first")
two=$(build/bench/http_load "$port" cancel 64 "$jobs" $((first + jobs)))
rate=$(printf '%s\n%s\n' "$one" "$two" | jq -s 'max_by(.per_second).per_second')
row "cancel over HTTP, 64 connections, every answer checked" "$rate" /s ">= 20000" "$(at_least "$rate" 20000)" ""
rss=$(rss_mb "$node")
row "memory, after the load" "$rss" MB "<= 60" "$(at_most "$rss" 60)" "$(sql enqueue 'select count(*) from belay.jobs') jobs in the tables"
stop_node "$node"

# -- run -----------------------------------------------------------------------------------------------------

# fill NAME QUEUE COUNT [SCHEDULED]: jobs made inside the database, for the tests of the claim.
fill() {
    sql "$1" "insert into belay.queues (name) values ('$2') on conflict do nothing;
      insert into belay.tasks (name) values ('echo') on conflict do nothing;
      with j as (insert into belay.jobs (id, queue_id, task_id, priority, args)
        select nextval('belay.job_id_seq'), (select id from belay.queues where name = '$2'),
               (select id from belay.tasks where name = 'echo'), 0, '{}' from generate_series(1, $3)
        returning id, queue_id, priority)
      insert into belay.ready (queue_id, priority, id) select queue_id, priority, id from j" >/dev/null
}
# drained NAME COUNT: seconds until COUNT jobs of the database have ended.
ended() { sql "$1" "select count(*) from belay.ends"; }

jobs=$(n 100000)
fresh limit
fill limit bench $((jobs * 3))
limit=0
for batch in 100 500 1000; do
    got=$(build/bench/queue_limit "$(url limit)" "$jobs" $batch | field per_second)
    limit=$((got > limit ? got : limit))
done
fresh run
fill run bench "$jobs"
from=$(date +%s%N)
serve run --concurrency 2 --prefetch 2000
until [ "$(ended run)" -ge "$jobs" ]; do sleep 0.02; done
ns=$(($(date +%s%N) - from))
rate=$(awk -v n="$jobs" -v ns="$ns" 'BEGIN { printf "%d", n * 1e9 / ns }')
row "no-op jobs, $jobs preloaded, claim to finished, history kept" "$rate" /s ">= 50000" "$(at_least "$rate" 50000)" "start included"
row "  the same against a bare claim and finish loop ($limit/s)" "$(ratio "$rate" "$limit")" x ">= 0.6" \
    "$(at_least "$(ratio "$rate" "$limit")" 0.6)" "same tables and statements"
stop_node "$node"

# -- latency -------------------------------------------------------------------------------------------------

fresh latency
serve latency
port_a=$port node_a=$node
rounds=$(n 500)
start=$(build/bench/latency start "$rounds" "$port_a")
row "enqueue sent to task started, idle, same node, p50" "$(echo "$start" | field p50_ms)" ms "<= 1" "$(at_most "$(echo "$start" | field p50_ms)" 1)" ""
row "  p99" "$(echo "$start" | field p99_ms)" ms "<= 3" "$(at_most "$(echo "$start" | field p99_ms)" 3)" ""
rounds=$(n 200)
seen=$(build/bench/latency abort "$rounds" "$port_a")
row "abort sent to seen by the task, same node, p50" "$(echo "$seen" | field p50_ms)" ms "<= 1" "$(at_most "$(echo "$seen" | field p50_ms)" 1)" ""
row "  p99" "$(echo "$seen" | field p99_ms)" ms "<= 3" "$(at_most "$(echo "$seen" | field p99_ms)" 3)" ""
serve latency --concurrency 0
seen=$(build/bench/latency abort "$rounds" "$port_a" "$port")
row "abort sent to seen by the task, another node, p50" "$(echo "$seen" | field p50_ms)" ms "<= 2" "$(at_most "$(echo "$seen" | field p50_ms)" 2)" ""
row "  p99" "$(echo "$seen" | field p99_ms)" ms "<= 6" "$(at_most "$(echo "$seen" | field p99_ms)" 6)" ""
stop_node "$node"
look=$(build/bench/abort_look)
row "job_should_abort" "$(echo "$look" | field ns)" ns "<= 1" "$(at_most "$(echo "$look" | field ns)" 1)" ""

# -- idle ----------------------------------------------------------------------------------------------------

statements() { sql latency "select coalesce(sum(calls), 0) from pg_stat_statements" 2>/dev/null || echo ""; }
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
xacts() { sql postgres "select xact_commit + xact_rollback from pg_stat_database where datname = 'latency'"; }
sleep 3
sql postgres "select pg_sleep(1)" >/dev/null
x=$(xacts) t=$(ticks "$node_a")
idle=$(awk -v s="$scale" 'BEGIN { print s < 1 ? 10 : 30 }')
sleep "$idle"
x=$(($(xacts) - x)) t=$(($(ticks "$node_a") - t))
row "idle node: transactions a second" "$(ratio "$x" "$idle")" /s "<= 1" "$(at_most "$(ratio "$x" "$idle")" 1)" "autovacuum's included"
row "idle node: share of a core" "$(awk -v t="$t" -v s="$idle" 'BEGIN { printf "%.2f", t / s }')" % "<= 0.5" \
    "$(at_most "$(awk -v t="$t" -v s="$idle" 'BEGIN { print t / s }')" 0.5)" ""
stop_node "$node_a"

# -- backlogs ------------------------------------------------------------------------------------------------

claim_rate() { build/bench/queue_limit "$(url "$1")" "$2" 100 "${3:-}" | field per_second; }
backlog=$(n 1000000) some=$(n 20000)
fresh small
fill small bench $((some * 3))
claim_rate small "$some" >/dev/null
base=$(claim_rate small "$some")
fresh large
fill large bench "$backlog"
claim_rate large "$some" >/dev/null
got=$(claim_rate large "$some")
row "claim with $backlog todo, against an almost empty queue" "$(ratio "$got" "$base")" x ">= 0.8" "$(at_least "$(ratio "$got" "$base")" 0.8)" "$got/s against $base/s"
fresh front
fill front other "$backlog"
fill front bench $((some * 3))
claim_rate front "$some" bench >/dev/null
got=$(claim_rate front "$some" bench)
row "claim with $backlog of another queue in front" "$(ratio "$got" "$base")" x ">= 0.8" "$(at_least "$(ratio "$got" "$base")" 0.8)" "$got/s against $base/s"
fresh calendar
fill calendar bench "$backlog"
sql calendar "with r as (delete from belay.ready returning *) insert into belay.scheduled (run_at, id, queue_id, priority) select now() + interval '1 day', id, queue_id, priority from r" >/dev/null
fill calendar bench $((some * 3))
claim_rate calendar "$some" >/dev/null
got=$(claim_rate calendar "$some")
row "claim with $backlog scheduled" "$(ratio "$got" "$base")" x ">= 0.8" "$(at_least "$(ratio "$got" "$base")" 0.8)" "$got/s against $base/s"

# -- a foreign transaction held open -------------------------------------------------------------------------

bench/horizon.sh "$dir" "$(awk -v s="$scale" 'BEGIN { print s < 1 ? 15 : 60 }')" >"$dir/horizon.json"
kept=$(field kept <"$dir/horizon.json")
row "a foreign transaction open, 20,000 jobs/s offered: rate kept" "$kept" x ">= 0.9" "$(at_least "$kept" 0.9)" \
    "$(jq -r '.note' <"$dir/horizon.json")"

jq -s --arg date "$(date -u +%FT%TZ)" --arg cores "$(nproc)" --arg postgres "$("$bin/postgres" --version)" \
    '{date: $date, cores: $cores, postgres: $postgres, rows: .}' "$results" >"$out/results.json"
echo "kept in $out/results.json"
