# Backward: one thread's rows from the last step to the first, which gives the gradient da
# by the pre-activations of every step; then the rest, from all da at once:
#
#     dx = da W_x^T        dW_x = x^T da        dW_h = h_prev^T da        db = sum of da
#
# For the gru, da is by the input term x W_x + b_x, and da_hn by h_prev W_hn + b_hn, where
# the two differ: the reset scales that part of the pre-activation of n alone.


cdef inline void begin_gradients(
    int cell, Py_ssize_t H, Py_ssize_t j, Py_ssize_t count, Py_ssize_t step, bint first,
    const floating *dhs, const floating *hs, const floating *gates, const floating *more,
    const floating *da_all, floating *sums,
) noexcept nogil:
    """dh += dhs, and fetch the inputs of one row's cells, which follow the tile."""
    cdef Py_ssize_t G = cell, g
    add_line(count, dhs + step * H + j, sums)
    prefetch(hs + step * H + j, count)
    for g in range(G):
        prefetch(da_all + (step * G + g) * H + j, count)
    if cell != RNN:
        prefetch(more + step * H + j, count)
        for g in range(G):
            prefetch(gates + (step * G + g) * H + j, count)
    if not first:
        prefetch(dhs + (step - 1) * H + j, count)
        if cell == LSTM:
            prefetch(more + (step - 1) * H + j, count)


cdef inline void end_gradients(
    int cell, Py_ssize_t H, Py_ssize_t j, Py_ssize_t step, const floating *h_prev,
    const floating *c_prev, const floating *hs, const floating *gates, const floating *more,
    const floating *sums, floating *dh, floating *dc, floating *states, floating *da,
) noexcept nogil:
    """One vector of cells of one row, backward: da from the sums, which are dh.

    dh and dc become what reaches the step before through the cell alone.  h_prev and c_prev
    are its states, at the same columns.
    """
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), count = min(lanes, H - j), G = cell, g
    if cell == RNN:
        copy_columns(states, hs + step * H + j, count)
        rnn_cell_backward(sums, <const floating *>states, da)
        memset(dh, 0, VECTOR_BYTES)
        return
    for g in range(G):
        copy_columns(states + g * lanes, gates + (step * G + g) * H + j, count)
    copy_columns(states + G * lanes, more + step * H + j, count)
    if cell == LSTM:
        copy_columns(states + 5 * lanes, c_prev, count)
        lstm_cell_backward(sums, dc, <const floating *>states, <const floating *>states + 4 * lanes,
                           <const floating *>states + 5 * lanes, da)
        memset(dh, 0, VECTOR_BYTES)
    else:
        copy_columns(states + 4 * lanes, h_prev, count)
        gru_cell_backward(sums, dh, <const floating *>states, <const floating *>states + 3 * lanes,
                          <const floating *>states + 4 * lanes, da)


