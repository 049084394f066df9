# bench/work.sh: what happens without HTTP: claim and finish, the look at the abort flag, idling, backlogs. Parts of bench/run.
# shellcheck shell=bash disable=SC2154

limit() { build/bench/queue_limit "$(url "$1")" "$2" "$3" "${4:-}" | field per_second; }

# served_all JOBS NAME FLAGS...: the service's own rate for what is filled in already: from the first claim to the last end in
# the table, once nothing is ready or leased any more.
served_all() {
    local jobs=$1 name=$2 us
    shift 2
    serve "$name" --prefetch 2000 "$@"
    until [ "$(sql "$name" "SELECT EXISTS (SELECT FROM belay.ready) OR EXISTS (SELECT FROM belay.leases)")" = f ]; do
        sleep 0.01
    done
    us=$(sql "$name" "SELECT (extract(epoch FROM clock_timestamp() - min(started_at)) * 1e6)::bigint FROM belay.ends")
    [ "$(sql "$name" "SELECT count(*) FROM belay.ends WHERE status = 2")" = "$jobs" ]
    stop_node "$node"
    calc '%d\n' "$jobs * 1e6 / $us"
}

served() {
    local jobs=$1 name=$2
    shift 2
    [ $# -gt 0 ] || set -- --concurrency 2
    fill "$name" bench "$jobs"
    served_all "$jobs" "$name" "$@"
}

measure_run() {
    local jobs best=0 batch got rate i
    jobs=$(n 100000)
    fresh limit
    fill limit bench $((jobs / 2 + 3000))
    for batch in 100 500 1000; do # the batch that suits this machine best
        got=$(limit limit $((jobs / 6)) $batch)
        if [ "$got" -gt "$best" ]; then best=$got size=$batch; fi
    done
    for i in 1 2 3; do
        fill limit bench $((jobs + size))
        limit limit "$jobs" "$size" >>"$dir/limits"
        fresh "run$i"
        served "$jobs" "run$i" >"$dir/served.$i"
    done
    rate=$(cat "$dir"/served.? | median)
    row "no-op jobs, $jobs preloaded, claim to finished, history kept" "$rate" /s '>=' 50000 "median of 3"
    got=$(median <"$dir/limits")
    row "  against a bare claim and finish loop" "$(ratio "$rate" "$got")" x '>=' 0.6 "the loop: $got/s, $size a batch"
}

measure_look() {
    local look
    look=$(build/bench/abort_look)
    row "job_should_abort" "$(echo "$look" | field ns)" ns '<=' 1 "an empty loop: $(echo "$look" | field empty_loop_ns)"
}

measure_children() {
    local got jobs i
    got=$(build/bench/children)
    row "isolated no-op jobs, 4 warm children" "$(echo "$got" | field isolated)" /s '>=' 10000 "from run to end, without a database"
    jobs=$(n 40000)
    for i in 1 2 3; do
        fresh "isolated$i"
        served "$jobs" "isolated$i" --concurrency 4 --isolate '*' >"$dir/isolated.$i"
    done
    row "  claim to finished, history kept" "$(cat "$dir"/isolated.? | median)" /s '>=' 10000 "median of 3"
    row "commands that run /bin/true" "$(echo "$got" | field exec)" /s '>=' 1 "one at a time"
    row "  against a bare loop of posix_spawn" "$(ratio "$(echo "$got" | field exec)" "$(echo "$got" | field spawn)")" x \
        '>=' 0.7 "the loop: $(echo "$got" | field spawn)/s"
}

# PostgreSQL logs every statement of this database; they are counted in its log.
measure_idle() {
    local seconds statements ticks
    seconds=$(calc %d "$scale < 1 ? 10 : 30")
    fresh idle
    sql postgres "ALTER DATABASE idle SET log_min_duration_statement = 0"
    serve idle
    sleep 4
    statements=$(grep -cE 'duration: .*(statement|execute)' "$dir/postgres.log") || true
    ticks=$(cpu_ticks "$node")
    sleep "$seconds"
    ticks=$(($(cpu_ticks "$node") - ticks))
    statements=$(($(grep -cE 'duration: .*(statement|execute)' "$dir/postgres.log" || true) - statements))
    row "idle node: statements" "$(calc %.2f "$statements / $seconds")" /s '<=' 1 "$statements in $seconds s"
    row "idle node: share of a core" "$(calc %.2f "$ticks / $seconds")" % '<=' 0.5 "$ticks ticks of 10 ms"
    stop_node "$node"
}

# compare WHAT NAME QUEUE: 1,000 jobs claimed and finished where hardly any other waits, and beside the backlog, in turns.
compare() {
    local what=$1 name=$2 queue=$3 base got i
    rm -f "$dir/base" "$dir/got"
    fill "$name" "$queue" 13000
    limit "$name" 1000 100 "$queue" >/dev/null
    for i in 1 2 3 4 5 6 7 8 9; do
        fill small bench 1100
        limit small 1000 100 bench >>"$dir/base"
        limit "$name" 1000 100 "$queue" >>"$dir/got"
    done
    base=$(median <"$dir/base") got=$(median <"$dir/got")
    row "$what" "$(ratio "$got" "$base")" x '>=' 0.8 "$got/s against $base/s with 1,000; medians of 9"
}

measure_backlog() {
    local backlog
    backlog=$(n 1000000)
    fresh small
    fill small bench 2200
    limit small 1000 100 bench >/dev/null
    fresh large
    fill large bench "$backlog"
    sql large "VACUUM belay.jobs, belay.ready" # or autovacuum does it beside the first measurement
    compare "claim with $backlog todo" large bench
    serve large
    load "$port" enqueue 64 "$(n 20000)" >/dev/null
    row "memory under load with $backlog jobs in the tables" "$(rss_mb "$node")" MB '<=' 60
    stop_node "$node"
    compare "claim with $backlog of another queue in front" large behind
    fresh calendar
    fill calendar bench "$backlog"
    sql calendar "WITH r AS (DELETE FROM belay.ready RETURNING *) INSERT INTO belay.scheduled (run_at, id, queue_id, priority)
                  SELECT now() + interval '1 day', id, queue_id, priority FROM r"
    sql calendar "VACUUM belay.jobs, belay.ready" # as if they had been scheduled from the start
    compare "claim with $backlog scheduled" calendar bench
}

measure_horizon() {
    bench/horizon.sh "$dir" "$(calc %d "$scale < 1 ? 15 : 60")" >"$dir/horizon.json"
    row "a foreign transaction open, 20,000 jobs/s offered: rate kept" "$(field kept <"$dir/horizon.json")" x '>=' "${HORIZON_LEAST:-0.9}" \
        "$(field note <"$dir/horizon.json")"
}
