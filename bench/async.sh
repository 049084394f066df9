# bench/async.sh: async jobs: what a coroutine costs, how many sleep at a time and hear of their abort, their own rate. A part of
# bench/run.
# shellcheck shell=bash disable=SC2154

leased() { sql "$1" "SELECT coalesce(sum(cardinality(job_ids)), 0) FROM belay.leases"; }

# All of a node's jobs asleep, then aborted by statements of 1,000 each; every abort has to be seen.
measure_sleepers() {
    local jobs rss slowest seen from seconds statement
    jobs=$(n 100000)
    fresh sleepers
    fill sleepers bench "$jobs" async_sleep '{"seconds":3600}'
    from=$(date +%s%N)
    serve sleepers --async-concurrency "$jobs"
    until [ "$(leased sleepers)" = "$jobs" ]; do sleep 0.05; done
    seconds=$(calc %.1f "($(date +%s%N) - $from) / 1e9")
    sleep 1
    rss=$(rss_mb "$node")
    sql sleepers "CREATE TABLE told (batch bigint, ids bigint[], at timestamptz)"
    sql sleepers "DO \$\$ DECLARE x record; BEGIN
      FOR x IN SELECT batch, array_agg(id) AS ids FROM (SELECT id, (row_number() OVER (ORDER BY id) - 1) / 1000 AS batch
                                                        FROM belay.jobs) y GROUP BY batch ORDER BY batch LOOP
        PERFORM belay.cancel_jobs(x.ids, array_agg(true), array_agg(false), array_agg(NULL::text), array_agg(NULL::text),
          array_agg('user'::text), array_agg(NULL::int), array_agg(NULL::text), array_agg(NULL::int), array_agg(NULL::text))
        FROM unnest(x.ids);
        COMMIT;
        INSERT INTO told VALUES (x.batch, x.ids, clock_timestamp());
      END LOOP; END \$\$"
    until [ "$(leased sleepers)" = 0 ]; do sleep 0.05; done
    seen=$(sql sleepers "SELECT count(*) FROM belay.cancellations WHERE outcome = 'aborted' AND acknowledged_at IS NOT NULL")
    slowest=$(sql sleepers "SELECT round(greatest(0, extract(epoch FROM max(c.acknowledged_at - t.at))), 3)
                            FROM told t CROSS JOIN unnest(t.ids) u (id) JOIN belay.cancellations c ON c.job_id = u.id")
    statement=$(sql sleepers "SELECT round(extract(epoch FROM max(t.at - c.requested_at)), 3)
                              FROM told t CROSS JOIN unnest(t.ids) u (id) JOIN belay.cancellations c ON c.job_id = u.id")
    row "async jobs asleep on one node: aborts that were seen, of $jobs" "$seen" "" '>=' "$jobs" "claimed and asleep in $seconds s"
    row "  resident memory while they sleep" "$rss" MB '<=' 700
    row "  from the commit of the request to the await that returned it, the slowest" "$slowest" s '<=' 1 \
        "the statement of 1,000 took up to $statement s"
    stop_node "$node"
}

noop_rate() { # NAME TASK ARGS JOBS
    fresh "$1"
    fill "$1" bench "$4" "$2" "$3"
    served_all "$4" "$1" --concurrency 2
}

measure_async() {
    local jobs coroutine i sync async
    jobs=$(n 100000)
    coroutine=$(build/bench/coroutines "$jobs")
    row "coroutine: made and run to its first await" "$(echo "$coroutine" | field first_us)" us '<=' 10 \
        "on used stacks $(echo "$coroutine" | field again_us) us; $(echo "$coroutine" | field bytes) bytes asleep"
    for i in 1 2 3; do
        noop_rate "sync$i" echo '{}' "$jobs" >>"$dir/noop.sync"
        noop_rate "async$i" async_sleep '{"seconds":0}' "$jobs" >>"$dir/noop.async"
    done
    sync=$(median <"$dir/noop.sync") async=$(median <"$dir/noop.async")
    row "async no-op jobs, against sync ones" "$(ratio "$async" "$sync")" x '>=' 0.8 "$async/s, $sync/s; medians of 3"
    measure_sleepers
}
