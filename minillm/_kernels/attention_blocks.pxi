# One head, a block of queries at a time.  Included by attention_heads.pxi.
#
# Only one block of the weights exists at a time.

cdef Py_ssize_t blocks_scratch(const Heads *h, Py_ssize_t reach, Py_ssize_t itemsize) noexcept nogil:
    """The bytes of memory for a head whose queries see `reach` keys."""
    cdef Py_ssize_t count = block_width(h, itemsize)
    cdef Py_ssize_t size = 4 * reach * sizeof(void *) + TILE_SIZE + 16 * 64
    size += packed_size(reach, max(h.D, h.E), itemsize)
    size += count * (2 * h.D + h.E + 2 * lines_of_block(h, reach, itemsize)) * itemsize
    size += packed_size(count, h.D, itemsize) + packed_size(count, h.E, itemsize)
    return ceil_div(size, 64) * 64


cdef inline Block scored_block(
    const Heads *h, Py_ssize_t t, floating **q, floating *scaled, floating **k, floating *by_width, floating *scores,
) noexcept nogil:
    """The block of queries from t on, with its scores; q become the lines of the scaled queries."""
    cdef Block block = block_from(h, t, sizeof(floating))
    cdef Py_ssize_t D = h.D, i, j
    note_keys(h, h.keys, block.skipped, block.lines, k)
    note_lines(h.query, t, block.count, q)
    for i in range(block.count):
        for j in range(D):
            scaled[i * D + j] = <floating>h.scale * q[i][j]
        q[i] = scaled + i * D
    queries_by_width(block, D, <const floating **>q, by_width)
    block_scores(block, D, <const floating **>k, <const floating *>by_width, scores)
    return block


cdef enum Pass:
    FORWARD    # scores become weights
    AGAIN      # so they do once more, by the logarithms of their sums
    BACKWARD   # dweights become dscores


