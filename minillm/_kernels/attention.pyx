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


cdef Operand operand_of(x, Py_ssize_t *sizes=NULL) except *:
    """Its last axis is contiguous; the others may be parts of a larger array, in any order."""
    cdef Py_buffer of_x = memory_of(x, PyBUF_STRIDES)
    if sizes != NULL:
        memcpy(sizes, of_x.shape, 4 * sizeof(Py_ssize_t))
    return Operand(<char *>of_x.buf, of_x.strides[0], of_x.strides[1], of_x.strides[2])


cdef Heads heads_of(query, keys, values, mask) except *:
    """The sizes and the inputs.  A window of None is so wide that it hides nothing."""
    cdef Heads heads
    cdef Py_ssize_t q[4]
    cdef Py_ssize_t k[4]
    cdef Py_ssize_t v[4]
    memset(&heads, 0, sizeof(Heads))
    heads.query, heads.keys, heads.values = operand_of(query, q), operand_of(keys, k), operand_of(values, v)
    heads.B, heads.N, heads.M, heads.T, heads.S, heads.D, heads.E = q[0], q[1], k[1], q[2], k[2], k[3], v[3]
    heads.lengths, heads.scale = <const int64_t *>address(mask.lengths), <double>heads.D ** -0.5
    # Where all queries see all keys, they are behind them.
    heads.length, heads.position, heads.window = heads.S, heads.S, heads.T + heads.S + QUERIES
    if mask.causal:
        heads.position, heads.start = heads.S - heads.T, <const int64_t *>address(mask.start)
        if mask.window is not None:
            heads.window, heads.sinks = mask.window, mask.sinks
    return heads


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
    heads.context, heads.log_sums = operand_of(context), address(log_sums)
    run_heads(&heads, <Body>heads_forward[float] if item == 4 else <Body>heads_forward[double], heads.B * heads.N, item)
    return context, log_sums


def scaled_attention_backward(dcontext, query, keys, values, mask, log_sums):
    cdef Heads heads = heads_of(query, keys, values, mask)
    cdef Py_ssize_t item = query.itemsize
    dquery, dkeys, dvalues = _gradients_of(&heads, query.dtype)
    heads.dcontext, heads.log_sums = operand_of(dcontext), address(log_sums)
    heads.dquery, heads.dkeys, heads.dvalues = operand_of(dquery), operand_of(dkeys), operand_of(dvalues)
    run_heads(
        &heads, <Body>heads_backward[float] if item == 4 else <Body>heads_backward[double], heads.B * heads.M, item)
    return dquery, dkeys, dvalues
