# Backward: one thread's rows from the last step to the first, which gives da, the gradient with respect
# to the pre-activations of every step; then the rest, from all da at once:
#
#     dx = da W_x^T        dW_x = x^T da        dW_h = h_prev^T da        db = sum of da
#
# For the gru, da is the gradient with respect to the input term x W_x + b_x, and da_hn with respect to
# h_prev W_hn + b_hn, where the two differ: the reset scales only this part of the pre-activation of n.
#
# The lines of da are in the order of time: all rows at step t, then all rows at t + 1.
# So the product of a step reads lines that lie together, and were just written.


cdef int backward_typed(
    int cell, const floating[:, :, ::1] dhs, const floating[:, ::1] dh_last, const floating[:, ::1] dc_last,
    const floating[:, :, ::1] x, Ids ids, const floating[:, ::1] h0, const floating[:, ::1] c0,
    const floating[:, ::1] W_x, const floating[:, ::1] W_h, Lengths lengths, const floating[:, :, ::1] hs,
    const floating[:, :, ::1] gates, const floating[:, :, ::1] more, floating[:, :, ::1] dx, floating[:, ::1] dh0,
    floating[:, ::1] dc0, floating[:, ::1] dW_x, floating[:, ::1] dW_h, floating[::1] db, floating[::1] db_hn,
) except -1:
    """Of x and ids one is None."""
    cdef Py_ssize_t B = hs.shape[0], T = hs.shape[1], H = h0.shape[1], GH = cell * H
    cdef Py_ssize_t I = 0 if x is None else x.shape[2], V = W_x.shape[0], itemsize = sizeof(floating), i
    cdef Schedule schedule = Schedule(lengths, T, H)
    cdef Py_ssize_t steps = schedule.steps
    cdef int threads = max_threads() if steps * (I + H) * GH > SMALL else 1
    cdef bint pairs = itemsize == 4 and rounds_to_bfloat16()
    cdef Recurrence w
    memset(&w, 0, sizeof(Recurrence))
    w.cell, w.pairs, w.rows = cell, pairs, schedule.rows
    w.lda, w.ld = state_stride(GH, itemsize), state_stride(H, itemsize)
    cdef Py_ssize_t da_size = B * T * w.lda * itemsize, da_hn_size = B * T * w.ld * itemsize if cell == GRU else 0
    cdef Workspace work = Workspace(da_size + da_hn_size + lines_size(4, 3 * steps + I) + 128)
    w.da, w.da_hn = work.take(da_size), work.take(da_hn_size)
    w.dhs, w.dh_last, w.h0, w.dh0 = &dhs[0, 0, 0], &dh_last[0, 0], &h0[0, 0], &dh0[0, 0]
    w.hs = <void *>&hs[0, 0, 0]
    if cell != RNN:
        w.gates, w.more = <void *>&gates[0, 0, 0], <void *>&more[0, 0, 0]
    if cell == LSTM:
        w.c0, w.dc_last, w.dc0 = &c0[0, 0], &dc_last[0, 0], &dc0[0, 0]
    run_rows(&w, W_h, threads)

    cdef const floating **da = lines_of(work, <const floating *>w.da, steps, w.lda, schedule.turn)
    cdef const floating **da_hn = lines_of(work, <const floating *>w.da_hn, steps, w.ld, schedule.turn)
    if ids is None:
        for i in range(B):
            memset(&dx[i, 0, 0] + w.rows.length[i] * I, 0, (T - w.rows.length[i]) * I * itemsize)
        product(steps, I, GH, da, False, lines_of(work, &W_x[0, 0], I, GH), False, <const floating *>NULL, False,
                <floating **>lines_of(work, <const floating *>&dx[0, 0, 0], steps, I, schedule.step),
                threads, pairs)
    else:
        sum_by_id(schedule, &ids[0, 0], GH, da, &dW_x[0, 0], V if V <= B * T else 0, threads)
    weight_gradients(&w, schedule, <const floating *>NULL if x is None else &x[0, 0, 0], I, da, da_hn, dW_x, dW_h,
                     &db[0], &db_hn[0] if cell == GRU else <floating *>NULL, threads)
    return 0