cdef inline void softmax_block(
    const Heads *h, Block block, Pass which, const floating *w, floating *x, floating *log_sums, floating *sums,
) noexcept nogil:
    """Do this to x, a vector of queries at a time; what belongs to masked keys becomes zero."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // <Py_ssize_t>sizeof(floating), i = 0, before, seen, place
    cdef Py_ssize_t width = block.width
    while i < block.count:
        before = 0 if h.sinks > 0 else passed(h, block.first + i) - block.skipped
        seen = visible(h, block.first + min(i + lanes, block.count) - 1) - block.skipped
        place = before * width + i  # of the first score
        if which != AGAIN:
            hide(seen, width, block.position + i, h.window, h.sinks,
                 <floating>-INFINITY if which == FORWARD else <floating>0, x + i)
        if which == FORWARD:
            softmax_columns(seen - before, width, x + place, log_sums + i, sums + i)
        elif which == AGAIN:
            softmax_again_columns(seen - before, width, log_sums + i, x + place)
        else:
            softmax_backward_columns(seen - before, width, w + place, x + place, sums + i)
        hide(block.lines, width, block.position + i, h.window, h.sinks, <floating>0, x + i)
        i += lanes


cdef void blocks_forward(const Heads *h, char *scratch, floating *of_type) noexcept nogil:
    cdef Py_ssize_t D = h.D, E = h.E, all_seen = visible(h, h.T - 1), i, t = 0
    cdef Py_ssize_t most = block_width(h, sizeof(floating)), size = sizeof(floating)
    cdef Py_ssize_t lines = lines_of_block(h, all_seen, size)
    cdef floating **k = <floating **>cut(&scratch, all_seen * sizeof(void *))
    cdef floating **v = <floating **>cut(&scratch, all_seen * sizeof(void *))
    cdef floating *acc = <floating *>cut(&scratch, TILE_SIZE)
    cdef floating *scaled = <floating *>cut(&scratch, most * D * size)
    cdef floating *by_width = <floating *>cut(&scratch, most * D * size)
    cdef floating *w = <floating *>cut(&scratch, most * lines * size)
    cdef floating *q[QUERIES]
    cdef floating *c[QUERIES]
    cdef floating log_sums[QUERIES]
    cdef floating sums[QUERIES]
    cdef Block block
    cdef Packed values
    note_keys(h, h.values, 0, all_seen, v)
    values = packed(v, True, all_seen, E, &scratch)
    while t < h.T:
        block = scored_block(h, t, q, scaled, k, by_width, w)
        note_lines(h.context, t, block.count, c)
        softmax_block(h, block, FORWARD, <const floating *>NULL, w, log_sums, sums)
        mix_block(h, block, <const floating *>w, values, c, acc)
        for i in range(block.count):
            if sums[i] == 0:
                memset(c[i], 0, E * size)
        memcpy(<floating *>h.log_sums + t, log_sums, block.count * size)
        t += most


cdef void blocks_backward(const Heads *h, char *scratch, floating *of_type) noexcept nogil:
    """Adds to dkeys and dvalues."""
    cdef Py_ssize_t D = h.D, E = h.E, all_seen = visible(h, h.T - 1), t = 0, i, j
    cdef Py_ssize_t most = block_width(h, sizeof(floating)), size = sizeof(floating)
    cdef Py_ssize_t lines = lines_of_block(h, all_seen, size)
    cdef floating **k = <floating **>cut(&scratch, all_seen * sizeof(void *))
    cdef floating **v = <floating **>cut(&scratch, all_seen * sizeof(void *))
    cdef floating **dk = <floating **>cut(&scratch, all_seen * sizeof(void *))
    cdef floating **dv = <floating **>cut(&scratch, all_seen * sizeof(void *))
    cdef floating *acc = <floating *>cut(&scratch, TILE_SIZE)
    cdef floating *scaled = <floating *>cut(&scratch, most * D * size)
    cdef floating *by_width = <floating *>cut(&scratch, most * max(D, E) * size)
    cdef floating *w = <floating *>cut(&scratch, most * lines * size)
    cdef floating *dw = <floating *>cut(&scratch, most * lines * size)
    cdef floating *q[QUERIES]
    cdef floating *dc[QUERIES]
    cdef floating *dq[QUERIES]
    cdef floating sums[QUERIES]
    cdef Block block
    cdef Packed keys
    cdef char *rest
    note_keys(h, h.keys, 0, all_seen, k)
    keys = packed(k, True, all_seen, D, &scratch)
    while t < h.T:
        # the weights once more, from the scores
        block = scored_block(h, t, q, scaled, k, by_width, w)
        note_keys(h, h.values, block.skipped, block.lines, v)
        note_keys(h, h.dkeys, block.skipped, block.lines, dk)
        note_keys(h, h.dvalues, block.skipped, block.lines, dv)
        note_lines(h.dcontext, t, block.count, dc)
        note_lines(h.dquery, t, block.count, dq)
        memset(sums, 0, sizeof(sums))
        memcpy(sums, <floating *>h.log_sums + t, block.count * size)
        softmax_block(h, block, AGAIN, <const floating *>NULL, w, sums, <floating *>NULL)
        # context = weights values:
        queries_by_width(block, E, <const floating **>dc, by_width)
        block_scores(block, E, <const floating **>v, <const floating *>by_width, dw)
        # weights = softmax(scores):
        softmax_block(h, block, BACKWARD, <const floating *>w, dw, <floating *>NULL, sums)
        # scores = scale query keys^T:
        mix_block(h, block, <const floating *>dw, keys, dq, acc)
        memset(by_width, 0, max(D, E) * size)
        for i in range(block.count):
            for j in range(D):
                dq[i][j] *= <floating>h.scale
            if sums[i] == 0:
                memset(dq[i], 0, D * size)
                q[i] = dc[i] = by_width  # zeros
        rest = scratch
        gather_block(block, <const floating *>w, packed(dc, True, block.count, E, &rest), dv, acc)
        gather_block(block, <const floating *>dw, packed(q, True, block.count, D, &rest), dk, acc)
        t += most
