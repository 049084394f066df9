# bench/gates.sh: what stands in the way of some jobs must not cost the others: limits, pauses, many queues, long lines. A part of
# bench/run.
# shellcheck shell=bash disable=SC2154

# turns WHAT LEAST NAME QUEUE: 1,000 jobs of QUEUE claimed and finished in NAME, against the same where nothing is in the way,
# in turns. Both take from all queues.
turns() {
    local base got
    rm -f "$dir/base" "$dir/got"
    sql "$3" "VACUUM belay.jobs, belay.ready"
    for _ in 1 2 3 4 5 6 7 8 9; do
        fill plain bench 1000
        limit plain 1000 100 >>"$dir/base"
        fill "$3" "$4" 1000
        limit "$3" 1000 100 >>"$dir/got"
    done
    base=$(median <"$dir/base") got=$(median <"$dir/got")
    row "$1" "$(ratio "$got" "$base")" x '>=' "$2" "$got/s against $base/s; medians of 9"
}

measure_gates() {
    local many
    many=$(n 100000)
    fresh plain
    fill plain bench 1000
    limit plain 1000 100 >/dev/null

    fresh limited
    sql limited "SELECT belay.limit_to('queue', 'bench', 100000, NULL, NULL)" >/dev/null
    turns "limits on: each job of a limited queue" 0.5 limited bench

    fresh paused
    fill paused still "$many"
    sql paused "SELECT belay.pause('queue', 'still', NULL, NULL, NULL)" >/dev/null
    turns "claim with $many of a paused queue in front" 0.8 paused bench

    fresh parked
    fill parked still "$many" still
    sql parked "SELECT belay.pause('task', 'still', NULL, NULL, NULL)" >/dev/null
    sql parked "INSERT INTO belay.workers (name) VALUES ('w')" # what it meets is parked, once
    until [ "$(sql parked "SELECT count(*) FROM belay.claim(1, 1, 1, NULL, NULL);
                           SELECT EXISTS (SELECT FROM belay.ready)" | tail -1)" = f ]; do :; done
    turns "claim with $many of a paused task that are parked" 0.5 parked bench

    fresh queues
    sql queues "INSERT INTO belay.queues (name) SELECT 'queue ' || n FROM generate_series(1, 1000) n"
    fill queues bench 1
    sql queues "CREATE FUNCTION belay.spread() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
                  NEW.queue_id := 1 + NEW.id % 1000; RETURN NEW; END \$\$;
                CREATE TRIGGER spread BEFORE INSERT ON belay.jobs FOR EACH ROW EXECUTE FUNCTION belay.spread()"
    limit queues 1 1 >/dev/null
    turns "claim from 1,000 queues" 0.8 queues bench

    fresh line
    fill line still "$many"
    sql line "UPDATE belay.jobs SET lock = 'l';
              WITH r AS (DELETE FROM belay.ready RETURNING *)
              INSERT INTO belay.blocked (lock, priority, id, queue_id) SELECT 'l', priority, id, queue_id FROM r;
              SELECT belay.promote('{l}')" >/dev/null
    turns "claim with $many behind one lock" 0.8 line bench
}
