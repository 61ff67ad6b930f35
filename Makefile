# Every target sets up what it needs in .venv, from a bare checkout.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: demo test mutants lint bench kernels clean

demo: .venv/plot
	$(BIN)/minillm train lm --out runs/demo --minutes 2 --overwrite
	$(BIN)/minillm generate runs/demo --length 400 --seed 1

test: .venv/test
	$(BIN)/python -m pytest

# Breaks every backward on purpose, one small change at a time: some ten minutes.
mutants: .venv/test
	$(BIN)/python tests/mutants.py

lint: .venv/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/bench
	$(BIN)/python -m benchmarks

# The compiled kernels again, in place, after a change to them.
kernels: .venv/test
	$(BIN)/pip install --quiet setuptools cython
	$(BIN)/python setup.py build_ext --inplace

.venv/%: pyproject.toml setup.py $(wildcard minillm/_kernels/*.pyx minillm/_kernels/*.pxi minillm/_kernels/*.h)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[$*]'
	touch $@

clean:
	rm -rf .venv build *.egg-info minillm/_kernels/*.so
