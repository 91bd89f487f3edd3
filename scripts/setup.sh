#!/bin/sh
# Make .venv with the pinned requirements, each held against its hashes, and install what they need from the system.
#   scripts/setup.sh demo   for `make demo` and `make serve`
#   scripts/setup.sh dev    besides: the checkers and pytest
#   scripts/setup.sh test   besides: MariaDB, Redis and Chromium
#   scripts/setup.sh test .venv-3.12 python3.12   the same in another venv, of another Python
# Quick when nothing changed. PIP_* variables of the environment hold. What apt is to install is said before sudo is used.
set -eu
cd "$(dirname "$0")/.."
. scripts/pythons.sh
kind=${1:-demo}
venv=${2:-.venv}
given=${3:-} # a Python for it; otherwise the newest on the PATH
case $kind in
    demo) requirements="requirements.txt" ;;
    dev | test) requirements="requirements-dev.txt" ;;
    *) echo "usage: scripts/setup.sh demo|dev|test [VENV [PYTHON]]" >&2; exit 2 ;;
esac

say() { echo "setup: $*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

# --- System packages ---------------------------------------------------------------------------------------------------
apt_updated=
# install NAME...: by apt, when we may; otherwise tell what is missing. Says what it will do before it does it.
install() {
    as_root=
    say "missing on this system: $*"
    if [ "$(id -u)" -ne 0 ]; then
        as_root="sudo -n"
        if has apt-get && has sudo; then say "asking whether sudo may be used without a password"; fi
    fi
    if ! has apt-get || { [ -n "$as_root" ] && ! sudo -n true 2>/dev/null; }; then
        say "they cannot be installed from here. Please install: $*"
        say "(names of Debian and Ubuntu; as root: apt-get install $*)"
        exit 1
    fi
    say "installing them: ${as_root:+$as_root }apt-get update; ${as_root:+$as_root }apt-get install $*"
    log=$(mktemp)
    for try in 1 2 3; do
        if { [ -n "$apt_updated" ] || $as_root apt-get update -q; } >"$log" 2>&1 </dev/null; then
            apt_updated=1
            if $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@" \
                >"$log" 2>&1 </dev/null; then
                rm -f "$log"
                return 0
            fi
        fi
        say "apt-get failed (try $try of 3)"
        sleep "$try"
    done
    tail -n 20 "$log" >&2
    rm -f "$log"
    say "could not install: $*"
    exit 1
}

# --- Python ------------------------------------------------------------------------------------------------------------
can_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }
has_headers() {
    "$1" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
        >/dev/null 2>&1
}
find_python() {
    fallback=
    for name in ${given:-$(printf 'python%s ' $PROMISED) python3}; do
        if usable "$name"; then
            if can_venv "$name" && has_headers "$name"; then echo "$name"; return; fi
            if [ -z "$fallback" ]; then fallback=$name; fi
        fi
    done
    echo "$fallback"
}

right_python() {
    usable "$venv/bin/python" || return 1
    [ -z "$given" ] || [ "$(version_of "$given")" = "$(version_of "$venv/bin/python")" ]
}
good_venv() { right_python && "$venv/bin/python" -m pip --version >/dev/null 2>&1; }

stamp=$venv/stamp-$requirements
wanted=$(cat requirements*.txt scripts/setup.sh | cksum)

if [ "$kind" = test ]; then
    missing=
    if ! has mariadb-install-db || ! { has mariadbd || [ -x /usr/sbin/mariadbd ]; }; then
        missing="mariadb-server-core mariadb-client-core" # the programs alone: no service is started
    fi
    if ! has mariadb-dump; then missing="$missing mariadb-client"; fi
    if ! has redis-server; then missing="$missing redis-server"; fi
    if ! has chromium && ! has chromium-browser && ! has google-chrome; then missing="$missing chromium"; fi
    # shellcheck disable=SC2086
    if [ -n "$missing" ]; then install $missing; fi
fi

if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && right_python; then exit 0; fi

if ! good_venv; then
    python=$(find_python)
    if [ -z "$python" ]; then
        if [ -n "$given" ]; then say "$given is no Python ${PROMISED##* } to ${PROMISED%% *}."; exit 1; fi
        say "no Python ${PROMISED##* } to ${PROMISED%% *} was found." \
            "Install one (Debian 12 and later: apt-get install python3 python3-venv)."
        exit 1
    fi
    if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ]; then
        say "$venv is there, and is no venv. Give another name, or delete it."
        exit 1
    fi
    if ! can_venv "$python"; then install "python$(version_of "$python")-venv"; fi
    say "making $venv with $("$python" --version)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi

# mysqlclient is built here: it has no wheel for Linux.
missing=
if ! has cc && ! has gcc; then missing="gcc libc6-dev"; fi
if ! has pkg-config; then missing="$missing pkg-config"; fi
if ! has mysql_config && ! has mariadb_config && ! pkg-config --exists mysqlclient libmariadb 2>/dev/null; then
    missing="$missing default-libmysqlclient-dev"
fi
if ! has_headers "$venv/bin/python"; then missing="$missing python$(version_of "$venv/bin/python")-dev"; fi
# shellcheck disable=SC2086
if [ -n "$missing" ] && ! "$venv/bin/python" -c 'import MySQLdb' >/dev/null 2>&1; then install $missing; fi

say "installing $requirements into $venv"
for try in 1 2 3; do
    if "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$requirements" \
        </dev/null; then
        echo "$wanted" >"$stamp"
        exit 0
    fi
    say "pip failed (try $try of 3)"
    sleep "$try"
done
say "the requirements could not be installed; the messages above tell why"
exit 1
