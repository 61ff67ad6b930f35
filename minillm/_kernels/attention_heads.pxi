# Attention whose score is a product, scale query . key: one head of one row at a time.
#
# Structure, from the inside out:
#
#   packed            keys and values as panels (gemm.pxi), once for all queries of a head
#   block_scores      a tile of queries against the panels, up to the last key that it may see
#   mix_block         the same for weights times values
#   head_forward, head_backward   blocks of queries through scores, softmax and context
#   all_heads_...     the threads
#
# A tile has six or eight queries, so that a causal head leaves out nearly all that nobody may
# see.  A block of the weights is all that there ever is of them, unless they are an output.
#
# A query that looks at nothing, without a key or with scores of minus infinity alone, is
# left out of all products: so not even zero times infinity reaches a result.

cdef enum:
    QUERIES = 48  # of a block, a whole number of tiles: their weights are in the cache
    FEW = 6       # queries at most that read the keys where they lie: packing would be a second reading


cdef struct Operand:  # an array (B, heads, steps, width), whose last axis is contiguous
    char *start
    Py_ssize_t row, head, step  # bytes from one to the next


cdef struct Heads:  # what is the same for all heads of a batch
    Py_ssize_t B, N, M           # rows, heads of queries, heads of keys and values
    Py_ssize_t T, S, D, E        # queries, keys, width of both, width of the values
    bint causal
    const int64_t *lengths       # (B,) keys that exist
    const int64_t *start         # (B,) the position of the first query among the keys
    Py_ssize_t reach             # keys that some query may see


cdef struct Packed:  # a matrix in panels
    Py_ssize_t depth, columns
    int vectors                  # of a panel
    void *panels


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


cdef inline Operand head_of(Operand x, Py_ssize_t b, Py_ssize_t n) noexcept nogil:
    """Head n of row b."""
    x.start += b * x.row + n * x.head
    return x


cdef inline void note_lines(
    Operand x, Py_ssize_t first, Py_ssize_t count, floating **lines
) noexcept nogil:
    """Where the steps of a head lie, from `first` on."""
    cdef Py_ssize_t i
    for i in range(count):
        lines[i] = <floating *>(x.start + (first + i) * x.step)


cdef inline void scale_lines(
    Py_ssize_t count, Py_ssize_t D, floating scale, floating **lines, floating *room
) noexcept nogil:
    """The lines times scale, in `room`; where that is 1, as they lie."""
    cdef Py_ssize_t i, j
    cdef floating *scaled
    if scale == 1:
        return
    for i in range(count):
        scaled = room + i * D
        for j in range(D):
            scaled[j] = scale * lines[i][j]
        lines[i] = scaled


# --- products ------------------------------------------------------------------


