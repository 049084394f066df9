# bench/lib.sh: what the measurements of bench/run share: a PostgreSQL of their own, nodes, rows of the table.
# shellcheck shell=bash

scale=${BENCH_SCALE:-1}
only=${BENCH_ONLY:-}
out=build/bench
results=$out/results.jsonl
dir=$(mktemp -d /tmp/belay-bench.XXXXXX)
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
nodes=()

# -- numbers -----------------------------------------------------------------------------------------------

n() { awk -v n="$1" -v s="$scale" 'BEGIN { v = int(n * s); print (v < 64 ? 64 : v) }'; }
calc() { awk "BEGIN { printf \"$1\", ($2) }"; } # calc FORMAT EXPRESSION
field() { jq -r ".$1"; }
ratio() { calc %.2f "$2 > 0 ? $1 / $2 : 0"; }
median() { sort -n | awk '{ v[NR] = $1 } END { print (NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2) }'; }

# -- the table ---------------------------------------------------------------------------------------------

failed=0

# row WHAT FIGURE UNIT COMPARISON LIMIT NOTE: a line of the table. COMPARISON is >= or <=. "-" as FIGURE: it was not
# measured, which fails.
row() {
    local met=FAIL
    if [ "$2" != - ] && awk "BEGIN { exit !($2 $4 $5) }"; then met=pass; else failed=$((failed + 1)); fi
    printf '| %-62s | %9s %-3s | %2s %-6s | %5s | %-4s | %s |\n' "$1" "$2" "$3" "$4" "$5" \
        "$([ "$2" = - ] && echo - || ratio "$2" "$5")" "$met" "${6:-}"
    jq -cn --arg what "$1" --arg figure "$2" --arg unit "$3" --arg comparison "$4" --arg limit "$5" --arg met "$met" \
        --arg note "${6:-}" '$ARGS.named' >>"$results"
}

# -- PostgreSQL --------------------------------------------------------------------------------------------

# Default durability; only the sizes differ from the defaults, so that no checkpoint falls into a measurement by chance.
settings=(-c listen_addresses= -c shared_buffers=1GB -c max_wal_size=8GB -c max_connections=100)

as_postgres() { if [ "$(id -u)" = 0 ]; then setpriv --reuid postgres --regid postgres --init-groups "$@"; else "$@"; fi; }
url() { echo "postgresql:///$1?host=$dir&user=belay"; }
sql() { "$bin/psql" -XqAt -v ON_ERROR_STOP=1 -h "$dir" -U belay -d "$1" -c "$2"; }

start_postgres() {
    [ "$(id -u)" != 0 ] || chown postgres "$dir"
    as_postgres "$bin/initdb" -D "$dir/data" -A trust -E UTF8 --locale=C.UTF-8 -U belay >/dev/null
    as_postgres "$bin/pg_ctl" -s -w -D "$dir/data" -l "$dir/postgres.log" -o "${settings[*]} -k $dir" start
}

stop_all() {
    for node in "${nodes[@]}"; do kill "$node" 2>/dev/null || true; done
    as_postgres "$bin/pg_ctl" -s -w -m immediate -D "$dir/data" stop 2>/dev/null || true
    rm -rf "$dir"
}

# fresh NAME: an empty migrated database.
fresh() {
    "$bin/createdb" -h "$dir" -U belay "$1"
    DATABASE_URL=$(url "$1") build/belay migrate >/dev/null 2>&1
}

# fill NAME QUEUE COUNT [TASK ARGS]: jobs that wait, made inside the database.
fill() {
    local task=${4:-echo}
    sql "$1" "
      INSERT INTO belay.queues (name) VALUES ('$2') ON CONFLICT DO NOTHING;
      INSERT INTO belay.tasks (name) VALUES ('$task') ON CONFLICT DO NOTHING;
      WITH j AS (INSERT INTO belay.jobs (id, queue_id, task_id, priority, args)
        SELECT nextval('belay.job_id_seq'), (SELECT id FROM belay.queues WHERE name = '$2'),
               (SELECT id FROM belay.tasks WHERE name = '$task'), 0, '${5:-{\}}' FROM generate_series(1, $3)
        RETURNING id, queue_id, priority)
      INSERT INTO belay.ready (queue_id, priority, id) SELECT queue_id, priority, id FROM j"
}

# -- nodes -------------------------------------------------------------------------------------------------

# serve NAME FLAGS...: a node on database NAME; sets $port, $node and $started_ms, the time from exec to the first 200.
serve() {
    local name=$1 log=$dir/node.${#nodes[@]}.log from
    shift
    port=$((20000 + RANDOM % 12000))
    from=$(date +%s%N)
    DATABASE_URL=$(url "$name") build/belay serve --port "$port" --log-level warn "$@" 2>"$log" &
    node=$!
    nodes+=("$node")
    until curl -sf -o /dev/null "http://127.0.0.1:$port/readyz"; do
        kill -0 "$node" 2>/dev/null || { cat "$log" >&2; return 1; }
        sleep 0.002
    done
    started_ms=$((($(date +%s%N) - from) / 1000000))
}

stop_node() {
    kill -TERM "$1"
    wait "$1" 2>/dev/null || true
}

rss_mb() { awk '/VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/$1/status"; }
cpu_ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
