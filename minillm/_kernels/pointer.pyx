# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Attention weights summed over the positions of a word: the Cython twins of the originals.

NumPy makes arrays (B, T, S) of what is equal, and of the weights there.  Here the ids of a source are
compared while they are in the cache, and most weights are never read.
"""

include "topic.pxi"

cdef enum:
    SMALL = 200_000  # comparisons that are not worth waking another thread for

cdef struct Pointers:
    Py_ssize_t T, S
    const int64_t *source
    const int64_t *targets
    Input given           # weights (B, T, S), or dm (B, T)
    Output result         # m (B, T), or dweights (B, T, S)


def copied_probability_forward(
    const floating[:, :, ::1] weights, const int64_t[:, ::1] source, const int64_t[:, ::1] targets
):
    cdef Py_ssize_t B = weights.shape[0], T = weights.shape[1], S = weights.shape[2]
    m = np.zeros((B, T), dtype_of(<floating>0))
    if m.size == 0 or S == 0:
        return m
    cdef Pointers p
    p.T, p.S, p.source, p.targets = T, S, &source[0, 0], &targets[0, 0]
    p.given, p.result = &weights[0, 0, 0], address(m)
    with nogil:
        share(<Body>summed_weights[floating], &p, B * T, threads_for(B * T * S, SMALL))
    return m


cdef void summed_weights(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Pointers p = (<Pointers *>work)[0]
    cdef const int64_t *source
    cdef const floating *weights
    cdef floating total
    cdef Py_ssize_t n, j
    for n in range(part.first, part.last):
        source, weights, total = p.source + n // p.T * p.S, <const floating *>p.given + n * p.S, 0
        for j in range(p.S):
            if source[j] == p.targets[n]:
                total += weights[j]
        (<floating *>p.result)[n] = total


def copied_probability_backward(
    const floating[:, ::1] dm, const int64_t[:, ::1] source, const int64_t[:, ::1] targets
):
    cdef Py_ssize_t B = dm.shape[0], T = dm.shape[1], S = source.shape[1]
    dweights = empty((B, T, S), dtype_of(<floating>0))
    if dweights.size == 0:
        return dweights
    cdef Pointers p
    p.T, p.S, p.source, p.targets = T, S, &source[0, 0], &targets[0, 0]
    p.given, p.result = &dm[0, 0], address(dweights)
    with nogil:
        share(<Body>spread_gradients[floating], &p, B * T, threads_for(B * T * S, SMALL))
    return dweights


cdef void spread_gradients(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Pointers p = (<Pointers *>work)[0]
    cdef const int64_t *source
    cdef floating *dweights
    cdef floating dm
    cdef Py_ssize_t n, j
    for n in range(part.first, part.last):
        source, dweights = p.source + n // p.T * p.S, <floating *>p.result + n * p.S
        dm = (<const floating *>p.given)[n]
        for j in range(p.S):
            dweights[j] = dm if source[j] == p.targets[n] else 0
