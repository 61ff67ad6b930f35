# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The recurrences, forward and backward through time: the Cython twins of their originals.

The three recurrences differ in their cells alone.  What is where:

    recurrent_cells.pxi      the cells, forward and backward: one vector of columns of one row
    recurrent_schedule.pxi   which rows have which steps, and which thread takes which rows
    recurrent_forward.pxi    input terms; one thread's rows through all steps
    recurrent_backward.pxi   the same from the last step to the first; the weights' gradients
    recurrent_step.pxi       a single step that keeps nothing
    below                    the functions that Python calls

Why it is fast.

- The input terms x W_x + b of all steps are one matrix product before the loop, and the
  weights' gradients one each after it, as in the originals.
- W_h is packed once and read at every step.  A panel of it holds the columns of
  all gates of one vector of hidden columns side by side, so that a tile's sums
  are the whole pre-activation of some cells.  The cell runs on them at once,
  while they are in the first-level cache; nothing is written out in between.
- Backward the same: a tile of  dh = da W_h^T  goes straight into the cell's
  backward, which leaves the da of the step before.
- The cells are plain loops over point functions (maths.h) that the compiler
  turns into vector code.
- The state of a step lives in a small buffer of its own: in hs its rows are T
  steps apart, often at a distance that makes them collide in the caches.
- Rows of the batch do not depend on each other until the weights' gradients:
  each thread takes some of them through all steps, and no thread ever waits.
- Rows are taken longest first.  Those that have a step are then the first few,
  and unequal lengths cost nothing: what is beyond a row's end is not computed.
- Ids instead of x need no product: a cell's sums begin with a row of W_x, plus the
  bias.  Where there are fewer ids than steps, these sums are made once for each id.
