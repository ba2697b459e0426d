#!/bin/sh
# Makes the environment that the first argument names; installs the locked requirements and detlearn.
# detlearn comes without its dependencies: they are in the lock, and nothing may move them.
set -eu
venv=$1

if ! "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$(sh scripts/find_python.sh)
    "$python" -m venv --clear "$venv"
fi

"$venv/bin/python" -m pip install --disable-pip-version-check -r requirements.txt
"$venv/bin/python" -m pip install --disable-pip-version-check --no-deps -e .
