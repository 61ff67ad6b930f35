# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Attention: the Cython twin of `attention.py`, which states what is computed.

One row of the batch (and one head) is one thread's: its queries, keys and values
are a few kilobytes, which stay in the nearest cache through scores, softmax and
context.  Keys that are not allowed are never touched.  What all rows add to, dv, is
kept apart for each and added up in their order at the end, so that the bits do not
depend on the number of threads.
"""

import numpy as np

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int64_t

include "threads.pxi"

cdef extern from "attention.h" nogil:
    float dot_f32(Py_ssize_t, const float*, const float*)
    double dot_f64(Py_ssize_t, const double*, const double*)
    void add_scaled_f32(Py_ssize_t, float, const float*, float*)
    void add_scaled_f64(Py_ssize_t, double, const double*, double*)
    void softmax_f32(Py_ssize_t, float*)
    void softmax_f64(Py_ssize_t, double*)
    void hidden_f32(Py_ssize_t, const float*, const float*, float*)
    void hidden_f64(Py_ssize_t, const double*, const double*, double*)
    void hidden_backward_f32(
        Py_ssize_t, float, const float*, const float*, const float*, float*, float*, float*)
    void hidden_backward_f64(
        Py_ssize_t, double, const double*, const double*, const double*, double*, double*, double*)


cdef inline floating dot(Py_ssize_t n, const floating* x, const floating* y) noexcept nogil:
    if floating is float:
        return dot_f32(n, x, y)
    else:
        return dot_f64(n, x, y)


cdef inline void add_scaled(
    Py_ssize_t n, floating a, const floating* x, floating* y
) noexcept nogil:
    if floating is float:
        add_scaled_f32(n, a, x, y)
    else:
        add_scaled_f64(n, a, x, y)


cdef inline void softmax(Py_ssize_t n, floating* x) noexcept nogil:
    if floating is float:
        softmax_f32(n, x)
    else:
        softmax_f64(n, x)


# --- additive ---------------------------------------------------------------------


cdef void additive_row_forward(
    const floating[:, ::1] query, const floating[:, ::1] keys, const floating[:, ::1] values,
    const floating[::1] v, Py_ssize_t n, floating[::1] hidden,
    floating[:, ::1] context, floating[:, ::1] weights,
) noexcept nogil:
    cdef Py_ssize_t A = v.shape[0], E = values.shape[1], t, s
    for t in range(query.shape[0]):
        for s in range(n):
            if floating is float:
                hidden_f32(A, &query[t, 0], &keys[s, 0], &hidden[0])
            else:
                hidden_f64(A, &query[t, 0], &keys[s, 0], &hidden[0])
            weights[t, s] = dot(A, &hidden[0], &v[0])
        softmax(n, &weights[t, 0])
        for s in range(n):
            add_scaled(E, weights[t, s], &values[s, 0], &context[t, 0])


def additive_attention_forward(
    const floating[:, :, ::1] query, const floating[:, :, ::1] keys,
    const floating[:, :, ::1] values, const floating[::1] v, const int64_t[::1] lengths,
):
    cdef Py_ssize_t B = query.shape[0], T = query.shape[1], S = keys.shape[1]
    cdef Py_ssize_t b
    dtype = np.float32 if floating is float else np.float64
    context = np.zeros((B, T, values.shape[2]), dtype)
    weights = np.zeros((B, T, S), dtype)
    cdef floating[:, :, ::1] context_ = context, weights_ = weights
    cdef floating[:, ::1] hidden = np.empty((B, v.shape[0]), dtype)
    for b in prange(B, nogil=True, num_threads=max_threads()):
        additive_row_forward(
            query[b], keys[b], values[b], v, lengths[b], hidden[b], context_[b], weights_[b])
    return context, weights


cdef void additive_row_backward(
    const floating[:, ::1] dcontext, const floating[:, ::1] dweights,
    const floating[:, ::1] query, const floating[:, ::1] keys, const floating[:, ::1] values,
    const floating[::1] v, Py_ssize_t n, const floating[:, ::1] weights, floating[::1] dscores,
    floating[:, ::1] dquery, floating[:, ::1] dkeys, floating[:, ::1] dvalues, floating[::1] dv,
) noexcept nogil:
    cdef Py_ssize_t A = v.shape[0], t, s
    for t in range(query.shape[0]):
        scores_backward(dcontext[t], dweights[t], values, n, weights[t], dscores, dvalues)
        for s in range(n):
            # score = v . tanh(query + key)
            if floating is float:
                hidden_backward_f32(A, dscores[s], &query[t, 0], &keys[s, 0], &v[0],
                                    &dquery[t, 0], &dkeys[s, 0], &dv[0])
            else:
                hidden_backward_f64(A, dscores[s], &query[t, 0], &keys[s, 0], &v[0],
                                    &dquery[t, 0], &dkeys[s, 0], &dv[0])


cdef void scores_backward(
    const floating[::1] dcontext, const floating[::1] dweights, const floating[:, ::1] values,
    Py_ssize_t n, const floating[::1] weights, floating[::1] dscores, floating[:, ::1] dvalues,
) noexcept nogil:
    """One query's dscores, and its share of dvalues."""
    cdef Py_ssize_t E = values.shape[1], s
    cdef floating mean = 0
    for s in range(n):
        # context = weights values
        dscores[s] = dweights[s] + dot(E, &dcontext[0], &values[s, 0])
        add_scaled(E, weights[s], &dcontext[0], &dvalues[s, 0])
        mean = mean + weights[s] * dscores[s]
    for s in range(n):
        # weights = softmax(scores)
        dscores[s] = weights[s] * (dscores[s] - mean)


