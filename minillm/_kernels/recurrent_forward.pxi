# Forward: the input terms x W_x + b of all steps, and then the rows of a split through all steps.


cdef struct Terms:
    Py_ssize_t GH
    const Py_ssize_t *step
    const long long *ids  # NULL: a term for each id
    Input W, b
    Output terms


cdef void add_biases(floating *of_type, void *work, Part part) noexcept nogil:
    """W_x[id] + b of each step within the lengths; where ids is NULL, of each id."""
    cdef Terms w = (<Terms *>work)[0]
    cdef const floating *W = <const floating *>w.W
    cdef Py_ssize_t i, id, to
    for i in range(part.first, part.last):
        id, to = i, i
        if w.ids != NULL:
            to = w.step[i]
            id = w.ids[to]
        add_bias(w.GH, W + id * w.GH, <const floating *>w.b, <floating *>w.terms + to * w.GH)


cdef int forward_typed(
    int cell, const floating[:, :, ::1] x, Ids ids, const floating[:, ::1] h0, const floating[:, ::1] c0,
    const floating[:, ::1] W_x, const floating[:, ::1] W_h, const floating[::1] b, const floating[::1] b_h,
    Lengths lengths, floating[:, :, ::1] hs, floating[:, ::1] h_last, floating[:, ::1] c_last,
    floating[:, :, ::1] gates, floating[:, :, ::1] more,
) except -1:
    """Of x and ids one is None.  b: the bias of the input term (the gru's with b_h's r and z)."""
    cdef Py_ssize_t T = hs.shape[1], H = h0.shape[1], GH = cell * H
    cdef Py_ssize_t I = 0 if x is None else x.shape[2], V = W_x.shape[0], itemsize = sizeof(floating)
    cdef Schedule schedule = Schedule(lengths, T, H)
    cdef Py_ssize_t steps = schedule.steps
    cdef int threads = max_threads() if steps * (I + H) * GH > SMALL else 1
    cdef bint pairs = itemsize == 4 and rounds_to_bfloat16()
    # The input terms stand where the gates will be.  If W_x has fewer rows than there are steps, the
    # terms of all ids are a table of their own.
    cdef bint by_table = ids is not None and V < steps
    cdef floating *terms = &hs[0, 0, 0] if cell == RNN else &gates[0, 0, 0]
    cdef Workspace before = Workspace(
        lines_size(3, 2 * steps + I) if ids is None else V * GH * itemsize if by_table else 0)
    cdef Terms of_ids
    if ids is None:
        product(steps, GH, I, lines_of(before, &x[0, 0, 0], steps, I, schedule.step), False,
                lines_of(before, &W_x[0, 0], I, GH), True, &b[0], False,
                <floating **>lines_of(before, <const floating *>terms, steps, GH, schedule.step), threads, pairs)
    else:
        if by_table:
            terms = <floating *>before.take(V * GH * itemsize)
        of_ids.GH, of_ids.step, of_ids.ids = GH, schedule.step, <const long long *>NULL if by_table else &ids[0, 0]
        of_ids.W, of_ids.b, of_ids.terms = &W_x[0, 0], &b[0], terms
        with nogil:
            share(<Body>add_biases[floating], &of_ids, V if by_table else steps, threads)

    cdef Recurrence w
    memset(&w, 0, sizeof(Recurrence))
    w.cell, w.pairs, w.is_forward, w.rows, w.ld = cell, pairs, True, schedule.rows, state_stride(H, itemsize)
    w.terms, w.h0, w.hs, w.h_last = terms, &h0[0, 0], &hs[0, 0, 0], &h_last[0, 0]
    if by_table:
        w.ids = &ids[0, 0]
    if cell == LSTM:
        w.c0, w.c_last = &c0[0, 0], &c_last[0, 0]
    if cell == GRU:
        w.b_hn = &b_h[2 * H]
    if cell != RNN:
        w.gates, w.more = &gates[0, 0, 0], &more[0, 0, 0]
    return run_rows(&w, W_h, threads)


