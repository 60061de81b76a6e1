# Tools come from .venv where there is one (runs/test.sh makes it), else from the active environment.
BIN := $(if $(wildcard .venv/bin/python),.venv/bin/,)

.PHONY: check test test-all bench bench-endpoint bench-judging bench-local bench-coverage bench-ablation bench-attacks bench-corpus bench-methods

check: ## style and types
	$(BIN)ruff check .
	$(BIN)ruff format --check .
	$(BIN)mypy

test: check ## everything that takes seconds
	$(BIN)python -m pytest -n auto --dist loadfile -m "not slow"

test-all: check ## with the tests that train
	$(BIN)python -m pytest -n auto --dist loadfile

bench: bench-endpoint bench-judging bench-local bench-coverage ## speed and coverage; prints numbers, asserts none

bench-endpoint: ## client against a mock endpoint, beside lm-eval and, with INSPECT=its python, Inspect (5 min)
	$(BIN)python benchmarks/endpoint.py $(if $(INSPECT),--inspect-python $(INSPECT))

bench-judging: ## answers judged per second and core
	$(BIN)python benchmarks/judging.py

bench-local: ## our hf engine beside lm-eval's (10 min)
	$(BIN)python benchmarks/local_eval.py

bench-coverage: ## coverage of the intervals by simulation (5 min)
	$(BIN)python benchmarks/coverage.py

bench-methods: ## the table of training methods in the README (57 min of CPU to train, as much again to measure)
	$(BIN)python benchmarks/methods.py

bench-ablation: ## what each station of the loop adds, for a run's report (15 min)
	$(BIN)python benchmarks/ablation.py

bench-attacks: ## conversations dressed per second, and where a search spends its time (5 min)
	$(BIN)python benchmarks/transforms.py
	$(BIN)python benchmarks/search_profile.py

bench-corpus: ## a million prompts through the corpus steps, beside datatrove with DATATROVE=its python (10 min)
	$(BIN)python benchmarks/corpus_speed.py $(if $(DATATROVE),--datatrove-python $(DATATROVE))
