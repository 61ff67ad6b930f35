# Forward: the input terms x W_x + b of all steps, and then the rows of a split through all steps.


cdef inline Py_ssize_t panel_vectors(int cell) noexcept nogil:
    """How many vectors of hidden columns a panel of W_h holds: with their gates, four at most."""
    return 4 if cell == RNN else 1


cdef void pack_forward(int cell, Py_ssize_t H, const floating *W_h, floating *packed,
                       Py_ssize_t first, Py_ssize_t last, bint pairs) noexcept nogil:
    """Panels first to last: packed[panel][k] has the gates of the panel's columns side by side."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), columns = panel_vectors(cell) * lanes
    cdef Py_ssize_t G = cell, each = 2 if pairs else 1, depth = ceil_div(H, each), p, i, g, j, count
    cdef const floating *line
    cdef floating *to = packed + first * depth * G * columns
    for p in range(first, last):
        j = p * columns
        count = min(columns, H - j)
        for i in range(depth):
            for g in range(G):
                line = W_h + (i * each * G + g) * H + j
                if pairs:
                    pairs_across(<float *>to, <const float *>line,
                                 <const float *>(line + G * H) if 2 * i + 1 < H else NULL, count)
                else:
                    copy_columns(to, line, count)
                if count < columns:
                    memset(to + count, 0, (columns - count) * sizeof(floating))
                to += columns


cdef inline void begin_sums(
    int cell, Py_ssize_t H, Py_ssize_t j, Py_ssize_t width, Py_ssize_t ahead, const floating *term,
    const floating *b_hn, floating *sums,
) noexcept nogil:
    """The sums of one row's cells begin with their input term; that of the next panel is fetched."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), count = min(lanes, H - j), G = cell, g
    if cell == RNN:
        prefetch(term + ahead, width)
        copy_columns(sums, term, min(width, H - j))
        return
    for g in range(G):
        prefetch(term + g * H + ahead, lanes)
    for g in range(2 if cell == GRU else G):
        copy_columns(sums + g * lanes, term + g * H, count)
    if cell == GRU:  # x W_xn + b_xn is added after the reset
        copy_columns(sums + 2 * lanes, b_hn + j, count)


