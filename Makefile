# Each target sets up .venv first; PYTHON names the interpreter that .venv is made from.
#
#   make study                            a study of phantoms, a few epochs
#   make study DATA=path/to/chest_xray    a study of the real radiographs
#   make test                             the unit tests
#   make test-integration                 slow tests of whole programs: browser, DICOM validators, kill and resume
#   make lint                             style, types and the layers of the packages
#   make docs                             the documentation site, in docs/_build/html
#
# `make study` hands OUT, CONFIGURATION (reference, improved, default or both), EPOCHS and SEED to `pneumoscope study`.
# It resumes a study in OUT that stopped or that lacks a configuration; OUT must not hold a study of other settings.

PYTHON ?= python3
OUT ?= out
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: study test test-integration lint docs
.DELETE_ON_ERROR:

study: $(VENV)/ready
	$(BIN)/pneumoscope study --resume --out "$(OUT)" $(if $(DATA),--data "$(DATA)") \
		$(if $(CONFIGURATION),--configuration "$(CONFIGURATION)") $(if $(EPOCHS),--epochs "$(EPOCHS)") $(if $(SEED),--seed "$(SEED)")

test: $(VENV)/ready-dev
	$(PYTEST) -m "not integration"

test-integration: $(VENV)/ready-dev
	$(PYTEST) -m integration

lint: $(VENV)/ready-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Warnings are errors. The build executes the tutorials and needs no network.
docs: $(VENV)/ready-dev
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

$(VENV)/ready: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing Pneumoscope into $(VENV): some 450 MB to fetch, a minute or two."
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[train]'
	@touch $@

$(VENV)/ready-dev: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing Pneumoscope, its tests and its documentation tools into $(VENV): some 450 MB to fetch, a minute or two."
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[train,download,dev,docs]'
	@touch $(VENV)/ready $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed. Name one with: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "This Python cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
