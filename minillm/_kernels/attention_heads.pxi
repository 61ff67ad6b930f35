# Attention whose score is a product, scale query . key: one head of one row at a time.
#
# A block of queries is taken at a time, and all that is done to it is the packed product
# of gemm.pxi.  A causal block stops at the last key that its last query may see.  A block
# of the weights is all that there ever is of them, unless they are an output.
#
# A query that looks at nothing, without a key or with scores of minus infinity alone, is
# left out of all products: so not even zero times infinity reaches a result.

cdef enum:
    QUERIES = 64  # of a block: their weights are in the cache
    FEW = 6       # queries at most that read the keys where they lie: packing would be a second reading


cdef struct Heads:  # what is the same for all heads of a batch
    Py_ssize_t B, N, M           # rows, heads of queries, heads of keys and values
    Py_ssize_t T, S, D, E        # queries, keys, width of both, width of the values
    bint causal
    const int64_t *lengths       # (B,) keys that exist
    const int64_t *start         # (B,) the position of the first query among the keys
    Py_ssize_t key_strides[3]    # bytes from row to row, head to head, key to key
    Py_ssize_t value_strides[3]
    Py_ssize_t reach             # keys that some query may see


cdef inline Py_ssize_t visible(const Heads *heads, Py_ssize_t b, Py_ssize_t t) noexcept nogil:
    """How many keys query t of row b may see."""
    if heads.causal:
        return max(0, min(heads.lengths[b], heads.start[b] + t + 1))
    return heads.lengths[b]


cdef void set_reach(Heads *heads) noexcept:
    cdef Py_ssize_t b
    heads.reach = 0
    for b in range(heads.B):
        heads.reach = max(heads.reach, visible(heads, b, heads.T - 1))


cdef inline void note_lines(
    const floating *start, Py_ssize_t count, Py_ssize_t stride, const floating **lines
) noexcept nogil:
    """Lines that are `stride` bytes apart."""
    cdef Py_ssize_t i
    for i in range(count):
        lines[i] = <const floating *>(<const char *>start + i * stride)


cdef inline void note_queries(
    Py_ssize_t count, Py_ssize_t D, floating scale, const floating *query, const floating **q,
    floating *scaled,
) noexcept nogil:
    """The queries of a block times scale; where that is 1, as they lie."""
    cdef Py_ssize_t i
    if scale != 1:
        for i in range(count * D):
            scaled[i] = scale * query[i]
        query = scaled
    note_lines(query, count, D * sizeof(floating), q)


cdef Py_ssize_t head_scratch(const Heads *heads, Py_ssize_t itemsize) noexcept nogil:
    cdef Py_ssize_t reach = heads.reach, D = heads.D, E = heads.E, count = min(QUERIES, heads.T)
    cdef Py_ssize_t gemm = max(scratch_size(count, max(reach, D, E), False, itemsize),
                               scratch_size(reach, count, True, itemsize))
    return ceil_div(4 * reach * sizeof(void *) + count * (D + 2 * reach) * itemsize + 8 * 64 + gemm,
                    64) * 64


cdef inline void scores_of_block(
    Py_ssize_t count, Py_ssize_t n, Py_ssize_t D, const floating **q, const floating **k,
    bint add, floating **scores, char *scratch,
) noexcept nogil:
    """scores (count, n) = q (count, D) k^T (D, n), or added to what is there."""
    cdef Py_ssize_t i, s
    if count > FEW:
        multiply_part(0, count, 0, n, D, q, False, k, False, <const floating *>NULL, add, scores,
                      scratch)
        return
    for i in range(count):
        for s in range(n):
            scores[i][s] = dot(D, q[i], k[s]) + (scores[i][s] if add else 0)


