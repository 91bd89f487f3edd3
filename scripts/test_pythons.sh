#!/bin/sh
# `make test-pythons`: the suite on each promised Python that is found, in a venv of its own. Arguments go to pytest.
# PYTHONS="3.12 /opt/python/bin/python3" names them: versions, names or paths. Then one that is not there is a failure.
set -u
cd "$(dirname "$0")/.."
. scripts/pythons.sh

told=
status=0
tried=
tell() { told="$told$*
"; }

for wanted in ${PYTHONS:-$PROMISED}; do
    python=$(python_for "$wanted")
    if [ -z "$python" ]; then
        tell "$wanted: not found"
        if [ -n "${PYTHONS:-}" ]; then status=1; fi
        continue
    fi
    tried=1
    venv=.venv-$(version_of "$python")
    echo "test-pythons: $python, Python $(full_version_of "$python"), in $venv"
    if ! scripts/setup.sh test "$venv" "$python"; then
        tell "$(full_version_of "$python"): cannot be set up"
        status=1
    elif "$venv/bin/python" -m pytest "$@"; then
        tell "$(full_version_of "$python"): passed"
    else
        tell "$(full_version_of "$python"): failed"
        status=1
    fi
done

if [ -z "$tried" ]; then
    tell "no Python was tried"
    status=1
fi
printf '\n%s' "$told"
exit "$status"
