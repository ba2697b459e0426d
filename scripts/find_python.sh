#!/bin/sh
# Prints the first interpreter on the path that is new enough and can make environments.
# It is run, not only found: a name may belong to a version manager that has no such version.
set -eu

for name in python3 python3.13 python3.12 python3.11 python; do
    if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "$name"
        exit 0
    fi
done

echo "The book needs Python 3.11 or newer with its venv module (Debian and Ubuntu: apt install python3-venv); none was found on the path." >&2
exit 1
