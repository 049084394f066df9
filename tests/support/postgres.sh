# postgres.sh: a throw-away PostgreSQL and a belay on it, for suites in shell. Source it, from the root of the project.
#
#     work=$(mktemp -d); trap cleanup EXIT
#     postgres_start "$work"              # sets DATABASE_URL
#     postgres_stop; postgres_launch "$work" # the same again
#     belay_start "$work" --concurrency 4 # sets BELAY_PID, PORT and BELAY_URL
#
# As root, PostgreSQL runs as the user postgres, for it refuses root.
# shellcheck shell=bash

: "${BELAY_BINARY:=$PWD/build/belay}"

# An array and not a function, so that $! of a command in the background is the command itself and not a shell around it.
as_postgres=()
[ "$(id -u)" -ne 0 ] || as_postgres=(setpriv --reuid postgres --regid postgres --init-groups)

# wait_until SECONDS COMMAND...: looks again 20 times a second.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.05
    done
}

postgres_init() {
    local dir=$1/postgres
    mkdir -p "$dir"
    if [ "$(id -u)" -eq 0 ]; then
        chmod 755 "$1"
        chown postgres "$dir"
    fi
    "${as_postgres[@]}" "$POSTGRES_BIN/initdb" --no-sync -D "$dir/data" -A trust -E UTF8 --locale=C.UTF-8 -U belay \
        >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log"; return 1; }
}

postgres_launch() {
    local dir=$1/postgres
    "${as_postgres[@]}" "$POSTGRES_BIN/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c fsync=off \
        >>"$1/postgres.log" 2>&1 </dev/null &
    POSTGRES_PID=$!
    wait_until 30 "$POSTGRES_BIN/pg_isready" -q -h "$dir" -U belay || { cat "$1/postgres.log"; return 1; }
}

postgres_start() {
    local dir=$1/postgres
    POSTGRES_BIN=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
    postgres_init "$1" && postgres_launch "$1" || return 1
    "$POSTGRES_BIN/createdb" -h "$dir" -U belay belay
    export DATABASE_URL="postgresql:///belay?host=$dir&user=belay"
}

postgres_stop() {
    [ -n "${POSTGRES_PID:-}" ] || return 0
    kill -INT "$POSTGRES_PID" 2>/dev/null
    wait "$POSTGRES_PID" 2>/dev/null
    POSTGRES_PID=
}

belay_port() { sed -nE 's/.*url=http:\/\/[^:]+:([0-9]+).*/\1/p' "$1" | tail -1; }
belay_is_up() { [ -n "$(belay_port "$1")" ] || ! kill -0 "$BELAY_PID" 2>/dev/null; }

belay_start() { # belay_start DIRECTORY FLAG...
    local dir=$1
    shift
    program_start "$dir" "$BELAY_BINARY" serve "$@"
}

# A program that serves. The port is one that is free: the program says which.
program_start() { # program_start DIRECTORY COMMAND...
    local log=$1/belay.log
    shift
    : >"$log" # the child would do it too late: the port of an earlier start is in it
    PORT=0 "$@" >"$log" 2>&1 </dev/null &
    BELAY_PID=$!
    if ! wait_until 30 belay_is_up "$log" || [ -z "$(belay_port "$log")" ]; then
        cat "$log"
        return 1
    fi
    PORT=$(belay_port "$log")
    export PORT BELAY_URL="http://127.0.0.1:$PORT"
    wait_until 30 curl -sf -o /dev/null "$BELAY_URL/readyz"
}

# Answers the exit code of the service.
belay_stop() {
    [ -n "${BELAY_PID:-}" ] || return 0
    kill "$BELAY_PID" 2>/dev/null
    wait "$BELAY_PID"
    local code=$?
    BELAY_PID=
    return $code
}