cdef inline void end_sums(
    int cell, Py_ssize_t H, Py_ssize_t j, int vectors, Py_ssize_t step, const floating *term,
    floating *sums, floating *n, const floating *h, floating *h_next, floating *c,
    floating *hs, floating *gates, floating *more,
) noexcept nogil:
    """Run one row's cells on their sums; keep the new state and the backward's inputs."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), count = min(lanes, H - j), g, v
    if cell == RNN:
        for v in range(vectors):
            rnn_cell(sums + v * lanes, h_next + v * lanes)
        copy_columns(hs + step * H + j, <const floating *>h_next, min(vectors * lanes, H - j))
        return
    if cell == LSTM:
        lstm_cell(sums, c, h_next)
        for g in range(4):
            copy_columns(gates + (step * 4 + g) * H + j, <const floating *>sums + g * lanes, count)
        copy_columns(more + step * H + j, <const floating *>c, count)
    else:
        copy_columns(n, term + 2 * H, count)
        gru_cell(sums, n, h, h_next)
        for g in range(2):
            copy_columns(gates + (step * 3 + g) * H + j, <const floating *>sums + g * lanes, count)
        copy_columns(gates + (step * 3 + 2) * H + j, <const floating *>n, count)
        copy_columns(more + step * H + j, <const floating *>sums + 2 * lanes, count)
    copy_columns(hs + step * H + j, <const floating *>h_next, count)


cdef Py_ssize_t forward_scratch(Py_ssize_t B, Py_ssize_t H, Py_ssize_t itemsize) noexcept nogil:
    return TILE_SIZE + VECTOR_BYTES + 4 * B * state_stride(H, itemsize) * itemsize + 3 * 64


cdef void forward_rows(
    int cell, Rows rows, const floating *packed, const floating *terms, const long long *ids,
    const floating *h0, const floating *c0, const floating *b_hn,
    floating *hs, floating *h_last, floating *c_last, floating *gates, floating *more, char *scratch,
    bint pairs,
) noexcept nogil:
    """One thread's rows through all steps.

    terms holds the input term of each step, or (ids) of each id.  It may lie where
    the gates (for the rnn: hs) will be.  more is what else the backward needs: the
    lstm's cs, the gru's h_n.
    """
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), G = cell, T = rows.T, H = rows.H
    cdef Py_ssize_t columns = panel_vectors(cell) * lanes, panels = ceil_div(H, columns)
    cdef Py_ssize_t ld = state_stride(H, sizeof(floating)), all_rows = count_of(&rows, rows.B)
    cdef floating *acc = <floating *>cut(&scratch, TILE_SIZE)
    cdef floating *n = <floating *>cut(&scratch, VECTOR_BYTES)
    cdef floating *h = <floating *>cut(&scratch, 4 * all_rows * ld * sizeof(floating))
    cdef floating *h_next = h + all_rows * ld
    cdef floating *c = h_next + all_rows * ld
    cdef floating *h_in_pairs = c + all_rows * ld
    cdef Py_ssize_t depth = ceil_div(H, 2) if pairs else H
    cdef const floating *a[8]
    cdef floating *out[8]
    cdef Py_ssize_t t, p, j, m, m0, m1, i, tiles, now, width, step, ahead
    cdef int vectors
    begin_states(cell, &rows, all_rows, ld, h0, c0, h, c)
    for t in range(T):
        now = count_of(&rows, rows.alive[t])
        for m in range(now if pairs else 0):
            pairs_along(<float *>(h_in_pairs + m * ld), <const float *>(h + m * ld), H)
        for p in range(panels if now > 0 else 0):
            j = p * columns
            vectors = <int>(ceil_div(min(columns, H - j), lanes) if cell == RNN else G)
            width = vectors * lanes
            # The next panel's input terms; after the last panel, the first ones of the next step.
            ahead = columns if p + 1 < panels else (0 if t + 1 == T else G * H - j)
            tiles = ceil_div(now, TILE_ROWS(vectors))
            for i in range(tiles):
                m0, m1 = i * now // tiles, (i + 1) * now // tiles
                for m in range(m0, m1):
                    a[m - m0] = (h_in_pairs if pairs else h) + m * ld
                    out[m - m0] = acc + (m - m0) * width
                    step = row_at(&rows, m) * T + t
                    begin_sums(cell, H, j, width, ahead,
                               terms + (step if ids == NULL else ids[step]) * G * H + j, b_hn,
                               out[m - m0])
                tile_of(pairs, <int>(m1 - m0), vectors, depth, a, packed + p * depth * G * columns,
                        G * columns, <const floating **>out, out)
                for m in range(m0, m1):
                    step = row_at(&rows, m) * T + t
                    end_sums(cell, H, j, vectors, step,
                             terms + (step if ids == NULL else ids[step]) * G * H + j,
                             acc + (m - m0) * width, n, <const floating *>h + m * ld + j,
                             h_next + m * ld + j, c + m * ld + j, hs, gates, more)
        # Rows that end here: they have this step and not the next.
        for m in range(count_of(&rows, rows.alive[t + 1]), now):
            memcpy(h_last + row_at(&rows, m) * H, h_next + m * ld, H * sizeof(floating))
        h, h_next = h_next, h
    end_states(cell, &rows, all_rows, ld, h0, c, hs, h_last, c_last, gates, more)


cdef void begin_states(
    int cell, const Rows *rows, Py_ssize_t all_rows, Py_ssize_t ld, const floating *h0,
    const floating *c0, floating *h, floating *c,
) noexcept nogil:
    """The initial states of this thread's rows, and zeros in the rest of the three buffers."""
    cdef Py_ssize_t H = rows.H, m
    memset(h, 0, 3 * all_rows * ld * sizeof(floating))
    for m in range(all_rows):
        memcpy(h + m * ld, h0 + row_at(rows, m) * H, H * sizeof(floating))
        if cell == LSTM:
            memcpy(c + m * ld, c0 + row_at(rows, m) * H, H * sizeof(floating))


