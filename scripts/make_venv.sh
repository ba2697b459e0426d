#!/bin/sh
# Makes the environment named by the first argument and installs the locked requirements and detlearn into it.
set -eu
venv=$1

if ! "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$(sh scripts/find_python.sh)
    "$python" -m venv --clear "$venv"
fi

"$venv/bin/python" -m pip install --disable-pip-version-check -r requirements.txt
"$venv/bin/python" -m pip install --disable-pip-version-check --no-deps -e .
