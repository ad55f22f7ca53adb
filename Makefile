# `make demo` and `make test` need nothing but Python 3.11 or later and make: they create .venv by themselves.
# Another interpreter: make demo PYTHON=python3.12 (after `make clean`, if .venv is there already).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

# The tests start hundreds of processes, none of which shall compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-all fuzz check lint types floors format bench bench-smoke docs pictures clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.installed  ## install, scan two sample models, simulate depth 64; tables here, plots in out/
	@mkdir -p out
	$(BIN)/mhc-diag scan sample_models/hc.pt --plot out/hc.png --report json=out/hc.json
	$(BIN)/mhc-diag scan sample_models/mhc.safetensors --model sample_models.architectures:mhc --plot out/mhc.png
	$(BIN)/mhc-diag simulate --depth 64 --plot out/simulate.png
	@echo "Plots and a saved report are in out/: hc.png mhc.png simulate.png hc.json"

test: check bench-smoke  ## install the test extra and run everything that CI runs
	$(PYTEST) -m "not slow"

test-slow: $(VENV)/.installed-test  ## the slow tests alone
	$(PYTEST) -m slow

test-all: check bench-smoke  ## run all tests, the slow ones too
	$(PYTEST)

fuzz: $(VENV)/.installed-test  ## scan 20,000 damaged files of every format; FUZZ_CASES=N for another number
	FUZZ_CASES=$(or $(FUZZ_CASES),20000) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist load tests/fuzz

check: lint types floors

lint: $(VENV)/.installed-test  ## ruff: rules and layout
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-test  ## mypy, strict
	$(BIN)/mypy

floors: $(VENV)/.installed-test  ## import-linter: imports only point down
	$(BIN)/lint-imports

format: $(VENV)/.installed-test  ## rewrite the layout with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-test  ## time the hot paths against what else there is
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/sinkhorn.py
	$(BIN)/python benchmarks/pipeline.py
	$(BIN)/python benchmarks/dial.py
	$(BIN)/python benchmarks/triangle.py
	$(BIN)/python benchmarks/probe.py
	$(BIN)/python benchmarks/watch.py
	$(BIN)/python benchmarks/checkpoints.py
	$(BIN)/python benchmarks/sweeps.py
	$(BIN)/python benchmarks/false_alarms.py

bench-smoke: $(VENV)/.installed-test  ## the same in tiny sizes, to see that it still runs and agrees
	$(BIN)/python benchmarks/startup.py --rounds 1
	$(BIN)/python benchmarks/sinkhorn.py --smoke
	$(BIN)/python benchmarks/pipeline.py --smoke
	$(BIN)/python benchmarks/dial.py --smoke
	$(BIN)/python benchmarks/triangle.py --smoke
	$(BIN)/python benchmarks/probe.py --smoke
	$(BIN)/python benchmarks/watch.py --smoke
	$(BIN)/python benchmarks/checkpoints.py --smoke
	$(BIN)/python benchmarks/sweeps.py --smoke
	$(BIN)/python benchmarks/false_alarms.py --smoke

docs: $(VENV)/.installed  ## write docs/rules, a page for each finding
	$(BIN)/python docs/make_rules.py

pictures: $(VENV)/.installed  ## draw docs/pictures, which the README shows, for light and for dark pages
	$(BIN)/python docs/make_pictures.py

clean:  ## remove what make made: .venv, out and caches
	rm -rf $(VENV) out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	"$(PYTHON)" -m venv $(VENV)

# The stamps are what keeps pip from running on every call.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[test]'
	@touch $(VENV)/.installed $@
