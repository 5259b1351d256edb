# Each target first creates .venv; PYTHON is the interpreter for .venv.
#
#   make study                            study of phantoms, less than three minutes on 2 cores after installation
#   make study DATA=path/to/chest_xray    study of radiographs
#   make test                             unit tests
#   make test-integration                 slow tests of whole programs: browser, PACS, DICOM validators, kill and resume
#   make lint                             style, types and import layers
#   make docs                             documentation site, in docs/_build/html
#
# `make study` passes OUT, CONFIGURATION (reference, improved, default or both), EPOCHS and SEED to `pneumoscope study`.
# It resumes a study in OUT that stopped or lacks a configuration. OUT must not hold a study with other settings.

PYTHON ?= python3
OUT ?= out
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: study test test-integration lint docs
.DELETE_ON_ERROR:

study: $(VENV)/ready
	$(BIN)/pneumoscope study $(if $(DATA),"$(DATA)") --resume --out "$(OUT)" \
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
	@echo "Installing Pneumoscope into $(VENV): downloads about 450 MB, takes one to two minutes."
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[train]'
	@touch $@

$(VENV)/ready-dev: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing Pneumoscope with test and documentation tools into $(VENV): downloads about 600 MB, takes one to three minutes."
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[train,download,cloud,pacs,ray,dev,docs]'
	@touch $(VENV)/ready $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is required. Select it with: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "This Python cannot create virtual environments. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
