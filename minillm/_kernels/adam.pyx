# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What an optimiser does to every parameter at every step: the Cython twins of the originals.

One pass: each number is read once and written once, so that it runs at the speed of
memory.  Blocks go to threads; the sums of the blocks are added in their order, so that
the bits do not depend on the number of threads.
"""

from cython.parallel cimport prange

include "floating.pxi"
include "threads.pxi"
include "lanes.pxi"
include "adam.pxi"

cdef enum:
    BLOCK = 16384  # elements


def adam_update(
    floating[::1] p, const floating[::1] g, floating[::1] m, floating[::1] v,
    double beta1, double beta2, double step_size, double root_correction, double epsilon,
    double decay,
):
    cdef Py_ssize_t N = p.shape[0], blocks = (N + BLOCK - 1) // BLOCK, i
    cdef int threads = 1 if blocks < 4 else max_threads()
    for i in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        adam(min(BLOCK, N - i * BLOCK), &p[i * BLOCK], &g[i * BLOCK], &m[i * BLOCK], &v[i * BLOCK],
             beta1, beta2, step_size, root_correction, epsilon, decay)


def sum_of_squares(const floating[::1] g):
    cdef Py_ssize_t N = g.shape[0], blocks = (N + BLOCK - 1) // BLOCK, i
    cdef int threads = 1 if blocks < 4 else max_threads()
    cdef double[::1] sums = np.empty(blocks)
    cdef double total = 0
    for i in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        sums[i] = dot(min(BLOCK, N - i * BLOCK), &g[i * BLOCK], &g[i * BLOCK])
    for i in range(blocks):
        total += sums[i]
    return total