"""

from minillm._kernels._pool cimport Workspace, cut, empty
from minillm._kernels._threads cimport Body, Input, Output, Part, are_cores_shared, max_threads, share

include "floating.pxi"
include "gemm.pxi"
include "maths.pxi"

ctypedef const long long[::1] Lengths
ctypedef const long long[:, ::1] Ids

include "recurrent_cells.pxi"
include "recurrent_schedule.pxi"
include "recurrent_forward.pxi"
include "recurrent_backward.pxi"
include "recurrent_step.pxi"


cdef const floating *start(const floating[:, ::1] x):
    return &x[0, 0]


cdef x_or_ids(x):
    return (x, None) if x.ndim == 3 else (None, x)


cdef gradient_of_W_x(x, W_x):
    """Memory for dW_x: zeros already where x is fewer ids than W_x has rows, for most stay zeros."""
    few = x.ndim == 2 and x.size < len(W_x)
    return np.zeros(W_x.shape, W_x.dtype) if few else empty(W_x.shape, W_x.dtype)


def rnn_forward(x, h0, W_x, W_h, b, lengths):
    """-> hs (B, T, H), h_last (B, H)."""
    hs = empty((*x.shape[:2], h0.shape[1]), h0.dtype)
    h_last = empty(h0.shape, h0.dtype)
    x, ids = x_or_ids(x)
    if h0.itemsize == 4:
        rnn_forward_typed[float](x, ids, h0, W_x, W_h, b, lengths, hs, h_last)
    else:
        rnn_forward_typed[double](x, ids, h0, W_x, W_h, b, lengths, hs, h_last)
    return hs, h_last


cdef int rnn_forward_typed(
    const floating[:, :, ::1] x, Ids ids, const floating[:, ::1] h0, const floating[:, ::1] W_x,
    const floating[:, ::1] W_h, const floating[::1] b, Lengths lengths,
    floating[:, :, ::1] hs, floating[:, ::1] h_last,
) except -1:
    return forward(RNN, x, ids, h0, <const floating *>NULL, W_x, W_h, <const floating *>&b[0],
                   <const floating *>NULL, lengths, hs, h_last, <floating *>NULL, <floating *>NULL,
                   <floating *>NULL)


def rnn_backward(dhs, dh_last, x, h0, W_x, W_h, lengths, hs):
    """-> dx (None where x is ids), dh0, dW_x, dW_h, db."""
    dx = empty(x.shape, h0.dtype) if x.ndim == 3 else None
    dh0, dW_x, dW_h = empty(h0.shape, h0.dtype), gradient_of_W_x(x, W_x), empty(W_h.shape, h0.dtype)
    db = empty((W_x.shape[1],), h0.dtype)
    x, ids = x_or_ids(x)
    if h0.itemsize == 4:
        rnn_backward_typed[float](dhs, dh_last, x, ids, h0, W_x, W_h, lengths, hs, dx, dh0, dW_x, dW_h, db)
    else:
        rnn_backward_typed[double](dhs, dh_last, x, ids, h0, W_x, W_h, lengths, hs, dx, dh0, dW_x, dW_h, db)
    return dx, dh0, dW_x, dW_h, db


cdef int rnn_backward_typed(
    const floating[:, :, ::1] dhs, const floating[:, ::1] dh_last, const floating[:, :, ::1] x,
    Ids ids, const floating[:, ::1] h0, const floating[:, ::1] W_x, const floating[:, ::1] W_h, Lengths lengths,
    const floating[:, :, ::1] hs, floating[:, :, ::1] dx, floating[:, ::1] dh0,
    floating[:, ::1] dW_x, floating[:, ::1] dW_h, floating[::1] db,
) except -1:
    return backward(RNN, dhs, dh_last, <const floating *>NULL, x, ids, h0, <const floating *>NULL, W_x, W_h,
                    lengths, hs, <const floating *>NULL, <const floating *>NULL, dx, dh0,
                    <floating *>NULL, dW_x, dW_h, &db[0], <floating *>NULL)


def lstm_forward(x, h0, c0, W_x, W_h, b, lengths):
    """-> hs (B, T, H), h_last, c_last (B, H), gates (B, T, 4H), cs (B, T, H)."""
    hs = empty((*x.shape[:2], h0.shape[1]), h0.dtype)
    gates = empty((*x.shape[:2], W_x.shape[1]), h0.dtype)
    h_last, c_last, cs = empty(h0.shape, h0.dtype), empty(c0.shape, h0.dtype), empty(hs.shape, h0.dtype)
    x, ids = x_or_ids(x)
    if h0.itemsize == 4:
        lstm_forward_typed[float](x, ids, h0, c0, W_x, W_h, b, lengths, hs, h_last, c_last, gates, cs)
    else:
        lstm_forward_typed[double](x, ids, h0, c0, W_x, W_h, b, lengths, hs, h_last, c_last, gates, cs)
    return hs, h_last, c_last, gates, cs


cdef int lstm_forward_typed(
    const floating[:, :, ::1] x, Ids ids, const floating[:, ::1] h0, const floating[:, ::1] c0,
    const floating[:, ::1] W_x, const floating[:, ::1] W_h, const floating[::1] b, Lengths lengths,
    floating[:, :, ::1] hs, floating[:, ::1] h_last, floating[:, ::1] c_last,
    floating[:, :, ::1] gates, floating[:, :, ::1] cs,
) except -1:
    return forward(LSTM, x, ids, h0, <const floating *>&c0[0, 0], W_x, W_h, <const floating *>&b[0],
                   <const floating *>NULL, lengths, hs, h_last, &c_last[0, 0], &gates[0, 0, 0],
                   &cs[0, 0, 0])


def lstm_backward(dhs, dh_last, dc_last, x, h0, c0, W_x, W_h, lengths, hs, gates, cs):
    """-> dx (None where x is ids), dh0, dc0, dW_x, dW_h, db."""
    dx = empty(x.shape, h0.dtype) if x.ndim == 3 else None
    dh0, dW_x, dW_h = empty(h0.shape, h0.dtype), gradient_of_W_x(x, W_x), empty(W_h.shape, h0.dtype)
    dc0, db = empty(c0.shape, h0.dtype), empty((W_x.shape[1],), h0.dtype)
    x, ids = x_or_ids(x)
    if h0.itemsize == 4:
        lstm_backward_typed[float](dhs, dh_last, dc_last, x, ids, h0, c0, W_x, W_h, lengths, hs, gates, cs,
                                   dx, dh0, dc0, dW_x, dW_h, db)
    else:
        lstm_backward_typed[double](dhs, dh_last, dc_last, x, ids, h0, c0, W_x, W_h, lengths, hs, gates, cs,
                                    dx, dh0, dc0, dW_x, dW_h, db)
    return dx, dh0, dc0, dW_x, dW_h, db


cdef int lstm_backward_typed(
    const floating[:, :, ::1] dhs, const floating[:, ::1] dh_last, const floating[:, ::1] dc_last,
    const floating[:, :, ::1] x, Ids ids, const floating[:, ::1] h0, const floating[:, ::1] c0,
    const floating[:, ::1] W_x, const floating[:, ::1] W_h, Lengths lengths,
    const floating[:, :, ::1] hs, const floating[:, :, ::1] gates, const floating[:, :, ::1] cs,
    floating[:, :, ::1] dx, floating[:, ::1] dh0, floating[:, ::1] dc0,
    floating[:, ::1] dW_x, floating[:, ::1] dW_h, floating[::1] db,
) except -1:
    return backward(LSTM, dhs, dh_last, <const floating *>&dc_last[0, 0], x, ids, h0,
                    <const floating *>&c0[0, 0], W_x, W_h, lengths, hs,
                    <const floating *>&gates[0, 0, 0], <const floating *>&cs[0, 0, 0], dx, dh0,
                    &dc0[0, 0], dW_x, dW_h, &db[0], <floating *>NULL)


def gru_forward(x, h0, W_x, W_h, b_x, b_h, lengths):
    """-> hs (B, T, H), h_last (B, H), gates (B, T, 3H), h_n (B, T, H)."""
    hs = empty((*x.shape[:2], h0.shape[1]), h0.dtype)
    gates = empty((*x.shape[:2], W_x.shape[1]), h0.dtype)
    h_last, h_n = empty(h0.shape, h0.dtype), empty(hs.shape, h0.dtype)
    b = gru_bias(b_x, b_h)
    x, ids = x_or_ids(x)
    if h0.itemsize == 4:
        gru_forward_typed[float](x, ids, h0, W_x, W_h, b, b_h, lengths, hs, h_last, gates, h_n)
    else:
        gru_forward_typed[double](x, ids, h0, W_x, W_h, b, b_h, lengths, hs, h_last, gates, h_n)
    return hs, h_last, gates, h_n


cdef gru_bias(b_x, b_h):
    """The bias of the input term: r and z are sigmoids of sums, which can take both at once."""
    b = b_x.copy()
    common = 2 * len(b) // 3
    b[:common] += b_h[:common]
    return b


cdef int gru_forward_typed(
    const floating[:, :, ::1] x, Ids ids, const floating[:, ::1] h0, const floating[:, ::1] W_x,
    const floating[:, ::1] W_h, const floating[::1] b, const floating[::1] b_h, Lengths lengths,
    floating[:, :, ::1] hs, floating[:, ::1] h_last, floating[:, :, ::1] gates, floating[:, :, ::1] h_n,
) except -1:
    return forward(GRU, x, ids, h0, <const floating *>NULL, W_x, W_h, <const floating *>&b[0],
                   <const floating *>&b_h[0] + 2 * h0.shape[1], lengths, hs, h_last,
                   <floating *>NULL, &gates[0, 0, 0], &h_n[0, 0, 0])


def gru_backward(dhs, dh_last, x, h0, W_x, W_h, lengths, hs, gates, h_n):
    """-> dx (None where x is ids), dh0, dW_x, dW_h, db_x, db_h."""
    dx = empty(x.shape, h0.dtype) if x.ndim == 3 else None
    dh0, dW_x, dW_h = empty(h0.shape, h0.dtype), gradient_of_W_x(x, W_x), empty(W_h.shape, h0.dtype)
    db_x, db_hn = empty((W_x.shape[1],), h0.dtype), empty((h0.shape[1],), h0.dtype)
    x, ids = x_or_ids(x)
    if h0.itemsize == 4:
        gru_backward_typed[float](dhs, dh_last, x, ids, h0, W_x, W_h, lengths, hs, gates, h_n, dx, dh0,
                                  dW_x, dW_h, db_x, db_hn)
    else:
        gru_backward_typed[double](dhs, dh_last, x, ids, h0, W_x, W_h, lengths, hs, gates, h_n, dx, dh0,
                                   dW_x, dW_h, db_x, db_hn)
    return dx, dh0, dW_x, dW_h, db_x, np.concatenate([db_x[:2 * len(db_hn)], db_hn])


cdef int gru_backward_typed(
    const floating[:, :, ::1] dhs, const floating[:, ::1] dh_last, const floating[:, :, ::1] x,
    Ids ids, const floating[:, ::1] h0, const floating[:, ::1] W_x, const floating[:, ::1] W_h, Lengths lengths,
    const floating[:, :, ::1] hs, const floating[:, :, ::1] gates, const floating[:, :, ::1] h_n,
    floating[:, :, ::1] dx, floating[:, ::1] dh0, floating[:, ::1] dW_x, floating[:, ::1] dW_h,
    floating[::1] db_x, floating[::1] db_hn,
) except -1:
    return backward(GRU, dhs, dh_last, <const floating *>NULL, x, ids, h0, <const floating *>NULL, W_x, W_h,
                    lengths, hs, <const floating *>&gates[0, 0, 0], <const floating *>&h_n[0, 0, 0],
                    dx, dh0, <floating *>NULL, dW_x, dW_h, &db_x[0], &db_hn[0])


def rnn_step(x, h, W_x, W_h, b):
    """One step without history: x (B, I) or ids (B,), h (B, H) -> h (B, H)."""
    h_new = np.empty_like(h)
    x, ids = (x, None) if x.ndim == 2 else (None, x)
    if h.itemsize == 4:
        step[float](RNN, x, ids, h, NULL, W_x, W_h, b, NULL, h_new, NULL)
    else:
        step[double](RNN, x, ids, h, NULL, W_x, W_h, b, NULL, h_new, NULL)
    return h_new


def lstm_step(x, h, c, W_x, W_h, b):
    """One step without history: x (B, I) or ids (B,), h and c (B, H) -> h, c (B, H)."""
    h_new, c_new = np.empty_like(h), np.empty_like(c)
    x, ids = (x, None) if x.ndim == 2 else (None, x)
    if h.itemsize == 4:
        step[float](LSTM, x, ids, h, start[float](c), W_x, W_h, b, NULL, h_new, <float *>start[float](c_new))
    else:
        step[double](LSTM, x, ids, h, start[double](c), W_x, W_h, b, NULL, h_new, <double *>start[double](c_new))
    return h_new, c_new


def gru_step(x, h, W_x, W_h, b_x, b_h):
    """One step without history: x (B, I) or ids (B,), h (B, H) -> h (B, H)."""
    h_new, b, b_hn = np.empty_like(h), gru_bias(b_x, b_h), b_h[None, -h.shape[1]:]
    x, ids = (x, None) if x.ndim == 2 else (None, x)
    if h.itemsize == 4:
        step[float](GRU, x, ids, h, NULL, W_x, W_h, b, start[float](b_hn), h_new, NULL)
    else:
        step[double](GRU, x, ids, h, NULL, W_x, W_h, b, start[double](b_hn), h_new, NULL)
    return h_new


# --- a whole stack, for generation ----------------------------------------------------


STEPS = {"rnn": rnn_step, "lstm": lstm_step, "gru": gru_step}


def stacked_step(cell, x, list states, list weights, list output):
    """The steps above, layer after layer, and the output layer: to check all of it takes Python a third of the time."""
    cdef Py_ssize_t entries = len(cell.state), count = len(cell.weights), layer
    one_step = STEPS.get(cell.run.__name__, cell.step)  # of another cell: its op
    new = []
    fits(len(weights) > 0 and len(weights) % count == 0, "the list of weights")
    fits(len(states) * count == len(weights) * entries, "the state")
    for layer in range(len(weights) // count):
        old, own = states[entries * layer:entries * (layer + 1)], weights[count * layer:count * (layer + 1)]
        if one_step is not cell.step:
            check_step(x, old, own, cell.gates)
        made = one_step(x, *old, *own)
        new += made if isinstance(made, tuple) else [made]
        x = new[len(new) - entries]
    if not output:
        return x, new
    W, b = output
    fits(W.ndim == 2 and W.shape[0] == x.shape[1] and W.size > 0 and b.shape == W.shape[1:], "the output")
    logits = empty((len(x), W.shape[1]), x.dtype)
    if x.itemsize == 4:
        output_layer[float](x, W, b, logits)
    else:
        output_layer[double](x, W, b, logits)
    return logits, new


cdef int fits(bint it_does, str what) except -1:
    if not it_does:
        raise ValueError(f"stacked_step: the shape of {what} does not fit the others")
    return 0


cdef int check_step(x, list states, list weights, Py_ssize_t gates) except -1:
    """What the typed arrays of a step do not check: the shapes, and the range of ids (B,)."""
    cdef const long long[::1] ids
    cdef Py_ssize_t i, below
    W_x, W_h = weights[:2]
    fits(states[0].ndim == 2 and states[0].size > 0, "the state")
    (B, H), wide = states[0].shape, (gates * states[0].shape[1],)
    for state in states:
        fits(state.shape == (B, H), "the state")
    for bias in weights[2:]:
        fits(bias.shape == wide and bias.dtype == W_x.dtype, "a bias")
    fits(W_x.ndim == 2 and W_x.shape[1:] == wide and W_x.size > 0, "W_x")
    fits(W_h.shape == (H, *wide) and W_h.dtype == W_x.dtype == states[0].dtype, "W_h")
    if x.ndim == 2:
        fits(x.shape == (B, W_x.shape[0]), "x")
    else:
        ids, below = x, W_x.shape[0]
        fits(ids.shape[0] == B, "the ids")
        for i in range(ids.shape[0]):
            fits(0 <= ids[i] < below, "the ids")
    return 0


cdef int output_layer(
    const floating[:, ::1] h, const floating[:, ::1] W, const floating[::1] b, floating[:, ::1] logits
) except -1:
    """logits = h W + b."""
    cdef Py_ssize_t B = h.shape[0], H = h.shape[1], V = W.shape[1], word = sizeof(void *), i
    cdef Py_ssize_t size = scratch_size(B, H, False, sizeof(floating), False)
    cdef int threads = max_threads() if B * H * V > SMALL else 1
    cdef Workspace work = Workspace((2 * B + H) * word + threads * size + 4 * 64)
    cdef const floating **rows = <const floating **>work.take(B * word)
    cdef const floating **lines = <const floating **>work.take(H * word)
    cdef floating **out = <floating **>work.take(B * word)
    cdef char *scratch = work.take(threads * size)
    for i in range(B):
        rows[i], out[i] = &h[i, 0], &logits[i, 0]
    for i in range(H):
        lines[i] = &W[i, 0]
    with nogil:
        multiply(B, V, H, rows, False, lines, True, &b[0], False, out, threads, scratch, size,
                 False)
    return 0
