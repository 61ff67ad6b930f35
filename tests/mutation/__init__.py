"""Mutation testing: change one operator at a time, and see a test fail.

    python -m tests.mutation                            everything, the NumPy pages first
    python -m tests.mutation minillm/ops/lstm.py        one file
    python -m tests.mutation --draw 10 --seed 1         ten from each folder, of any function
    python -m tests.mutation --list                     all mutants, with their verdicts
    python -m tests.mutation --report                   the verdicts so far

In NumPy, the functions that compute gradients and the optimisers' steps are mutated (`python.py`);
in the compiled kernels, every line that computes (`compiled.py`).  A mutant runs
in a copy of the project, with the tests that belong to its file first and wider ones only if
those pass (`witnesses.py`).  A failure, a crash or a hang kills it.  A mutant of a kernel is
built alone, for the best instruction set of this CPU, and only compiled code can kill it: the
tests run with MINILLM_KERNELS=cython.  One that compiles to the same machine code cannot be seen
by any test and is not counted.

Each verdict is a line of the results file, and is valid until the mutated file changes.  A run that
was stopped resumes.  Two commands for different files may run at once.
"""
