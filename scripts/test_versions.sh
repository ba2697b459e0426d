#!/bin/sh
# Runs the unit tests on the oldest, on the newest versions that the package supports, or on both:
#
#   sh scripts/test_versions.sh oldest newest
#
# oldest  Python 3.11 and the lower bounds of pyproject.toml
# newest  the Python that .venv would get, and the newest of everything that the index offers
#
# The test tools are the newest that fit. Each environment lies in .versions/ and takes 6 GB.
set -eu

folder=.versions
mkdir -p "$folder"

# uv finds what fits in seconds; pip tries one version after the other for many minutes.
found=$(sh scripts/find_python.sh)
"$found" -m venv "$folder/tools"
"$folder/tools/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade uv
uv="$folder/tools/bin/uv"

# What the book and the tests are made with, without the pins of torch and torchvision.
grep -v -E '^torch(vision)?==' requirements.in > "$folder/tools.in"

status=0
for which in "$@"; do
    echo "== $which versions"
    bounds="$folder/$which.txt"
    case $which in
        oldest)
            python=3.11
            "$uv" pip compile --quiet --no-header --no-deps --resolution lowest-direct --python-version "$python" pyproject.toml -o "$bounds"
            ;;
        newest)
            python=$found
            : > "$bounds"
            ;;
        *)
            echo "oldest or newest, not $which" >&2
            exit 2
            ;;
    esac

    # With pip, because the first cell of every notebook calls it.
    "$uv" venv --quiet --clear --seed --no-python-downloads --python "$python" "$folder/$which"
    "$uv" pip install --quiet --python "$folder/$which/bin/python" --constraints "$bounds" --requirements "$folder/tools.in" --editable .

    # What is being tested, for whoever reads the log.
    "$folder/$which/bin/python" --version
    "$uv" pip freeze --python "$folder/$which/bin/python" | grep -E '^(torch|torchvision|numpy|scipy|matplotlib|pillow|safetensors)=='
    "$folder/$which/bin/python" scripts/run_tests.py versions || status=1
done
exit "$status"
