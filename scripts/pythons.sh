# shellcheck shell=sh
# The Pythons that are promised, newest first, and how one is known. scripts/setup.sh and scripts/test_pythons.sh read this.
PROMISED="3.14 3.13 3.12 3.11"

# Tried by running it: a name on the PATH may be a stand-in for a version that is not there.
usable() {
    "$1" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] not in sys.argv[1].split())' "$PROMISED" \
        >/dev/null 2>&1
}
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }
full_version_of() { "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])'; }

# python_for VERSION|NAME|PATH: the program, or nothing where there is none. A version is looked for on the PATH, then in pyenv.
python_for() {
    case $1 in
        3.*) set -- "python$1" "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$1"*/bin/python ;;
    esac
    for name in "$@"; do
        if usable "$name"; then echo "$name"; return; fi
    done
}