cdef inline void mix_block(
    Py_ssize_t count, Py_ssize_t n, Py_ssize_t E, const floating **weights, const floating **v,
    floating **out, char *scratch,
) noexcept nogil:
    """out (count, E) = weights (count, n) v (n, E)."""
    if count > FEW:
        multiply_part(0, count, 0, E, n, weights, False, v, True, <const floating *>NULL, False, out,
                      scratch)
    elif count > 0:
        multiply_few(count, 0, E, n, weights, v, <const floating *>NULL, False, out)


cdef inline void gather_block(
    Py_ssize_t count, Py_ssize_t n, Py_ssize_t E, const floating **weights, const floating **x,
    floating **sums, char *scratch,
) noexcept nogil:
    """sums (n, E) += weights^T (n, count) x (count, E)."""
    cdef Py_ssize_t i, s
    if count > FEW:
        multiply_part(0, n, 0, E, count, weights, True, x, True, <const floating *>NULL, True, sums,
                      scratch)
        return
    for i in range(count):
        for s in range(n):
            add_scaled(E, weights[i][s], x[i], sums[s])


cdef void head_forward(
    const Heads *heads, Py_ssize_t b, floating scale, const floating *query, const floating *keys,
    const floating *values, floating *context, floating *weights, floating *log_sums, char *scratch,
) noexcept nogil:
    """weights, or log_sums, may be NULL: not wanted."""
    cdef Py_ssize_t T = heads.T, S = heads.S, D = heads.D, E = heads.E, reach = heads.reach
    cdef Py_ssize_t seen = visible(heads, b, T - 1), t0 = 0, t, i, n, count, alive, last
    cdef const floating **k = <const floating **>cut(&scratch, reach * sizeof(void *))
    cdef const floating **v = <const floating **>cut(&scratch, reach * sizeof(void *))
    cdef floating *scaled = <floating *>cut(&scratch, min(QUERIES, T) * D * sizeof(floating))
    cdef floating *block = <floating *>cut(&scratch, min(QUERIES, T) * reach * sizeof(floating))
    cdef const floating *q[QUERIES]
    cdef floating *w[QUERIES]
    cdef floating *c[QUERIES]
    cdef floating log_sum
    note_lines(keys, seen, heads.key_strides[2], k)
    note_lines(values, seen, heads.value_strides[2], v)
    while t0 < T:
        count = min(QUERIES, T - t0)
        last = visible(heads, b, t0 + count - 1)
        note_queries(count, D, scale, query + t0 * D, q, scaled)
        for i in range(count):
            w[i] = block + i * reach if weights == NULL else weights + (t0 + i) * S
        scores_of_block(count, last, D, q, k, False, w, scratch)
        alive = 0
        for i in range(count):
            t = t0 + i
            n = visible(heads, b, t)
            log_sum = softmax(n, w[i])
            if log_sums != NULL:
                log_sums[t] = log_sum
            memset(w[i] + n, 0, ((last if weights == NULL else S) - n) * sizeof(floating))
            if are_zeros(n, <const floating *>w[i]):
                memset(context + t * E, 0, E * sizeof(floating))
            else:
                w[alive], c[alive] = w[i], context + t * E
                alive += 1
        mix_block(alive, last, E, <const floating **>w, v, c, scratch)
        t0 += count


cdef void weights_again(
    const Heads *heads, Py_ssize_t b, Py_ssize_t t0, Py_ssize_t count, Py_ssize_t last,
    const floating **q, const floating **k, const floating *log_sums, floating **w, char *scratch,
) noexcept nogil:
    """The weights of a block, (count, last), from its scores."""
    cdef Py_ssize_t i, n
    scores_of_block(count, last, heads.D, q, k, False, w, scratch)
    for i in range(count):
        n = visible(heads, b, t0 + i)
        softmax_again(n, log_sums[t0 + i], w[i])
        memset(w[i] + n, 0, (last - n) * sizeof(floating))


