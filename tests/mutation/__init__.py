"""Mutation testing: change one operator at a time, and see a test fail.

    python -m tests.mutation                            everything, the NumPy pages first
    python -m tests.mutation minillm/ops/lstm.py        one file
    python -m tests.mutation --list                     what there is, and what is decided
    python -m tests.mutation --report                   what was found so far

What is mutated: in NumPy the functions that compute gradients, and the optimisers' steps
(`python.py`); in the compiled kernels every line that computes (`compiled.py`).  A mutant runs
in a copy of the project, with the tests that belong to its file first and wider ones only if
those pass (`witnesses.py`).  A failure, a crash or a hang kills it.  A mutant of a kernel is
built alone, for the best instruction set of this CPU, and only compiled code can kill it: the
tests run with MINILLM_KERNELS=cython.  One that compiles to the same machine code cannot be seen
by any test and is not counted.

Each verdict is a line of the results file, and is kept for as long as the file that was mutated
does not change: a run that was stopped goes on where it was.
"""
