# Every target sets up what it needs in .venv, from a bare checkout.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: demo test mutants lint bench kernels bounds address undefined clean

demo: .venv/plot
	$(BIN)/minillm train lm --out runs/demo --minutes 2 --overwrite
	$(BIN)/minillm generate runs/demo --length 400 --seed 1

test: .venv/test
	$(BIN)/python -m pytest

# Breaks backwards, optimisers and kernels on purpose, one small change at a time, and fails if
# no test notices.  Everything takes hours and goes on where it was stopped; for the files that
# you have changed: make mutants MUTANTS="minillm/ops/lstm.py minillm/_kernels/adam.h"
mutants: .venv/test
	$(BIN)/pip install --quiet 'setuptools>=77' 'cython>=3.1'
	$(BIN)/python -m tests.mutation $(MUTANTS)

lint: .venv/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/bench
	$(BIN)/python -m benchmarks

# The compiled kernels again, in place, after a change to them.
kernels: .venv/test
	$(BIN)/pip install --quiet 'setuptools>=77' 'cython>=3.1'
	$(BIN)/python setup.py build_ext --inplace

.venv/%: pyproject.toml setup.py $(wildcard $(addprefix minillm/_kernels/*.,pyx pxd pxi h))
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[$*]'
	touch $@

# The suite with the kernels' array bounds and memory guards checked, and under the
# compiler's sanitizers; each leaves the usual kernels behind.  The sanitizers' own libraries
# must be loaded first, and CPython itself leaks what it keeps until it ends.  GCC 12
# stores vectors out of line on the stacks that it makes up to find uses after a return.
CHECK = $(BIN)/python setup.py build_ext --inplace --force
LIBRARY = $$($${CC:-cc} -print-file-name=$(1))

bounds: kernels
	MINILLM_BOUNDS=1 $(CHECK)
	MINILLM_GUARD=1 $(BIN)/python -m pytest; status=$$?; $(CHECK); exit $$status

address: kernels
	CFLAGS=-fsanitize=address LDFLAGS=-fsanitize=address $(CHECK)
	LD_PRELOAD=$(call LIBRARY,libasan.so) MINILLM_KERNELS=cython MINILLM_POOL_BYTES=0 \
	  ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0 \
	  $(BIN)/python -m pytest tests/kernels tests/ops; status=$$?; $(CHECK); exit $$status

undefined: kernels
	CFLAGS="-fsanitize=undefined -fno-sanitize-recover=undefined" LDFLAGS=-fsanitize=undefined $(CHECK)
	LD_PRELOAD=$(call LIBRARY,libubsan.so) MINILLM_KERNELS=cython \
	  $(BIN)/python -m pytest tests/kernels tests/ops; status=$$?; $(CHECK); exit $$status

clean:
	rm -rf .venv build *.egg-info minillm/_kernels/*.so minillm/_kernels/build.json