cdef inline void keep_da(
    int cell, Py_ssize_t H, Py_ssize_t j, Py_ssize_t step, const floating *da, floating *da_now,
    floating *da_all, floating *da_hn,
) noexcept nogil:
    """da of one vector of cells: by the recurrent product for the step before, and for later."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), count = min(lanes, H - j), G = cell, g
    for g in range(G):
        copy_columns(da_now + g * H + j, da + g * lanes, count)
        copy_columns(da_all + (step * G + g) * H + j,
                     da + (g + (cell == GRU and g == 2)) * lanes, count)
    if cell == GRU:
        copy_columns(da_hn + step * H + j, da + 2 * lanes, count)


cdef Py_ssize_t backward_scratch(int cell, Py_ssize_t B, Py_ssize_t H, Py_ssize_t itemsize) noexcept nogil:
    return (TILE_SIZE + 16 * VECTOR_BYTES + 4 * 64
            + B * (2 * state_stride(H, itemsize) + 3 * state_stride(cell * H, itemsize)) * itemsize)


cdef void backward_rows(
    int cell, Rows rows, const floating *packed, const floating *dhs, const floating *dh_last,
    const floating *dc_last, const floating *h0, const floating *c0, const floating *hs,
    const floating *gates, const floating *more, floating *da_all, floating *da_hn,
    floating *dh0, floating *dc0, char *scratch, bint pairs,
) noexcept nogil:
    """One thread's rows from the last step to the first: da of every step, dh0 and dc0."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), G = cell, T = rows.T, H = rows.H
    cdef Py_ssize_t columns = 4 * lanes, panels = ceil_div(H, columns)
    cdef Py_ssize_t ld = state_stride(H, sizeof(floating)), lda = state_stride(G * H, sizeof(floating))
    cdef Py_ssize_t all_rows = count_of(&rows, rows.B)
    cdef floating *acc = <floating *>cut(&scratch, TILE_SIZE)
    cdef floating *cells = <floating *>cut(&scratch, 16 * VECTOR_BYTES)
    cdef floating *dh = <floating *>cut(&scratch, 2 * all_rows * ld * sizeof(floating))
    cdef floating *dc = dh + all_rows * ld
    cdef floating *da_now = <floating *>cut(&scratch, 3 * all_rows * lda * sizeof(floating))
    cdef floating *da_next = da_now + all_rows * lda
    cdef floating *da_in_pairs = da_next + all_rows * lda
    cdef Py_ssize_t depth = ceil_div(G * H, 2) if pairs else G * H, t, p, m, now, later
    begin_gradients_of_states(cell, &rows, all_rows, ld, dh_last, dc_last, dh, dc)
    for t in range(T - 1, -2, -1):  # at -1 there is no cell left: dh is dh0
        now = count_of(&rows, rows.alive[t]) if t >= 0 else all_rows
        later = count_of(&rows, rows.alive[t + 1])
        for m in range(later if pairs else 0):
            pairs_along(<float *>(da_in_pairs + m * lda), <const float *>(da_next + m * lda), G * H)
        for p in range(panels):
            # Rows with a later step get da W_h^T from it; for the others this is the last.
            if later > 0:
                backward_tiles(cell, &rows, t, p * columns, 0, later, depth,
                               packed + p * depth * columns, dhs, h0, c0, hs, gates, more, ld, lda,
                               da_in_pairs if pairs else da_next, dh, dc, da_now, da_all, da_hn,
                               dh0, acc, cells, pairs)
            if now > later:
                backward_tiles(cell, &rows, t, p * columns, later, now, 0, <const floating *>NULL,
                               dhs, h0, c0, hs, gates, more, ld, lda,
                               da_next, dh, dc, da_now, da_all, da_hn, dh0, acc, cells, pairs)
        da_now, da_next = da_next, da_now
    for p in range(all_rows if cell == LSTM else 0):
        memcpy(dc0 + row_at(&rows, p) * H, dc + p * ld, H * sizeof(floating))


cdef void begin_gradients_of_states(
    int cell, const Rows *rows, Py_ssize_t all_rows, Py_ssize_t ld, const floating *dh_last,
    const floating *dc_last, floating *dh, floating *dc,
) noexcept nogil:
    cdef Py_ssize_t H = rows.H, m
    memset(dh, 0, 2 * all_rows * ld * sizeof(floating))
    for m in range(all_rows):
        memcpy(dh + m * ld, dh_last + row_at(rows, m) * H, H * sizeof(floating))
        if cell == LSTM:
            memcpy(dc + m * ld, dc_last + row_at(rows, m) * H, H * sizeof(floating))


