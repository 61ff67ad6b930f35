# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Rows of logits: softmax and cross-entropy in one, and the most probable ids.

These are the Cython twins of the originals.  NumPy passes over all logits some eight times, and
each pass comes from memory.  Here each row goes through all passes while it is in the cache, one
thread to a row.
"""

include "topic.pxi"

cdef extern from "cross_entropy.h" nogil:
    double cross_entropy_row(
        Py_ssize_t V, const void *logits, Py_ssize_t target, double smoothing, void *p)
    void cross_entropy_row_backward(
        Py_ssize_t V, const void *p, Py_ssize_t target, double weight, double smoothing, void *dlogits)
    void most_probable_row(
        Py_ssize_t V, const void *logits, Py_ssize_t count, int64_t *ids, double *log_p)

cdef enum:
    SMALL = 50_000  # logits that are not worth waking another thread for

cdef struct Rows:
    Py_ssize_t V, count     # count: of the most probable ids
    double smoothing
    const int64_t *targets
    Input input, weights    # logits; backward, p
    Output output, nats     # p; backward, dlogits
    int64_t *ids
    double *log_p


def cross_entropy_forward(logits, targets, double smoothing):
    cdef Py_buffer of_logits = memory_of(logits, 2)
    cdef Py_ssize_t N = of_logits.shape[0], V = of_logits.shape[1]
    nats, p = empty((N,), logits.dtype), empty((N, V), logits.dtype)
    cdef Rows rows
    rows.V, rows.smoothing, rows.targets = V, smoothing, indices(targets, N, V)
    rows.input, rows.nats, rows.output = of_logits.buf, address(nats), address(p)
    cdef Body body = <Body>rows_forward[float] if of_logits.itemsize == 4 else <Body>rows_forward[double]
    with nogil:
        share(body, &rows, N, threads_for(N * V, SMALL))
    return nats, p


cdef void rows_forward(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Rows r = (<Rows *>work)[0]
    cdef Py_ssize_t n
    for n in range(part.first, part.last):
        (<floating *>r.nats)[n] = <floating>cross_entropy_row(
            r.V, <const floating *>r.input + n * r.V, r.targets[n], r.smoothing,
            <floating *>r.output + n * r.V)


def cross_entropy_backward(p, targets, weights, double smoothing):
    cdef Py_buffer of_p = memory_of(p, 2)
    cdef Py_ssize_t N = of_p.shape[0], V = of_p.shape[1]
    dlogits = empty((N, V), p.dtype)
    cdef Rows rows
    rows.V, rows.smoothing, rows.targets = V, smoothing, indices(targets, N, V)
    rows.input, rows.weights, rows.output = of_p.buf, numbers(weights, p.dtype, N), address(dlogits)
    cdef Body body = <Body>rows_backward[float] if of_p.itemsize == 4 else <Body>rows_backward[double]
    with nogil:
        share(body, &rows, N, threads_for(N * V, SMALL))
    return dlogits


cdef void rows_backward(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Rows r = (<Rows *>work)[0]
    cdef Py_ssize_t n
    for n in range(part.first, part.last):
        cross_entropy_row_backward(
            r.V, <const floating *>r.input + n * r.V, r.targets[n], (<const floating *>r.weights)[n],
            r.smoothing, <floating *>r.output + n * r.V)


def most_probable(const floating[:, ::1] logits, Py_ssize_t count):
    cdef Py_ssize_t N = logits.shape[0], V = logits.shape[1]
    count = min(count, V)
    # Zeros, because next to a NaN the search may find fewer; all log probabilities are then NaN.
    ids, log_p = np.zeros((N, count), np.int64), np.zeros((N, count))
    if N == 0 or count == 0:
        return ids, log_p
    cdef Rows rows
    rows.V, rows.count, rows.input = V, count, &logits[0, 0]
    rows.ids, rows.log_p = <int64_t *>address(ids), <double *>address(log_p)
    with nogil:
        share(<Body>rows_of_most_probable[floating], &rows, N, threads_for(N * V, SMALL))
    return ids, log_p


cdef void rows_of_most_probable(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Rows r = (<Rows *>work)[0]
    cdef Py_ssize_t n
    for n in range(part.first, part.last):
        most_probable_row(r.V, <const floating *>r.input + n * r.V, r.count, r.ids + n * r.count,
                          r.log_p + n * r.count)
