# Needs Python 3.11 or newer, make and pip. Everything is installed into $(VENV), nothing outside it.
#
#   make say TEXT="The birch canoe slid on the smooth planks."
#   make test

PYTHON ?= python3
VENV   ?= .venv
OUT    ?= out.wav
# Further options of `speechvae say`, e.g. ARGS="--seed 7 --length-scale 1.1".
ARGS   ?=
TEXT   ?= The birch canoe slid on the smooth planks.

# The text reaches the shell through the environment, never through a command line, and $(value) keeps make from
# expanding it: quotes, apostrophes and dollar signs arrive as typed.
override TEXT := $(value TEXT)
export TEXT

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help say test lint demo clean

help: ## show this list
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /  make \1	/'

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "speechvae needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "Python could not make a virtual environment (on Debian and Ubuntu: apt install python3-venv)" >&2; \
	  rm -rf $(VENV); exit 1; }
	@echo "Installing into $(VENV): the first time downloads PyTorch and takes some minutes." >&2
	$(PIP) install --quiet -e .
	@touch $@

# What needs a C compiler is tried last and may fail: the tests that use it then skip and say why.
$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install --quiet -e '.[dev,measure]'
	@$(PIP) install --quiet -e '.[evaluate]' > $(VENV)/evaluate.log 2>&1 || \
	  echo "note: resemblyzer and pesq could not be built (no C compiler?), so the tests that use them skip;" \
	    "see $(VENV)/evaluate.log" >&2
	@touch $@

say: $(VENV)/.installed ## speak TEXT="..." into OUT (out.wav)
	@printf '%s\n' "$$TEXT" | $(BIN)/python -m speechvae say - -o '$(OUT)' --force $(ARGS)

test: $(VENV)/.installed-dev ## run the tests
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev ## ruff and mypy
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

demo: $(VENV)/.installed ## the demo page on http://127.0.0.1:7860
	@$(BIN)/python -m speechvae demo $(ARGS)

clean: ## remove caches and build folders (not the environment)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
	find speechvae demo tests recipes -name __pycache__ -type d -exec rm -rf {} +
