#!/bin/sh
# Style, types and layers. Types and layers are checked on the wheel, from a folder without sources: from the
# repository's root the folder turgor/ would stand before the wheel, and the check could not fail.
set -eu
cd "$(dirname "$0")/.."
root=$PWD bin=$PWD/.venv/bin
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT

echo "ruff"
"$bin/ruff" check --quiet .

echo "wheel"
"$bin/python" scripts/wheel.py "$work/wheel" "$work/site"

echo "mypy --strict, on the wheel"
mkdir "$work/empty" && cd "$work/empty"
MYPYPATH=$work/site "$bin/mypy" --config-file "$root/pyproject.toml" --strict --python-executable "$bin/python" \
    --cache-dir "$root/.mypy_cache" --package turgor >"$work/types.txt" || { cat "$work/types.txt"; exit 1; }
expected=$(find "$work/site/turgor" -name '*.py' | wc -l)
grep -q "in $expected source files" "$work/types.txt" || {
    echo "mypy read another number of files than the $expected of the package: $(cat "$work/types.txt")"
    exit 1
}

echo "import-linter, on the wheel"
cd "$work/site"
"$bin/lint-imports" "$root/pyproject.toml" --no-cache >"$work/layers.txt" || { cat "$work/layers.txt"; exit 1; }