cdef void backward_tiles(
    int cell, const Rows *rows, Py_ssize_t t, Py_ssize_t j, Py_ssize_t first, Py_ssize_t last,
    Py_ssize_t depth, const floating *panel, const floating *dhs, const floating *h0,
    const floating *c0, const floating *hs, const floating *gates, const floating *more,
    Py_ssize_t ld, Py_ssize_t lda, const floating *da_next, floating *dh, floating *dc,
    floating *da_now, floating *da_all, floating *da_hn, floating *dh0, floating *acc,
    floating *cells, bint pairs,
) noexcept nogil:
    """One panel of columns, from j on, of step t of this thread's rows first to last."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), H = rows.H, T = rows.T
    cdef int vectors = <int>min(4, ceil_div(H - j, lanes))
    cdef Py_ssize_t width = vectors * lanes, count = min(width, H - j)
    cdef Py_ssize_t tiles = ceil_div(last - first, TILE_ROWS(vectors)), i, m, m0, m1, b, step, q, v
    cdef const floating *a[8]
    cdef floating *out[8]
    cdef floating *da = cells + 8 * lanes  # behind the gates and states
    for i in range(tiles):
        m0 = first + i * (last - first) // tiles
        m1 = first + (i + 1) * (last - first) // tiles
        for m in range(m0, m1):
            a[m - m0] = da_next + m * lda
            out[m - m0] = acc + (m - m0) * width
            copy_columns(out[m - m0], <const floating *>dh + m * ld + j, width)
            if t >= 0:
                begin_gradients(cell, H, j, count, row_at(rows, m) * T + t, t == 0, dhs, hs, gates,
                                more, <const floating *>da_all, out[m - m0])
        tile_of(pairs, <int>(m1 - m0), vectors, depth, a, panel, width, <const floating **>out, out)
        for m in range(m0, m1):
            b = row_at(rows, m)
            step = b * T + t
            if t < 0:
                copy_columns(dh0 + b * H + j, <const floating *>acc + (m - m0) * width, count)
                continue
            for v in range(vectors):
                q = j + v * lanes
                end_gradients(
                    cell, H, q, step, (hs + (step - 1) * H if t > 0 else h0 + b * H) + q,
                    (more + (step - 1) * H if t > 0 else c0 + b * H) + q, hs, gates, more,
                    <const floating *>acc + (m - m0) * width + v * lanes, dh + m * ld + q,
                    dc + m * ld + q, cells, da)
                keep_da(cell, H, q, step, <const floating *>da, da_now + m * lda, da_all, da_hn)


cdef struct Backward:
    int cell
    bint pairs
    Rows rows
    Py_ssize_t columns, scratch_each  # columns: of a panel
    Output lines, packed  # of W_h
    Input dhs, dh_last, dc_last, h0, c0, hs, gates, more
    Output da, da_hn, dh0, dc0
    char *scratch
    char *spare


cdef int all_rows_backward(
    int cell, Schedule schedule, const floating *dhs, const floating *dh_last,
    const floating *dc_last, const floating *h0, const floating *c0,
    const floating[:, ::1] W_h, const floating *hs, const floating *gates, const floating *more,
    floating *da, floating *da_hn, floating *dh0, floating *dc0, int threads, bint pairs,
) except -1:
    """da of every step, dh0 and dc0."""
    cdef Py_ssize_t H = W_h.shape[0], GH = W_h.shape[1], itemsize = sizeof(floating), i
    cdef Py_ssize_t columns = 4 * VECTOR_BYTES // itemsize, panels = ceil_div(H, columns)
    cdef Py_ssize_t packed_size = panels * columns * GH * itemsize
    cdef int splits = <int>max(1, min(threads, schedule.B))
    cdef Py_ssize_t size = backward_scratch(cell, ceil_div(schedule.B, splits), H, itemsize)
    size = ceil_div(size, 64) * 64
    cdef Py_ssize_t spare = threads * SPARE if pairs else 0
    cdef Workspace work = Workspace(packed_size + splits * size + spare + H * sizeof(void *) + 256)
    cdef Backward w
    w.cell, w.rows, w.columns, w.scratch_each = cell, rows_of_first(schedule, H, splits), columns, size
    w.packed, w.scratch = work.take(packed_size), work.take(splits * size)
    w.pairs, w.spare = pairs, work.take(spare)
    cdef const floating **lines = <const floating **>work.take(H * sizeof(void *))
    w.lines, w.dhs, w.dh_last, w.dc_last, w.h0, w.c0 = <void *>lines, dhs, dh_last, dc_last, h0, c0
    w.hs, w.gates, w.more, w.da, w.da_hn, w.dh0, w.dc0 = hs, gates, more, da, da_hn, dh0, dc0
    for i in range(H):
        lines[i] = &W_h[i, 0]
    with nogil:
        share(<Body>panels_for_backward[floating], &w, panels, threads)
        share(<Body>splits_backward[floating], &w, splits, splits)
    return 0


cdef void panels_for_backward(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Backward *w = <Backward *>work
    cdef Py_ssize_t GH = w.cell * w.rows.H, i
    for i in range(part.first, part.last):
        if w.pairs:
            pack_pairs(<float *>w.packed + i * w.columns * ceil_div(GH, 2), w.columns,
                       <const float **>w.lines, False, 0, GH, i * w.columns,
                       min((i + 1) * w.columns, w.rows.H), w.spare + part.me * SPARE)
            continue
        pack(<floating *>w.packed + i * w.columns * GH, w.columns, <const floating **>w.lines, False,
             0, GH, i * w.columns, min((i + 1) * w.columns, w.rows.H))


cdef void splits_backward(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Backward *w = <Backward *>work
    cdef Py_ssize_t i
    for i in range(part.first, part.last):
        backward_rows(
            w.cell, rows_of(w.rows, i), <const floating *>w.packed, <const floating *>w.dhs,
            <const floating *>w.dh_last, <const floating *>w.dc_last, <const floating *>w.h0,
            <const floating *>w.c0, <const floating *>w.hs, <const floating *>w.gates,
            <const floating *>w.more, <floating *>w.da, <floating *>w.da_hn, <floating *>w.dh0,
            <floating *>w.dc0, w.scratch + part.me * w.scratch_each, w.pairs)


cdef int gradient_of_floats(
    Schedule schedule, const floating *da, const floating[:, ::1] W_x, floating[:, :, ::1] dx,
    int threads, bint pairs,
) except -1:
    """dx = da W_x^T, and zeros beyond the lengths."""
    cdef Py_ssize_t I = W_x.shape[0], GH = W_x.shape[1], steps = schedule.steps, T = schedule.T
    cdef Py_ssize_t word = sizeof(void *), i
    cdef Workspace lines = Workspace((2 * steps + I) * word + 128)
    cdef const floating **da_lines = <const floating **>lines.take(steps * word)
    cdef floating **dx_lines = <floating **>lines.take(steps * word)
    cdef const floating **W_lines = <const floating **>lines.take(I * word)
    cdef Py_ssize_t size = ceil_div(scratch_size(steps, GH, False, sizeof(floating), pairs), 64) * 64
    cdef Workspace work = Workspace(threads * size)
    cdef char *scratch = work.take(threads * size)
    for i in range(steps):
        da_lines[i] = da + schedule.step[i] * GH
        dx_lines[i] = &dx[0, 0, 0] + schedule.step[i] * I
    for i in range(I):
        W_lines[i] = &W_x[i, 0]
    for i in range(schedule.B):
        memset(&dx[i, 0, 0] + schedule.length[i] * I, 0,
               (T - schedule.length[i]) * I * sizeof(floating))
    with nogil:
        multiply(steps, I, GH, da_lines, False, W_lines, False, <const floating *>NULL, False,
                 dx_lines, threads, scratch, size, pairs)
    return 0


cdef struct OfIds:
    Py_ssize_t GH, parts, V, steps  # V: rows of dW_x that are cleared
    const Py_ssize_t *step
    const long long *ids  # NULL: every step's id is 0
    Input da
    Output dW_x


cdef void gradient_of_ids(floating *of_type, void *work, Part part) noexcept nogil:
    """dW_x by parts of its columns: row v sums the da where v was read."""
    cdef OfIds w = (<OfIds *>work)[0]
    cdef Py_ssize_t begin = part.first * w.GH // w.parts, i
    cdef Py_ssize_t count = part.last * w.GH // w.parts - begin
    cdef const floating *da = <const floating *>w.da + begin
    cdef floating *dW_x = <floating *>w.dW_x + begin
    for i in range(w.V):
        memset(dW_x + i * w.GH, 0, count * sizeof(floating))
    for i in range(w.steps):
        add_line(count, da + w.step[i] * w.GH,
                 dW_x + (w.ids[w.step[i]] if w.ids != NULL else 0) * w.GH)


cdef int sum_steps(Schedule schedule, Py_ssize_t GH, const floating *da, floating *db,
                   int threads) except -1:
    """db, the sum of da: the gradient of a W_x of one row, which every step has read."""
    cdef OfIds w
    w.GH, w.parts, w.V, w.steps, w.step = GH, threads, 1, schedule.steps, schedule.step
    w.ids, w.da, w.dW_x = NULL, da, db
    with nogil:
        share(<Body>gradient_of_ids[floating], &w, threads, threads)
    return 0


cdef struct Stack:
    Py_ssize_t I, H, T, stride
    const Py_ssize_t *step
    Input x, h0, hs
    Output lines


cdef void stack_steps(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Stack w = (<Stack *>work)[0]
    cdef const floating *h_prev
    cdef Py_ssize_t i, step
    for i in range(part.first, part.last):
        step = w.step[i]
        h_prev = <const floating *>w.hs + (step - 1) * w.H
        if step % w.T == 0:
            h_prev = <const floating *>w.h0 + step // w.T * w.H
        stack_step(<floating *>w.lines + i * w.stride, <const floating *>w.x + step * w.I, w.I, h_prev,
                   w.H)


cdef inline void stack_step(floating *line, const floating *x, Py_ssize_t I, const floating *h_prev,
                            Py_ssize_t H) noexcept nogil:
    """[x, 1, h_prev, 1]: a line of the matrix whose products with da are all weights' gradients."""
    copy_columns(line, x, I)
    line[I] = 1
    copy_columns(line + I + 1, h_prev, H)
    line[I + 1 + H] = 1


