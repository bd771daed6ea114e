# Everything a newcomer needs: `make demo`, `make test`, `make check`. Each installs the environment first, if it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# A second index for torch. Without a GPU, https://download.pytorch.org/whl/cpu saves 4.5 GB: docs/installing.md
TORCH_INDEX ?=

.PHONY: help install demo test test-fast test-long check bench bench-large format clean

help:
	@echo "make demo     install, cluster generated images, and print the path of the report"
	@echo "make test     run all tests except the longest, three files at a time"
	@echo "make test-fast  run the fast tests among them: a few minutes"
	@echo "make test-long  run the longest tests: thirty nights; nights in PostgreSQL; deployments on a real server with workers"
	@echo "make check    check lint, format and types"
	@echo "make bench    measure speed and memory against references: up to an hour, on a quiet machine"
	@echo "make bench-large  measure the large jobs once each: an hour"
	@echo "make format   rewrite the code the way 'make check' expects it"
	@echo "make clean    remove the environment and the demo's files"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "Anoclust needs Python 3.11 to 3.13; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.11"; exit 1; }
	@echo "Installing into $(VENV): several GB with torch, a few minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)
	$(BIN)/anoclust demo

# The same random cases every time; plain `pytest` draws new ones, and so finds what these miss.
DRAWS := --hypothesis-profile ci

# Three files at a time, since many tests wait for a server or a browser; files keep their order, so that the longest
# start first.
SIDE_BY_SIDE := -n 3 --dist loadfile --no-loadscope-reorder

test: $(INSTALLED)
	$(BIN)/pytest $(DRAWS) $(SIDE_BY_SIDE) -m "not long" --durations 40 --durations-min 5

test-fast: $(INSTALLED)
	$(BIN)/pytest $(DRAWS) $(SIDE_BY_SIDE) tests/anoclust_core tests/structure -m "not slow"

test-long: $(INSTALLED)
	$(BIN)/pytest -m long

check: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks $(ARGS)

bench-large: $(INSTALLED)
	$(BIN)/python -m benchmarks --large $(ARGS)

format: $(INSTALLED)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) anoclust-store anoclust-demo