cdef void head_backward(
    const Heads *heads, Py_ssize_t b, floating scale, const floating *dcontext,
    const floating *dweights, const floating *query, const floating **k, const floating **v,
    const floating *weights, const floating *log_sums, floating *dquery, floating **dk,
    floating **dv, char *scratch,
) noexcept nogil:
    """Adds to dk and dv.  Either weights and dweights are given, or log_sums."""
    cdef Py_ssize_t T = heads.T, S = heads.S, D = heads.D, E = heads.E, reach = heads.reach
    cdef Py_ssize_t t0 = 0, t, i, j, n, count, alive, last
    cdef floating *scaled = <floating *>cut(&scratch, min(QUERIES, T) * D * sizeof(floating))
    cdef floating *block = <floating *>cut(&scratch, min(QUERIES, T) * reach * sizeof(floating))
    cdef floating *dblock = <floating *>cut(&scratch, min(QUERIES, T) * reach * sizeof(floating))
    cdef const floating *q[QUERIES]
    cdef const floating *dc[QUERIES]
    cdef floating *w[QUERIES]
    cdef floating *dw[QUERIES]
    cdef floating *dq[QUERIES]
    cdef Py_ssize_t seen[QUERIES]
    while t0 < T:
        count = min(QUERIES, T - t0)
        last = visible(heads, b, t0 + count - 1)
        note_queries(count, D, scale, query + t0 * D, q, scaled)
        for i in range(count):
            w[i] = block + i * reach if weights == NULL else <floating *>weights + (t0 + i) * S
        if weights == NULL:
            weights_again(heads, b, t0, count, last, q, k, log_sums, w, scratch)
        alive = 0
        for i in range(count):
            t = t0 + i
            n = visible(heads, b, t)
            if are_zeros(n, <const floating *>w[i]):
                memset(dquery + t * D, 0, D * sizeof(floating))
                continue
            seen[alive], q[alive], w[alive], dw[alive] = n, q[i], w[i], dblock + alive * reach
            dc[alive], dq[alive] = dcontext + t * E, dquery + t * D
            if dweights != NULL:
                memcpy(dw[alive], dweights + t * S, last * sizeof(floating))
            alive += 1
        # context = weights values:
        scores_of_block(alive, last, E, dc, v, dweights != NULL, dw, scratch)
        gather_block(alive, last, E, <const floating **>w, dc, dv, scratch)
        # weights = softmax(scores):
        for i in range(alive):
            softmax_backward(seen[i], <const floating *>w[i], dw[i])
            memset(dw[i] + seen[i], 0, (last - seen[i]) * sizeof(floating))
        # scores = scale query keys^T:
        mix_block(alive, last, D, <const floating **>dw, k, dq, scratch)
        for i in range(alive):
            for j in range(D):
                dq[i][j] *= scale
        gather_block(alive, last, D, <const floating **>dw, q, dk, scratch)
        t0 += count