cdef int weight_gradients(
    int cell, Schedule schedule, const floating *x, Py_ssize_t I, const floating *h0,
    const floating *hs, const floating *da, const floating *da_hn, floating[:, ::1] dW_x,
    floating[:, ::1] dW_h, floating *db, floating *db_hn, int threads, bint pairs,
) except -1:
    """One product: stacked^T da = [dW_x, db, dW_h].  Of ids, I is 0, and dW_x left out.

    For the gru in three parts: r and z, where da is the same for x and h, and the two
    gradients of n: there db is of b_x, and db_hn the other bias's.
    """
    cdef Py_ssize_t H = dW_h.shape[0], GH = dW_h.shape[1], M = I + 1 + H, T = schedule.T
    cdef Py_ssize_t common = 2 * H if cell == GRU else GH  # columns of da that x and h have in common
    cdef Py_ssize_t steps = schedule.steps, word = sizeof(void *), itemsize = sizeof(floating), i
    cdef Py_ssize_t stride = state_stride(M + 1, itemsize)
    cdef Workspace lines = Workspace((5 * steps + 2 * M + 1) * word + 6 * 64)
    cdef const floating **stack_lines = <const floating **>lines.take(steps * word)
    cdef const floating **stack_h_lines = <const floating **>lines.take(steps * word)
    cdef const floating **da_lines = <const floating **>lines.take(steps * word)
    cdef const floating **da_xn_lines = <const floating **>lines.take(steps * word)
    cdef const floating **da_hn_lines = <const floating **>lines.take(steps * word)
    cdef floating **dW_lines = <floating **>lines.take(M * word)
    cdef floating **dW_n_lines = <floating **>lines.take((M + 1) * word)
    cdef Py_ssize_t size = ceil_div(scratch_size(M + 1, steps, True, itemsize, pairs), 64) * 64
    cdef Workspace work = Workspace(steps * stride * itemsize + threads * size + 64)
    cdef floating *stack = <floating *>work.take(steps * stride * itemsize)
    cdef char *scratch = work.take(threads * size)
    for i in range(steps):
        stack_lines[i] = stack + i * stride
        stack_h_lines[i] = stack + i * stride + I + 1
        da_lines[i] = da + schedule.step[i] * GH
        da_xn_lines[i] = da + schedule.step[i] * GH + common
        da_hn_lines[i] = da_hn + schedule.step[i] * H
    for i in range(I):
        dW_lines[i] = &dW_x[i, 0]
    dW_lines[I] = db
    for i in range(H):
        dW_lines[I + 1 + i] = &dW_h[i, 0]
    for i in range(M):
        dW_n_lines[i] = dW_lines[i] + common
    dW_n_lines[M] = db_hn
    cdef Stack w
    w.I, w.H, w.T, w.stride, w.step = I, H, T, stride, schedule.step
    w.x, w.h0, w.hs, w.lines = x, h0, hs, stack
    with nogil:
        share(<Body>stack_steps[floating], &w, steps, threads)
        multiply(M, common, steps, stack_lines, True, da_lines, True, <const floating *>NULL, False,
                 dW_lines, threads, scratch, size, pairs)
        if cell == GRU:
            multiply(I + 1, H, steps, stack_lines, True, da_xn_lines, True, <const floating *>NULL,
                     False, dW_n_lines, threads, scratch, size, pairs)
            multiply(H + 1, H, steps, stack_h_lines, True, da_hn_lines, True, <const floating *>NULL,
                     False, dW_n_lines + I + 1, threads, scratch, size, pairs)
    if pairs:  # a sum is no product: what is added is not rounded
        sum_steps(schedule, GH, da, db, threads)
        if cell == GRU:
            sum_steps(schedule, H, da_hn, db_hn, threads)
    return 0