def additive_attention_backward(
    const floating[:, :, ::1] dcontext, const floating[:, :, ::1] dweights,
    const floating[:, :, ::1] query, const floating[:, :, ::1] keys,
    const floating[:, :, ::1] values, const floating[::1] v, const int64_t[::1] lengths,
    const floating[:, :, ::1] weights,
):
    cdef Py_ssize_t B = query.shape[0], T = query.shape[1], S = keys.shape[1], A = v.shape[0]
    cdef Py_ssize_t b
    dtype = np.float32 if floating is float else np.float64
    dquery, dkeys = np.zeros((B, T, A), dtype), np.zeros((B, S, A), dtype)
    dvalues, dv = np.zeros((B, S, values.shape[2]), dtype), np.zeros((B, A), dtype)
    cdef floating[:, :, ::1] dquery_ = dquery, dkeys_ = dkeys, dvalues_ = dvalues
    cdef floating[:, ::1] dv_ = dv, dscores = np.empty((B, S), dtype)
    for b in prange(B, nogil=True, num_threads=max_threads()):
        additive_row_backward(
            dcontext[b], dweights[b], query[b], keys[b], values[b], v, lengths[b], weights[b],
            dscores[b], dquery_[b], dkeys_[b], dvalues_[b], dv_[b])
    return dquery, dkeys, dvalues, dv.sum(axis=0)


# --- dot product ------------------------------------------------------------------


cdef void dot_row_forward(
    const floating[:, ::1] query, const floating[:, ::1] keys, const floating[:, ::1] values,
    Py_ssize_t length, floating scale, bint causal,
    floating[:, ::1] context, floating[:, ::1] weights,
) noexcept nogil:
    cdef Py_ssize_t T = query.shape[0], S = keys.shape[0]
    cdef Py_ssize_t D = keys.shape[1], E = values.shape[1], t, s, n
    for t in range(T):
        n = length
        if causal:
            n = max(0, min(n, S - T + t + 1))
        for s in range(n):
            weights[t, s] = scale * dot(D, &query[t, 0], &keys[s, 0])
        softmax(n, &weights[t, 0])
        for s in range(n):
            add_scaled(E, weights[t, s], &values[s, 0], &context[t, 0])


def dot_attention_forward(
    const floating[:, :, :, ::1] query, const floating[:, :, :, ::1] keys,
    const floating[:, :, :, ::1] values, const int64_t[::1] lengths, double scale, bint causal,
):
    cdef Py_ssize_t B = query.shape[0], N = query.shape[1], T = query.shape[2], S = keys.shape[2]
    cdef Py_ssize_t i
    dtype = np.float32 if floating is float else np.float64
    context = np.zeros((B, N, T, values.shape[3]), dtype)
    weights = np.zeros((B, N, T, S), dtype)
    cdef floating[:, :, :, ::1] context_ = context, weights_ = weights
    for i in prange(B * N, nogil=True, num_threads=max_threads()):
        dot_row_forward(
            query[i // N, i % N], keys[i // N, i % N], values[i // N, i % N], lengths[i // N],
            <floating> scale, causal, context_[i // N, i % N], weights_[i // N, i % N])
    return context, weights


cdef void dot_row_backward(
    const floating[:, ::1] dcontext, const floating[:, ::1] dweights,
    const floating[:, ::1] query, const floating[:, ::1] keys, const floating[:, ::1] values,
    Py_ssize_t n, floating scale, const floating[:, ::1] weights, floating[::1] dscores,
    floating[:, ::1] dquery, floating[:, ::1] dkeys, floating[:, ::1] dvalues,
) noexcept nogil:
    cdef Py_ssize_t D = keys.shape[1], t, s, last
    for t in range(query.shape[0]):
        last = n  # of a causal query, the last keys have no weight
        while last > 0 and weights[t, last - 1] == 0:
            last = last - 1
        scores_backward(dcontext[t], dweights[t], values, last, weights[t], dscores, dvalues)
        for s in range(last):
            # score = scale query . key
            add_scaled(D, scale * dscores[s], &keys[s, 0], &dquery[t, 0])
            add_scaled(D, scale * dscores[s], &query[t, 0], &dkeys[s, 0])


def dot_attention_backward(
    const floating[:, :, :, ::1] dcontext, const floating[:, :, :, ::1] dweights,
    const floating[:, :, :, ::1] query, const floating[:, :, :, ::1] keys,
    const floating[:, :, :, ::1] values, const int64_t[::1] lengths, double scale,
    const floating[:, :, :, ::1] weights,
):
    cdef Py_ssize_t B = query.shape[0], N = query.shape[1], T = query.shape[2], S = keys.shape[2]
    cdef Py_ssize_t D = keys.shape[3], i
    dtype = np.float32 if floating is float else np.float64
    dquery, dkeys = np.zeros((B, N, T, D), dtype), np.zeros((B, N, S, D), dtype)
    dvalues = np.zeros((B, N, S, values.shape[3]), dtype)
    cdef floating[:, :, :, ::1] dquery_ = dquery, dkeys_ = dkeys, dvalues_ = dvalues
    cdef floating[:, ::1] dscores = np.empty((B * N, S), dtype)
    for i in prange(B * N, nogil=True, num_threads=max_threads()):
        dot_row_backward(
            dcontext[i // N, i % N], dweights[i // N, i % N], query[i // N, i % N],
            keys[i // N, i % N], values[i // N, i % N], lengths[i // N], <floating> scale,
            weights[i // N, i % N], dscores[i],
            dquery_[i // N, i % N], dkeys_[i // N, i % N], dvalues_[i // N, i % N])
    return dquery, dkeys, dvalues