cdef void end_states(
    int cell, const Rows *rows, Py_ssize_t all_rows, Py_ssize_t ld, const floating *h0,
    const floating *c, floating *hs, floating *h_last, floating *c_last, floating *gates,
    floating *more,
) noexcept nogil:
    """The last states that are not noted yet, and zeros beyond the end of each row."""
    cdef Py_ssize_t H = rows.H, G = cell, m, b, end, beyond
    for m in range(all_rows):
        b = row_at(rows, m)
        end, beyond = b * rows.T + rows.length[b], rows.T - rows.length[b]
        if rows.length[b] == 0:
            memcpy(h_last + b * H, h0 + b * H, H * sizeof(floating))
        if cell == LSTM:
            memcpy(c_last + b * H, c + m * ld, H * sizeof(floating))
        memset(hs + end * H, 0, beyond * H * sizeof(floating))
        if cell != RNN:
            memset(gates + end * G * H, 0, beyond * G * H * sizeof(floating))
            memset(more + end * H, 0, beyond * H * sizeof(floating))


cdef int terms_of_floats(
    const floating[:, :, ::1] x, const floating[:, ::1] W_x, const floating *b, Schedule schedule,
    floating *terms, int threads, bint pairs,
) except -1:
    """x W_x + b of each step within the lengths."""
    cdef Py_ssize_t I = x.shape[2], GH = W_x.shape[1], steps = schedule.steps, word = sizeof(void *), i
    cdef Workspace lines = Workspace((2 * steps + I) * word + 128)
    cdef const floating **x_lines = <const floating **>lines.take(steps * word)
    cdef floating **term_lines = <floating **>lines.take(steps * word)
    cdef const floating **W_lines = <const floating **>lines.take(I * word)
    cdef Py_ssize_t size = ceil_div(scratch_size(steps, I, False, sizeof(floating), pairs), 64) * 64
    cdef Workspace work = Workspace(threads * size)
    cdef char *scratch = work.take(threads * size)
    for i in range(steps):
        x_lines[i] = &x[0, 0, 0] + schedule.step[i] * I
        term_lines[i] = terms + schedule.step[i] * GH
    for i in range(I):
        W_lines[i] = &W_x[i, 0]
    with nogil:
        multiply(steps, GH, I, x_lines, False, W_lines, True, b, False, term_lines, threads,
                 scratch, size, pairs)
    return 0


cdef struct Terms:
    Py_ssize_t GH
    const Py_ssize_t *step
    const long long *ids  # NULL: a term for each id
    Input W, b
    Output terms


cdef int terms_of_ids(
    const long long *ids, const floating[:, ::1] W_x, const floating *b, Schedule schedule,
    floating *terms, int threads,
) except -1:
    """W_x[id] + b of each step within the lengths; where ids is NULL, of each id."""
    cdef Terms w
    w.GH, w.step, w.ids, w.W, w.b, w.terms = W_x.shape[1], schedule.step, ids, &W_x[0, 0], b, terms
    cdef Py_ssize_t count = W_x.shape[0] if ids == NULL else schedule.steps
    with nogil:
        share(<Body>add_biases[floating], &w, count, threads)
    return 0


