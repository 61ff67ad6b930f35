# Attention whose score is a product, scale query . key: one head of one row at a time.
#
# Structure, from the inside out:
#
#   block_scores      keys times a block of queries
#   softmax_columns   (attention.h) scores to weights, a vector of queries at a time
#   mix_block         weights times values:              a sum over the keys
#   gather_block      weights, transposed, times x:      a sum over the queries
#   blocks_forward, _backward     blocks of queries through scores, softmax and context
#   few_forward, few_backward     a few queries through the same, from the keys where they lie
#   head_forward, head_backward   whichever of the two it is
#   all_heads_...     the threads
#
# A block of scores has a line for each key and a column for each query: so a softmax adds up
# vectors, not what is within them, and no product needs the weights transposed, for a tile may take
# its left matrix by rows or by columns.  A block of the weights is all that there ever is of them,
# unless they are an output.  The tiles of a causal head leave out nearly all masked keys.
#
# A query that looks at nothing, without a key or with scores of minus infinity alone, has zeros in
# all products: so not even zero times infinity reaches a result.

cdef enum:
    QUERIES = 64  # of a block at most: TILE_VECTORS vectors of the widest, in numbers of 4 bytes
    FEW = 6       # queries at most that read keys where they lie: packing would be a second reading


cdef struct Operand:  # an array (B, heads, steps, width), whose last axis is contiguous
    char *start
    Py_ssize_t row, head, step  # bytes from one to the next


cdef struct Heads:  # the same for all heads of a batch
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


