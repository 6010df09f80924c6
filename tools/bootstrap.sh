#!/usr/bin/env bash
# The virtual environment holds exactly requirements.lock, and the project itself in editable form.
#
# uv installs in seconds what pip installs in a minute, so it comes first. uv does not read pip's configuration,
# and some machines reach packages only through that; then pip does the same from the same hashes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python="${PYTHON:-python3}"
venv="${VENV:-.venv}"
lock=requirements.lock

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "setup: $python is older than Python 3.11; name another one: make setup PYTHON=python3.12" >&2
    exit 2
}

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
export VIRTUAL_ENV="$PWD/$venv"

# uv's own line of the lock, hashes included: the installer is held to the same rule as what it installs.
uv_pin="$(mktemp)"
trap 'rm -f "$uv_pin"' EXIT
awk '/^uv==/{take=1} take{print} take && !/\\$/{exit}' "$lock" >"$uv_pin"

with_uv() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$uv_pin" &&
        "$venv/bin/uv" pip sync --quiet --require-hashes "$lock" &&
        "$venv/bin/uv" pip install --quiet --no-deps --no-build-isolation --editable .
}

with_pip() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock" &&
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
            --no-deps --no-build-isolation --editable .
}

echo "setup: installing $lock into $venv"
with_uv || {
    echo "setup: uv could not; trying pip" >&2
    with_pip
}
