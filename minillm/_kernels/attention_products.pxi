# Products of a block of queries with keys and values.  Included by attention_heads.pxi.
#
# Structure, from the inside out:
#
#   block_scores      keys times a block of queries
#   mix_block         weights times values:              a sum over the keys
#   gather_block      weights, transposed, times x:      a sum over the queries
#
# A block of scores has a line for each key and a column for each query: so a softmax adds up
# vectors, not what is within them, and no product needs the weights transposed, because a tile may take
# its left matrix by rows or by columns.  The tiles of a causal head leave out nearly all masked keys, and
# a block has no lines for the keys between the sinks and the window of its first query.

cdef enum:
    QUERIES = 64  # of a block at most: TILE_VECTORS vectors of the widest, in numbers of 4 bytes


cdef struct Packed:  # a matrix in panels
    Py_ssize_t depth, columns
    int vectors                  # of a panel
    void *panels


cdef inline Py_ssize_t whole_vectors(Py_ssize_t n, Py_ssize_t itemsize) noexcept nogil:
    """n, or as many more numbers as fill the last vector."""
    return ceil_div(n, VECTOR_BYTES // itemsize) * (VECTOR_BYTES // itemsize)


cdef inline Py_ssize_t packed_size(Py_ssize_t depth, Py_ssize_t columns, Py_ssize_t itemsize) noexcept nogil:
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
        pack(<floating *>b.panels, b.vectors * lanes, <const floating **>lines, by_depth, 0, depth, 0, columns)
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
        tile(<int>count, <int>(width // lanes), depth, a, step,
             <const floating *>b.panels + j * b.depth + first * width, width,
             <const floating **>out if add else <const floating **>NULL, out)
        for m in range(count if not whole else 0):
            copy_columns(c[m] + j, <const floating *>out[m], last - j)
        j = last


cdef struct Block:  # of queries
    Py_ssize_t first, count   # the first query
    Py_ssize_t width          # a whole number of vectors: from one line of the scores to the next
    Py_ssize_t lines          # of the scores: the keys that its queries see
    Py_ssize_t skipped        # keys between the sinks and the window of the first query
    Py_ssize_t position       # the line of the first query's own key


cdef inline Py_ssize_t block_width(const Heads *h, Py_ssize_t itemsize) noexcept nogil:
    """The queries of a block: all blocks have as many vectors, or nearly."""
    cdef Py_ssize_t vectors = ceil_div(h.T * itemsize, VECTOR_BYTES)
    return ceil_div(vectors, ceil_div(vectors, 4)) * VECTOR_BYTES // itemsize


cdef inline Py_ssize_t lines_of_block(const Heads *h, Py_ssize_t reach, Py_ssize_t itemsize) noexcept nogil:
    """The keys that the queries of one block see, at most, of those that a head sees."""
    return min(reach, h.sinks + h.window + block_width(h, itemsize))


cdef inline Block block_from(const Heads *h, Py_ssize_t t0, Py_ssize_t itemsize) noexcept nogil:
    cdef Block block
    block.first, block.width = t0, block_width(h, itemsize)
    block.count = min(block.width, h.T - t0)
    block.skipped = passed(h, t0) - h.sinks
    block.lines = visible(h, t0 + block.count - 1) - block.skipped
    block.position = h.position + t0 - block.skipped
    return block


cdef inline Py_ssize_t first_to_see(Block block, Py_ssize_t s, Py_ssize_t lanes) noexcept nogil:
    """The first query of the block that may see the key of line s, down to a whole number of vectors."""
    return max(0, s - block.position) // lanes * lanes


cdef inline void queries_by_width(Block block, Py_ssize_t width, const floating **q, floating *to) noexcept nogil:
    """to (width, block.width): a column for each query, and zeros in the rest."""
    if block.count < block.width:
        memset(to, 0, width * block.width * sizeof(floating))
    transpose(to, block.width, q, block.count, 0, width)


cdef inline void block_scores(
    Block block, Py_ssize_t width, const floating **k, const floating *q, floating *scores,
) noexcept nogil:
    """scores (seen, block.width) = keys (seen, width) q (width, block.width).

    Vectors of queries that do not see a key are left out.
    """
    cdef Py_ssize_t lanes = VECTOR_BYTES // <Py_ssize_t>sizeof(floating)
    cdef Py_ssize_t used = ceil_div(block.count, lanes), s = 0, first, vectors, rows, m
    cdef floating *out[8]
    while s < block.lines:
        first = first_to_see(block, s, lanes)
        vectors = used - first // lanes
        rows = min(<Py_ssize_t>TILE_ROWS(vectors), block.lines - s)
        for m in range(rows):
            out[m] = scores + (s + m) * block.width + first
        tile(<int>rows, <int>vectors, width, k + s, 1, q + first, block.width, <const floating **>NULL, out)
        s += rows


cdef inline void mix_block(
    const Heads *h, Block block, const floating *weights, Packed values, floating **out, floating *acc,
) noexcept nogil:
    """out (count, E) = weights^T (count, seen) values (seen, E)."""
    cdef Py_ssize_t i = 0, begin, last, first, rows, m
    cdef const floating *a[8]
    while i < block.count:
        rows = min(<Py_ssize_t>TILE_ROWS(values.vectors), block.count - i)
        begin, last = passed(h, block.first + i), visible(h, block.first + i + rows - 1)
        for m in range(rows):
            a[m] = weights + i + m
        if h.sinks > 0:
            times_packed(rows, a, block.width, values, 0, min(h.sinks, last), False, out + i, acc)
        for m in range(rows):
            a[m] += (begin - block.skipped) * block.width
        # Stretches begin at the same positions for all queries, whichever their window and block.
        first = min(last - begin, STRETCH - (begin + h.skipped) % STRETCH)
        if begin < last or h.sinks == 0:
            times_packed(rows, a, block.width, values, begin, first, h.sinks > 0, out + i, acc)
        for m in range(rows):
            a[m] += first * block.width
        if begin + first < last:
            times_packed(rows, a, block.width, values, begin + first, last - begin - first, True, out + i, acc)
        i += rows


cdef inline void gather_block(
    Block block, const floating *weights, Packed x, floating **sums, floating *acc,
) noexcept nogil:
    """sums (seen, E) += weights (seen, count) x (count, E)."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // <Py_ssize_t>sizeof(floating), s = 0, rows, m, first
    cdef const floating *a[8]
    while s < block.lines:
        rows = min(<Py_ssize_t>TILE_ROWS(x.vectors), block.lines - s)
        first = first_to_see(block, s, lanes)
        for m in range(rows):
            a[m] = weights + (s + m) * block.width + first
        times_packed(rows, a, 1, x, first, block.count - first, True, sums + s, acc)
        s += rows
