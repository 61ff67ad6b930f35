# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Attention: the Cython twin of `attention.py`, which states what is computed.

One row of the batch (and one head) is one thread's: its queries, keys and values
are a few kilobytes, which stay in the nearest caches through scores, softmax and
context.  Keys beyond a row's length are never touched.  What all rows add to, dv, is
kept apart for each and added up in their order at the end, so that the bits do not
depend on the number of threads.

Where the score is a product, a block of queries is taken at a time, and all that is
done to it is the packed product of gemm.pxi.  A causal block stops at the last key
that its last query may see.  A block of the weights is all that there ever is of them,
unless they are an output.
"""

from libc.stdint cimport int64_t

include "floating.pxi"
include "threads.pxi"
from minillm._kernels._pool cimport Workspace, empty
include "gemm.pxi"
include "lanes.pxi"

cdef extern from "attention.h" nogil:
    void add_scaled_f32(Py_ssize_t, float, const float*, float*)
    void add_scaled_f64(Py_ssize_t, double, const double*, double*)
    float softmax_f32(Py_ssize_t, float*)
    double softmax_f64(Py_ssize_t, double*)
    void weights_f32(Py_ssize_t, float, float*)
    void weights_f64(Py_ssize_t, double, double*)
    void softmax_backward_f32(Py_ssize_t, const float*, float*)
    void softmax_backward_f64(Py_ssize_t, const double*, double*)
    void hidden_f32(Py_ssize_t, const float*, const float*, float*)
    void hidden_f64(Py_ssize_t, const double*, const double*, double*)
    void hidden_backward_f32(
        Py_ssize_t, float, const float*, const float*, const float*, float*, float*, float*)
    void hidden_backward_f64(
        Py_ssize_t, double, const double*, const double*, const double*, double*, double*, double*)

cdef inline void add_scaled(
    Py_ssize_t n, floating a, const floating* x, floating* y
) noexcept nogil:
    if floating is float:
        add_scaled_f32(n, a, x, y)
    else:
        add_scaled_f64(n, a, x, y)

cdef inline floating softmax(Py_ssize_t n, floating* x) noexcept nogil:
    if floating is float:
        return softmax_f32(n, x)
    else:
        return softmax_f64(n, x)

cdef inline void softmax_backward(Py_ssize_t n, const floating* w, floating* dw) noexcept nogil:
    if floating is float:
        softmax_backward_f32(n, w, dw)
    else:
        softmax_backward_f64(n, w, dw)

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
    cdef Py_ssize_t A = v.shape[0], E = values.shape[1], t, s
    for t in range(query.shape[0]):
        for s in range(n):
            # context = weights values
            dscores[s] = dweights[t, s] + dot(E, &dcontext[t, 0], &values[s, 0])
            add_scaled(E, weights[t, s], &dcontext[t, 0], &dvalues[s, 0])
        softmax_backward(n, &weights[t, 0], &dscores[0])
        for s in range(n):
            # score = v . tanh(query + key)
            if floating is float:
                hidden_backward_f32(A, dscores[s], &query[t, 0], &keys[s, 0], &v[0],
                                    &dquery[t, 0], &dkeys[s, 0], &dv[0])
            else:
                hidden_backward_f64(A, dscores[s], &query[t, 0], &keys[s, 0], &v[0],
                                    &dquery[t, 0], &dkeys[s, 0], &dv[0])

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

# --- products: one head of one row ------------------------------------------------

cdef enum:
    QUERIES = 64  # of a block: their weights are in the cache
    FEW = 6       # queries at most that read the keys where they lie: packing would be a second reading

cdef inline Py_ssize_t allowed_keys(
    Py_ssize_t t, Py_ssize_t T, Py_ssize_t S, Py_ssize_t length, bint causal
) noexcept nogil:
    """How many keys query t may see: the queries are the last T of the S positions."""
    return max(0, min(length, S - T + t + 1)) if causal else length

cdef inline void note_lines(
    const floating* start, Py_ssize_t count, Py_ssize_t width, const floating** lines
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        lines[i] = start + i * width

cdef Py_ssize_t head_scratch(
    Py_ssize_t T, Py_ssize_t S, Py_ssize_t D, Py_ssize_t E, Py_ssize_t itemsize
) noexcept nogil:
    cdef Py_ssize_t gemm = max(scratch_size(QUERIES, max(S, D, E), False, itemsize),
                               scratch_size(S, QUERIES, True, itemsize))
    cdef Py_ssize_t lines = (6 * T + 4 * S) * sizeof(void *)
    return ceil_div(lines + (T * D + 2 * QUERIES * S) * itemsize + gemm + 256, 64) * 64

cdef void note_queries(
    const floating* query, Py_ssize_t T, Py_ssize_t D, floating scale, const floating** q,
    floating* copy,
) noexcept nogil:
    """The lines of the queries times scale, for which there is a place, unless it is 1."""
    cdef Py_ssize_t i
    if scale == 1:
        note_lines(query, T, D, q)
        return
    for i in range(T * D):
        copy[i] = scale * query[i]
    note_lines(<const floating*>copy, T, D, q)

cdef void scores_of_block(
    Py_ssize_t t0, Py_ssize_t t1, Py_ssize_t n, Py_ssize_t D, const floating** q, const floating** k,
    bint add, floating** scores, char* gemm,
) noexcept nogil:
    """scores (t0 to t1, n) = q k^T, or added to what is there."""
    cdef Py_ssize_t t, s
    if t1 - t0 > FEW:
        multiply_part(t0, t1, 0, n, D, q, False, k, False, <const floating*>NULL, add, scores, gemm)
        return
    for t in range(t0, t1):
        for s in range(n):
            scores[t][s] = dot(D, q[t], k[s]) + (scores[t][s] if add else 0)

cdef void mix_block(
    Py_ssize_t t0, Py_ssize_t t1, Py_ssize_t n, Py_ssize_t E, const floating** weights,
    const floating** v, floating** out, char* gemm,
) noexcept nogil:
    """out (t0 to t1, E) = weights (t0 to t1, n) v (n, E)."""
    if t1 - t0 > FEW:
        multiply_part(t0, t1, 0, E, n, weights, False, v, True, <const floating*>NULL, False, out, gemm)
    else:
        multiply_few(t1 - t0, 0, E, n, weights + t0, v, <const floating*>NULL, False, out + t0)

cdef void gather_block(
    Py_ssize_t t0, Py_ssize_t t1, Py_ssize_t n, Py_ssize_t E, const floating** weights,
    const floating** x, floating** sums, char* gemm,
) noexcept nogil:
    """sums (n, E) += weights (t0 to t1, n)^T x (t0 to t1, E)."""
    cdef Py_ssize_t t, s
    if t1 - t0 > FEW:
        multiply_part(0, n, 0, E, t1 - t0, weights + t0, True, x + t0, True, <const floating*>NULL,
                      True, sums, gemm)
        return
    for t in range(t0, t1):
        for s in range(n):
            add_scaled(E, weights[t][s], x[t], sums[s])

cdef void head_forward(
    Py_ssize_t T, Py_ssize_t S, Py_ssize_t D, Py_ssize_t E, Py_ssize_t length, bint causal,
    floating scale, const floating* query, const floating* keys, const floating* values,
    floating* context, floating* weights, floating* log_sums, char* scratch,
) noexcept nogil:
    """weights, or log_sums, may be NULL: not wanted."""
    cdef const floating** q = <const floating**>scratch
    cdef const floating** k = q + T
    cdef const floating** v = k + S
    cdef floating** w = <floating**>(v + S)
    cdef floating** c = w + T
    cdef floating* scaled = <floating*>(scratch + (6 * T + 4 * S) * sizeof(void *))
    cdef floating* block = scaled + T * D
    cdef char* gemm = <char*>(block + QUERIES * S)
    cdef Py_ssize_t t0 = 0, t1, t, n, last
    cdef floating log_sum
    note_queries(query, T, D, scale, q, scaled)
    note_lines(keys, S, D, k)
    note_lines(values, S, E, v)
    note_lines(<const floating*>context, T, E, <const floating**>c)
    while t0 < T:
        t1 = min(t0 + QUERIES, T)
        last = allowed_keys(t1 - 1, T, S, length, causal)
        for t in range(t0, t1):
            w[t] = block + (t - t0) * S if weights == NULL else weights + t * S
        scores_of_block(t0, t1, last, D, q, k, False, w, gemm)
        for t in range(t0, t1):
            n = allowed_keys(t, T, S, length, causal)
            log_sum = softmax(n, w[t])
            if log_sums != NULL:
                log_sums[t] = log_sum
            memset(w[t] + n, 0, ((last if weights == NULL else S) - n) * sizeof(floating))
        mix_block(t0, t1, last, E, <const floating**>w, v, c, gemm)
        t0 = t1

cdef void head_backward(
    Py_ssize_t T, Py_ssize_t S, Py_ssize_t D, Py_ssize_t E, Py_ssize_t length, bint causal,
    floating scale, const floating* dcontext, const floating* dweights, const floating* query,
    const floating* keys, const floating* values, const floating* weights, const floating* log_sums,
    floating* dquery, floating* dkeys, floating* dvalues, char* scratch,
) noexcept nogil:
    """Either weights and dweights are given, or log_sums."""
    cdef const floating** q = <const floating**>scratch
    cdef const floating** k = q + T
    cdef const floating** v = k + S
    cdef const floating** dc = v + S
    cdef floating** w = <floating**>(dc + T)
    cdef floating** dw = w + T
    cdef floating** dq = dw + T
    cdef floating** dk = dq + T
    cdef floating** dv = dk + S
    cdef floating* scaled = <floating*>(scratch + (6 * T + 4 * S) * sizeof(void *))
    cdef floating* block = scaled + T * D
    cdef floating* dblock = block + QUERIES * S
    cdef char* gemm = <char*>(dblock + QUERIES * S)
    cdef Py_ssize_t t0 = 0, t1, t, n, last, i
    note_queries(query, T, D, scale, q, scaled)
    note_lines(keys, S, D, k)
    note_lines(values, S, E, v)
    note_lines(dcontext, T, E, dc)
    note_lines(<const floating*>dquery, T, D, <const floating**>dq)
    note_lines(<const floating*>dkeys, S, D, <const floating**>dk)
    note_lines(<const floating*>dvalues, S, E, <const floating**>dv)
    memset(dkeys, 0, S * D * sizeof(floating))
    memset(dvalues, 0, S * E * sizeof(floating))
    while t0 < T:
        t1 = min(t0 + QUERIES, T)
        last = allowed_keys(t1 - 1, T, S, length, causal)
        for t in range(t0, t1):
            w[t] = block + (t - t0) * S if weights == NULL else <floating*>weights + t * S
            dw[t] = dblock + (t - t0) * S
            if dweights != NULL:
                memcpy(dw[t], dweights + t * S, last * sizeof(floating))
        if weights == NULL:
            scores_of_block(t0, t1, last, D, q, k, False, w, gemm)
            for t in range(t0, t1):
                n = allowed_keys(t, T, S, length, causal)
                if floating is float:
                    weights_f32(n, log_sums[t], w[t])
                else:
                    weights_f64(n, log_sums[t], w[t])
                memset(w[t] + n, 0, (last - n) * sizeof(floating))
        # context = weights values
        scores_of_block(t0, t1, last, E, dc, v, dweights != NULL, dw, gemm)
        gather_block(t0, t1, last, E, <const floating**>w, dc, dv, gemm)
        for t in range(t0, t1):
            n = allowed_keys(t, T, S, length, causal)
            softmax_backward(n, <const floating*>w[t], dw[t])
            memset(dw[t] + n, 0, (last - n) * sizeof(floating))
        # score = scale query . key
        mix_block(t0, t1, last, D, <const floating**>dw, k, dq, gemm)
        for i in range(t0 * D, t1 * D):
            dquery[i] *= scale
        gather_block(t0, t1, last, D, <const floating**>dw, q, dk, gemm)
        t0 = t1

cdef int threads_for(Py_ssize_t heads, Py_ssize_t T, Py_ssize_t S, Py_ssize_t widths) noexcept nogil:
    return <int>min(max_threads(), heads) if heads * T * S * widths > SMALL else 1

cdef int all_heads_forward(
    Py_ssize_t B, Py_ssize_t N, Py_ssize_t T, Py_ssize_t S, Py_ssize_t D, Py_ssize_t E,
    const int64_t[::1] lengths, bint causal, floating scale, const floating* query,
    const floating* keys, const floating* values, floating* context, floating* weights,
    floating* log_sums,
) except -1:
    cdef int part, threads = threads_for(B * N, T, S, D + E)
    cdef Py_ssize_t size = head_scratch(T, S, D, E, sizeof(floating)), i
    cdef Workspace scratch = Workspace(threads * size)
    for part in prange(threads, nogil=True, num_threads=threads, schedule="static", chunksize=1):
        i = part
        while i < B * N:
            head_forward(
                T, S, D, E, lengths[i // N], causal, scale,
                query + i * T * D, keys + i * S * D, values + i * S * E, context + i * T * E,
                <floating*>NULL if weights == NULL else weights + i * T * S,
                <floating*>NULL if log_sums == NULL else log_sums + i * T,
                scratch.start + part * size)
            i = i + threads
    return 0

cdef int all_heads_backward(
    Py_ssize_t B, Py_ssize_t N, Py_ssize_t T, Py_ssize_t S, Py_ssize_t D, Py_ssize_t E,
    const int64_t[::1] lengths, bint causal, floating scale, const floating* dcontext,
    const floating* dweights, const floating* query, const floating* keys, const floating* values,
    const floating* weights, const floating* log_sums, floating* dquery, floating* dkeys,
    floating* dvalues,
) except -1:
    cdef int part, threads = threads_for(B * N, T, S, D + E)
    cdef Py_ssize_t size = head_scratch(T, S, D, E, sizeof(floating)), i
    cdef Workspace scratch = Workspace(threads * size)
    for part in prange(threads, nogil=True, num_threads=threads, schedule="static", chunksize=1):
        i = part
        while i < B * N:
            head_backward(
                T, S, D, E, lengths[i // N], causal, scale, dcontext + i * T * E,
                <const floating*>NULL if dweights == NULL else dweights + i * T * S,
                query + i * T * D, keys + i * S * D, values + i * S * E,
                <const floating*>NULL if weights == NULL else weights + i * T * S,
                <const floating*>NULL if log_sums == NULL else log_sums + i * T,
                dquery + i * T * D, dkeys + i * S * D, dvalues + i * S * E,
                scratch.start + part * size)
            i = i + threads
    return 0

def multiplicative_attention_forward(
    const floating[:, :, ::1] query, const floating[:, :, ::1] keys,
    const floating[:, :, ::1] values, const int64_t[::1] lengths,
):
    cdef Py_ssize_t B = query.shape[0], T = query.shape[1], S = keys.shape[1]
    cdef Py_ssize_t D = keys.shape[2], E = values.shape[2]
    dtype = np.dtype(np.float32 if floating is float else np.float64)
    context, weights = empty((B, T, E), dtype), empty((B, T, S), dtype)
    cdef floating[:, :, ::1] context_ = context, weights_ = weights
    all_heads_forward(
        B, 1, T, S, D, E, lengths, False, <floating>1, &query[0, 0, 0], &keys[0, 0, 0],
        &values[0, 0, 0], &context_[0, 0, 0], &weights_[0, 0, 0], <floating*>NULL)
    return context, weights

def multiplicative_attention_backward(
    const floating[:, :, ::1] dcontext, const floating[:, :, ::1] dweights,
    const floating[:, :, ::1] query, const floating[:, :, ::1] keys,
    const floating[:, :, ::1] values, const int64_t[::1] lengths, const floating[:, :, ::1] weights,
):
    cdef Py_ssize_t B = query.shape[0], T = query.shape[1], S = keys.shape[1]
    cdef Py_ssize_t D = keys.shape[2], E = values.shape[2]
    dtype = np.dtype(np.float32 if floating is float else np.float64)
    dquery, dkeys = empty((B, T, D), dtype), empty((B, S, D), dtype)
    dvalues = empty((B, S, E), dtype)
    cdef floating[:, :, ::1] dquery_ = dquery, dkeys_ = dkeys, dvalues_ = dvalues
    all_heads_backward(
        B, 1, T, S, D, E, lengths, False, <floating>1, &dcontext[0, 0, 0], &dweights[0, 0, 0],
        &query[0, 0, 0], &keys[0, 0, 0], &values[0, 0, 0], &weights[0, 0, 0], <const floating*>NULL,
        &dquery_[0, 0, 0], &dkeys_[0, 0, 0], &dvalues_[0, 0, 0])
    return dquery, dkeys, dvalues

def scaled_attention_forward(
    const floating[:, :, :, ::1] query, const floating[:, :, :, ::1] keys,
    const floating[:, :, :, ::1] values, const int64_t[::1] lengths, bint causal,
):
    cdef Py_ssize_t B = query.shape[0], N = query.shape[1], T = query.shape[2], S = keys.shape[2]
    cdef Py_ssize_t D = keys.shape[3], E = values.shape[3]
    dtype = np.dtype(np.float32 if floating is float else np.float64)
    context, log_sums = empty((B, N, T, E), dtype), empty((B, N, T), dtype)
    cdef floating[:, :, :, ::1] context_ = context
    cdef floating[:, :, ::1] log_sums_ = log_sums
    all_heads_forward(
        B, N, T, S, D, E, lengths, causal, <floating>(<double>D ** -0.5), &query[0, 0, 0, 0],
        &keys[0, 0, 0, 0], &values[0, 0, 0, 0], &context_[0, 0, 0, 0], <floating*>NULL,
        &log_sums_[0, 0, 0])
    return context, log_sums

def scaled_attention_backward(
    const floating[:, :, :, ::1] dcontext, const floating[:, :, :, ::1] query,
    const floating[:, :, :, ::1] keys, const floating[:, :, :, ::1] values,
    const int64_t[::1] lengths, bint causal, const floating[:, :, ::1] log_sums,
):
    cdef Py_ssize_t B = query.shape[0], N = query.shape[1], T = query.shape[2], S = keys.shape[2]
    cdef Py_ssize_t D = keys.shape[3], E = values.shape[3]
    dtype = np.dtype(np.float32 if floating is float else np.float64)
    dquery, dkeys = empty((B, N, T, D), dtype), empty((B, N, S, D), dtype)
    dvalues = empty((B, N, S, E), dtype)
    cdef floating[:, :, :, ::1] dquery_ = dquery, dkeys_ = dkeys, dvalues_ = dvalues
    all_heads_backward(
        B, N, T, S, D, E, lengths, causal, <floating>(<double>D ** -0.5), &dcontext[0, 0, 0, 0],
        <const floating*>NULL, &query[0, 0, 0, 0], &keys[0, 0, 0, 0], &values[0, 0, 0, 0],
        <const floating*>NULL, &log_sums[0, 0, 0], &dquery_[0, 0, 0, 0], &dkeys_[0, 0, 0, 0],
        &dvalues_[0, 0, 0, 0])
    return dquery, dkeys, dvalues
