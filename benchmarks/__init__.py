"""Benchmarks.  `minillm.timing.race` times kernels of your own: docs/manual/kernels.md.

    python -m benchmarks                  all ops and some training steps: NumPy, Cython, PyTorch
    python -m benchmarks --full           more sizes, and the training steps of all models
    python -m benchmarks compare A B      two files of results: better, worse, no difference
    python -m benchmarks.distances        an own kernel: the figures of the book's page
    python -m benchmarks.ladder           one GPT in Python, NumPy, Cython, PyTorch, JAX, Numba
    python -m benchmarks.steps            why the fast kernels are fast: the tables of chapter 20
    python -m benchmarks.parts            where the time of a training step of a GPT goes
    python -m benchmarks.llama            a quantised model beside llama.cpp, its divergences
    python -m benchmarks.changes          each change from GPT-2 to Llama, after equal time
    python -m benchmarks.records          bytes of an archive after five minutes of two cores
    python -m benchmarks.long_texts       speed and memory by the length of a text
    python -m benchmarks.transformer      translating beside PyTorch
    python -m benchmarks.arithmetic       rewards for a model that half masters sums
    python -m benchmarks.bfloat16         training steps and losses in bfloat16, beside autocast
    python -m benchmarks.checkers         gradient checkers: bugs found, false alarms
    python -m benchmarks.bugs             the same for a checker of yours, and for lines
    python -m benchmarks.bugs_anew        the wrong line of new mutants of the package

Machinery: `minillm.timing` times and shows; `verdicts` compares; `report` has the first command's
table, `cases` and `training` its work; `pytorch`, `torch_models` and `search` are PyTorch's side.
"""
