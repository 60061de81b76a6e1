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

bench: ## speed; prints numbers, asserts none
	$(BIN)python -m pytest benchmarks -s --no-header -p no:cacheprovider
