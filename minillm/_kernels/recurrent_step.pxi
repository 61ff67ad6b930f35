# A single step that keeps nothing for a backward.
#
# W is used once, and so it is not packed: a few rows read it where it lies, as
# fast as memory gives it.  The sums run in the order that they have in a whole
# sequence, and so a text generated step by step has the bits of one read at once.


cdef int step(
    int cell, const floating[:, ::1] x, const long long[::1] ids, const floating[:, ::1] h,
    const floating *c, const floating[:, ::1] W_x, const floating[:, ::1] W_h,
    const floating[::1] b, const floating *b_hn, floating[:, ::1] h_new, floating *c_new,
) except -1:
    """Of x and ids one is None."""
    cdef Py_ssize_t B = h.shape[0], I = 0 if x is None else x.shape[1], H = h.shape[1], GH = cell * H
    cdef Py_ssize_t word = sizeof(void *), itemsize = sizeof(floating), size = 0, i
    cdef Py_ssize_t common = 2 * H if cell == GRU else GH  # columns in which x and h add up
    cdef int threads = max_threads() if B * (I + H) * GH > SMALL else 1
    cdef Workspace lines = Workspace((4 * B + I + 2 * H) * word + 6 * 64)
    cdef const floating **x_lines = <const floating **>lines.take(B * word)
    cdef const floating **h_lines = <const floating **>lines.take(B * word)
    cdef floating **a_lines = <floating **>lines.take(B * word)
    cdef floating **h_n_lines = <floating **>lines.take(B * word)
    cdef const floating **W_x_lines = <const floating **>lines.take(I * word)
    cdef const floating **W_h_lines = <const floating **>lines.take(H * word)
    cdef const floating **W_hn_lines = <const floating **>lines.take(H * word)
    if not is_few(B, GH, max(I, H), False, True, itemsize):
        size = ceil_div(scratch_size(B, max(I, H), False, itemsize, False), 64) * 64
    cdef Workspace work = Workspace(B * (GH + H) * itemsize + 8 * VECTOR_BYTES + threads * size + 3 * 64)
    cdef floating *a = <floating *>work.take(B * GH * itemsize)
    cdef floating *h_n = <floating *>work.take(B * H * itemsize)
    cdef floating *cells = <floating *>work.take(8 * VECTOR_BYTES)
    cdef char *scratch = work.take(threads * size)
    for i in range(B):
        h_lines[i], a_lines[i], h_n_lines[i] = &h[i, 0], a + i * GH, h_n + i * H
        if x is None:
            add_bias(GH, &W_x[ids[i], 0], &b[0], a_lines[i])
        else:
            x_lines[i] = &x[i, 0]
    for i in range(I):
        W_x_lines[i] = &W_x[i, 0]
    for i in range(H):
        W_h_lines[i] = &W_h[i, 0]
        W_hn_lines[i] = &W_h[i, 0] + common
    with nogil:
        if I > 0:
            multiply(B, GH, I, x_lines, False, W_x_lines, True, &b[0], False, a_lines, threads,
                     scratch, size, False)
        multiply(B, common, H, h_lines, False, W_h_lines, True, <const floating *>NULL, True,
                 a_lines, threads, scratch, size, False)
        if cell == GRU:
            multiply(B, H, H, h_lines, False, W_hn_lines, True, b_hn, False, h_n_lines, threads,
                     scratch, size, False)
        memset(cells, 0, 8 * VECTOR_BYTES)
        for i in range(B):
            step_cells(cell, H, <const floating *>a + i * GH, <const floating *>h_n + i * H, h_lines[i],
                       c + i * H, &h_new[i, 0], c_new + i * H, cells)
    return 0


cdef void step_cells(
    int cell, Py_ssize_t H, const floating *a, const floating *h_n, const floating *h,
    const floating *c, floating *h_new, floating *c_new, floating *cells,
) noexcept nogil:
    """The cells of one row, from their pre-activations."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), G = cell, j = 0, g, count
    cdef floating *gates = cells
    cdef floating *n = cells + 4 * lanes
    cdef floating *state = n + lanes  # h or c of the step before
    cdef floating *out = state + lanes
    while j < H:
        count = min(lanes, H - j)
        for g in range(G):
            copy_columns(gates + g * lanes, a + g * H + j, count)
        if cell == RNN:
            rnn_cell(gates, out)
        elif cell == LSTM:
            copy_columns(state, c + j, count)
            lstm_cell(gates, state, out)
            copy_columns(c_new + j, <const floating *>state, count)
        else:
            copy_columns(n, <const floating *>gates + 2 * lanes, count)
            copy_columns(gates + 2 * lanes, h_n + j, count)
            copy_columns(state, h + j, count)
            gru_cell(gates, n, <const floating *>state, out)
        copy_columns(h_new + j, <const floating *>out, count)
        j += lanes
