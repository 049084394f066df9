# bench/http.sh: what goes over HTTP: start, enqueue, cancel, latency. Parts of bench/run.
# shellcheck shell=bash disable=SC2154

load() { build/bench/http_load "$@"; }

measure_start() {
    fresh start
    for _ in 1 2 3 4 5; do
        serve start
        echo "$started_ms"
        stop_node "$node"
    done >"$dir/starts"
    row "exec to first 200" "$(median <"$dir/starts")" ms '<=' 100 "median of 5; PostgreSQL runs already"
    serve start
    sleep 1
    row "memory, idle" "$(rss_mb "$node")" MB '<=' 20
    stop_node "$node"
}

fresh_peer() {
    "$bin/dropdb" -h "$dir" -U belay --if-exists pgbench 2>/dev/null
    fresh pgbench
    sql pgbench "INSERT INTO belay.queues (name) VALUES ('bench'); INSERT INTO belay.tasks (name) VALUES ('echo')"
}

# One plain insert a transaction into the same tables: what clients with SQL would reach.
plain_insert() {
    cat >"$dir/insert.sql" <<'SQL'
WITH j AS (INSERT INTO belay.jobs (id, queue_id, task_id, priority, args)
           VALUES (nextval('belay.job_id_seq'), 1, 1, 0, '{"customer":4711,"text":"sixty-four bytes of args, more or less"}')
           RETURNING id, queue_id, priority)
INSERT INTO belay.ready (queue_id, priority, id) SELECT queue_id, priority, id FROM j;
SQL
    "$bin/pgbench" -n -M prepared -f "$dir/insert.sql" -h "$dir" -U belay "$@" pgbench 2>/dev/null
}

peer() { plain_insert -c 16 -j 2 -T "$(calc %d "$scale < 1 ? 2 : 5")" | awk '/^tps/ { printf "%d\n", $3 }'; }

# How long one such insert takes that comes alone: no durable answer can be faster.
bare_insert_ms() { plain_insert -c 1 -R 100 -T 3 | awk '/^latency average/ { print $4 }'; }

# Every 201 is a row of the table, or the run ends.
expect_jobs() {
    local got
    got=$(sql "$1" "SELECT count(*) FROM belay.jobs")
    [ "$got" = "$2" ] || { echo "$2 jobs were accepted, $got are in the table" >&2; return 1; }
}

measure_enqueue() {
    local each many=0 i
    each=$(n 60000)
    fresh_peer
    fresh enqueue
    serve enqueue --concurrency 0
    load "$port" enqueue 64 "$(n 5000)" >/dev/null
    peer >/dev/null
    for i in 1 2 3; do
        peer >>"$dir/peer"
        load "$port" enqueue 64 "$each" >>"$dir/single"
    done
    single=$(jq .per_second "$dir/single" | median)
    row "enqueue over HTTP, one job a request, 64 connections" "$single" /s '>=' 20000 \
        "median of 3; p50 $(jq .p50_ms "$dir/single" | median) ms, p99 $(jq .p99_ms "$dir/single" | median) ms"
    tps=$(median <"$dir/peer")
    row "  against pgbench -c 16, one insert a transaction" "$(ratio "$single" "$tps")" x '>=' 1.4 "pgbench $tps/s, in turns"
    many=$(n 100)
    for i in 1 2 3; do load "$port" enqueue-batch 4 "$many" 1000 >>"$dir/many"; done
    row "enqueue over HTTP, 1,000 jobs a request, 4 connections" "$(jq .per_second "$dir/many" | median)" /s '>=' 80000 \
        "median of 3; p50 $(jq .p50_ms "$dir/many" | median) ms"
    expect_jobs enqueue $(($(n 5000) + 3 * each + 3000 * many))
    stop_node "$node"
}

measure_cancel() {
    local jobs first i
    jobs=$(n 50000)
    fresh cancel
    fill cancel bench $((4 * jobs))
    serve cancel --concurrency 0
    first=$(sql cancel "SELECT min(id) FROM belay.ready")
    load "$port" cancel 64 "$jobs" "$first" >/dev/null
    for i in 1 2 3; do load "$port" cancel 64 "$jobs" $((first + i * jobs)) >>"$dir/cancels"; done
    row "cancel over HTTP, 64 connections, every answer checked" "$(jq .per_second "$dir/cancels" | median)" /s '>=' 20000 \
        "median of 3; p50 $(jq .p50_ms "$dir/cancels" | median) ms, p99 $(jq .p99_ms "$dir/cancels" | median) ms"
    [ "$(sql cancel "SELECT count(*) FROM belay.ends WHERE status = 4")" = $((4 * jobs)) ]
    stop_node "$node"
}

# latency_rows WHAT P50 P99 ARGUMENTS...: two rows of what bench/latency.c measures.
latency_rows() {
    local what=$1 p50=$2 p99=$3 got
    shift 3
    build/bench/latency "$1" 50 "${@:3}" >/dev/null
    got=$(build/bench/latency "$@")
    row "$what, p50" "$(echo "$got" | field p50_ms)" ms '<=' "$p50" "$2 rounds; a bare insert: $bare ms"
    row "  p99" "$(echo "$got" | field p99_ms)" ms '<=' "$p99"
}

measure_latency() {
    local port_a node_a bare
    fresh_peer
    bare=$(bare_insert_ms)
    fresh latency
    serve latency
    port_a=$port node_a=$node
    latency_rows "enqueue sent to task started, idle, same node" 1 3 start "$(n 1000)" "$port_a"
    latency_rows "abort sent to seen by the task, same node" 1 3 abort "$(n 500)" "$port_a"
    serve latency --concurrency 0
    latency_rows "abort sent to seen by the task, another node" 2 6 abort "$(n 200)" "$port_a" "$port"
    stop_node "$node"
    stop_node "$node_a"
}

# Two nodes on one database, one of which tells others and listens, and one that polls: they take turns.
measure_notify() {
    local each with without i
    each=$(n 40000)
    fresh notify
    serve notify --concurrency 0 --no-listen-notify
    without=$port
    serve notify --concurrency 0
    with=$port
    for i in 0 1 2 3 4 5; do
        load "$without" enqueue 32 "$each" >>"$dir/without"
        load "$with" enqueue 32 "$each" >>"$dir/with"
        [ "$i" != 0 ] || : | tee "$dir/with" >"$dir/without" # the first was for the caches
    done
    row "enqueue by 32 clients with notifications, against without" \
        "$(ratio "$(jq .per_second "$dir/with" | median)" "$(jq .per_second "$dir/without" | median)")" x '>=' 0.9 \
        "median of 5 in turns: $(jq .per_second "$dir/with" | median)/s, $(jq .per_second "$dir/without" | median)/s"
    expect_jobs notify $((12 * each))
}
