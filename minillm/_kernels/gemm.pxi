# The matrix product of all kernels: C = A B, + bias, or + C.
#
# Structure, from the inside out:
#
#   tile           some rows by some vectors of C in registers (tile.h)
#   pack           a panel of B, 2 to 4 vectors wide, laid out in the order that the tile reads it
#   multiply_part  a part of C: blocks of the depth, of A's rows, of B's panels
#   multiply_few   a part of a C of few rows, for which B is not packed
#   multiply_lines the same by whole lines of B
#   product        cuts C into a part for each thread
#
# Why it is fast.  What is used again is near: a panel of B, while some tiles of A's rows pass over it
# (TILES_TOGETHER in tile.h), and these rows, while all panels of a block of B pass.  On AVX2 a panel
# fits into the first-level cache, the rows into the second, and the block into the third.  On the
# others, whose tiles have more rows, only one tile passes, its rows are in the first level, and the
# block in the second.  A is read in place, because a tile takes pointers to rows; B is copied
# once into panels, because a panel's lines would otherwise be a page apart.
#
# An operand is a list of pointers to its lines.  They are its rows, or, for an
# operand that is a transpose, its columns: it matters whether a line runs
# `by_depth` (each line is one step of the depth) or along it.  A list of lines
# also lets a recurrence leave out the steps beyond a sequence's end.
#
# Threads split C, never a sum, and a sum runs in the order of the depth and by
# the stretches of tile.h in whatever way C is cut: so the bits do not depend on
# the number of threads, nor a row on its neighbours.

include "tile.pxi"

cdef enum:
    DEPTH_BYTES = 2048   # of a row of A in a block, but for the last: whole stretches of tile.h
    WIDEST_BLOCK = 1024  # columns of B, at most
    BLOCK_ROWS = 1024    # of A in a block, where it has to be transposed
    LAYING_OUT = 10      # multiply-adds that take as long as to lay out one number
    FEW_BYTES = 4194304  # of a B that FEW_ROWS read: more comes from memory, which gives whole lines fastest
    AT_ONCE = 24         # tiles of all rows, at most, for which a block of B is small
    FEW_COLUMNS = 128    # of that block
    SUMS_BYTES = 32768   # of rows of C whose sums multiply_lines keeps at a time: a thread's stack may be small
    SMALL = 500000       # multiply-adds that are not worth waking another thread for


cdef inline Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a + b - 1) // b