cdef void panels_for_backward(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Recurrence *w = <Recurrence *>work
    cdef Py_ssize_t i
    for i in range(part.first, part.last):
        pack(<floating *>w.packed + i * w.columns * w.depth, w.columns, <const floating **>w.lines, False,
             0, w.depth, i * w.columns, min((i + 1) * w.columns, w.rows.H))


cdef void backward_rows(floating *of_type, const Recurrence *w, Rows rows, char *scratch) noexcept nogil:
    """One thread's rows from the last step to the first: da of every step, dh0 and dc0."""
    cdef Py_ssize_t H = rows.H, size = H * sizeof(floating), all_rows = count_of(&rows, rows.B)
    cdef floating *acc = <floating *>cut(&scratch, TILE_SIZE)
    cdef floating *dh = <floating *>cut(&scratch, 2 * all_rows * w.ld * sizeof(floating))
    cdef floating *dc = dh + all_rows * w.ld
    cdef floating *da_in_pairs = <floating *>scratch
    cdef Py_ssize_t t, j, m, b, now, later, common = 2 * H if w.cell == GRU else w.cell * H
    memset(dh, 0, 2 * all_rows * w.ld * sizeof(floating))
    for m in range(all_rows):
        b = row_at(&rows, m)
        memcpy(dh + m * w.ld, <const floating *>w.dh_last + b * H, size)
        if w.cell == LSTM:
            memcpy(dc + m * w.ld, <const floating *>w.dc_last + b * H, size)
    for t in range(rows.T - 1, -2, -1):  # at -1 there is no cell left: dh is dh0
        now = count_of(&rows, rows.alive[t]) if t >= 0 else all_rows
        later = count_of(&rows, rows.alive[t + 1])
        for m in range(later if w.pairs else 0):
            b = (t + 1) * rows.B + row_at(&rows, m)
            pairs_along(da_in_pairs + m * w.lda, <const floating *>w.da + b * w.lda, common)
            if w.cell == GRU:
                pairs_along(da_in_pairs + m * w.lda + H, <const floating *>w.da_hn + b * w.ld, H)
        j = 0
        while j < H:
            backward_tiles(w, &rows, t, j, 0, later, True, acc, dh, dc, <const floating *>da_in_pairs)
            backward_tiles(w, &rows, t, j, later, now, False, acc, dh, dc, <const floating *>da_in_pairs)
            j += w.columns
    for m in range(all_rows if w.cell == LSTM else 0):
        memcpy(<floating *>w.dc0 + row_at(&rows, m) * H, dc + m * w.ld, size)


cdef void backward_tiles(
    const Recurrence *w, const Rows *rows, Py_ssize_t t, Py_ssize_t j, Py_ssize_t first, Py_ssize_t last,
    bint has_later, floating *acc, floating *dh, floating *dc, const floating *da_in_pairs,
) noexcept nogil:
    """One panel of columns, from j on, of step t of this thread's rows first to last.

    Rows that have a later step get da W_h^T from it; for the others this is the last.
    """
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), H = rows.H, GH = w.cell * H
    cdef int vectors = <int>ceil_div(min(w.columns, H - j), lanes)
    cdef Py_ssize_t width = vectors * lanes, count = min(width, H - j)
    # The gru's da has two of the three parts of the depth, da_hn the third.
    cdef Py_ssize_t depth = (H if w.pairs else 2 * H) if w.cell == GRU else w.depth, depth_hn = w.depth - depth
    cdef const floating *panel = <const floating *>w.packed + j * w.depth
    cdef Py_ssize_t tiles = ceil_div(last - first, TILE_ROWS(vectors)), i, m, m0, m1, b, step, turn, next_step
    cdef const floating *states = <const floating *>(w.more if w.cell == LSTM else w.hs)
    cdef const floating *state0 = <const floating *>(w.c0 if w.cell == LSTM else w.h0)
    cdef const floating *before
    cdef const floating *a[8]
    cdef const floating *a_hn[8]
    cdef const floating *start[8]
    cdef floating *out[8]
    for i in range(tiles):
        m0 = first + i * (last - first) // tiles
        m1 = first + (i + 1) * (last - first) // tiles
        for m in range(m0, m1):
            b = row_at(rows, m)
            next_step = (t + 1) * rows.B + b
            start[m - m0], out[m - m0] = dh + m * w.ld + j, acc + (m - m0) * width
            if w.pairs:
                a[m - m0], a_hn[m - m0] = da_in_pairs + m * w.lda, da_in_pairs + m * w.lda + depth
            else:
                a[m - m0] = <const floating *>w.da + next_step * w.lda
                a_hn[m - m0] = <const floating *>w.da_hn + next_step * w.ld
            if t >= 0:
                fetch_cells[floating](NULL, w, H, j, count, b, t)
            if not has_later:
                copy_columns(out[m - m0], start[m - m0], width)
        if has_later:
            tile_of(w.pairs, <int>(m1 - m0), vectors, depth, a, panel, width, start, out)
            if depth_hn > 0:
                tile_of(w.pairs, <int>(m1 - m0), vectors, depth_hn, a_hn, panel + depth * width, width,
                        <const floating **>out, out)
        for m in range(m0, m1):
            b = row_at(rows, m)
            if t < 0:
                copy_columns(<floating *>w.dh0 + b * H + j, <const floating *>out[m - m0], count)
                continue
            before = (states + (b * rows.T + t - 1) * H if t > 0 else state0 + b * H) + j
            step, turn = b * rows.T + t, t * rows.B + b
            run_cell_backward(
                w.cell, count, H, out[m - m0], <floating *>w.dhs + step * H + j, dh + m * w.ld + j, dc + m * w.ld + j,
                <floating *>w.gates + step * GH + j, <floating *>(w.hs if w.cell == RNN else w.more) + step * H + j,
                before, <floating *>w.da + turn * w.lda + j, <floating *>w.da_hn + turn * w.ld + j)