cdef inline Py_ssize_t position(const Heads *heads, Py_ssize_t b, Py_ssize_t t) noexcept nogil:
    """The last key that query t of row b may see, but for the row's length."""
    return heads.start[b] + t if heads.causal else heads.S


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
    Py_ssize_t count, const floating **a, Py_ssize_t step, Packed b, Py_ssize_t first,
    Py_ssize_t depth, bint add, floating **c, floating *acc,
) noexcept nogil:
    """c (count, columns) = a (count, depth) b, or added to c: one tile of rows.

    The numbers of a row of a are `step` apart.  Of b, `depth` lines are used from `first` on.
    """
    cdef Py_ssize_t lanes = VECTOR_BYTES // <Py_ssize_t>sizeof(floating), j = 0, last, width, m
    cdef floating *out[8]
    cdef bint whole
    while j < b.columns:
        last = min(j + b.vectors * lanes, b.columns)
        width = whole_vectors(last - j, sizeof(floating))
        whole = width == last - j  # else by way of acc, whose rows have room for whole vectors
        for m in range(count):
            out[m] = c[m] + j if whole else acc + m * width
            if add and not whole:
                copy_columns(out[m], <const floating *>c[m] + j, last - j)
        tile_apart(<int>count, <int>(width // lanes), depth, a, step,
                   <const floating *>b.panels + j * b.depth + first * width, width,
                   <const floating **>out if add else <const floating **>NULL, out)
        for m in range(count if not whole else 0):
            copy_columns(c[m] + j, <const floating *>out[m], last - j)
        j = last


cdef struct Block:  # of queries
    Py_ssize_t first, count   # the first query
    Py_ssize_t width          # a whole number of vectors: from one line of the scores to the next
    Py_ssize_t last           # keys that its last query sees: lines of the scores
    Py_ssize_t position       # of its first query


cdef inline Py_ssize_t block_width(const Heads *heads, Py_ssize_t itemsize) noexcept nogil:
    """The queries of a block: all blocks have as many vectors, or nearly."""
    cdef Py_ssize_t vectors = ceil_div(heads.T * itemsize, VECTOR_BYTES)
    return ceil_div(vectors, ceil_div(vectors, 4)) * VECTOR_BYTES // itemsize


cdef inline Block block_from(
    const Heads *heads, Py_ssize_t b, Py_ssize_t t0, Py_ssize_t itemsize
) noexcept nogil:
    cdef Block block
    block.first, block.width = t0, block_width(heads, itemsize)
    block.count = min(block.width, heads.T - t0)
    block.last = visible(heads, b, t0 + block.count - 1)
    block.position = position(heads, b, t0)
    return block


cdef inline Py_ssize_t first_to_see(Block block, Py_ssize_t s, Py_ssize_t lanes) noexcept nogil:
    """The first query of the block that may see key s, down to a whole number of vectors."""
    return max(0, s - block.position) // lanes * lanes


cdef inline void queries_by_width(
    Block block, Py_ssize_t width, const floating **q, floating *to
) noexcept nogil:
    """to (width, block.width): a column for each query, and zeros in the rest."""
    if block.count < block.width:
        memset(to, 0, width * block.width * sizeof(floating))
    transpose(to, block.width, q, block.count, 0, width)


cdef inline void block_scores(
    Block block, Py_ssize_t width, const floating **k, const floating *q, bint add,
    floating *scores,
) noexcept nogil:
    """scores (last, block.width) = keys (last, width) q (width, block.width), or added to them.

    Vectors of queries that do not see a key are left out.
    """
    cdef Py_ssize_t lanes = VECTOR_BYTES // <Py_ssize_t>sizeof(floating)
    cdef Py_ssize_t used = ceil_div(block.count, lanes), s = 0, first, vectors, rows, m
    cdef floating *out[8]
    while s < block.last:
        first = first_to_see(block, s, lanes)
        vectors = used - first // lanes
        rows = min(<Py_ssize_t>TILE_ROWS(vectors), block.last - s)
        for m in range(rows):
            out[m] = scores + (s + m) * block.width + first
        tile(<int>rows, <int>vectors, width, k + s, q + first, block.width,
             <const floating **>out if add else <const floating **>NULL, out)
        s += rows


cdef inline void mix_block(
    const Heads *heads, Py_ssize_t b, Block block, const floating *weights, Packed values,
    floating **out, floating *acc,
) noexcept nogil:
    """out (count, E) = weights^T (count, last) values (last, E)."""
    cdef Py_ssize_t i = 0, rows, m
    cdef const floating *a[8]
    while i < block.count:
        rows = min(<Py_ssize_t>TILE_ROWS(values.vectors), block.count - i)
        for m in range(rows):
            a[m] = weights + i + m
        times_packed(rows, a, block.width, values, 0, visible(heads, b, block.first + i + rows - 1),
                     False, out + i, acc)
        i += rows


cdef inline void gather_block(
    Block block, const floating *weights, Packed x, floating **sums, floating *acc,
) noexcept nogil:
    """sums (last, E) += weights (last, count) x (count, E)."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // <Py_ssize_t>sizeof(floating), s = 0, rows, m, first
    cdef const floating *a[8]
    while s < block.last:
        rows = min(<Py_ssize_t>TILE_ROWS(x.vectors), block.last - s)
        first = first_to_see(block, s, lanes)
        for m in range(rows):
            a[m] = weights + (s + m) * block.width + first
        times_packed(rows, a, 1, x, first, block.count - first, True, sums + s, acc)
        s += rows


cdef struct Keys:  # the keys of a head and all that is made of them, for a backward
    void *keys         # pointers to the lines of each
    void *values
    void *dkeys
    void *dvalues
    Packed packed      # keys, unless the queries are few


cdef Keys keys_for_backward(
    const Heads *heads, Py_ssize_t b, Operand keys, Operand values, Operand dkeys, Operand dvalues,
    floating zero, char **scratch,
) noexcept nogil:
    """`zero` only gives the precision."""
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
        all.packed = packed(k, True, seen, heads.D, scratch)
    return all


# --- a few queries ----------------------------------------------------------------


cdef inline Py_ssize_t whole_lanes(Py_ssize_t n) noexcept nogil:
    """n, or as many more as the sums of lanes.h take at once: the rest would take longest."""
    return ceil_div(n, LANES) * LANES


cdef inline Py_ssize_t fill_up(Py_ssize_t n, floating filling, floating *x) noexcept nogil:
    """Numbers behind the first n, so that there are whole lanes; how many there are."""
    cdef Py_ssize_t i, padded = whole_lanes(n)
    for i in range(n, padded):
        x[i] = filling
    return padded


cdef inline void few_scores(
    Py_ssize_t count, Py_ssize_t n, Py_ssize_t D, floating **q, floating **k, bint add,
    floating **scores,
) noexcept nogil:
    """The same from keys where they lie."""
    cdef Py_ssize_t i, s
    for i in range(count):
        for s in range(n):
            scores[i][s] = dot(D, q[i], k[s]) + (scores[i][s] if add else 0)


cdef inline void few_gather(
    Py_ssize_t count, const Py_ssize_t *seen, Py_ssize_t E, floating **weights, floating **x,
    floating **sums,
) noexcept nogil:
    """sums (seen, E) += weights^T (seen, count) x (count, E)."""
    cdef Py_ssize_t i, s
    for i in range(count):
        for s in range(seen[i]):
            add_scaled(E, weights[i][s], <const floating *>x[i], sums[s])


cdef void few_forward(
    const Heads *heads, Py_ssize_t b, floating scale, Operand query, Operand keys, Operand values,
    Operand context, floating *weights, floating *log_sums, char *scratch,
) noexcept nogil:
    cdef Py_ssize_t T = heads.T, S = heads.S, D = heads.D, E = heads.E, i, alive = 0
    cdef Py_ssize_t last = visible(heads, b, T - 1), ld = whole_lanes(heads.reach), seen
    cdef floating **k = <floating **>cut(&scratch, heads.reach * sizeof(void *))
    cdef floating **v = <floating **>cut(&scratch, heads.reach * sizeof(void *))
    cdef floating *scaled = <floating *>cut(&scratch, T * D * sizeof(floating))
    cdef floating *block = <floating *>cut(&scratch, T * ld * sizeof(floating))
    cdef floating *q[FEW]
    cdef floating *w[FEW]
    cdef floating *c[FEW]
    cdef floating log_sum
    note_lines(keys, 0, last, k)
    note_lines(values, 0, last, v)
    note_lines(query, 0, T, q)
    scale_lines(T, D, scale, q, scaled)
    note_lines(context, 0, T, c)
    for i in range(T):
        w[i] = block + i * ld if weights == NULL else weights + i * S
    few_scores(T, last, D, q, k, False, w)
    for i in range(T):
        seen = visible(heads, b, i)
        if weights == NULL:
            log_sum = softmax(fill_up(seen, <floating>-INFINITY, w[i]), w[i])
        else:
            log_sum = softmax(seen, w[i])
        if log_sums != NULL:
            log_sums[i] = log_sum
        memset(w[i] + seen, 0, ((last if weights == NULL else S) - seen) * sizeof(floating))
        if are_zeros(seen, <const floating *>w[i]):
            memset(c[i], 0, E * sizeof(floating))
        else:
            w[alive], c[alive] = w[i], c[i]
            alive += 1
    if alive > 0:
        multiply_few(alive, 0, E, last, <const floating **>w, <const floating **>v,
                     <const floating *>NULL, False, c)


cdef void few_backward(
    const Heads *heads, Py_ssize_t b, floating scale, Operand dcontext, const floating *dweights,
    Operand query, Keys keys, const floating *weights, const floating *log_sums, Operand dquery,
    char *scratch,
) noexcept nogil:
    cdef Py_ssize_t T = heads.T, S = heads.S, D = heads.D, E = heads.E, i, j, n, alive = 0
    cdef Py_ssize_t last = visible(heads, b, T - 1), ld = whole_lanes(heads.reach)
    cdef floating *scaled = <floating *>cut(&scratch, T * D * sizeof(floating))
    cdef floating *block = <floating *>cut(&scratch, T * ld * sizeof(floating))
    cdef floating *dblock = <floating *>cut(&scratch, T * ld * sizeof(floating))
    cdef floating *q[FEW]
    cdef floating *dc[FEW]
    cdef floating *w[FEW]
    cdef floating *dw[FEW]
    cdef floating *dq[FEW]
    cdef Py_ssize_t seen[FEW]
    note_lines(query, 0, T, q)
    scale_lines(T, D, scale, q, scaled)
    note_lines(dcontext, 0, T, dc)
    note_lines(dquery, 0, T, dq)
    for i in range(T):
        w[i] = block + i * ld if weights == NULL else <floating *>weights + i * S
    if weights == NULL:  # once more, from the scores
        few_scores(T, last, D, q, <floating **>keys.keys, False, w)
    for i in range(T):
        n = visible(heads, b, i)
        if weights == NULL:
            softmax_again(fill_up(n, <floating>-INFINITY, w[i]), log_sums[i], w[i])
            memset(w[i] + n, 0, (last - n) * sizeof(floating))
        if are_zeros(n, <const floating *>w[i]):
            memset(dq[i], 0, D * sizeof(floating))
            continue
        q[alive], w[alive], dc[alive], dq[alive], seen[alive] = q[i], w[i], dc[i], dq[i], n
        dw[alive] = dblock + alive * ld
        if dweights != NULL:
            memcpy(dw[alive], dweights + i * S, last * sizeof(floating))
        alive += 1
    # context = weights values:
    few_scores(alive, last, E, dc, <floating **>keys.values, dweights != NULL, dw)
    few_gather(alive, seen, E, w, dc, <floating **>keys.dvalues)
    # weights = softmax(scores):
    for i in range(alive):
        softmax_backward(seen[i], <const floating *>w[i], dw[i])
        memset(dw[i] + seen[i], 0, (last - seen[i]) * sizeof(floating))
    # scores = scale query keys^T:
    if alive > 0:
        multiply_few(alive, 0, D, last, <const floating **>dw, <const floating **>keys.keys,
                     <const floating *>NULL, False, dq)
    for i in range(alive):
        for j in range(D):
            dq[i][j] *= scale
    few_gather(alive, seen, D, dw, q, <floating **>keys.dkeys)


# --- one head -------------------------------------------------------------------


cdef Py_ssize_t head_scratch(const Heads *heads, Py_ssize_t itemsize) noexcept nogil:
    cdef Py_ssize_t reach = heads.reach, both = heads.D + heads.E
    cdef Py_ssize_t count = block_width(heads, itemsize)
    cdef Py_ssize_t size = 4 * reach * sizeof(void *) + 16 * 64
    if heads.T <= FEW:
        size += heads.T * (heads.D + 2 * whole_lanes(reach)) * itemsize
    else:
        size += TILE_SIZE + packed_size(reach, max(heads.D, heads.E), itemsize)
        size += count * (heads.D + both + 2 * reach) * itemsize
        size += packed_size(count, heads.D, itemsize) + packed_size(count, heads.E, itemsize)
    return ceil_div(size, 64) * 64


cdef inline void softmax_block(
    const Heads *heads, Py_ssize_t b, Block block, floating *x, floating *log_sums, floating *sums,
) noexcept nogil:
    """Turn scores into weights; those of masked keys become zero."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // <Py_ssize_t>sizeof(floating), i = 0, seen
    while i < block.count:
        seen = visible(heads, b, block.first + min(i + lanes, block.count) - 1)
        hide(seen, block.width, block.position + i, <floating>-INFINITY, x + i)
        softmax_columns(seen, block.width, x + i, log_sums + i, sums + i)
        fill(block.last - seen, block.width, <floating>0, x + seen * block.width + i)
        i += lanes


cdef inline void softmax_block_again(
    const Heads *heads, Py_ssize_t b, Block block, floating *x, const floating *log_sums,
) noexcept nogil:
    cdef Py_ssize_t lanes = VECTOR_BYTES // <Py_ssize_t>sizeof(floating), i = 0, seen
    while i < block.count:
        seen = visible(heads, b, block.first + min(i + lanes, block.count) - 1)
        softmax_again_columns(seen, block.width, log_sums + i, x + i)
        hide(seen, block.width, block.position + i, <floating>0, x + i)
        fill(block.last - seen, block.width, <floating>0, x + seen * block.width + i)
        i += lanes


cdef inline void softmax_block_backward(
    const Heads *heads, Py_ssize_t b, Block block, floating *w, floating *dw, floating *sums,
) noexcept nogil:
    cdef Py_ssize_t lanes = VECTOR_BYTES // <Py_ssize_t>sizeof(floating), i = 0, seen
    while i < block.count:
        seen = visible(heads, b, block.first + min(i + lanes, block.count) - 1)
        hide(seen, block.width, block.position + i, <floating>0, dw + i)
        softmax_backward_columns(seen, block.width, <const floating *>w + i, dw + i, sums + i)
        hide(seen, block.width, block.position + i, <floating>0, dw + i)
        fill(block.last - seen, block.width, <floating>0, dw + seen * block.width + i)
        i += lanes


cdef inline void weights_out(
    Block block, floating *w, floating *weights, Py_ssize_t S, floating **lines
) noexcept nogil:
    """weights (count, S) of a block, a row for each query; zeros for keys that do not exist.

    There is room for the last `lines`.
    """
    cdef Py_ssize_t s, i
    for s in range(block.last):
        lines[s] = w + s * block.width
    transpose(weights, S, <const floating **>lines, block.last, 0, block.count)
    for i in range(block.count):
        memset(weights + i * S + block.last, 0, (S - block.last) * sizeof(floating))


cdef inline void weights_in(
    Block block, const floating *weights, Py_ssize_t S, floating *w
) noexcept nogil:
    """The same back: w (last, block.width)."""
    cdef const floating *rows[QUERIES]
    cdef Py_ssize_t i
    for i in range(block.count):
        rows[i] = weights + i * S
    queries_by_width(block, block.last, rows, w)


cdef void blocks_forward(
    const Heads *heads, Py_ssize_t b, floating scale, Operand query, Operand keys, Operand values,
    Operand context, floating *weights, floating *log_sums, char *scratch,
) noexcept nogil:
    cdef Py_ssize_t S = heads.S, D = heads.D, E = heads.E, i, t = 0
    cdef Py_ssize_t all_seen = visible(heads, b, heads.T - 1)
    cdef Py_ssize_t most = block_width(heads, sizeof(floating)), size = sizeof(floating)
    cdef floating **k = <floating **>cut(&scratch, heads.reach * sizeof(void *))
    cdef floating **v = <floating **>cut(&scratch, heads.reach * sizeof(void *))
    cdef floating *acc = <floating *>cut(&scratch, TILE_SIZE)
    cdef floating *scaled = <floating *>cut(&scratch, most * D * size)
    cdef floating *by_width = <floating *>cut(&scratch, most * D * size)
    cdef floating *w = <floating *>cut(&scratch, most * heads.reach * size)
    cdef floating *q[QUERIES]
    cdef floating *c[QUERIES]
    cdef floating block_log_sums[QUERIES]
    cdef floating sums[QUERIES]
    cdef Block block
    cdef Packed packed_values
    note_lines(keys, 0, all_seen, k)
    note_lines(values, 0, all_seen, v)
    packed_values = packed(v, True, all_seen, E, &scratch)
    while t < heads.T:
        block = block_from(heads, b, t, sizeof(floating))
        note_lines(query, t, block.count, q)
        scale_lines(block.count, D, scale, q, scaled)
        note_lines(context, t, block.count, c)
        queries_by_width(block, D, <const floating **>q, by_width)
        block_scores(block, D, <const floating **>k, <const floating *>by_width, False, w)
        softmax_block(heads, b, block, w, block_log_sums, sums)
        mix_block(heads, b, block, <const floating *>w, packed_values, c, acc)
        for i in range(block.count):
            if sums[i] == 0:
                memset(c[i], 0, E * size)
        if log_sums != NULL:
            memcpy(log_sums + t, block_log_sums, block.count * size)
        if weights != NULL:
            weights_out(block, w, weights + t * S, S, v)  # the values are packed
        t += most


cdef void blocks_backward(
    const Heads *heads, Py_ssize_t b, floating scale, Operand dcontext, const floating *dweights,
    Operand query, Keys keys, const floating *weights, const floating *log_sums, Operand dquery,
    char *scratch,
) noexcept nogil:
    cdef Py_ssize_t S = heads.S, D = heads.D, E = heads.E, t = 0, i, j
    cdef Py_ssize_t most = block_width(heads, sizeof(floating)), size = sizeof(floating)
    cdef floating *acc = <floating *>cut(&scratch, TILE_SIZE)
    cdef floating *scaled = <floating *>cut(&scratch, most * D * size)
    cdef floating *by_width = <floating *>cut(&scratch, most * max(D, E) * size)
    cdef floating *w = <floating *>cut(&scratch, most * heads.reach * size)
    cdef floating *dw = <floating *>cut(&scratch, most * heads.reach * size)
    cdef floating *q[QUERIES]
    cdef floating *dc[QUERIES]
    cdef floating *dq[QUERIES]
    cdef floating sums[QUERIES]
    cdef Block block
    cdef char *rest
    while t < heads.T:
        block = block_from(heads, b, t, sizeof(floating))
        note_lines(query, t, block.count, q)
        scale_lines(block.count, D, scale, q, scaled)
        note_lines(dcontext, t, block.count, dc)
        note_lines(dquery, t, block.count, dq)
        if weights == NULL:  # once more, from the scores
            queries_by_width(block, D, <const floating **>q, by_width)
            block_scores(block, D, <const floating **>keys.keys, <const floating *>by_width,
                         False, w)
            memset(sums, 0, sizeof(sums))
            memcpy(sums, log_sums + t, block.count * size)
            softmax_block_again(heads, b, block, w, <const floating *>sums)
        else:
            weights_in(block, weights + t * S, S, w)
            weights_in(block, dweights + t * S, S, dw)
        # context = weights values:
        queries_by_width(block, E, <const floating **>dc, by_width)
        block_scores(block, E, <const floating **>keys.values, <const floating *>by_width,
                     dweights != NULL, dw)
        # weights = softmax(scores):
        softmax_block_backward(heads, b, block, w, dw, sums)
        # scores = scale query keys^T:
        mix_block(heads, b, block, <const floating *>dw, keys.packed, dq, acc)
        memset(by_width, 0, max(D, E) * size)
        for i in range(block.count):
            for j in range(D):
                dq[i][j] *= scale
            if sums[i] == 0:
                memset(dq[i], 0, D * size)
                q[i] = dc[i] = by_width  # zeros
        rest = scratch
        gather_block(block, <const floating *>w, packed(dc, True, block.count, E, &rest),
                     <floating **>keys.dvalues, acc)
        gather_block(block, <const floating *>dw, packed(q, True, block.count, D, &rest),
                     <floating **>keys.dkeys, acc)
        t += most


cdef void head_forward(
    const Heads *heads, Py_ssize_t b, floating scale, Operand query, Operand keys, Operand values,
    Operand context, floating *weights, floating *log_sums, char *scratch,
) noexcept nogil:
    """weights, or log_sums, may be NULL if they are not needed."""
    if heads.T <= FEW:
        few_forward(heads, b, scale, query, keys, values, context, weights, log_sums, scratch)
    else:
        blocks_forward(heads, b, scale, query, keys, values, context, weights, log_sums, scratch)


cdef void head_backward(
    const Heads *heads, Py_ssize_t b, floating scale, Operand dcontext, const floating *dweights,
    Operand query, Keys keys, const floating *weights, const floating *log_sums, Operand dquery,
    char *scratch,
) noexcept nogil:
    """Adds to dkeys and dvalues.  Either weights and dweights are given, or log_sums."""
    if heads.T <= FEW:
        few_backward(
            heads, b, scale, dcontext, dweights, query, keys, weights, log_sums, dquery, scratch)
    else:
        blocks_backward(
            heads, b, scale, dcontext, dweights, query, keys, weights, log_sums, dquery, scratch)


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


cdef struct AllHeads:  # the arguments of the two functions below
    Heads heads
    double scale
    Operand query, keys, values, context, dcontext, dquery, dkeys, dvalues
    Output weights, log_sums
    Input dweights
    char *scratch
    Py_ssize_t scratch_each


cdef int all_heads_forward(
    Heads heads, floating scale, Operand query, Operand keys, Operand values, Operand context,
    floating *weights, floating *log_sums,
) except -1:
    """A head of queries is a task."""
    cdef AllHeads w
    w.heads, w.scale, w.scratch_each = heads, scale, head_scratch(&heads, sizeof(floating))
    w.query, w.keys, w.values, w.context = query, keys, values, context
    w.weights, w.log_sums = weights, log_sums
    cdef Py_ssize_t tasks = heads.B * heads.N
    cdef int threads = threads_for(&heads, tasks)
    cdef Workspace work = Workspace(threads * w.scratch_each)
    w.scratch = work.take(threads * w.scratch_each)
    with nogil:
        share(<Body>heads_forward[floating], &w, tasks, threads)
    return 0


cdef void heads_forward(floating *of_type, void *work, Part part) noexcept nogil:
    cdef AllHeads *w = <AllHeads *>work
    cdef Py_ssize_t N = w.heads.N, T = w.heads.T, i, b, m
    for i in range(part.first, part.last):
        b = i // N
        m = i % N // (N // w.heads.M)
        head_forward(
            &w.heads, b, <floating>w.scale, head_of(w.query, b, i % N), head_of(w.keys, b, m),
            head_of(w.values, b, m), head_of(w.context, b, i % N),
            <floating *>NULL if w.weights == NULL else <floating *>w.weights + i * T * w.heads.S,
            <floating *>NULL if w.log_sums == NULL else <floating *>w.log_sums + i * T,
            w.scratch + part.me * w.scratch_each)


cdef int all_heads_backward(
    Heads heads, floating scale, Operand dcontext, const floating *dweights, Operand query,
    Operand keys, Operand values, const floating *weights, const floating *log_sums,
    Operand dquery, Operand dkeys, Operand dvalues,
) except -1:
    """A head of keys is a task, with all heads of queries that read it."""
    cdef AllHeads w
    w.heads, w.scale, w.scratch_each = heads, scale, head_scratch(&heads, sizeof(floating))
    w.query, w.keys, w.values, w.dcontext = query, keys, values, dcontext
    w.dquery, w.dkeys, w.dvalues, w.dweights = dquery, dkeys, dvalues, dweights
    w.weights, w.log_sums = <void *>weights, <void *>log_sums
    cdef Py_ssize_t tasks = heads.B * heads.M
    cdef int threads = threads_for(&heads, tasks)
    cdef Workspace work = Workspace(threads * w.scratch_each)
    w.scratch = work.take(threads * w.scratch_each)
    with nogil:
        share(<Body>heads_backward[floating], &w, tasks, threads)
    return 0


cdef void heads_backward(floating *of_type, void *work, Part part) noexcept nogil:
    cdef AllHeads *w = <AllHeads *>work
    cdef Py_ssize_t M = w.heads.M, i
    for i in range(part.first, part.last):
        group_backward(
            &w.heads, i // M, i % M, <floating>w.scale, w.dcontext, <const floating *>w.dweights,
            w.query, w.keys, w.values, <const floating *>w.weights, <const floating *>w.log_sums,
            w.dquery, w.dkeys, w.dvalues, w.scratch + part.me * w.scratch_each)