cdef void panels_for_forward(floating *of_type, void *work, Part part) noexcept nogil:
    """Pack W_h: a line of a panel has the gates of a tile side by side."""
    cdef Recurrence *w = <Recurrence *>work
    cdef Py_ssize_t columns = w.columns, G = w.cell, H = w.rows.H, some = w.together, i, g, p, count
    cdef floating *to
    for i in range(w.depth):
        for g in range(G):
            for p in range(part.first, part.last):
                count = min(columns, H - p * columns)
                to = <floating *>w.packed + ((p * G + g - g % some) * w.depth + i * some + g % some) * columns
                copy_columns(to, (<const floating **>w.lines)[i] + g * H + p * columns, count)
                memset(to + count, 0, (columns - count) * sizeof(floating))


cdef void forward_rows(floating *of_type, const Recurrence *w, Rows rows, char *scratch) noexcept nogil:
    """One thread's rows through all steps."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), H = rows.H, G = w.cell
    cdef Py_ssize_t ld = w.ld, all_rows = count_of(&rows, rows.B)
    cdef floating *acc = <floating *>cut(&scratch, 2 * TILES_TOGETHER * TILE_SIZE)
    cdef floating *cells = <floating *>cut(&scratch, 5 * VECTOR_BYTES)
    cdef floating *h = <floating *>cut(&scratch, 4 * all_rows * ld * sizeof(floating))
    cdef floating *h_next = h + all_rows * ld
    cdef floating *c = h_next + all_rows * ld
    cdef floating *h_in_pairs = c + all_rows * ld
    cdef const floating *a[8 * TILES_TOGETHER]
    cdef const floating *terms[8 * TILES_TOGETHER]
    cdef const floating *start[8 * TILES_TOGETHER]
    cdef floating *out[8 * TILES_TOGETHER]
    cdef Py_ssize_t steps[8 * TILES_TOGETHER]
    cdef Py_ssize_t t, p, j, m, m0, m1, i, g, k, v, q, r0, r1, t0, t1, groups, tiles, now, ahead
    cdef int vectors, in_place
    begin_states(w, &rows, all_rows, ld, h, c)
    for t in range(rows.T):
        now = count_of(&rows, rows.alive[t])
        for m in range(now if w.pairs else 0):
            pairs_along(h_in_pairs + m * ld, h + m * ld, H)
        for p in range(w.panels if now > 0 else 0):
            j = p * w.columns
            vectors = <int>(ceil_div(min(w.columns, H - j), lanes) * w.together)
            in_place = w.together == 1 and H - j >= w.columns  # the sums can begin where the terms lie
            # The next input terms are the next panel's, or, after the last panel, the next step's first ones.
            ahead = w.columns if p + 1 < w.panels else (0 if t + 1 == rows.T else G * H - j)
            tiles = ceil_div(now, TILE_ROWS(vectors))
            groups = ceil_div(tiles, TILES_TOGETHER)
            for q in range(groups):  # some tiles pass over a gate's panel together
                t0, t1 = q * tiles // groups, (q + 1) * tiles // groups
                r0, r1 = t0 * now // tiles, t1 * now // tiles
                for m in range(r1 - r0):
                    a[m] = (h_in_pairs if w.pairs else h) + (r0 + m) * ld
                    steps[m] = row_at(&rows, r0 + m) * rows.T + t
                    terms[m] = <const floating *>w.terms + (w.ids[steps[m]] if w.ids != NULL else steps[m]) * G * H + j
                g = 0
                while g < G:
                    for i in range(t0, t1):
                        m0, m1 = i * now // tiles - r0, (i + 1) * now // tiles - r0
                        for m in range(m0, m1):
                            # While the tile runs: the next panel's input terms, and where the states will be kept.
                            if g == 0:
                                fetch(<const floating *>w.hs + steps[m] * H + j, w.columns)
                            if g == 0 and G != RNN:
                                fetch(<const floating *>w.more + steps[m] * H + j, w.columns)
                            out[m] = acc + (m * G + g) * w.columns
                            for k in range(w.together):  # the gru's x W_xn + b_xn is added after the reset
                                fetch(terms[m] + ahead + (g + k) * H, w.columns)
                                if w.ids != NULL and G != RNN:
                                    fetch(<const floating *>w.gates + (steps[m] * G + g + k) * H + j, w.columns)
                                start[m] = (terms[m] + (g + k) * H if G != GRU or g + k < 2
                                            else <const floating *>w.b_hn + j)
                                if not in_place:
                                    copy_columns(out[m] + k * w.columns, start[m], min(w.columns, H - j))
                            if not in_place:
                                start[m] = out[m]
                        tile_of(w.pairs, <int>(m1 - m0), vectors, w.depth, a + m0, <const floating *>w.packed +
                                (p * G + g) * w.depth * w.columns, w.columns * w.together, start + m0, out + m0)
                    g += w.together
                for m in range(r1 - r0):
                    for v in range(vectors // w.together):
                        run_cells(w, H, j + v * lanes, steps[m], terms[m] + v * lanes,
                                  <const floating *>acc + m * G * w.columns + v * lanes, cells,
                                  <const floating *>h + (r0 + m) * ld, h_next + (r0 + m) * ld, c + (r0 + m) * ld)
        # Rows that end here: they have this step and not the next.
        for m in range(count_of(&rows, rows.alive[t + 1]), now):
            memcpy(<floating *>w.h_last + row_at(&rows, m) * H, h_next + m * ld, H * sizeof(floating))
        h, h_next = h_next, h
    end_states(w, &rows, all_rows, ld, <const floating *>c)


cdef inline void run_cells(
    const Recurrence *w, Py_ssize_t H, Py_ssize_t j, Py_ssize_t step, const floating *term, const floating *sums,
    floating *cells, const floating *h, floating *h_next, floating *c,
) noexcept nogil:
    """Run a vector of one row's cells on their sums; keep the new state and the backward's inputs."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), count = min(lanes, H - j), g
    cdef floating *more = c + j if w.cell == LSTM else cells
    cdef floating *gates = <floating *>w.gates + step * w.cell * H + j
    if w.cell == GRU:
        copy_columns(cells, term + 2 * H, count)
    if count == lanes:
        run_cell(w.cell, sums, w.columns, more, h + j, h_next + j, gates, H)
    else:
        run_cell(w.cell, sums, w.columns, more, h + j, h_next + j, cells + lanes, lanes)
        for g in range(w.cell if w.cell != RNN else 0):
            copy_columns(gates + g * H, <const floating *>cells + (1 + g) * lanes, count)
    copy_columns(<floating *>w.hs + step * H + j, <const floating *>h_next + j, count)
    if w.cell != RNN:
        copy_columns(<floating *>w.more + step * H + j, <const floating *>more, count)


