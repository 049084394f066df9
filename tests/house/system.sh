# system.sh: Debian systems of their own, made by mmdebstrap. Source it from the root of the project; all of it takes root.
#
#     system_make trixie "$root" gcc make    # into a directory; "-" for a tar on stdout
#     system_run "$root" make -C /src test   # in namespaces of its own: nothing that it mounts or starts outlives it
# shellcheck shell=bash

# From the mirror and through the proxies that apt uses on this machine, for it may reach no others.
system_make() { # system_make SUITE TARGET [PACKAGE...]
    local suite=$1 target=$2 mirror options packages code=0
    shift 2
    # shellcheck disable=SC2016 # a field of apt's, not a variable
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | sed -n 1p)
    packages="$*"
    [ "${mirror#https}" = "$mirror" ] || packages="$packages ca-certificates"
    options=$(mktemp)
    apt-config dump | grep -iE '^Acquire::https?::([^ ]*::)?proxy[^ ]* "..*"' >"$options" || true
    mmdebstrap --quiet --variant=minbase --aptopt="$options" ${packages:+--include="${packages// /,}"} \
        "$suite" "$target" ${mirror:+"$mirror"} || code=$?
    rm -f "$options"
    return $code
}

# The first process stays a shell, because orphans come to it, and a shell reaps them. /dev/shm is not shared: what Criterion
# keeps there is named after process ids, which are not the machine's.
system_run() { # system_run ROOT COMMAND...
    # shellcheck disable=SC2016 # for the inner shell
    unshare --mount --pid --ipc --fork --kill-child --mount-proc bash -euc '
        root=$1
        shift
        mount -t proc proc "$root/proc"
        mount -t sysfs -o ro sysfs "$root/sys"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs tmpfs "$root/dev/shm"
        mount -t tmpfs tmpfs "$root/tmp"
        cp -L /etc/resolv.conf "$root/etc/resolv.conf"
        code=0
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 CI="${CI:-true}" \
            ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
            ${TEST_LOG_LINES:+TEST_LOG_LINES="$TEST_LOG_LINES"} chroot "$root" "$@" || code=$?
        exit "$code"
    ' bash "$@" </dev/null
}