cdef void group_backward(
    const Heads *heads, Py_ssize_t b, floating scale, const floating *dcontext,
    const floating *dweights, const floating *query, const floating *keys, const floating *values,
    const floating *weights, const floating *log_sums, floating *dquery, floating *dkeys,
    floating *dvalues, char *scratch,
) noexcept nogil:
    """All heads of queries that read one head of keys: its gradients are sums over them."""
    cdef Py_ssize_t T = heads.T, S = heads.S, D = heads.D, E = heads.E, n
    cdef Py_ssize_t seen = visible(heads, b, T - 1), size = heads.reach * sizeof(void *)
    cdef const floating **k = <const floating **>cut(&scratch, size)
    cdef const floating **v = <const floating **>cut(&scratch, size)
    cdef floating **dk = <floating **>cut(&scratch, size)
    cdef floating **dv = <floating **>cut(&scratch, size)
    note_lines(keys, seen, heads.key_strides[2], k)
    note_lines(values, seen, heads.value_strides[2], v)
    note_lines(<const floating *>dkeys, seen, D * sizeof(floating), <const floating **>dk)
    note_lines(<const floating *>dvalues, seen, E * sizeof(floating), <const floating **>dv)
    memset(dkeys, 0, S * D * sizeof(floating))
    memset(dvalues, 0, S * E * sizeof(floating))
    for n in range(heads.N // heads.M):
        head_backward(
            heads, b, scale, dcontext + n * T * E,
            <const floating *>NULL if dweights == NULL else dweights + n * T * S, query + n * T * D,
            k, v, <const floating *>NULL if weights == NULL else weights + n * T * S,
            <const floating *>NULL if log_sums == NULL else log_sums + n * T, dquery + n * T * D,
            dk, dv, scratch)


cdef inline const floating *head_at(
    const floating *x, const Py_ssize_t *strides, Py_ssize_t b, Py_ssize_t m
) noexcept nogil:
    return <const floating *>(<const char *>x + b * strides[0] + m * strides[1])


cdef int threads_for(const Heads *heads, Py_ssize_t tasks) noexcept nogil:
    cdef Py_ssize_t work = heads.B * heads.N * heads.T * heads.reach * (heads.D + heads.E)
    return <int>max(1, min(max_threads(), tasks)) if work > SMALL else 1


cdef int all_heads_forward(
    Heads heads, floating scale, const floating *query, const floating *keys,
    const floating *values, floating *context, floating *weights, floating *log_sums,
) except -1:
    """A head of queries is one thread's."""
    cdef Py_ssize_t N = heads.N, T = heads.T, tasks = heads.B * N, i, b, m
    cdef Py_ssize_t size = head_scratch(&heads, sizeof(floating))
    cdef int part, threads = threads_for(&heads, tasks)
    cdef Workspace work = Workspace(threads * size)
    cdef char *scratch = work.take(threads * size)
    for part in prange(threads, nogil=True, num_threads=threads, schedule="static", chunksize=1):
        i = part
        while i < tasks:
            b = i // N
            m = i % N // (N // heads.M)
            head_forward(
                &heads, b, scale, query + i * T * heads.D, head_at(keys, heads.key_strides, b, m),
                head_at(values, heads.value_strides, b, m), context + i * T * heads.E,
                <floating *>NULL if weights == NULL else weights + i * T * heads.S,
                <floating *>NULL if log_sums == NULL else log_sums + i * T, scratch + part * size)
            i = i + threads
    return 0


cdef int all_heads_backward(
    Heads heads, floating scale, const floating *dcontext, const floating *dweights,
    const floating *query, const floating *keys, const floating *values, const floating *weights,
    const floating *log_sums, floating *dquery, floating *dkeys, floating *dvalues,
) except -1:
    """A head of keys is one thread's, with all heads of queries that read it."""
    cdef Py_ssize_t M = heads.M, T = heads.T, S = heads.S, D = heads.D, E = heads.E
    cdef Py_ssize_t tasks = heads.B * M, size = head_scratch(&heads, sizeof(floating)), i, n
    cdef int part, threads = threads_for(&heads, tasks)
    cdef Workspace work = Workspace(threads * size)
    cdef char *scratch = work.take(threads * size)
    for part in prange(threads, nogil=True, num_threads=threads, schedule="static", chunksize=1):
        i = part
        while i < tasks:
            n = i * (heads.N // M)  # of all heads of queries, the first that reads these keys
            group_backward(
                &heads, i // M, scale, dcontext + n * T * E,
                <const floating *>NULL if dweights == NULL else dweights + n * T * S,
                query + n * T * D, head_at(keys, heads.key_strides, i // M, i % M),
                head_at(values, heads.value_strides, i // M, i % M),
                <const floating *>NULL if weights == NULL else weights + n * T * S,
                <const floating *>NULL if log_sums == NULL else log_sums + n * T,
                dquery + n * T * D, dkeys + i * S * D, dvalues + i * S * E, scratch + part * size)
            i = i + threads
    return 0
