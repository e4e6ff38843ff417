#!/bin/sh
# All tests: style, types and layers; then everything serially; then on two ranks what is parallel.
# Tests of tests/pipeline start one, two and three ranks themselves.
set -eu
cd "$(dirname "$0")/.."
bin=$PWD/.venv/bin
export OMP_NUM_THREADS=1 MPIEXEC_TIMEOUT=600

scripts/lint.sh
echo "pytest, one process"
"$bin/python" -m pytest --quiet --durations=10 tests
echo "pytest, two ranks"
"$bin/mpirun" -n 2 "$bin/python" -m pytest --quiet -m mpi tests
