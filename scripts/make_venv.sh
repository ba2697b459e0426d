#!/bin/sh
# Makes the environment named by the first argument and installs the locked requirements and detlearn into it.
set -eu
venv=$1

# The first interpreter that is new enough and can make environments. It is run, not only found:
# a name on the path may belong to a version manager that has no such version.
python=
for name in python3 python3.13 python3.12 python3.11 python; do
    if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$name
        break
    fi
done

if [ -z "$python" ]; then
    echo "The book needs Python 3.11 or newer with its venv module (Debian and Ubuntu: apt install python3-venv); none was found on the path." >&2
    exit 1
fi

if ! "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    "$python" -m venv --clear "$venv"
fi
"$venv/bin/python" -m pip install --disable-pip-version-check -r requirements.txt
"$venv/bin/python" -m pip install --disable-pip-version-check --no-deps -e .