cdef void add_biases(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Terms w = (<Terms *>work)[0]
    cdef const floating *W = <const floating *>w.W
    cdef Py_ssize_t i, id, to
    for i in range(part.first, part.last):
        id, to = i, i
        if w.ids != NULL:
            to = w.step[i]
            id = w.ids[to]
        add_bias(w.GH, W + id * w.GH, <const floating *>w.b, <floating *>w.terms + to * w.GH)


cdef struct Forward:
    int cell
    bint pairs
    Rows rows
    Py_ssize_t panels, scratch_each
    const long long *ids
    Input W_h
    Output packed
    Input terms, h0, c0, b_hn
    Output hs, h_last, c_last, gates, more
    char *scratch


cdef int forward(
    int cell, const floating[:, :, ::1] x, Ids ids, const floating[:, ::1] h0, const floating *c0,
    const floating[:, ::1] W_x, const floating[:, ::1] W_h, const floating *b, const floating *b_hn,
    Lengths lengths, floating[:, :, ::1] hs, floating[:, ::1] h_last, floating *c_last,
    floating *gates, floating *more,
) except -1:
    """Of x and ids one is None.  b: the bias of the input term (the gru's with b_h's r and z)."""
    cdef Py_ssize_t B = hs.shape[0], T = hs.shape[1], H = h0.shape[1], GH = cell * H
    cdef Py_ssize_t I = 0 if x is None else x.shape[2], V = W_x.shape[0], itemsize = sizeof(floating)
    cdef Schedule schedule = Schedule(lengths, T)
    cdef int threads = max_threads() if schedule.steps * (I + H) * GH > SMALL else 1
    cdef int splits = <int>max(1, min(threads, B))
    cdef bint pairs = itemsize == 4 and rounds_to_bfloat16()
    # The input terms stand where the gates will be; those of ids of which there are fewer
    # than steps, in a table of their own.
    cdef bint by_table = ids is not None and V < schedule.steps
    cdef floating *terms = &hs[0, 0, 0] if cell == RNN else gates
    cdef const long long *id_of_step = NULL
    cdef Workspace table = Workspace(V * GH * itemsize if by_table else 0)
    if by_table:
        id_of_step, terms = &ids[0, 0], <floating *>table.take(V * GH * itemsize)
    if ids is None:
        terms_of_floats(x, W_x, b, schedule, terms, threads, pairs)
    else:
        terms_of_ids(<const long long *>NULL if by_table else &ids[0, 0], W_x, b, schedule, terms,
                     threads)

    cdef Py_ssize_t columns = panel_vectors(cell) * VECTOR_BYTES // itemsize
    cdef Py_ssize_t panels = ceil_div(H, columns), packed_size = panels * columns * H * cell * itemsize
    cdef Py_ssize_t size = ceil_div(forward_scratch(ceil_div(B, splits), H, itemsize), 64) * 64
    cdef Workspace work = Workspace(packed_size + splits * size + 64)
    cdef Forward w
    w.cell, w.rows, w.panels, w.scratch_each = cell, rows_of_first(schedule, H, splits), panels, size
    w.pairs = pairs
    w.ids, w.W_h, w.packed, w.terms = id_of_step, &W_h[0, 0], work.take(packed_size), terms
    w.h0, w.c0, w.b_hn, w.gates, w.more = &h0[0, 0], c0, b_hn, gates, more
    w.hs, w.h_last, w.c_last = &hs[0, 0, 0], &h_last[0, 0], c_last
    w.scratch = work.take(splits * size)
    with nogil:
        share(<Body>panels_for_forward[floating], &w, panels, threads)
        share(<Body>splits_forward[floating], &w, splits, splits)
    return 0


cdef void panels_for_forward(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Forward *w = <Forward *>work
    pack_forward(w.cell, w.rows.H, <const floating *>w.W_h, <floating *>w.packed, part.first,
                 part.last, w.pairs)


cdef void splits_forward(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Forward *w = <Forward *>work
    cdef Py_ssize_t i
    for i in range(part.first, part.last):
        forward_rows(
            w.cell, rows_of(w.rows, i), <const floating *>w.packed, <const floating *>w.terms, w.ids,
            <const floating *>w.h0, <const floating *>w.c0, <const floating *>w.b_hn,
            <floating *>w.hs, <floating *>w.h_last, <floating *>w.c_last, <floating *>w.gates,
            <floating *>w.more, w.scratch + part.me * w.scratch_each, w.pairs)
