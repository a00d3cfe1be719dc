# make demo   train, attack, defend, report       make test        the test suite
# make check  lint, types, import rules           make test-slow   tests that take minutes
# make docs   the documentation site, in site/        make docs-serve  show it while pages are written
# make wheel  build a wheel, install it elsewhere, and run the demo there
# make bench  measure; writes benchmarks/*.md     make setup       only set up; all other targets do it themselves
# make bench-gpu  measure a GPU beside the processor
# make fuzz   a million malformed messages, each of which must be rejected with an error or read
# make conformance   the official suites of MCP and A2A, bare, behind the proxy and defended; fetches them first
# make experiments   evaluates what is missing for the pages in docs/ (an hour if nothing is there), and writes them
#
# Set-up needs only Python 3.11 and make. If pip would fetch a CUDA build of torch, name an index of CPU
# builds: make setup TORCH_FLAGS="--index-url ..."

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TORCH_FLAGS ?=
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check install

.PHONY: setup demo test test-slow check docs docs-serve wheel bench bench-gpu fuzz conformance experiments clean

setup: $(READY)

# torch is installed first and alone: resolved together with the rest, pip may choose another build of it.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "agentcomm needs Python 3.11, but $(PYTHON) is another; use: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up $(VENV); this takes about two minutes the first time."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH_FLAGS) torch==2.13.0
	$(PIP) -c constraints.txt -e '.[dev,docs]'
	@touch $(READY)

demo: setup
	$(BIN)/agentcomm demo --resume

# Tests that start Ray run in one process, and those that open a browser in one (tests/conftest.py).
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

test-slow: setup
	$(BIN)/python -m pytest -m slow

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# NO_MKDOCS_2_WARNING: a notice of the theme's authors, which is about a later version.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

docs-serve: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve

wheel: setup
	rm -rf build dist # what is left in build/ would get into the wheel
	$(BIN)/python -m pip -q wheel --no-deps --wheel-dir dist .
	$(PYTHON) -m venv dist/venv
	dist/venv/bin/python -m pip -q install $(TORCH_FLAGS) torch==2.13.0
	dist/venv/bin/python -m pip -q install -c constraints.txt dist/agentcomm-*.whl
	cd dist && venv/bin/agentcomm demo --resume --no-show

bench: setup
	$(BIN)/python -m benchmarks.throughput
	$(BIN)/python -m benchmarks.update
	$(BIN)/python -m benchmarks.worlds
	$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.closed
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.attacks
	$(BIN)/python -m benchmarks.defenses
	$(BIN)/python -m benchmarks.wire
	$(BIN)/python -m benchmarks.fragments
	$(BIN)/python -m benchmarks.delta
	$(BIN)/python -m benchmarks.statistics
	$(BIN)/python -m benchmarks.grid studies/runs/capture
	$(BIN)/python -m benchmarks.adapters
	$(BIN)/python -m benchmarks.protocols
	$(BIN)/python -m benchmarks.demo
	$(BIN)/python -m benchmarks.memory

bench-gpu: setup
	$(BIN)/python -m benchmarks.device

fuzz: setup
	$(BIN)/python -m benchmarks.fuzz_wire

# Needs npm, git and the network; A2A_TCK and MCP_SDK name copies of the suites' repositories, NODE22 another Node 22.
conformance: setup
	$(BIN)/python -m benchmarks.conformance

experiments: setup
	$(BIN)/python studies/null.py
	$(BIN)/python studies/run.py
	$(BIN)/python studies/pages.py

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
