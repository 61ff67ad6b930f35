# A single step that keeps nothing for a backward.
#
# W is used once, and so it is not packed: a few rows read it where it lies, as
# fast as memory gives it.  The sums run in the order that they have in a whole
# sequence, and so a text generated step by step has the bits of one read at once.


cdef int step_typed(
    int cell, const floating[:, ::1] x, const long long[::1] ids, const floating[:, ::1] h,
    const floating[:, ::1] c, const floating[:, ::1] W_x, const floating[:, ::1] W_h,
    const floating[::1] b, const floating[::1] b_h, floating[:, ::1] h_new, floating[:, ::1] c_new,
) except -1:
    """Of x and ids one is None."""
    cdef Py_ssize_t B = h.shape[0], I = 0 if x is None else x.shape[1], H = h.shape[1], GH = cell * H
    cdef Py_ssize_t itemsize = sizeof(floating), i
    cdef Py_ssize_t common = 2 * H if cell == GRU else GH  # columns in which x and h add up
    cdef int threads = max_threads() if B * (I + H) * GH > SMALL else 1
    cdef Workspace work = Workspace(
        lines_size(7, 4 * B + I + 2 * H) + B * (GH + H) * itemsize + 11 * VECTOR_BYTES + 3 * 64)
    cdef floating *a = <floating *>work.take(B * GH * itemsize)
    cdef floating *h_n = <floating *>work.take(B * H * itemsize)
    cdef floating *cells = <floating *>work.take(11 * VECTOR_BYTES)
    cdef floating **a_lines = <floating **>lines_of(work, <const floating *>a, B, GH)
    cdef const floating **h_lines = lines_of(work, &h[0, 0], B, H)
    if x is None:
        for i in range(B):
            add_bias(GH, &W_x[ids[i], 0], &b[0], a_lines[i])
    else:
        product(B, GH, I, lines_of(work, &x[0, 0], B, I), False, lines_of(work, &W_x[0, 0], I, GH), True,
                &b[0], False, a_lines, threads, False)
    product(B, common, H, h_lines, False, lines_of(work, &W_h[0, 0], H, GH), True,
            <const floating *>NULL, True, a_lines, threads, False)
    if cell == GRU:
        product(B, H, H, h_lines, False, lines_of(work, &W_h[0, common], H, GH), True, &b_h[common],
                False, <floating **>lines_of(work, <const floating *>h_n, B, H), threads, False)
    memset(cells, 0, 11 * VECTOR_BYTES)
    for i in range(B):
        step_cells(cell, H, <const floating *>a_lines[i], <const floating *>h_n + i * H, h_lines[i],
                   &c[i, 0] if cell == LSTM else NULL, &h_new[i, 0], &c_new[i, 0] if cell == LSTM else NULL, cells)
    return 0


cdef void step_cells(
    int cell, Py_ssize_t H, const floating *a, const floating *h_n, const floating *h,
    const floating *c, floating *h_new, floating *c_new, floating *cells,
) noexcept nogil:
    """The cells of one row, from their pre-activations."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), G = cell, j = 0, g, count
    cdef floating *gates = cells
    cdef floating *more = cells + 4 * lanes
    cdef floating *h_prev = more + lanes
    cdef floating *out = h_prev + lanes
    while j < H:
        count = min(lanes, H - j)
        for g in range(G):
            copy_columns(gates + g * lanes, a + g * H + j, count)
        if cell == LSTM:
            copy_columns(more, c + j, count)
        if cell == GRU:
            copy_columns(more, <const floating *>gates + 2 * lanes, count)
            copy_columns(gates + 2 * lanes, h_n + j, count)
            copy_columns(h_prev, h + j, count)
        run_cell(cell, <const floating *>gates, lanes, more, h_prev, out, out + lanes, lanes)
        copy_columns(h_new + j, <const floating *>out, count)
        if cell == LSTM:
            copy_columns(c_new + j, <const floating *>more, count)
        j += lanes
