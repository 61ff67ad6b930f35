# Every target sets up what it needs in .venv, from a bare checkout.
PYTHON ?= python3
BIN = .venv/bin

# A process on each core, each with one thread (tests/conftest.py).
PYTEST = $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal

# Python compiles what it imports once, and not in each of the many processes of the tests.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-deep parity mutants lint book book-full book-check slides pdf solutions bench kernels dist dist-check bounds sanitize address undefined thread clean

# The kernels for the best instruction set of this CPU are enough for the demo, and for a first look at the
# tests; `make kernels` adds those for its other sets, and .ci/run builds all of them: setup.py.
demo test: export MINILLM_SETS ?= best
demo: .venv/plot
	$(BIN)/minillm train ngram --unit character --order 10 --out runs/demo-ngram --overwrite
	$(BIN)/minillm generate runs/demo-ngram --length 400 --seed 1
	$(BIN)/minillm train decoder --layers 2 --batch 8 --out runs/demo --minutes 1.5 --overwrite
	$(BIN)/minillm generate runs/demo --length 400 --seed 1

test: .venv/test
	$(PYTEST)

# What takes long, and the gradients of all ops once more, with examples other than those of `make test`
# but always the same (.ci/run leaves these out: MARKS=deep).
MARKS ?= deep or again

test-deep: .venv/test
	HYPOTHESIS_PROFILE=deep $(PYTEST) -m "$(MARKS)" --hypothesis-seed 1

# Every comparison with other programs: PyTorch, transformers, gensim, KenLM, llama.cpp.  It fails if one
# of these programs is missing, and lists the tests that are skipped for another reason.
parity: .venv/parity
	$(PYTEST) --parity -m "deep or not deep" -rs

# Breaks backwards, optimisers and kernels on purpose, one small change at a time, and fails if
# no test notices.  Everything takes hours and goes on where it was stopped; for the files that
# you have changed: make mutants MUTANTS="minillm/ops/lstm.py minillm/_kernels/adam.h"
mutants: .venv/test
	$(BIN)/pip install --quiet 'setuptools>=77' 'cython>=3.3'
	$(BIN)/python -m tests.mutation $(MUTANTS)

lint: .venv/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/zizmor --quiet --offline .github

# The book as static pages: build/book/html/index.html.  The outputs of its cells are in the repository,
# so that readers need neither a compiler nor minutes.
book: .venv/book
	@echo "building all pages: a minute or two"
	$(BIN)/sphinx-build -W -n --keep-going -b html docs build/book/html
	@echo "open build/book/html/index.html"

# For teachers: a page of slides for each chapter, or for some: make slides CHAPTERS="08-gates 14-gpt".
slides: book
	$(BIN)/python docs/machinery/slides.py build/book/html build/book/slides $(CHAPTERS)

# The whole book on paper.
pdf: book
	@$(BIN)/python docs/machinery/printed.py build/book/html build/book/minillm.pdf

# For instructors: the right answer of every exercise, which no page of the book contains.
solutions: .venv/book
	mkdir -p build && $(BIN)/python -m tests.exercises > build/solutions.md
	@echo "open build/solutions.md"

# Runs every cell first, and fails where outputs are others than those in the repository.  .ci/run has
# PAGES=--quick: the pages whose cells take seconds.
book-full: .venv/test
	$(BIN)/python docs/machinery/outputs.py $(PAGES)
	$(MAKE) book

# Every page and all slides in a headless Chromium, narrow and wide, light and dark.
book-check: slides
	mkdir -p build/browser && cd build/browser && echo '{"private": true}' > package.json && \
	  ../../$(BIN)/npm install --silent --no-audit --no-fund puppeteer-core axe-core
	cd build/browser && ../../$(BIN)/node ../../tests/book/browser.mjs ../book/html
	cd build/browser && ../../$(BIN)/node ../../tests/book/browser.mjs ../book/slides

bench: .venv/bench
	$(BIN)/python -m benchmarks

# The compiled kernels again, in place, after a change to them.
kernels: .venv/test
	$(BIN)/pip install --quiet 'setuptools>=77' 'cython>=3.3'
	$(BIN)/python setup.py build_ext --inplace

# What is uploaded, in dist/: the source distribution and the wheels of all platforms, or of those that
# are named: make dist PLATFORMS=win_amd64.  Its tools are pinned, in an environment of their own.
DIST = build/dist-tools/bin/python

dist: build/dist-tools/installed
	$(DIST) distribution/build.py $(PLATFORMS)

