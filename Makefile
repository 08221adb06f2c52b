# make setup | demo | test | check | lint | bench.  All are safe to run twice.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready

.PHONY: help setup demo test check lint bench format clean

help:
	@echo "make setup   the environment in $(VENV) (tested versions: constraints.txt)"
	@echo "make demo    set up, then run specs/ep_resreg.yaml on this machine (about 4 minutes)"
	@echo "make check   set up, then the quick tests (at most 3 minutes)"
	@echo "make test    set up, then all tests, real Ray, MLflow and SIGKILL included"
	@echo "make lint    ruff, mypy, import-linter"
	@echo "make bench   benchmarks, as ratios taken in one run"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "campaign needs Python 3.11 or newer; give one with: make PYTHON=python3.12 setup")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,notify]'
	@touch $@

demo: setup
	@PATH="$(CURDIR)/$(BIN):$$PATH" CAMPAIGN="$(BIN)/campaign" sh scripts/demo.sh

# The quick tests share the cores; the heavy ones start whole clusters and run one at a time.
SHARED := -n logical --maxprocesses 8 --dist worksteal

check: setup
	@$(BIN)/python -m pytest -q $(SHARED) -m "not heavy and not gpu"

test: setup
	@$(BIN)/python -m pytest $(SHARED) -m "not heavy and not gpu"
	@$(BIN)/python -m pytest -m "heavy and not gpu"

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy campaign watchers specs
	@$(BIN)/lint-imports

bench: setup
	@$(BIN)/python -m tests.bench

format: setup
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
