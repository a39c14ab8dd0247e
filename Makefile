# Each target does its own set-up: a virtual environment in .venv and the install.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
MEASURING := $(VENV)/.measuring
# What watches processes and time wants the machine for itself; the rest is spread over processors: over four at most,
# since each process of pytest takes its share of the connections that a server lets in.
ALONE := tests/cli/replay tests/clusters tests/faults tests/soak
# What has a long form.
ATTACKS := tests/faults tests/clusters tests/inputs tests/behaviour/test_backups.py

.DEFAULT_GOAL := help
.PHONY: help demo test test-faults soak test-mutants model lint type docs bench bench-quick clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(READY): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --editable '.[cli]' --group dev
	@touch $(READY)

$(MEASURING): $(READY)
	@$(BIN)/python -m pip install --quiet --group bench
	@touch $(MEASURING)

demo: $(READY)  ## Watch a cluster lose nodes and its coordinator, and nothing else (URL=..., YES=1)
	$(BIN)/openclaw-store demo $(if $(URL),--url $(URL)) $(if $(YES),--yes)

test: $(READY)  ## Run the tests, and see that they reach nearly every branch
	$(BIN)/python -m pytest --cov --cov-report= --cov-fail-under=0 --numprocesses=auto --maxprocesses=4 --dist=worksteal $(ALONE:%=--ignore=%)
	$(BIN)/python -m pytest --cov --cov-append $(ALONE)

test-faults: $(READY)  ## Attack the store for long: kills, cuts, full disks, clocks (ARGS="-k power", OPENCLAW_TEST_SEED=...)
	OPENCLAW_TEST_FULL=1 $(BIN)/python -m pytest $(ATTACKS) $(ARGS)

soak: $(READY)  ## Keep a store busy while everything goes wrong around it (MINUTES=30, URL=..., ARGS="--seed 7 --json")
	@PYTHONPATH=tests $(BIN)/python -m soak --minutes $(or $(MINUTES),30) $(if $(URL),--url $(URL)) $(ARGS)

test-mutants: $(READY)  ## Take each protection out, and see that a test notices; ten minutes (ARGS="--only NAME")
	PYTHONPATH=tests $(BIN)/python -m mutants $(ARGS)

model: $(READY)  ## Check the model of the protocol with spin, and that its weakened twins fail
	@PYTHONPATH=tests $(BIN)/python -m protocol

lint: $(READY)  ## Check style, formatting and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

type: $(READY)  ## Check the types
	$(BIN)/mypy

docs: $(READY)  ## Build the documents into docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going --quiet -b html docs docs/_build/html

bench: $(MEASURING)  ## Measure the speed on every engine, and write docs/performance.md (ARGS=...)
	$(BIN)/python -m benchmarks --output benchmarks/results --page docs/performance.md $(ARGS)

bench-quick: $(MEASURING)  ## Measure a little of it, in less than three minutes (ARGS=...)
	$(BIN)/python -m benchmarks --quick $(ARGS)

clean:  ## Remove what the other targets made
	rm -rf $(VENV) .coverage htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache docs/_build
