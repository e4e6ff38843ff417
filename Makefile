# make demo: a real breast, from its segmentation to a report. make test: everything that is checked.
.PHONY: demo test check verify clean
.SILENT:
export OMP_NUM_THREADS = 1
READY = .venv/.ready
TOOLS = .venv/.ready-for-tests
RANKS = 2

demo: $(READY)
	.venv/bin/turgor run demos/breast/breast.toml -n $(RANKS)

test: $(TOOLS)
	scripts/test.sh

check: $(TOOLS)
	scripts/lint.sh

verify: $(TOOLS)
	.venv/bin/python -m pytest --quiet tests/verification

clean:
	rm -rf .venv build results demos/*/results *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml scripts/environment.sh scripts/preflight.sh
	scripts/environment.sh $@

$(TOOLS): pyproject.toml scripts/environment.sh scripts/preflight.sh
	scripts/environment.sh $@ test
