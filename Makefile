# Every target works from a fresh clone with Python >= 3.11 and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: quickstart test check bench chaos clean

quickstart: $(STAMP)
	$(BIN)/python -m dln_core.llm.local pull qwen2.5-coder-0.5b
	$(BIN)/python -m orchestrator +sweep=quickstart

test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m benchmarks.numerics
	$(BIN)/python -m benchmarks.planted
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.limits
	$(BIN)/python -m benchmarks.cluster_limits
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.sweep many
	$(BIN)/python -m benchmarks.sweep busy
	$(BIN)/python -m benchmarks.sweep busy --slower 4
	$(BIN)/python -m benchmarks.plan
	$(BIN)/python -m benchmarks.tasks
	$(BIN)/python -m benchmarks.tracking
	$(BIN)/python -m benchmarks.report
	$(BIN)/python -m benchmarks.local_engine

chaos: $(STAMP)
	$(BIN)/python -m tests.e2e.chaos

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[local,dev]' --constraint constraints.txt
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