cdef inline void fetch_cells(
    floating *of_type, const Recurrence *w, Py_ssize_t H, Py_ssize_t j, Py_ssize_t count, Py_ssize_t b, Py_ssize_t t
) noexcept nogil:
    """Fetch what one row's cells read and write, while the tile runs whose sums they take."""
    cdef Py_ssize_t step = b * w.rows.T + t, turn = t * w.rows.B + b, g
    fetch(<const floating *>w.dhs + step * H + j, count)
    fetch(<const floating *>(w.hs if w.cell == RNN else w.more) + step * H + j, count)
    if w.cell != RNN and t > 0:
        fetch(<const floating *>(w.more if w.cell == LSTM else w.hs) + (step - 1) * H + j, count)
    for g in range(w.cell):
        fetch(<const floating *>w.da + turn * w.lda + g * H + j, count)
        if w.cell != RNN:
            fetch(<const floating *>w.gates + (step * w.cell + g) * H + j, count)
    if w.cell == GRU:
        fetch(<const floating *>w.da_hn + turn * w.ld + j, count)


cdef struct Sums:
    Py_ssize_t GH, parts, V, steps  # V: rows of dW_x that are cleared
    const Py_ssize_t *step
    const long long *ids  # NULL: every step's id is 0
    Output da             # lines
    Output dW_x


cdef void sum_columns_by_id(floating *of_type, void *work, Part part) noexcept nogil:
    """dW_x by parts of its columns: row v sums the da where v was read."""
    cdef Sums w = (<Sums *>work)[0]
    cdef Py_ssize_t begin = part.first * w.GH // w.parts, i
    cdef Py_ssize_t count = part.last * w.GH // w.parts - begin
    cdef const floating **da = <const floating **>w.da
    cdef floating *dW_x = <floating *>w.dW_x + begin
    for i in range(w.V):
        memset(dW_x + i * w.GH, 0, count * sizeof(floating))
    for i in range(w.steps):
        add_line(count, da[i] + begin, dW_x + (w.ids[w.step[i]] if w.ids != NULL else 0) * w.GH)


