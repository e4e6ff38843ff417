#!/bin/sh
# Makes .venv at the repository's root and installs turgor in it: environment.sh STAMP [EXTRA].
set -eu
cd "$(dirname "$0")/.."
stamp=$1 extra=${2:-}
python=$(scripts/preflight.sh)

if ! .venv/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; then
    echo "turgor: making an environment in .venv with $python"
    rm -rf .venv
    "$python" -m venv .venv
fi
echo "turgor: installing turgor and what it needs${extra:+ (with the tools of the tests)}; the first time, this fetches some 400 MB"
.venv/bin/python -m pip install -qq --no-compile --disable-pip-version-check --editable ".${extra:+[$extra]}"
touch "$stamp"