# Each Python that is named, or found on the PATH, runs the wheel of its platform in a bare environment;
# docs/manual/platforms.md lists Pythons of other platforms.
PYTHONS ?= $(shell for version in 11 12 13 13t 14 14t 15 15t; do \
  python3.$$version -c '' 2>/dev/null && command -v python3.$$version; done)

dist-check: build/dist-tools/installed
	$(DIST) distribution/check.py $(PYTHONS)

build/dist-tools/installed: distribution/requirements.txt
	$(PYTHON) -m venv build/dist-tools
	build/dist-tools/bin/pip install --quiet --require-hashes --requirement $<
	touch $@

.venv/%: pyproject.toml setup.py $(wildcard $(addprefix minillm/_kernels/*.,pyx pxd pxi h))
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing what \`make $*\` needs and compiling the kernels, once: one to six minutes on two cores"
	$(BIN)/pip install --quiet --no-compile --editable '.[$*]'
	touch $@

# Linters and the book need no compiled kernels.
.venv/lint .venv/parity: .venv/test
.venv/book .venv/lint .venv/parity: .venv/%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing what \`make $*\` needs, once"
	@$(BIN)/python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
	print(*project['dependencies'], *project['optional-dependencies']['$*'], sep='\n')" > $@.txt
	$(BIN)/pip install --quiet --requirement $@.txt
	touch $@

# What reaches a kernel, under the compiler's sanitizers of addresses and of undefined
# behaviour, with every index into an array checked, guard bytes around all memory of the
# kernels, and two threads: all at once, because compiling is half of the time.  The NumPy twin and
# what trains for long are left out, and so are tests of memory, which the sanitizer keeps after it
# is freed.  The usual kernels are put back.  A sanitizer reports on stderr and ends the process: so
# pytest does not keep what is written there.
#
# The libraries of the sanitizer and of C++, whose exceptions matplotlib throws, must be loaded
# first.  CPython itself leaks what it keeps until it ends.  GCC 12 stores vectors out of line on
# the stacks that it makes up to find uses after a return.
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=undefined
LIBRARY = $$($${CC:-cc} -print-file-name=$(1))
CHECK = MINILLM_GUARD=1 MINILLM_KERNELS=cython OMP_NUM_THREADS=2 \
  HYPOTHESIS_PROFILE=few $(BIN)/python
THREADS = import minillm; assert minillm.kernels_info()["threads"] == 2, minillm.kernels_info()
REACHED = tests/kernels tests/ops tests/layers tests/models tests/training tests/decoding \
  tests/text/test_bpe.py
SHORT = --ignore tests/models/test_learning.py --ignore tests/training/test_memory.py \
  --deselect tests/training/test_packed.py::test_recomputing_keeps_the_input_of_each_block_only

# $(1): the sanitizers; the usual kernels are put back by $(PUT_BACK).
INSTRUMENT = rm -rf build/usual && mkdir -p build/usual && cp -p minillm/_kernels/*.so build/usual && \
  MINILLM_BOUNDS=1 CFLAGS="$(1)" LDFLAGS="$(1)" $(BIN)/python setup.py \
  build_ext --inplace --force --build-lib build/sanitize --build-temp build/sanitize
PUT_BACK = status=$$?; unset LD_PRELOAD; cp -p build/usual/*.so minillm/_kernels; exit $$status

bounds address undefined: sanitize

sanitize: kernels
	$(call INSTRUMENT,$(SANITIZE))
	export LD_PRELOAD="$(call LIBRARY,libasan.so) $(call LIBRARY,libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0; \
	  $(CHECK) -c '$(THREADS)' && $(CHECK) -m pytest --capture=sys -k "not numpy" $(REACHED) $(SHORT); $(PUT_BACK)

# Kernels in several Python threads at once, under the compiler's sanitizer of threads, which cannot see
# how the interpreter, not compiled for it, keeps its own memory in order.
thread: kernels
	$(call INSTRUMENT,-fsanitize=thread)
	export LD_PRELOAD="$(call LIBRARY,libtsan.so)" MINILLM_POOL_BYTES=400k OMP_NUM_THREADS=2 \
	  TSAN_OPTIONS=ignore_noninstrumented_modules=1; \
	  MINILLM_KERNELS=cython $(BIN)/python tests/kernels/many_threads.py 3; $(PUT_BACK)

clean:
	rm -rf .venv build *.egg-info minillm/_kernels/*.so minillm/_kernels/build.json
