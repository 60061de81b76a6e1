# Tools come from .venv where there is one (runs/test.sh makes it), else from the active environment.
BIN := $(if $(wildcard .venv/bin/python),.venv/bin/,)

.PHONY: check test test-all bench

check: ## style and types
	$(BIN)ruff check .
	$(BIN)ruff format --check .
	$(BIN)mypy

test: check ## everything that takes seconds
	$(BIN)python -m pytest -m "not slow"

test-all: check ## with the tests that train
	$(BIN)python -m pytest

bench: ## the ablation of the README (about 15 minutes); prints numbers, asserts none
	$(BIN)python benchmarks/ablation.py