cdef inline void copy_columns(floating *to, const floating *source, Py_ssize_t count) noexcept nogil:
    """Copy `count` numbers, a vector at a time while there is a whole one."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating)
    while count >= lanes:
        memcpy(to, source, VECTOR_BYTES)
        to += lanes
        source += lanes
        count -= lanes
    for j in range(count):
        to[j] = source[j]


cdef void transpose(floating *to, Py_ssize_t ld, const floating **lines, Py_ssize_t count,
                    Py_ssize_t start, Py_ssize_t length) noexcept nogil:
    """to[j * ld + i] = lines[i][start + j], by squares as large as will fit."""
    cdef Py_ssize_t square = SQUARE_SIDE(sizeof(floating)), i = 0, j, m, rows
    while i < count:
        rows = square if i + square <= count else 4 if i + 4 <= count else 1
        j = 0
        while rows == square and j + square <= length:
            for m in range(i + square, min(i + 2 * square, count)):  # the squares below it
                PREFETCH(lines[m] + start + j)
            transpose_square(to + j * ld + i, ld, lines + i, start + j)
            j += square
        while rows >= 4 and j + 4 <= length:
            for m in range(i, i + rows, 4):
                transpose_4x4(to + j * ld + m, ld, lines + m, start + j)
            j += 4
        while j < length:
            for m in range(i, i + rows):
                to[j * ld + m] = lines[m][start + j]
            j += 1
        i += rows


cdef void pack(floating *panels, Py_ssize_t width, const floating **b, bint by_depth,
               Py_ssize_t k0, Py_ssize_t k1, Py_ssize_t n0, Py_ssize_t n1) noexcept nogil:
    """Lay out B's lines k0 to k1, columns n0 to n1, as panels: panel[k - k0][column].

    A panel is `width` columns wide, the last one as many vectors as it needs,
    filled up with zeros.
    """
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), depth = k1 - k0, k, j, last, taken
    last = n0 + (n1 - n0 - 1) // width * width  # where the last panel begins
    taken = ceil_div(n1 - last, lanes) * lanes
    if n1 - last < taken:
        memset(panels + (last - n0) * depth, 0, depth * taken * sizeof(floating))
    if by_depth:
        for k in range(k0, k1):
            if k + 4 < k1:
                prefetch(b[k + 4] + n0, n1 - n0)
            j = n0
            while j < last:
                copy_columns(panels + (j - n0) * depth + (k - k0) * width, b[k] + j, width)
                j += width
            copy_columns(panels + (last - n0) * depth + (k - k0) * taken, b[k] + last, n1 - last)
    else:
        j = n0
        while j <= last:
            transpose(panels + (j - n0) * depth, width if j < last else taken, b + j, min(width, n1 - j), k0, depth)
            j += width


cdef inline void multiply_tile(
    Py_ssize_t m0, Py_ssize_t m1, Py_ssize_t n0, Py_ssize_t n1, int vectors, Py_ssize_t depth,
    const floating **rows, const floating *panel, Py_ssize_t ldb,
    const floating *bias, bint add, floating **c, floating *acc, bint pairs,
) noexcept nogil:
    """One tile of C, added to C (add), to the bias, or to zero."""
    cdef Py_ssize_t width = vectors * (VECTOR_BYTES // <Py_ssize_t>sizeof(floating)), m
    cdef bint whole = n1 - n0 == width  # else by way of acc, whose rows have room for whole vectors
    cdef const floating *start[8]
    cdef floating *out[8]
    for m in range(m0, m1):
        start[m - m0] = bias + n0
        if add:
            start[m - m0] = c[m] + n0
        out[m - m0] = c[m] + n0 if whole else acc + (m - m0) * width
        if not whole and (add or bias != NULL):
            copy_columns(acc + (m - m0) * width, start[m - m0], n1 - n0)
            start[m - m0] = acc + (m - m0) * width
    tile_of(pairs, <int>(m1 - m0), vectors, depth, rows, panel, ldb,
            <const floating **>start if add or bias != NULL else <const floating **>NULL, out)
    if not whole:
        for m in range(m0, m1):
            copy_columns(c[m] + n0, acc + (m - m0) * width, n1 - n0)


cdef inline bint is_few(
    Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, bint a_by_depth, bint b_by_depth, Py_ssize_t itemsize,
) noexcept nogil:
    """Whether multiply_few does the work."""
    if a_by_depth or not b_by_depth:
        return False
    return M <= TILE_ROWS(4) or (M <= FEW_ROWS and N * K * itemsize <= FEW_BYTES)


cdef inline Py_ssize_t deepest_block(Py_ssize_t K, Py_ssize_t itemsize) noexcept nogil:
    """The most lines of a block of B: the last block is up to a stretch deeper than the others.

    A shallow block would move C for little work.
    """
    cdef Py_ssize_t depth = DEPTH_BYTES // itemsize, blocks = max(1, ceil_div(K - STRETCH, depth))
    return max(1, min(K, depth), K - (blocks - 1) * depth)


cdef inline Py_ssize_t widest_block(Py_ssize_t depth, Py_ssize_t itemsize) noexcept nogil:
    """The most columns of a block of B of this depth: whole vectors."""
    return min(WIDEST_BLOCK, BLOCK_BYTES // (depth * VECTOR_BYTES) * (VECTOR_BYTES // itemsize))


cdef inline Py_ssize_t padded_row(Py_ssize_t size) noexcept nogil:
    """The bytes from row to row: whole lines of the cache, one more than the row needs.

    Rows a power of two apart would all want the same places of the cache.
    """
    return ceil_div(size, 64) * 64 + 64


cdef Py_ssize_t scratch_size(Py_ssize_t M, Py_ssize_t K, bint a_by_depth, Py_ssize_t itemsize) noexcept nogil:
    """The bytes of scratch that multiply_part needs."""
    cdef Py_ssize_t depth = deepest_block(K, itemsize), rows = min(M, BLOCK_ROWS) if a_by_depth else 0
    # multiply_part's blocks may be less deep, and then wider.
    cdef Py_ssize_t block = min(WIDEST_BLOCK * depth * itemsize, BLOCK_BYTES)
    return TILE_SIZE + block + rows * padded_row(depth * itemsize) + 128


cdef void multiply_part(
    Py_ssize_t m0, Py_ssize_t m1, Py_ssize_t n0, Py_ssize_t n1, Py_ssize_t K, const floating **a, bint a_by_depth,
    const floating **b, bint b_by_depth, const floating *bias, bint add, floating **c, char *scratch, bint pairs,
) noexcept nogil:
    """Rows m0 to m1 and columns n0 to n1 of C; in pairs, K is the number of those."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating)
    cdef Py_ssize_t all_vectors = ceil_div(n1 - n0, lanes)
    cdef Py_ssize_t deepest = deepest_block(K, sizeof(floating))
    cdef Py_ssize_t widest = min(4, max(2, PANEL_BYTES // (deepest * VECTOR_BYTES)))
    # Panels of equal width: five vectors are 3 + 2, which waste less than 4 + 1.
    cdef int vectors = <int>ceil_div(all_vectors, max(1, ceil_div(all_vectors, widest)))
    cdef Py_ssize_t width = vectors * lanes
    cdef Py_ssize_t block_depth = DEPTH_BYTES // <Py_ssize_t>sizeof(floating)
    cdef Py_ssize_t most_columns = widest_block(deepest, sizeof(floating))
    # Few rows pass over a panel together; a block of a few panels then stays in the second-level cache.
    cdef bint at_once = TILES_TOGETHER > 1 and m1 - m0 <= AT_ONCE * TILE_ROWS(vectors)
    cdef Py_ssize_t together = AT_ONCE if at_once else TILES_TOGETHER
    cdef Py_ssize_t block_columns = min(most_columns, FEW_COLUMNS if at_once else most_columns) // max(1, width) * width
    cdef Py_ssize_t block_rows = BLOCK_ROWS if a_by_depth else max(1, m1 - m0)
    cdef Py_ssize_t lda = padded_row(deepest * sizeof(floating)) // <Py_ssize_t>sizeof(floating)
    cdef floating *acc = <floating *>scratch
    cdef floating *b_block = <floating *>(scratch + TILE_SIZE)
    cdef floating *a_block = b_block + deepest * most_columns
    cdef const floating *rows[8 * AT_ONCE]
    cdef Py_ssize_t k0 = 0, depth, r0, r1, c0, c1, groups, g, g0, g1, j, tiles, t, t0, t1, m
    if m1 <= m0 or n1 <= n0:
        return
    while k0 == 0 or k0 < K:  # once for a depth of 0 as well: C = bias
        depth = block_depth if K - k0 > block_depth + STRETCH else K - k0
        r0 = m0
        while r0 < m1:
            r1 = min(r0 + block_rows, m1)
            if a_by_depth:
                transpose(a_block, lda, a + k0, depth, r0, r1 - r0)
            c0 = n0
            while c0 < n1:
                c1 = min(c0 + block_columns, n1)
                pack(b_block, width, b, b_by_depth, k0, k0 + depth, c0, c1)
                groups = ceil_div(ceil_div(r1 - r0, TILE_ROWS(vectors)), together)
                for g in range(groups):
                    g0 = r0 + g * (r1 - r0) // groups
                    g1 = r0 + (g + 1) * (r1 - r0) // groups
                    tiles = ceil_div(g1 - g0, TILE_ROWS(vectors))
                    for m in range(g0, g1):
                        rows[m - g0] = (<const floating *>a_block + (m - r0) * lda) if a_by_depth else a[m] + k0
                    j = c0
                    while j < c1:
                        t1 = g0
                        for t in range(tiles):
                            t0, t1 = t1, g0 + (t + 1) * (g1 - g0) // tiles
                            # The next tile's output.  Not past c1: there, another thread may write.
                            for m in range(t1, min(2 * t1 - t0, g1)):
                                prefetch(c[m] + j, min(width, c1 - j))
                            for m in range(g0, g0 + t1 - t0 if t1 == g1 else g0):
                                prefetch(c[m] + j + width, min(width, c1 - j - width))
                            multiply_tile(
                                t0, t1, j, min(j + width, n1),
                                <int>min(vectors, ceil_div(n1 - j, lanes)), depth, rows + t0 - g0,
                                b_block + (j - c0) * depth, min(width, ceil_div(n1 - j, lanes) * lanes),
                                bias, add or k0 > 0, c, acc, pairs)
                        j += width
                c0 = c1
            r0 = r1
        k0 += max(1, depth)


cdef void multiply_few(
    Py_ssize_t M, Py_ssize_t n0, Py_ssize_t n1, Py_ssize_t K, const floating **a, const floating **b,
    const floating *bias, bint add, floating **c,
) noexcept nogil:
    """Products of a few rows.  Packing B would read it a second time, so it is read in place.

    Its lines are the same distance apart.
    """
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), whole = n1 - (n1 - n0) % lanes
    cdef int most = 4 if M <= TILE_ROWS(4) else 3, vectors
    cdef Py_ssize_t tiles = ceil_div(M, TILE_ROWS(most)), t, m0, m1
    cdef bint is_large = (n1 - n0) * K * <Py_ssize_t>sizeof(floating) > FEW_BYTES
    if M == 1 or (is_large and M <= TILE_ROWS(4)):
        multiply_lines(LINES if is_large else K, M, n0, n1, K, a, b, bias, add, c)
        return
    while n0 < whole:
        vectors = <int>min(most, (whole - n0) // lanes)
        for t in range(tiles):
            m0, m1 = t * M // tiles, (t + 1) * M // tiles
            multiply_tile(m0, m1, n0, n0 + vectors * lanes, vectors, K, a + m0, b[0] + n0,
                          b[1] - b[0] if K > 1 else 0, bias, add, c, NULL, False)
        n0 += vectors * lanes
    multiply_rest(M, whole, n1, K, a, b, bias, add, c)


cdef void multiply_lines(
    Py_ssize_t at_once, Py_ssize_t M, Py_ssize_t n0, Py_ssize_t n1, Py_ssize_t K,
    const floating **a, const floating **b, const floating *bias, bint add, floating **c,
) noexcept nogil:
    """At most 8 rows read `at_once` lines of B at a time: LINES from memory, all K from a cache."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), whole = n1 - (n1 - n0) % lanes
    cdef Py_ssize_t k, count, last, m, row = min(SUMS_BYTES // 2, SUMS_BYTES // max(1, M) // 64 * 64)
    cdef char memory[SUMS_BYTES + 8 * 64]  # each stretch of the depth is summed from zero
    cdef const floating *a_k[8]
    cdef floating *sums[8]
    multiply_rest(M, whole, n1, K, a, b, bias, add, c)
    at_once = min(at_once, STRETCH)
    while n0 < whole:
        last, k = min(whole, n0 + row // <Py_ssize_t>sizeof(floating)), 0
        for m in range(M):
            sums[m] = <floating *>(memory + m * padded_row(row)) - n0
            if not add and bias != NULL:
                copy_columns(c[m] + n0, bias + n0, last - n0)
            elif not add:
                memset(c[m] + n0, 0, (last - n0) * sizeof(floating))
        while k < K:
            count = min(at_once, K - k)
            for m in range(M):
                a_k[m] = a[m] + k
                if k % STRETCH == 0:
                    memset(sums[m] + n0, 0, (last - n0) * sizeof(floating))
            tile_lines(<int>M, count, n0, last, a_k, b + k, b[k + at_once] - b[k] if k + at_once < K else 0, sums)
            k += count
            for m in range(M if k % STRETCH == 0 or k == K else 0):
                add_line(last - n0, <const floating *>sums[m] + n0, c[m] + n0)
        n0 = last


cdef void multiply_rest(
    Py_ssize_t M, Py_ssize_t n0, Py_ssize_t n1, Py_ssize_t K, const floating **a, const floating **b,
    const floating *bias, bint add, floating **c,
) noexcept nogil:
    """Fewer columns than a vector has."""
    cdef char scratch[TILE_SIZE + ((DEPTH_BYTES >> 2) + STRETCH) * VECTOR_BYTES]
    multiply_part(0, M, n0, n1, K, a, False, b, True, bias, add, c, scratch, False)


cdef int parts_of_rows(Py_ssize_t M, Py_ssize_t N, Py_ssize_t lanes, int threads) noexcept nogil:
    """The parts into which C's rows are cut, each for threads / parts parts of the columns.

    The most that a thread has to do is to be little: the products, and laying out its columns
    of B and its rows of A.
    """
    cdef Py_ssize_t rows, columns, cost, least = -1
    cdef int parts, best = 1
    for parts in range(threads, 0, -1):
        if threads % parts == 0:
            rows = ceil_div(M, parts)
            columns = ceil_div(ceil_div(N, lanes), threads // parts) * lanes
            cost = rows * columns + LAYING_OUT * (rows + columns)
            if least < 0 or cost < least:
                least, best = cost, parts
    return best


cdef Py_ssize_t lines_size(Py_ssize_t lists, Py_ssize_t lines):
    """The bytes of so many lists, which have so many lines altogether."""
    return lines * sizeof(void *) + lists * 64


cdef const floating **lines_of(
    Workspace work, const floating *x, Py_ssize_t count, Py_ssize_t apart, const Py_ssize_t *places=NULL
):
    """Lines of x, `apart` from each other: the first ones, or those at some places."""
    cdef const floating **lines = <const floating **>work.take(count * sizeof(void *))
    cdef Py_ssize_t i
    for i in range(count):
        lines[i] = x + (i if places == NULL else places[i]) * apart
    return lines


include "bfloat16.pxi"


cdef struct Product:  # and how C is cut
    Py_ssize_t M, N, K
    Output a, b, c  # pointers to lines
    Input bias
    bint a_by_depth, b_by_depth, add, few, pairs
    int row_parts, column_parts
    char *scratch
    Py_ssize_t scratch_each


cdef void multiply_parts(floating *of_type, void *work, Part part) noexcept nogil:
    """Parts first to last of C."""
    cdef Product p = (<Product *>work)[0]
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), vectors = ceil_div(p.N, lanes)
    cdef Py_ssize_t i, row, column, n0, n1
    for i in range(part.first, part.last):
        row, column = i // p.column_parts, i % p.column_parts
        n0 = column * vectors // p.column_parts * lanes
        n1 = min(p.N, (column + 1) * vectors // p.column_parts * lanes)
        if p.few:
            multiply_few(p.M, n0, n1, p.K, <const floating **>p.a, <const floating **>p.b,
                         <const floating *>p.bias, p.add, <floating **>p.c)
        else:
            multiply_part(row * p.M // p.row_parts, (row + 1) * p.M // p.row_parts, n0, n1, p.K,
                          <const floating **>p.a, p.a_by_depth,
                          <const floating **>p.b, p.b_by_depth, <const floating *>p.bias, p.add, <floating **>p.c,
                          p.scratch + part.me * p.scratch_each, p.pairs)


cdef int product(
    Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, const floating **a, bint a_by_depth, const floating **b,
    bint b_by_depth, const floating *bias, bint add, floating **c, int threads, bint pairs,
) except -1:
    """C (M, N) = A (M, K) B (K, N), plus the bias (N,), or (add) plus C; of operands in bfloat16, if pairs."""
    cdef Product p
    cdef Workspace work, pairs_of_a, pairs_of_b
    if M == 0:
        return 0
    if M * N * K < SMALL:
        threads = 1
    if pairs:
        pairs_of_a = in_pairs(&a, a_by_depth, K if a_by_depth else M, M if a_by_depth else K, threads)
        pairs_of_b = in_pairs(&b, b_by_depth, K if b_by_depth else N, N if b_by_depth else K, threads)
        K = ceil_div(K, 2)
    p.M, p.N, p.K, p.a, p.b, p.c, p.bias = M, N, K, <void *>a, <void *>b, <void *>c, bias
    p.a_by_depth, p.b_by_depth, p.add, p.pairs = a_by_depth, b_by_depth, add, pairs
    p.few = is_few(M, N, K, a_by_depth, b_by_depth, sizeof(floating)) and not pairs
    p.row_parts = 1 if p.few else parts_of_rows(M, N, VECTOR_BYTES // sizeof(floating), threads)
    p.column_parts = threads // p.row_parts
    if not p.few:
        p.scratch_each = ceil_div(scratch_size(M, K, a_by_depth, sizeof(floating)), 64) * 64
        work = Workspace(threads * p.scratch_each)
        p.scratch = work.take(threads * p.scratch_each)
    with nogil:
        share(<Body>multiply_parts[floating], &p, p.row_parts * p.column_parts, threads)
    return 0
