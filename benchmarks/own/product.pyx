# distutils: extra_compile_args = -O3 -march=native
"""A matrix product in the steps of chapter 20 of the book, from Python compiled to a blocked loop.

Compile it with `cythonize -i -3 benchmarks/own/product.pyx`.  Each function changes c and returns it.
"""

cimport cython


def naive(a, b, c):
    """Python, compiled: every number is still an object."""
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            total = 0.0
            for k in range(a.shape[1]):
                total += a[i, k] * b[k, j]
            c[i, j] = total
    return c


def typed(const float[:, ::1] a, const float[:, ::1] b, float[:, ::1] c):
    """The same loop on typed memory, bounds and negative indices still checked."""
    cdef Py_ssize_t i, j, k
    cdef float total
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            total = 0
            for k in range(a.shape[1]):
                total += a[i, k] * b[k, j]
            c[i, j] = total
    return c


@cython.boundscheck(False)
@cython.wraparound(False)
def unchecked(const float[:, ::1] a, const float[:, ::1] b, float[:, ::1] c):
    """No checks."""
    cdef Py_ssize_t i, j, k
    cdef float total
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            total = 0
            for k in range(a.shape[1]):
                total += a[i, k] * b[k, j]
            c[i, j] = total
    return c


@cython.boundscheck(False)
@cython.wraparound(False)
def reordered(const float[:, ::1] a, const float[:, ::1] b, float[:, ::1] c):
    """The inner loop runs along rows, which lie in a line: it vectorises."""
    cdef Py_ssize_t i, j, k
    cdef float x
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            c[i, j] = 0
        for k in range(a.shape[1]):
            x = a[i, k]
            for j in range(b.shape[1]):
                c[i, j] += x * b[k, j]
    return c


@cython.boundscheck(False)
@cython.wraparound(False)
def blocked(const float[:, ::1] a, const float[:, ::1] b, float[:, ::1] c):
    """A block of b that fits the cache meets all rows of a before the next block comes."""
    cdef Py_ssize_t i, j, k, j0, k0, j1, k1
    cdef float x
    c[...] = 0
    for k0 in range(0, a.shape[1], 64):
        k1 = min(k0 + 64, a.shape[1])
        for j0 in range(0, b.shape[1], 256):
            j1 = min(j0 + 256, b.shape[1])
            for i in range(a.shape[0]):
                for k in range(k0, k1):
                    x = a[i, k]
                    for j in range(j0, j1):
                        c[i, j] += x * b[k, j]
    return c
