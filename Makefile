# make demo: a real breast, from its segmentation to a report. make test: everything that is checked.
# make demo RTSTRUCT=rtss.dcm: the same from the contours, a DICOM structure set with its slices beside it.
.PHONY: demo test check verify page clean
.SILENT:
export OMP_NUM_THREADS = 1
READY = .venv/.ready
TOOLS = .venv/.ready-for-tests
RANKS = 2
RTSTRUCT =
CONTOURS = --set name="breast-contours" --set mesh.file="breast-contours.msh" \
	--set mesh.image.file="$(abspath $(RTSTRUCT))" \
	--set mesh.image.labels.breast="Breast" --set mesh.image.labels.tumor="Tumor Bed" \
	--set mesh.image.priority='["tumor", "breast"]'

demo: $(READY)
	.venv/bin/turgor run demos/breast/breast.toml -n $(RANKS) $(if $(RTSTRUCT),$(CONTOURS))

test: $(TOOLS)
	scripts/test.sh

check: $(TOOLS)
	scripts/lint.sh

verify: $(TOOLS)
	.venv/bin/python -m pytest --quiet tests/verification

# Write docs/verification/flow.md from what the tests find; `verify` and `test` fail where it is not that.
page: $(TOOLS)
	.venv/bin/python -m pytest --quiet --page tests/verification/test_flow_*.py

clean:
	rm -rf .venv build results demos/*/results *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml scripts/environment.sh scripts/preflight.sh
	scripts/environment.sh $@

$(TOOLS): pyproject.toml scripts/environment.sh scripts/preflight.sh
	scripts/environment.sh $@ test
