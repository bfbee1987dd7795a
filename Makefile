PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export NO_ALBUMENTATIONS_UPDATE := 1

.DEFAULT_GOAL := help
.PHONY: help demo test abuse bench pythons release docs clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 8

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

$(VENV)/installed-dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test,backbones,augment,bio,galaxy,export,hub,view,zarr,cygno]' \
	    'import-linter>=2' 'mypy>=1.11' 'pre-commit>=3' 'ruff>=0.8' pandas-stubs types-PyYAML
	touch $(VENV)/installed $@

# Simulates, trains the paper's method without and with overlap weights and the quickstart, compares on the same events.
demo: $(VENV)/installed ## train the paper's method and ours, compare on the same events
	$(BIN)/python examples/migdal/demo.py

test: $(VENV)/installed-dev ## style, types, import layers, tests, documentation snippets
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist worksteal

# All attacks of tests/abuse with all their cases, many more random ones, 50 random kills and disks that fill, and all
# random fits: an hour.
abuse: $(VENV)/installed-dev ## attacks and damaged files with all their cases (an hour)
	OASIS_ABUSE=long $(BIN)/pytest -n 2 tests/abuse tests/adapters/neutrino/test_refinement.py

# Two minutes; benchmarks/stored has the ratios to compare with, by kind of processor.
bench: $(VENV)/installed-dev ## speed against peers, compared with the stored ratios
	$(BIN)/python benchmarks/bench.py

# Environments of their own, for the interpreters that are found; the package for conda is built without a channel.
pythons: $(VENV)/installed ## the fast tests with Python 3.11 to 3.14, and the package for conda
	$(BIN)/pip install --quiet --disable-pip-version-check nox
	$(BIN)/nox

# A release needs a public repository, to which the links of the README lead: hatch_build.py refuses it without.
release: $(VENV)/installed ## the files of a release in dist/, checked
	$(BIN)/pip install --quiet --disable-pip-version-check build twine
	$(BIN)/python hatch_build.py
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/oasis_seg-*

# With the needs of the documentation alone.
docs: $(VENV)/installed ## the documentation as HTML in docs/_build/html
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	$(BIN)/sphinx-build -W -b html docs docs/_build/html

clean: ## remove the environment and what was built
	rm -rf $(VENV) build dist docs/_build