cdef int backward(
    int cell, const floating[:, :, ::1] dhs, const floating[:, ::1] dh_last, const floating *dc_last,
    const floating[:, :, ::1] x, Ids ids, const floating[:, ::1] h0, const floating *c0,
    const floating[:, ::1] W_x, const floating[:, ::1] W_h, Lengths lengths,
    const floating[:, :, ::1] hs, const floating *gates, const floating *more,
    floating[:, :, ::1] dx, floating[:, ::1] dh0, floating *dc0, floating[:, ::1] dW_x,
    floating[:, ::1] dW_h, floating *db, floating *db_hn,
) except -1:
    """Of x and ids one is None."""
    cdef Py_ssize_t B = hs.shape[0], T = hs.shape[1], H = h0.shape[1], GH = cell * H
    cdef Py_ssize_t I = 0 if x is None else x.shape[2], V = W_x.shape[0], itemsize = sizeof(floating)
    cdef Schedule schedule = Schedule(lengths, T)
    cdef Py_ssize_t steps = schedule.steps
    cdef int threads = max_threads() if steps * (I + H) * GH > SMALL else 1
    cdef bint pairs = itemsize == 4 and rounds_to_bfloat16()
    cdef Workspace work = Workspace(B * T * (GH + H) * itemsize + 64)
    cdef floating *da = <floating *>work.take(B * T * GH * itemsize)
    cdef floating *da_hn = <floating *>work.take(B * T * H * itemsize if cell == GRU else 0)
    cdef OfIds w
    all_rows_backward(cell, schedule, &dhs[0, 0, 0], &dh_last[0, 0], dc_last, &h0[0, 0], c0, W_h,
                      &hs[0, 0, 0], gates, more, da, da_hn, &dh0[0, 0], dc0, threads,
                      pairs)
    if ids is None:
        gradient_of_floats(schedule, <const floating *>da, W_x, dx, threads, pairs)
    else:
        w.GH, w.parts, w.V, w.steps = GH, threads, V if V <= B * T else 0, steps
        w.step, w.ids, w.da, w.dW_x = schedule.step, &ids[0, 0], da, &dW_x[0, 0]
        with nogil:
            share(<Body>gradient_of_ids[floating], &w, threads, threads)
    weight_gradients(cell, schedule, <const floating *>NULL if x is None else &x[0, 0, 0], I,
                     &h0[0, 0], &hs[0, 0, 0], <const floating *>da, <const floating *>da_hn, dW_x,
                     dW_h, db, db_hn, threads, pairs)
    return 0