cdef void begin_states(
    const Recurrence *w, const Rows *rows, Py_ssize_t all_rows, Py_ssize_t ld, floating *h, floating *c,
) noexcept nogil:
    """The initial states of this thread's rows, and zeros in the rest of the three buffers."""
    cdef Py_ssize_t H = rows.H, m
    memset(h, 0, 3 * all_rows * ld * sizeof(floating))
    for m in range(all_rows):
        memcpy(h + m * ld, <const floating *>w.h0 + row_at(rows, m) * H, H * sizeof(floating))
        if w.cell == LSTM:
            memcpy(c + m * ld, <const floating *>w.c0 + row_at(rows, m) * H, H * sizeof(floating))


cdef void end_states(
    const Recurrence *w, const Rows *rows, Py_ssize_t all_rows, Py_ssize_t ld, const floating *c
) noexcept nogil:
    """The last states that are not noted yet, and zeros beyond the end of each row."""
    cdef Py_ssize_t H = rows.H, size = H * sizeof(floating), m, b, end, beyond
    for m in range(all_rows):
        b = row_at(rows, m)
        end, beyond = b * rows.T + rows.length[b], rows.T - rows.length[b]
        if rows.length[b] == 0:
            memcpy(<floating *>w.h_last + b * H, <const floating *>w.h0 + b * H, size)
        if w.cell == LSTM:
            memcpy(<floating *>w.c_last + b * H, c + m * ld, size)
        memset(<floating *>w.hs + end * H, 0, beyond * size)
        if w.cell != RNN:
            memset(<floating *>w.gates + end * w.cell * H, 0, beyond * w.cell * size)
            memset(<floating *>w.more + end * H, 0, beyond * size)
