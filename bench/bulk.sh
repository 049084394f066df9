# bench/bulk.sh: many jobs by one request. A part of bench/run.
# shellcheck shell=bash disable=SC2154

# operation PATH BODY: the id of a bulk operation.
operation() {
    curl -sf -X POST -H 'Content-Type: application/json' "http://127.0.0.1:$port$1" -d "$2" | field id
}
operation_status() { curl -sf "http://127.0.0.1:$port/operations/$1" | field status; }
operation_seconds() {
    sql bulk "SELECT round(extract(epoch FROM finished_at - created_at)::numeric, 2) FROM belay.operations WHERE id = $1"
}

# New jobs go to a queue of their own: in one queue they would wait behind the million, whatever else happens.
measure_bulk() {
    local jobs id counted
    jobs=$(n 1000000)
    fresh bulk
    fill bulk mail "$jobs"
    serve bulk --queues default
    build/bench/latency start 100 "$port" >/dev/null
    id=$(operation /cancellations '{"filter":{"queue":"mail"},"reason":"bench"}')
    : >"$dir/starts-meanwhile"
    while [ "$(operation_status "$id")" = running ]; do
        build/bench/latency start 100 "$port" | field p99_ms >>"$dir/starts-meanwhile"
    done
    counted=$(sql bulk "SELECT cancelled FROM belay.operations WHERE id = $id")
    [ "$counted" = "$jobs" ] || { echo "$jobs jobs were to be cancelled, $counted are" >&2; return 1; }
    row "a million todo jobs cancelled by one filter" "$(operation_seconds "$id")" s '<=' 60 "$jobs jobs; new ones start meanwhile"
    row "  new jobs start meanwhile, p99" "$(sort -n "$dir/starts-meanwhile" | tail -1)" ms '<=' 100 \
        "the worst of $(wc -l <"$dir/starts-meanwhile") times 100"
    id=$(operation /deletions '{"filter":{"status":["cancelled"]}}')
    until [ "$(operation_status "$id")" = done ]; do sleep 0.2; done
    row "  and removed" "$(operation_seconds "$id")" s '<=' 120
    stop_node "$node"
}
