# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Recurrences that a scan computes: the linear one, Mamba's and the gated delta rule.  The Cython twins
of the originals.

A thread takes blocks of columns (of heads, for the delta rule), and runs through time with each of
them.  Which thread has which block changes no bit.
"""

include "topic.pxi"
include "gemm.pxi"
include "activations.pxi"
include "normalisation.pxi"
include "scan.pxi"

cdef enum:
    FEW = 30_000  # numbers that are not worth waking another thread for
    WIDE = 2048   # columns of a block of the linear recurrence, whose state a fast cache has to hold

cdef struct Linear:
    Py_ssize_t T, D, width  # of a block
    const int64_t *lengths
    Input dhs, a, b, h0, hs
    Output hs_new, h, da, db  # h (B, D): the last state; in a backward, dh_last and then dh0

cdef struct Selective:
    Py_ssize_t B, T, D, N
    Input dy, x, delta, A, b, c, skip, h0
    Output y, h, dx, ddelta, dA, db, dc, dskip  # h as in Linear; db and dc: a part for each block
    char *own       # the memory of each thread
    Py_ssize_t own_size

cdef struct Delta:
    Py_ssize_t T, K, V
    Input do, q, k, v, alpha, beta, S0
    Output o, S, dq, dk, dv, dalpha, dbeta  # S as h in Linear
    char *own
    Py_ssize_t own_size


cdef inline Py_ssize_t blocks_of(Py_ssize_t D, Py_ssize_t width) noexcept nogil:
    return (D + width - 1) // width


# --- the linear recurrence ----------------------------------------------------------


cdef Py_ssize_t width_of(Py_ssize_t B, Py_ssize_t D, int threads) noexcept nogil:
    """Columns of a block: whole rows are read fastest, but each thread should have a block."""
    cdef Py_ssize_t parts = blocks_of(threads, B)
    return min(<Py_ssize_t>WIDE, max(<Py_ssize_t>64, blocks_of(blocks_of(D, parts), 16) * 16))


def linear_recurrence_forward(
    const floating[:, :, ::1] a, const floating[:, :, ::1] b, const floating[:, ::1] h0,
    const int64_t[::1] lengths
):
    cdef Py_ssize_t B = a.shape[0]
    cdef Linear p
    p.T, p.D = a.shape[1], a.shape[2]
    hs, h_last = empty((B, p.T, p.D), dtype_of(<floating>0)), np.array(h0)
    if hs.size == 0:
        return hs, h_last
    p.lengths, p.a, p.b = &lengths[0], &a[0, 0, 0], &b[0, 0, 0]
    p.hs_new, p.h = address(hs), address(h_last)
    cdef int threads = threads_for(B * p.T * p.D, FEW)
    p.width = width_of(B, p.D, threads)
    with nogil:
        share(<Body>linear_columns[floating], &p, B * blocks_of(p.D, p.width), threads)
    return hs, h_last


cdef void linear_columns(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Linear p = (<Linear *>work)[0]
    cdef Py_ssize_t blocks = blocks_of(p.D, p.width), i, row, first, n, at, t
    cdef floating *hs
    for i in range(part.first, part.last):
        row, first = i // blocks, i % blocks * p.width
        n, at = min(p.width, p.D - first), row * p.T * p.D + first
        hs = <floating *>p.hs_new + at
        linear_scan(
            p.lengths[row], p.D, n, <const floating *>p.a + at, <const floating *>p.b + at,
            <floating *>p.h + row * p.D + first, hs)
        for t in range(p.lengths[row], p.T):
            memset(hs + t * p.D, 0, n * sizeof(floating))


def linear_recurrence_backward(
    const floating[:, :, ::1] dhs, const floating[:, ::1] dh_last, const floating[:, :, ::1] a,
    const floating[:, ::1] h0, const floating[:, :, ::1] hs, const int64_t[::1] lengths
):
    cdef Py_ssize_t B = a.shape[0]
    cdef Linear p
    p.T, p.D = a.shape[1], a.shape[2]
    dtype = dtype_of(<floating>0)
    da, db = (empty((B, p.T, p.D), dtype) for _ in range(2))
    dh0 = np.array(dh_last)
    if da.size == 0:
        return da, db, dh0
    p.lengths, p.dhs, p.a, p.h0 = &lengths[0], &dhs[0, 0, 0], &a[0, 0, 0], &h0[0, 0]
    p.hs, p.h, p.da, p.db = &hs[0, 0, 0], address(dh0), address(da), address(db)
    cdef int threads = threads_for(B * p.T * p.D, FEW)
    p.width = width_of(B, p.D, threads)
    with nogil:
        share(<Body>linear_columns_backward[floating], &p, B * blocks_of(p.D, p.width), threads)
    return da, db, dh0


cdef void linear_columns_backward(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Linear p = (<Linear *>work)[0]
    cdef Py_ssize_t blocks = blocks_of(p.D, p.width), i, row, first, n, at, t, state
    cdef floating *da
    cdef floating *db
    for i in range(part.first, part.last):
        row, first = i // blocks, i % blocks * p.width
        n, at, state = min(p.width, p.D - first), row * p.T * p.D + first, row * p.D + first
        da, db = <floating *>p.da + at, <floating *>p.db + at
        linear_scan_backward(
            p.lengths[row], p.D, n, <const floating *>p.dhs + at, <const floating *>p.a + at,
            <const floating *>p.h0 + state, <const floating *>p.hs + at, <floating *>p.h + state, da, db)
        for t in range(p.lengths[row], p.T):
            memset(da + t * p.D, 0, n * sizeof(floating))
            memset(db + t * p.D, 0, n * sizeof(floating))


# --- the selective scan -------------------------------------------------------------


def selective_scan_forward(
    const floating[:, :, ::1] x, const floating[:, :, ::1] delta, const floating[:, ::1] A,
    const floating[:, :, ::1] b, const floating[:, :, ::1] c, const floating[::1] skip,
    const floating[:, :, ::1] h0
):
    cdef Selective p
    p.B, p.T, p.D, p.N = x.shape[0], x.shape[1], x.shape[2], A.shape[1]
    y, h_last = empty((p.B, p.T, p.D), dtype_of(<floating>0)), np.array(h0)
    if y.size == 0:
        return y, h_last
    find_selective(&p, x, delta, A, b, c, skip)
    p.y, p.h = address(y), address(h_last)
    cdef Py_ssize_t count = p.B * blocks_of(p.D, COLUMNS), line = COLUMNS * sizeof(floating)
    cdef int threads = threads_for(p.B * p.T * p.D, FEW)
    p.own_size = (2 * p.N + 1) * line
    cdef Workspace memory = Workspace(threads * p.own_size)
    p.own = memory.take(threads * p.own_size)
    with nogil:
        share(<Body>selective_columns[floating], &p, count, threads)
    return y, h_last


cdef void find_selective(
    Selective *p, const floating[:, :, ::1] x, const floating[:, :, ::1] delta,
    const floating[:, ::1] A, const floating[:, :, ::1] b, const floating[:, :, ::1] c,
    const floating[::1] skip
) noexcept:
    p.x, p.delta, p.A, p.b, p.c = &x[0, 0, 0], &delta[0, 0, 0], &A[0, 0], &b[0, 0, 0], &c[0, 0, 0]
    p.skip = &skip[0]


cdef void selective_columns(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Selective p = (<Selective *>work)[0]
    cdef char *own = p.own + part.me * p.own_size
    cdef Py_ssize_t blocks = blocks_of(p.D, COLUMNS), line = COLUMNS * sizeof(floating), i, row, first, n, at
    cdef floating *A = <floating *>cut(&own, p.N * line)
    cdef floating *h = <floating *>cut(&own, p.N * line)
    cdef floating *skip = <floating *>cut(&own, line)
    cdef floating *state
    for i in range(part.first, part.last):
        row, first = i // blocks, i % blocks * COLUMNS
        n, at = min(COLUMNS, p.D - first), row * p.T * p.D + first
        state = <floating *>p.h + (row * p.D + first) * p.N
        turn(n, p.N, <const floating *>p.A + first * p.N, A)
        turn(n, 1, <const floating *>p.skip + first, skip)
        turn(n, p.N, state, h)
        selective_scan(
            p.T, p.D, p.N, n, <const floating *>p.x + at, <const floating *>p.delta + at, A,
            <const floating *>p.b + row * p.T * p.N, <const floating *>p.c + row * p.T * p.N, skip, h,
            <floating *>p.y + at)
        turn_back(n, p.N, h, state)


def selective_scan_backward(
    const floating[:, :, ::1] dy, const floating[:, :, ::1] dh_last, const floating[:, :, ::1] x,
    const floating[:, :, ::1] delta, const floating[:, ::1] A, const floating[:, :, ::1] b,
    const floating[:, :, ::1] c, const floating[::1] skip, const floating[:, :, ::1] h0
):
    cdef Selective p
    p.B, p.T, p.D, p.N = x.shape[0], x.shape[1], x.shape[2], A.shape[1]
    dtype = dtype_of(<floating>0)
    cdef Py_ssize_t blocks = blocks_of(p.D, COLUMNS), line = COLUMNS * sizeof(floating)
    dx, ddelta = (empty((p.B, p.T, p.D), dtype) for _ in range(2))
    db, dc = (empty((blocks, p.B, p.T, p.N), dtype) for _ in range(2))
    dA, dskip, dh0 = np.zeros((p.D, p.N), dtype), np.zeros(p.D, dtype), np.array(dh_last)
    if dx.size == 0:
        return dx, ddelta, dA, db.sum(axis=0), dc.sum(axis=0), dskip, dh0
    find_selective(&p, x, delta, A, b, c, skip)
    p.dy, p.h0, p.h = &dy[0, 0, 0], &h0[0, 0, 0], address(dh0)
    p.dx, p.ddelta, p.dA, p.dskip = address(dx), address(ddelta), address(dA), address(dskip)
    p.db, p.dc = address(db), address(dc)
    cdef int threads = threads_for(p.B * p.T * p.D, FEW)
    p.own_size = ((blocks_of(p.T, SPAN) + 2 * SPAN + 3) * p.N + 2) * line + room_size(p.N, <floating>0)
    cdef Workspace memory = Workspace(threads * p.own_size)
    p.own = memory.take(threads * p.own_size)
    with nogil:
        share(<Body>selective_columns_backward[floating], &p, blocks, threads)
    # each block had a part of its own, so that this sum has one order
    return dx, ddelta, dA, db.sum(axis=0), dc.sum(axis=0), dskip, dh0


cdef inline Py_ssize_t room_size(Py_ssize_t N, floating zero) noexcept nogil:
    """The bytes in which a span adds up db and dc."""
    return SPAN * N * PARTS * 5 // 2 * sizeof(floating)


cdef void selective_columns_backward(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Selective p = (<Selective *>work)[0]
    cdef char *own = p.own + part.me * p.own_size
    cdef Py_ssize_t line = COLUMNS * sizeof(floating), size = p.N * COLUMNS
    cdef Py_ssize_t block, row, first, n, at, span, t, steps, spans = blocks_of(p.T, SPAN), by_state, of_block
    cdef floating *A = <floating *>cut(&own, p.N * line)
    cdef floating *dA = <floating *>cut(&own, p.N * line)
    cdef floating *dh = <floating *>cut(&own, p.N * line)
    cdef floating *skip = <floating *>cut(&own, line)
    cdef floating *dskip = <floating *>cut(&own, line)
    cdef floating *hs = <floating *>cut(&own, SPAN * p.N * line)
    cdef floating *es = <floating *>cut(&own, SPAN * p.N * line)
    cdef floating *room = <floating *>cut(&own, room_size(p.N, <floating>0))
    cdef floating *starts = <floating *>cut(&own, spans * p.N * line)
    for block in range(part.first, part.last):
        first = block * COLUMNS
        n = min(COLUMNS, p.D - first)
        turn(n, p.N, <const floating *>p.A + first * p.N, A)
        turn(n, 1, <const floating *>p.skip + first, skip)
        memset(dA, 0, p.N * line)
        memset(dskip, 0, line)
        for row in range(p.B):
            # the state before each span
            turn(n, p.N, <const floating *>p.h0 + (row * p.D + first) * p.N, starts)
            for span in range(1, spans):
                memcpy(starts + span * size, starts + (span - 1) * size, p.N * line)
                at = (row * p.T + (span - 1) * SPAN) * p.D + first
                by_state = (row * p.T + (span - 1) * SPAN) * p.N
                selective_scan(
                    SPAN, p.D, p.N, n, <const floating *>p.x + at, <const floating *>p.delta + at, A,
                    <const floating *>p.b + by_state, <const floating *>p.c + by_state, skip,
                    starts + span * size, <floating *>NULL)
            turn(n, p.N, <const floating *>p.h + (row * p.D + first) * p.N, dh)
            for span in range(spans - 1, -1, -1):
                t = span * SPAN
                steps = min(SPAN, p.T - t)
                at, by_state = (row * p.T + t) * p.D + first, (row * p.T + t) * p.N
                of_block = block * p.B * p.T * p.N + by_state
                selective_span_backward(
                    steps, p.D, p.N, n, <const floating *>p.dy + at, <const floating *>p.x + at,
                    <const floating *>p.delta + at, A, <const floating *>p.b + by_state,
                    <const floating *>p.c + by_state, skip, starts + span * size, hs, es, room,
                    dh, <floating *>p.dx + at, <floating *>p.ddelta + at, dA, <floating *>p.db + of_block,
                    <floating *>p.dc + of_block, dskip)
            turn_back(n, p.N, dh, <floating *>p.h + (row * p.D + first) * p.N)
        turn_back(n, p.N, dA, <floating *>p.dA + first * p.N)
        memcpy(<floating *>p.dskip + first, dskip, n * sizeof(floating))


# --- one step of a layer of Mamba ---------------------------------------------------


def mamba_layer_step(
    const floating[:, ::1] x, double eps, const floating[:, :, ::1] before, const floating[:, :, ::1] h,
    const floating[::1] gain, const floating[:, ::1] W_input, const floating[:, ::1] W, const floating[::1] b,
    const floating[:, ::1] W_selection, const floating[:, ::1] W_step, const floating[::1] b_step,
    const floating[:, ::1] A_log, const floating[::1] skip, const floating[:, ::1] W_output
):
    cdef Py_ssize_t B = x.shape[0], D = x.shape[1], E = skip.shape[0], N = A_log.shape[1], K = W.shape[0]
    cdef Py_ssize_t R = W_step.shape[0], wide = R + 2 * N, item = sizeof(floating), P = K - 1, i, j, e
    cdef const floating *seen
    fits = (
        B > 0 and D > 0 and E > 0 and N > 0 and R > 0 and K > 1 and gain.shape[0] == D
        and before.shape[0] == B and before.shape[1] == P and before.shape[2] == E
        and h.shape[0] == B and h.shape[1] == E and h.shape[2] == N
        and W_input.shape[0] == D and W_input.shape[1] == 2 * E and W.shape[1] == E and b.shape[0] == E
        and W_selection.shape[0] == E and W_selection.shape[1] == wide and W_step.shape[1] == E
        and b_step.shape[0] == E and A_log.shape[0] == E and W_output.shape[0] == E and W_output.shape[1] == D
    )
    if not fits:
        raise ValueError("mamba_layer_step: the shapes do not fit each other")
    dtype = dtype_of(<floating>0)
    y = np.array(x)  # to which the mixer is added
    tail, h_new, delta, gated = (
        empty(shape, dtype) for shape in ((B, P, E), (B, E, N), (B, E), (B, E)))
    cdef Workspace work = Workspace(4 * lines_size(3, 2 * B + D + 2 * E) + ((4 * B + 1) * E + B * (wide + D)) * item + 5 * 64)
    cdef floating *uz = <floating *>work.take((2 * B + 1) * E * item)
    cdef floating *a = <floating *>work.take(B * E * item)
    cdef floating *u = <floating *>work.take(B * E * item)
    cdef floating *rbc = <floating *>work.take(B * wide * item)
    cdef floating *normed = <floating *>work.take(B * D * item)
    cdef floating inverse_rms
    cdef floating *z
    cdef floating *later = <floating *>address(tail)
    cdef floating *steps = <floating *>address(delta)
    cdef floating *states = <floating *>address(h_new)
    cdef floating *s = <floating *>address(gated)
    for i in range(B):
        rms_norm_row(D, &x[i, 0], &gain[0], eps, normed + i * D, &inverse_rms)
    multiply(work, B, D, 2 * E, normed, D, W_input, <const floating *>NULL, False, uz)
    for i in range(B):
        memcpy(a + i * E, &b[0], E * item)
        for j in range(K):
            seen = &before[i, j, 0] if j < P else <const floating *>uz + 2 * i * E
            for e in range(E):
                a[i * E + e] += W[j, e] * seen[e]
        memcpy(later + i * P * E, &before[i, 0, 0] + E, (P - 1) * E * item)
        memcpy(later + (i * P + P - 1) * E, uz + 2 * i * E, E * item)
    silu_block(B * E, <const floating *>a, u)
    multiply(work, B, E, wide, u, E, W_selection, <const floating *>NULL, False, rbc)
    multiply(work, B, R, E, rbc, wide, W_step, &b_step[0], False, a)
    softplus_block(B * E, <const floating *>a, steps)
    for i in range(B):
        z = uz + (2 * i + 1) * E  # behind it is u, which is no longer needed: y, to be gated by it, goes there
        selective_one(
            E, N, <const floating *>u + i * E, <const floating *>steps + i * E, &A_log[0, 0],
            <const floating *>rbc + i * wide + R, <const floating *>rbc + i * wide + R + N, &skip[0], &h[i, 0, 0],
            states + i * E * N, z + E)
        swiglu_row(E, <const floating *>z, s + i * E)
    multiply(work, B, E, D, s, E, W_output, <const floating *>NULL, True, <floating *>address(y))
    return y, tail, h_new


cdef int multiply(
    Workspace work, Py_ssize_t B, Py_ssize_t I, Py_ssize_t O, const floating *x, Py_ssize_t distance,
    const floating[:, ::1] W, const floating *b, bint add, floating *y
) except -1:
    """y (B, O) = x W, plus b or (add) plus y, with the rows of x this far from each other; b may be NULL."""
    cdef int threads = max_threads() if B * I * O > SMALL else 1
    return product(
        B, O, I, lines_of(work, x, B, distance), False, lines_of(work, &W[0, 0], I, O), True, b, add,
        <floating **>lines_of(work, <const floating *>y, B, O), threads, False)


# --- the gated delta rule -----------------------------------------------------------


def gated_delta_rule_forward(
    const floating[:, :, :, ::1] q, const floating[:, :, :, ::1] k, const floating[:, :, :, ::1] v,
    const floating[:, :, ::1] alpha, const floating[:, :, ::1] beta, const floating[:, :, :, ::1] S0
):
    cdef Py_ssize_t B = q.shape[0], N = q.shape[1]
    cdef Delta p
    p.T, p.K, p.V = q.shape[2], q.shape[3], v.shape[3]
    o, S_last = empty((B, N, p.T, p.V), dtype_of(<floating>0)), np.array(S0)
    if o.size == 0:
        return o, S_last
    find_delta(&p, q, k, v, alpha, beta)
    p.o, p.S = address(o), address(S_last)
    cdef int threads = threads_for(B * N * p.T * p.V, FEW)
    p.own_size = (p.V * sizeof(floating) + 63) & -64
    cdef Workspace memory = Workspace(threads * p.own_size)
    p.own = memory.take(threads * p.own_size)
    with nogil:
        share(<Body>delta_heads[floating], &p, B * N, threads)
    return o, S_last


cdef void find_delta(
    Delta *p, const floating[:, :, :, ::1] q, const floating[:, :, :, ::1] k,
    const floating[:, :, :, ::1] v, const floating[:, :, ::1] alpha, const floating[:, :, ::1] beta
) noexcept:
    p.q, p.k, p.v = &q[0, 0, 0, 0], &k[0, 0, 0, 0], &v[0, 0, 0, 0]
    p.alpha, p.beta = &alpha[0, 0, 0], &beta[0, 0, 0]


cdef void delta_heads(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Delta p = (<Delta *>work)[0]
    cdef floating *e = <floating *>(p.own + part.me * p.own_size)
    cdef Py_ssize_t i, keys, values
    for i in range(part.first, part.last):
        keys, values = i * p.T * p.K, i * p.T * p.V
        delta_scan(
            p.T, p.K, p.V, <const floating *>p.q + keys, <const floating *>p.k + keys,
            <const floating *>p.v + values, <const floating *>p.alpha + i * p.T,
            <const floating *>p.beta + i * p.T, <floating *>p.S + i * p.K * p.V, e, <floating *>p.o + values)


def gated_delta_rule_backward(
    const floating[:, :, :, ::1] do, const floating[:, :, :, ::1] dS_last,
    const floating[:, :, :, ::1] q, const floating[:, :, :, ::1] k, const floating[:, :, :, ::1] v,
    const floating[:, :, ::1] alpha, const floating[:, :, ::1] beta, const floating[:, :, :, ::1] S0
):
    cdef Py_ssize_t B = q.shape[0], N = q.shape[1]
    cdef Delta p
    p.T, p.K, p.V = q.shape[2], q.shape[3], v.shape[3]
    dtype = dtype_of(<floating>0)
    dq, dk = (empty((B, N, p.T, p.K), dtype) for _ in range(2))
    dalpha, dbeta = (empty((B, N, p.T), dtype) for _ in range(2))
    dv, dS0 = empty((B, N, p.T, p.V), dtype), np.array(dS_last)
    if dv.size == 0:
        return dq, dk, dv, dalpha, dbeta, dS0
    find_delta(&p, q, k, v, alpha, beta)
    p.do, p.S0, p.S = &do[0, 0, 0, 0], &S0[0, 0, 0, 0], address(dS0)
    p.dq, p.dk, p.dv = address(dq), address(dk), address(dv)
    p.dalpha, p.dbeta = address(dalpha), address(dbeta)
    cdef int threads = threads_for(B * N * p.T * p.V, FEW)
    cdef Py_ssize_t memories = blocks_of(p.T, SPAN) + SPAN
    p.own_size = (memories * p.K * p.V + (SPAN + 1) * p.V) * sizeof(floating) + 4 * 64
    p.own_size &= -64
    cdef Workspace memory = Workspace(threads * p.own_size)
    p.own = memory.take(threads * p.own_size)
    with nogil:
        share(<Body>delta_heads_backward[floating], &p, B * N, threads)
    return dq, dk, dv, dalpha, dbeta, dS0


cdef void delta_heads_backward(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Delta p = (<Delta *>work)[0]
    cdef char *own = p.own + part.me * p.own_size
    cdef Py_ssize_t i, span, spans = blocks_of(p.T, SPAN), size = p.K * p.V, t, steps, keys, values, at
    cdef floating *starts = <floating *>cut(&own, spans * size * sizeof(floating))
    cdef floating *Ss = <floating *>cut(&own, SPAN * size * sizeof(floating))
    cdef floating *es = <floating *>cut(&own, SPAN * p.V * sizeof(floating))
    cdef floating *de = <floating *>cut(&own, p.V * sizeof(floating))
    for i in range(part.first, part.last):
        # the memory before each span
        memcpy(starts, <const floating *>p.S0 + i * size, size * sizeof(floating))
        for span in range(1, spans):
            memcpy(starts + span * size, starts + (span - 1) * size, size * sizeof(floating))
            at = i * p.T + (span - 1) * SPAN
            delta_scan(
                SPAN, p.K, p.V, <const floating *>p.q + at * p.K, <const floating *>p.k + at * p.K,
                <const floating *>p.v + at * p.V, <const floating *>p.alpha + at,
                <const floating *>p.beta + at, starts + span * size, es, <floating *>NULL)
        for span in range(spans - 1, -1, -1):
            t = span * SPAN
            steps, at = min(SPAN, p.T - t), i * p.T + t
            keys, values = at * p.K, at * p.V
            delta_span_backward(
                steps, p.K, p.V, <const floating *>p.do + values, <const floating *>p.q + keys,
                <const floating *>p.k + keys, <const floating *>p.v + values,
                <const floating *>p.alpha + at, <const floating *>p.beta + at, starts + span * size, Ss,
                es, de, <floating *>p.S + i * size, <floating *>p.dq + keys, <floating *>p.dk + keys,
                <floating *>p.dv + values, <floating *>p.dalpha + at, <floating *>p.dbeta + at)