cdef int sum_by_id(
    Schedule schedule, const long long *ids, Py_ssize_t GH, const floating **da, floating *dW_x, Py_ssize_t V,
    int threads,
) except -1:
    """dW_x of ids.  Without ids it is db: the gradient of a W_x of one row, which every step has read."""
    cdef Sums w
    w.GH, w.parts, w.V, w.steps, w.step = GH, threads, V, schedule.steps, schedule.step
    w.ids, w.da, w.dW_x = ids, <void *>da, dW_x
    with nogil:
        share(<Body>sum_columns_by_id[floating], &w, threads, threads)
    return 0


cdef struct Stack:
    Py_ssize_t I, H, T, stride
    const Py_ssize_t *step
    Input x, h0, hs
    Output lines


cdef void stack_steps(floating *of_type, void *work, Part part) noexcept nogil:
    """[x, 1, h_prev, 1]: a line of the matrix whose products with da are all weights' gradients."""
    cdef Stack w = (<Stack *>work)[0]
    cdef const floating *h_prev
    cdef floating *line
    cdef Py_ssize_t i, step
    for i in range(part.first, part.last):
        step = w.step[i]
        h_prev = <const floating *>w.hs + (step - 1) * w.H
        if step % w.T == 0:
            h_prev = <const floating *>w.h0 + step // w.T * w.H
        line = <floating *>w.lines + i * w.stride
        copy_columns(line, <const floating *>w.x + step * w.I, w.I)
        copy_columns(line + w.I + 1, h_prev, w.H)
        line[w.I] = line[w.I + 1 + w.H] = 1


cdef int weight_gradients(
    const Recurrence *w, Schedule schedule, const floating *x, Py_ssize_t I, const floating **da,
    const floating **da_hn, floating[:, ::1] dW_x, floating[:, ::1] dW_h, floating *db, floating *db_hn, int threads,
) except -1:
    """One product: stacked^T da = [dW_x, db, dW_h].  Of ids, I is 0, and dW_x left out.

    For the gru in three parts: r and z, where da is the same for x and h, and the two
    gradients of n: there db is of b_x, and db_hn the other bias's.
    """
    cdef Py_ssize_t H = dW_h.shape[0], GH = dW_h.shape[1], M = I + 1 + H, itemsize = sizeof(floating)
    cdef Py_ssize_t common = 2 * H if w.cell == GRU else GH  # columns of da that x and h have in common
    cdef Py_ssize_t steps = schedule.steps, stride = state_stride(M + 1, itemsize), i
    cdef Workspace work = Workspace(steps * stride * itemsize + 64 + lines_size(5, 3 * steps + 2 * M + 1))
    cdef floating *stack = <floating *>work.take(steps * stride * itemsize)
    cdef const floating **stacked = lines_of(work, <const floating *>stack, steps, stride)
    cdef floating **dW = <floating **>work.take(M * sizeof(void *))
    cdef floating **dW_n = <floating **>work.take((M + 1) * sizeof(void *))
    for i in range(M):
        dW[i] = &dW_x[i, 0] if i < I else db if i == I else &dW_h[i - I - 1, 0]
        dW_n[i] = dW[i] + common
    dW_n[M] = db_hn
    cdef Stack s
    s.I, s.H, s.T, s.stride, s.step = I, H, w.rows.T, stride, schedule.step
    s.x, s.h0, s.hs, s.lines = x, w.h0, w.hs, stack
    with nogil:
        share(<Body>stack_steps[floating], &s, steps, threads)
    product(M, common, steps, stacked, True, da, True, <const floating *>NULL, False, dW, threads, w.pairs)
    if w.cell == GRU:
        product(I + 1, H, steps, stacked, True,
                lines_of(work, <const floating *>w.da + common, steps, w.lda, schedule.turn), True,
                <const floating *>NULL, False, dW_n, threads, w.pairs)
        product(H + 1, H, steps, lines_of(work, <const floating *>stack + I + 1, steps, stride), True, da_hn, True,
                <const floating *>NULL, False, dW_n + I + 1, threads, w.pairs)
    if w.pairs:  # a sum is no product: what is added is not rounded
        sum_by_id(schedule, NULL, GH, da, db, 1, threads)
        if w.cell == GRU:
            sum_by_id(schedule, NULL, H, da_hn, db_hn, 1, threads)
    return 0
