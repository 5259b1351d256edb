# The two commands of a newcomer, `make study` and `make test`, each setting up .venv first.
#
#   make study                            built-in phantoms, few epochs
#   make study DATA=path/to/chest_xray    the real radiographs
#
# OUT, EPOCHS, CONFIGURATION and SEED are handed on to `pneumoscope study` where given. A study that stopped
# half way, or lacks a configuration, is gone on with; OUT must not hold a study of other settings.
# PYTHON names the interpreter that .venv is made from.

PYTHON ?= python3
OUT ?= out
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: study test lint
.DELETE_ON_ERROR:

study: $(VENV)/ready
	$(BIN)/pneumoscope study --resume --out "$(OUT)" $(if $(DATA),--data "$(DATA)") $(if $(CONFIGURATION),--configuration "$(CONFIGURATION)") \
		$(if $(EPOCHS),--epochs "$(EPOCHS)") $(if $(SEED),--seed "$(SEED)")

test: $(VENV)/ready-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/ready-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/ready: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing Pneumoscope into $(VENV): some 450 MB to fetch, a minute or two."
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[train]'
	@touch $@

$(VENV)/ready-dev: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing Pneumoscope and its tests into $(VENV): some 450 MB to fetch, a minute or two."
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[train,download,dev]'
	@touch $(VENV)/ready $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed. Name one with: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "This Python cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
