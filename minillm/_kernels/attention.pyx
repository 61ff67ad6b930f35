# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Attention: the Cython twins of the originals, which state the equations.

    attention_additive.pxi   score = v . tanh(query + key)
    attention_heads.pxi      score = scale query . key, of one head or many
    below                    the functions that Python calls

One row of the batch (and one head) is one thread's: its queries, keys and values
are a few kilobytes, which stay in the nearest caches through scores, softmax and
context.  Keys beyond a row's length are never touched.  What all rows add to, dv, is
a sum for each row first; these are added in the order of the rows, so that the bits do
not depend on the number of threads.
"""

from libc.math cimport INFINITY

include "topic.pxi"
include "gemm.pxi"
include "attention.pxi"
include "attention_additive.pxi"
include "attention_heads.pxi"


def additive_attention_forward(
    const floating[:, :, ::1] query, const floating[:, :, ::1] keys,
    const floating[:, :, ::1] values, const floating[::1] v, const int64_t[::1] lengths,
):
    cdef Py_ssize_t B = query.shape[0], T = query.shape[1], S = keys.shape[1]
    dtype = dtype_of(<floating>0)
    context, weights = np.zeros((B, T, values.shape[2]), dtype), np.zeros((B, T, S), dtype)
    room = np.empty((B, v.shape[0]), dtype)
    cdef Additive w = additive(query, keys, values, v, lengths)
    w.context, w.weights, w.hidden = address(context), address(weights), address(room)
    with nogil:
        share(<Body>additive_forward_rows[floating], &w, B, max_threads())
    return context, weights


def additive_attention_backward(
    const floating[:, :, ::1] dcontext, const floating[:, :, ::1] dweights, const floating[:, :, ::1] query,
    const floating[:, :, ::1] keys, const floating[:, :, ::1] values, const floating[::1] v,
    const int64_t[::1] lengths, const floating[:, :, ::1] weights,
):
    cdef Py_ssize_t B = query.shape[0], T = query.shape[1], S = keys.shape[1], A = v.shape[0]
    dtype = dtype_of(<floating>0)
    dquery, dkeys = np.zeros((B, T, A), dtype), np.zeros((B, S, A), dtype)
    dvalues, dv = np.zeros((B, S, values.shape[2]), dtype), np.zeros((B, A), dtype)
    room = np.empty((B, S), dtype)
    cdef Additive w = additive(query, keys, values, v, lengths)
    w.weights, w.dcontext, w.dweights = <void *>&weights[0, 0, 0], &dcontext[0, 0, 0], &dweights[0, 0, 0]
    w.dscores, w.dquery, w.dkeys = address(room), address(dquery), address(dkeys)
    w.dvalues, w.dv = address(dvalues), address(dv)
    with nogil:
        share(<Body>additive_backward_rows[floating], &w, B, max_threads())
    return dquery, dkeys, dvalues, dv.sum(axis=0)


# --- attention by products: heads of queries, keys and values --------------------


cdef Operand operand_of(Py_buffer x, Py_ssize_t B, Py_ssize_t heads, Py_ssize_t steps, Py_ssize_t width) except *:
    """Its last axis is contiguous; the others may be parts of a larger array, in any order."""
    require(x.shape[0] == B and x.shape[1] == heads and x.shape[2] == steps and x.shape[3] == width
            and (x.strides[3] == x.itemsize or width <= 1))
    return Operand(<char *>x.buf, x.strides[0], x.strides[1], x.strides[2])


cdef Py_buffer heads_in(x, dtype) except *:
    return memory_of(x, 4, dtype, PyBUF_STRIDES)


cdef Heads heads_of(query, keys, values, mask) except *:
    """The sizes and the inputs.  A window of None is so wide that it hides nothing."""
    cdef Heads h
    dtype = query.dtype
    cdef Py_buffer q = heads_in(query, None), k = heads_in(keys, dtype), v = heads_in(values, dtype)
    memset(&h, 0, sizeof(Heads))
    h.B, h.N, h.T, h.D = q.shape[0], q.shape[1], q.shape[2], q.shape[3]
    h.M, h.S, h.E = k.shape[1], k.shape[2], v.shape[3]
    require(min(h.M, h.T, h.S, h.D, h.E) > 0 and h.N % h.M == 0)
    h.query, h.keys = operand_of(q, h.B, h.N, h.T, h.D), operand_of(k, h.B, h.M, h.S, h.D)
    h.values, h.scale = operand_of(v, h.B, h.M, h.S, h.E), <double>h.D ** -0.5
    if mask.lengths is not None:
        h.lengths = indices(mask.lengths, h.B, h.S + 1)
    # Where all queries see all keys, they are behind them.
    h.length, h.position, h.window = h.S, h.S, h.T + h.S + QUERIES
    if mask.causal:
        h.position = h.S - h.T
        if mask.start is not None:
            h.start = <int64_t *>numbers(mask.start, INT64, h.B)
        if mask.window is not None:
            h.window, h.sinks = mask.window, mask.sinks
            require(h.window > 0 <= h.sinks)
    return h


def _heads_side_by_side(B, heads, steps, width, dtype):
    """A new array (B, heads, steps, width) in which the heads of a step lie side by side.

    The activations of a Transformer, (B, T, D), have this order too, so no copy is needed.
    """
    return empty((B, steps, heads, width), dtype).transpose(0, 2, 1, 3)


cdef _gradients_of(const Heads *heads, dtype):
    """New arrays for dquery, dkeys and dvalues.

    For self-attention they are views of one array, (B, T, 3, N, D): the gradient of the projection
    that the three are parts of, so the parts need not be joined.
    """
    if heads.N == heads.M and heads.T == heads.S and heads.D == heads.E:
        whole = empty((heads.B, heads.T, 3, heads.N, heads.D), dtype)
        return [whole[:, :, part].transpose(0, 2, 1, 3) for part in range(3)]
    sizes = [(heads.N, heads.T, heads.D), (heads.M, heads.S, heads.D), (heads.M, heads.S, heads.E)]
    return [_heads_side_by_side(heads.B, *size, dtype) for size in sizes]


def scaled_attention_forward(query, keys, values, mask):
    cdef Heads heads = heads_of(query, keys, values, mask)
    dtype = query.dtype
    cdef Py_ssize_t item = dtype.itemsize
    context = _heads_side_by_side(heads.B, heads.N, heads.T, heads.E, dtype)
    log_sums = empty((heads.B, heads.N, heads.T), dtype)
    heads.context = operand_of(heads_in(context, dtype), heads.B, heads.N, heads.T, heads.E)
    heads.log_sums = address(log_sums)
    run_heads(&heads, <Body>heads_forward[float] if item == 4 else <Body>heads_forward[double], heads.B * heads.N, item)
    return context, log_sums


def scaled_attention_backward(dcontext, query, keys, values, mask, log_sums):
    cdef Heads h = heads_of(query, keys, values, mask)
    dtype = query.dtype
    cdef Py_ssize_t item = dtype.itemsize
    dquery, dkeys, dvalues = _gradients_of(&h, dtype)
    h.dcontext = operand_of(heads_in(dcontext, dtype), h.B, h.N, h.T, h.E)
    h.log_sums = numbers(log_sums, dtype, h.B * h.N * h.T)
    h.dquery = operand_of(heads_in(dquery, dtype), h.B, h.N, h.T, h.D)
    h.dkeys = operand_of(heads_in(dkeys, dtype), h.B, h.M, h.S, h.D)
    h.dvalues = operand_of(heads_in(dvalues, dtype), h.B, h.M, h.S, h.E)
    run_heads(&h, <Body>heads_backward[float] if item == 4 else <Body>heads_backward[double], h.B * h.M, item)
    return dquery, dkeys, dvalues