cdef inline Py_ssize_t whole_vectors(Py_ssize_t n, Py_ssize_t itemsize) noexcept nogil:
    """n, or as many more numbers as fill the last vector."""
    return ceil_div(n, VECTOR_BYTES // itemsize) * (VECTOR_BYTES // itemsize)


cdef inline Py_ssize_t packed_size(
    Py_ssize_t depth, Py_ssize_t columns, Py_ssize_t itemsize
) noexcept nogil:
    return depth * whole_vectors(columns, itemsize) * itemsize + 64


cdef inline Packed packed(
    floating **lines, bint by_depth, Py_ssize_t depth, Py_ssize_t columns, char **scratch,
) noexcept nogil:
    """The matrix (depth, columns) of these lines."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // <Py_ssize_t>sizeof(floating)
    cdef Py_ssize_t all_vectors = ceil_div(columns, lanes)
    cdef Packed b
    b.depth, b.columns = depth, columns
    b.vectors = <int>max(1, ceil_div(all_vectors, max(1, ceil_div(all_vectors, 4))))
    b.panels = cut(scratch, packed_size(depth, columns, sizeof(floating)))
    if depth > 0 and columns > 0:
        pack(<floating *>b.panels, b.vectors * lanes, <const floating **>lines, by_depth, 0, depth,
             0, columns)
    return b


cdef inline void times_packed(
    Py_ssize_t count, floating **a, Packed b, Py_ssize_t depth, Py_ssize_t n, bint add,
    floating **c, floating *acc,
) noexcept nogil:
    """c (count, n) = a (count, depth) b, or added to what is there: one tile of rows.

    Of b only the first `depth` lines and n columns are used.
    """
    cdef Py_ssize_t lanes = VECTOR_BYTES // <Py_ssize_t>sizeof(floating), width = b.vectors * lanes
    cdef Py_ssize_t j = 0, last
    while j < n:
        last = min(j + width, n)
        multiply_tile(
            0, count, j, last, <int>ceil_div(last - j, lanes), depth, <const floating **>a,
            <floating *>b.panels + j * b.depth,
            min(width, whole_vectors(b.columns - j, sizeof(floating))),
            <const floating *>NULL, add, c, acc)
        j += width


cdef inline void block_scores(
    Py_ssize_t count, const Py_ssize_t *seen, floating **q, Packed keys, Py_ssize_t room, bint add,
    floating **scores, floating *acc,
) noexcept nogil:
    """scores (count, seen) = q keys; what a tile's other queries see has any value.

    There is `room` for so many numbers in a row of scores.
    """
    cdef Py_ssize_t i = 0, rows
    while i < count:
        rows = min(<Py_ssize_t>TILE_ROWS(keys.vectors), count - i)
        times_packed(rows, q + i, keys, keys.depth,
                     min(room, whole_vectors(seen[i + rows - 1], sizeof(floating))), add,
                     scores + i, acc)
        i += rows


cdef inline void few_scores(
    Py_ssize_t count, Py_ssize_t n, Py_ssize_t D, floating **q, floating **k, bint add,
    floating **scores,
) noexcept nogil:
    """The same from keys where they lie."""
    cdef Py_ssize_t i, s
    for i in range(count):
        for s in range(n):
            scores[i][s] = dot(D, q[i], k[s]) + (scores[i][s] if add else 0)


cdef inline void mix_block(
    Py_ssize_t count, const Py_ssize_t *seen, floating **weights, Packed values, floating **out,
    floating *acc,
) noexcept nogil:
    """out (count, E) = weights (count, seen) values (seen, E)."""
    cdef Py_ssize_t i = 0, rows
    while i < count:
        rows = min(<Py_ssize_t>TILE_ROWS(values.vectors), count - i)
        times_packed(rows, weights + i, values, seen[i + rows - 1], values.columns, False, out + i,
                     acc)
        i += rows


cdef inline void gather_block(
    Py_ssize_t count, Py_ssize_t n, Py_ssize_t E, floating **weights, floating **x,
    floating **sums, char *scratch,
) noexcept nogil:
    """sums (n, E) += weights^T (n, count) x (count, E)."""
    cdef Py_ssize_t i, s
    if count > FEW:
        multiply_part(0, n, 0, E, count, <const floating **>weights, True, <const floating **>x,
                      True, <const floating *>NULL, True, sums, scratch)
        return
    for i in range(count):
        for s in range(n):
            add_scaled(E, weights[i][s], x[i], sums[s])


# --- one head -------------------------------------------------------------------


cdef inline Py_ssize_t whole_lanes(Py_ssize_t n) noexcept nogil:
    """n, or as many more numbers as the sums of lanes.h take at once: the rest would take longest."""
    return ceil_div(n, LANES) * LANES


cdef inline Py_ssize_t fill_up(Py_ssize_t n, floating filling, floating *x) noexcept nogil:
    """Numbers behind the first n, so that there are whole lanes; how many there are."""
    cdef Py_ssize_t i, padded = whole_lanes(n)
    for i in range(n, padded):
        x[i] = filling
    return padded


cdef Py_ssize_t head_scratch(const Heads *heads, Py_ssize_t itemsize) noexcept nogil:
    cdef Py_ssize_t reach = heads.reach, D = heads.D, E = heads.E, count = min(QUERIES, heads.T)
    cdef Py_ssize_t size = 4 * reach * sizeof(void *) + TILE_SIZE
    size += count * (D + 2 * whole_lanes(reach)) * itemsize
    size += scratch_size(reach, count, True, itemsize)
    if heads.T > FEW:
        size += packed_size(D, reach, itemsize) + packed_size(E, reach, itemsize)
        size += packed_size(reach, max(D, E), itemsize)
    return ceil_div(size, 64) * 64 + 12 * 64


cdef void head_forward(
    const Heads *heads, Py_ssize_t b, floating scale, Operand query, Operand keys, Operand values,
    Operand context, floating *weights, floating *log_sums, char *scratch,
) noexcept nogil:
    """weights, or log_sums, may be NULL: not wanted."""
    cdef Py_ssize_t T = heads.T, S = heads.S, D = heads.D, E = heads.E, reach = heads.reach
    cdef Py_ssize_t all_seen = visible(heads, b, T - 1), t0 = 0, i, count, alive, last
    cdef Py_ssize_t ld = whole_lanes(reach)
    cdef floating **k = <floating **>cut(&scratch, reach * sizeof(void *))
    cdef floating **v = <floating **>cut(&scratch, reach * sizeof(void *))
    cdef floating *acc = <floating *>cut(&scratch, TILE_SIZE)
    cdef floating *scaled = <floating *>cut(&scratch, min(QUERIES, T) * D * sizeof(floating))
    cdef floating *block = <floating *>cut(&scratch, min(QUERIES, T) * ld * sizeof(floating))
    cdef floating *q[QUERIES]
    cdef floating *w[QUERIES]
    cdef floating *c[QUERIES]
    cdef Py_ssize_t seen[QUERIES]
    cdef Packed packed_keys, packed_values
    cdef floating log_sum
    note_lines(keys, 0, all_seen, k)
    note_lines(values, 0, all_seen, v)
    if T > FEW:
        packed_keys = packed(k, False, D, all_seen, &scratch)
        packed_values = packed(v, True, all_seen, E, &scratch)
    while t0 < T:
        count = min(QUERIES, T - t0)
        last = visible(heads, b, t0 + count - 1)
        note_lines(query, t0, count, q)
        scale_lines(count, D, scale, q, scaled)
        note_lines(context, t0, count, c)
        for i in range(count):
            seen[i] = visible(heads, b, t0 + i)
            w[i] = block + i * ld if weights == NULL else weights + (t0 + i) * S
        if T > FEW:
            block_scores(count, seen, q, packed_keys, ld if weights == NULL else S, False, w, acc)
        else:
            few_scores(count, last, D, q, k, False, w)
        alive = 0
        for i in range(count):
            if weights == NULL:
                log_sum = softmax(fill_up(seen[i], <floating>-INFINITY, w[i]), w[i])
            else:
                log_sum = softmax(seen[i], w[i])
            if log_sums != NULL:
                log_sums[t0 + i] = log_sum
            memset(w[i] + seen[i], 0, ((last if weights == NULL else S) - seen[i]) * sizeof(floating))
            if are_zeros(seen[i], <const floating *>w[i]):
                memset(c[i], 0, E * sizeof(floating))
            else:
                w[alive], c[alive], seen[alive] = w[i], c[i], seen[i]
                alive += 1
        if T > FEW:
            mix_block(alive, seen, w, packed_values, c, acc)
        elif alive > 0:
            multiply_few(alive, 0, E, last, <const floating **>w, <const floating **>v,
                         <const floating *>NULL, False, c)
        t0 += count


cdef struct Keys:  # the keys of a head and all that is made of them, for a backward
    void *keys         # pointers to the lines of each
    void *values
    void *dkeys
    void *dvalues
    Packed keys_by_width, values_by_width, keys_by_step


cdef Keys keys_for_backward(
    const Heads *heads, Py_ssize_t b, Operand keys, Operand values, Operand dkeys, Operand dvalues,
    floating zero, char **scratch,
) noexcept nogil:
    """`zero` only tells the precision."""
    cdef Py_ssize_t seen = visible(heads, b, heads.T - 1), size = heads.reach * sizeof(void *)
    cdef Keys all
    cdef floating **k = <floating **>cut(scratch, size)
    cdef floating **v = <floating **>cut(scratch, size)
    cdef floating **dk = <floating **>cut(scratch, size)
    cdef floating **dv = <floating **>cut(scratch, size)
    memset(&all, 0, sizeof(Keys))
    note_lines(keys, 0, seen, k)
    note_lines(values, 0, seen, v)
    note_lines(dkeys, 0, seen, dk)
    note_lines(dvalues, 0, seen, dv)
    all.keys, all.values, all.dkeys, all.dvalues = k, v, dk, dv
    if heads.T > FEW:
        all.keys_by_width = packed(k, False, heads.D, seen, scratch)
        all.values_by_width = packed(v, False, heads.E, seen, scratch)
        all.keys_by_step = packed(k, True, seen, heads.D, scratch)
    return all


cdef void head_backward(
    const Heads *heads, Py_ssize_t b, floating scale, Operand dcontext, const floating *dweights,
    Operand query, Keys keys, const floating *weights, const floating *log_sums, Operand dquery,
    char *scratch,
) noexcept nogil:
    """Adds to dkeys and dvalues.  Either weights and dweights are given, or log_sums."""
    cdef Py_ssize_t T = heads.T, S = heads.S, D = heads.D, E = heads.E
    cdef Py_ssize_t t0 = 0, i, j, count, alive, last
    cdef Py_ssize_t ld = whole_lanes(heads.reach)
    cdef floating **k = <floating **>keys.keys
    cdef floating *acc = <floating *>cut(&scratch, TILE_SIZE)
    cdef floating *scaled = <floating *>cut(&scratch, min(QUERIES, T) * D * sizeof(floating))
    cdef floating *block = <floating *>cut(&scratch, min(QUERIES, T) * ld * sizeof(floating))
    cdef floating *dblock = <floating *>cut(&scratch, min(QUERIES, T) * ld * sizeof(floating))
    cdef floating *q[QUERIES]
    cdef floating *dc[QUERIES]
    cdef floating *w[QUERIES]
    cdef floating *dw[QUERIES]
    cdef floating *dq[QUERIES]
    cdef Py_ssize_t seen[QUERIES]
    while t0 < T:
        count = min(QUERIES, T - t0)
        last = visible(heads, b, t0 + count - 1)
        note_lines(query, t0, count, q)
        scale_lines(count, D, scale, q, scaled)
        note_lines(dcontext, t0, count, dc)
        note_lines(dquery, t0, count, dq)
        for i in range(count):
            seen[i] = visible(heads, b, t0 + i)
            w[i] = block + i * ld if weights == NULL else <floating *>weights + (t0 + i) * S
        if weights == NULL:  # once more, from the scores
            if T > FEW:
                block_scores(count, seen, q, keys.keys_by_width, ld, False, w, acc)
            else:
                few_scores(count, last, D, q, k, False, w)
            for i in range(count):
                softmax_again(fill_up(seen[i], <floating>-INFINITY, w[i]), log_sums[t0 + i], w[i])
                memset(w[i] + seen[i], 0, (last - seen[i]) * sizeof(floating))
        alive = 0
        for i in range(count):
            if are_zeros(seen[i], <const floating *>w[i]):
                memset(dq[i], 0, D * sizeof(floating))
                continue
            q[alive], w[alive], dc[alive], dq[alive], seen[alive] = q[i], w[i], dc[i], dq[i], seen[i]
            dw[alive] = dblock + alive * ld
            if dweights != NULL:
                memcpy(dw[alive], dweights + (t0 + i) * S, last * sizeof(floating))
            alive += 1
        # context = weights values:
        if T > FEW:
            block_scores(alive, seen, dc, keys.values_by_width, ld, dweights != NULL, dw, acc)
        else:
            few_scores(alive, last, E, dc, <floating **>keys.values, dweights != NULL, dw)
        gather_block(alive, last, E, w, dc, <floating **>keys.dvalues, scratch)
        # weights = softmax(scores):
        for i in range(alive):
            if weights == NULL:
                softmax_backward(fill_up(seen[i], <floating>0, dw[i]), <const floating *>w[i], dw[i])
            else:
                softmax_backward(seen[i], <const floating *>w[i], dw[i])
            memset(dw[i] + seen[i], 0, (last - seen[i]) * sizeof(floating))
        # scores = scale query keys^T:
        if T > FEW:
            mix_block(alive, seen, dw, keys.keys_by_step, dq, acc)
        elif alive > 0:
            multiply_few(alive, 0, D, last, <const floating **>dw, <const floating **>k,
                         <const floating *>NULL, False, dq)
        for i in range(alive):
            for j in range(D):
                dq[i][j] *= scale
        gather_block(alive, last, D, dw, q, <floating **>keys.dkeys, scratch)
        t0 += count


cdef void group_backward(
    const Heads *heads, Py_ssize_t b, Py_ssize_t m, floating scale, Operand dcontext,
    const floating *dweights, Operand query, Operand keys, Operand values, const floating *weights,
    const floating *log_sums, Operand dquery, Operand dkeys, Operand dvalues, char *scratch,
) noexcept nogil:
    """All heads of queries that read head m of the keys: its gradients are sums over them."""
    cdef Py_ssize_t T = heads.T, S = heads.S, group = heads.N // heads.M, n, s, at
    cdef Keys all
    dkeys, dvalues = head_of(dkeys, b, m), head_of(dvalues, b, m)
    all = keys_for_backward(heads, b, head_of(keys, b, m), head_of(values, b, m), dkeys, dvalues,
                            scale, &scratch)
    for s in range(S):
        memset(dkeys.start + s * dkeys.step, 0, heads.D * sizeof(floating))
        memset(dvalues.start + s * dvalues.step, 0, heads.E * sizeof(floating))
    for n in range(m * group, (m + 1) * group):
        at = (b * heads.N + n) * T
        head_backward(
            heads, b, scale, head_of(dcontext, b, n),
            <const floating *>NULL if dweights == NULL else dweights + at * S,
            head_of(query, b, n), all,
            <const floating *>NULL if weights == NULL else weights + at * S,
            <const floating *>NULL if log_sums == NULL else log_sums + at,
            head_of(dquery, b, n), scratch)


# --- all heads ------------------------------------------------------------------


cdef int threads_for(const Heads *heads, Py_ssize_t tasks) noexcept nogil:
    cdef Py_ssize_t work = heads.B * heads.N * heads.T * heads.reach * (heads.D + heads.E)
    return <int>max(1, min(max_threads(), tasks)) if work > SMALL else 1


cdef int all_heads_forward(
    Heads heads, floating scale, Operand query, Operand keys, Operand values, Operand context,
    floating *weights, floating *log_sums,
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
                &heads, b, scale, head_of(query, b, i % N), head_of(keys, b, m),
                head_of(values, b, m), head_of(context, b, i % N),
                <floating *>NULL if weights == NULL else weights + i * T * heads.S,
                <floating *>NULL if log_sums == NULL else log_sums + i * T, scratch + part * size)
            i = i + threads
    return 0


cdef int all_heads_backward(
    Heads heads, floating scale, Operand dcontext, const floating *dweights, Operand query,
    Operand keys, Operand values, const floating *weights, const floating *log_sums,
    Operand dquery, Operand dkeys, Operand dvalues,
) except -1:
    """A head of keys is one thread's, with all heads of queries that read it."""
    cdef Py_ssize_t M = heads.M, tasks = heads.B * M, i
    cdef Py_ssize_t size = head_scratch(&heads, sizeof(floating))
    cdef int part, threads = threads_for(&heads, tasks)
    cdef Workspace work = Workspace(threads * size)
    cdef char *scratch = work.take(threads * size)
    for part in prange(threads, nogil=True, num_threads=threads, schedule="static", chunksize=1):
        i = part
        while i < tasks:
            group_backward(
                &heads, i // M, i % M, scale, dcontext, dweights, query, keys, values, weights,
                log_sums, dquery, dkeys, dvalues, scratch + part * size)
            i = i + threads
    return 0
