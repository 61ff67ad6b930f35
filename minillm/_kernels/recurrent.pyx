# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The recurrences, forward and backward through time: the Cython twins of their originals.

The three recurrences differ in their cells alone.  What is where:

    recurrent.h              the cells, forward and backward: some columns of one row
    recurrent_schedule.pxi   which rows have which steps, which thread takes which rows, and their run
    recurrent_forward.pxi    input terms; one thread's rows through all steps
    recurrent_backward.pxi   the same from the last step to the first; the weights' gradients
    recurrent_step.pxi       a single step that keeps nothing
    below                    the functions that Python calls

Why it is fast.

- The input terms x W_x + b of all steps are one matrix product before the loop, and the
  weights' gradients one each after it, as in the originals.
- W_h is packed once and read at every step, as panels of a few hidden columns of
  all gates: the sums of one tile, or of one for each gate, are the whole
  pre-activation of some cells, which run at once, while these are in the cache.
- Backward the same: a tile of  dh = da W_h^T  goes straight into the cell's
  backward, which leaves the da of the step before.
- The cells are plain loops over point functions (maths.h) that the compiler turns into vector code.
  What they read and write is fetched into the cache while the tile before them runs.
- The state of a step lives in a small buffer of its own: in hs its rows are T steps apart, often at a
  distance that makes them collide in the caches.
- Rows of the batch do not depend on each other until the weights' gradients:
  each thread takes some of them through all steps, and no thread ever waits.
- Rows are taken longest first.  Those that have a step are then the first few, and unequal lengths
  cost nothing: what is beyond a row's end is not computed.
- Ids instead of x need no product: a cell's sums begin with a row of W_x, plus the
  bias.  Where there are fewer ids than steps, these sums are made once for each id.
"""

include "topic.pxi"
include "gemm.pxi"

cdef extern from "recurrent.h" nogil:
    enum:
        RNN
        GRU
        LSTM
    void run_cell(int cell, const void *a, Py_ssize_t apart, void *more, const void *h_prev, void *h, void *gates,
                  Py_ssize_t H)
    void run_cell_backward(
        int cell, Py_ssize_t n, Py_ssize_t H, const void *sums, const void *dhs, void *dh_prev, void *dc,
        const void *gates, const void *kept, const void *before, void *da, void *da_hn)

ctypedef const long long[::1] Lengths
ctypedef const long long[:, ::1] Ids

include "recurrent_schedule.pxi"
include "recurrent_forward.pxi"
include "recurrent_backward.pxi"
include "recurrent_step.pxi"


def rnn_forward(x, h0, W_x, W_h, b, lengths):
    """-> hs (B, T, H), h_last (B, H)."""
    return forward(RNN, x, h0, None, W_x, W_h, b, None, lengths)[:2]


def lstm_forward(x, h0, c0, W_x, W_h, b, lengths):
    """-> hs (B, T, H), h_last, c_last (B, H), gates (B, T, 4H), cs (B, T, H)."""
    hs, h_last, gates, cs, c_last = forward(LSTM, x, h0, c0, W_x, W_h, b, None, lengths)
    return hs, h_last, c_last, gates, cs


def gru_forward(x, h0, W_x, W_h, b_x, b_h, lengths):
    """-> hs (B, T, H), h_last (B, H), gates (B, T, 3H), h_n (B, T, H)."""
    return forward(GRU, x, h0, None, W_x, W_h, gru_bias(b_x, b_h), b_h, lengths)[:4]


cdef gru_bias(b_x, b_h):
    """The bias of the input term: r and z are sigmoids of sums, which can take both at once."""
    b = b_x.copy()
    common = 2 * len(b) // 3
    b[:common] += b_h[:common]
    return b


cdef tuple forward(int cell, x, h0, c0, W_x, W_h, b, b_h, lengths):
    """-> hs, h_last, gates, more, c_last, None where the cell has none.

    more is what else the backward needs: the lstm's cs, the gru's h_n.
    """
    steps, H = x.shape[:2], h0.shape[1]
    hs, h_last = empty((*steps, H), h0.dtype), empty(h0.shape, h0.dtype)
    gates = None if cell == RNN else empty((*steps, cell * H), h0.dtype)
    more = None if cell == RNN else empty(hs.shape, h0.dtype)
    c_last = empty(h0.shape, h0.dtype) if cell == LSTM else None
    x, ids = (x, None) if x.ndim == 3 else (None, x)
    if h0.itemsize == 4:
        forward_typed[float](cell, x, ids, h0, c0, W_x, W_h, b, b_h, lengths, hs, h_last, c_last, gates, more)
    else:
        forward_typed[double](cell, x, ids, h0, c0, W_x, W_h, b, b_h, lengths, hs, h_last, c_last, gates, more)
    return hs, h_last, gates, more, c_last


def rnn_backward(dhs, dh_last, x, h0, W_x, W_h, lengths, hs):
    """-> dx (None where x is ids), dh0, dW_x, dW_h, db."""
    return backward(RNN, dhs, dh_last, None, x, h0, None, W_x, W_h, lengths, hs, None, None)[:5]


def lstm_backward(dhs, dh_last, dc_last, x, h0, c0, W_x, W_h, lengths, hs, gates, cs):
    """-> dx (None where x is ids), dh0, dc0, dW_x, dW_h, db."""
    dx, dh0, dW_x, dW_h, db, dc0, _ = backward(
        LSTM, dhs, dh_last, dc_last, x, h0, c0, W_x, W_h, lengths, hs, gates, cs)
    return dx, dh0, dc0, dW_x, dW_h, db


def gru_backward(dhs, dh_last, x, h0, W_x, W_h, lengths, hs, gates, h_n):
    """-> dx (None where x is ids), dh0, dW_x, dW_h, db_x, db_h."""
    dx, dh0, dW_x, dW_h, db_x, _, db_hn = backward(
        GRU, dhs, dh_last, None, x, h0, None, W_x, W_h, lengths, hs, gates, h_n)
    return dx, dh0, dW_x, dW_h, db_x, np.concatenate([db_x[:2 * len(db_hn)], db_hn])


cdef tuple backward(int cell, dhs, dh_last, dc_last, x, h0, c0, W_x, W_h, lengths, hs, gates, more):
    """-> dx, dh0, dW_x, dW_h, db, dc0, db_hn, None where there is none.  more: as in forward."""
    dtype, of_ids = h0.dtype, x.ndim == 2
    dx = None if of_ids else empty(x.shape, dtype)
    # Zeros already if there are fewer ids than rows of W_x, because most rows stay zero.
    dW_x = np.zeros(W_x.shape, dtype) if of_ids and x.size < len(W_x) else empty(W_x.shape, dtype)
    dh0, dW_h, db = empty(h0.shape, dtype), empty(W_h.shape, dtype), empty(W_x.shape[1:], dtype)
    dc0 = empty(h0.shape, dtype) if cell == LSTM else None
    db_hn = empty(h0.shape[1:], dtype) if cell == GRU else None
    x, ids = (None, x) if of_ids else (x, None)
    if h0.itemsize == 4:
        backward_typed[float](cell, dhs, dh_last, dc_last, x, ids, h0, c0, W_x, W_h, lengths, hs, gates, more,
                              dx, dh0, dc0, dW_x, dW_h, db, db_hn)
    else:
        backward_typed[double](cell, dhs, dh_last, dc_last, x, ids, h0, c0, W_x, W_h, lengths, hs, gates, more,
                               dx, dh0, dc0, dW_x, dW_h, db, db_hn)
    return dx, dh0, dW_x, dW_h, db, dc0, db_hn


def rnn_step(x, h, W_x, W_h, b):
    """One step without history: x (B, I) or ids (B,), h (B, H) -> h (B, H)."""
    return step(RNN, x, h, None, W_x, W_h, b, None)[0]


def lstm_step(x, h, c, W_x, W_h, b):
    """One step without history: x (B, I) or ids (B,), h and c (B, H) -> h, c (B, H)."""
    return step(LSTM, x, h, c, W_x, W_h, b, None)


def gru_step(x, h, W_x, W_h, b_x, b_h):
    """One step without history: x (B, I) or ids (B,), h (B, H) -> h (B, H)."""
    return step(GRU, x, h, None, W_x, W_h, gru_bias(b_x, b_h), b_h)[0]


cdef tuple step(int cell, x, h, c, W_x, W_h, b, b_h):
    """-> h, and the lstm's c."""
    h_new, c_new = np.empty_like(h), np.empty_like(c) if cell == LSTM else None
    x, ids = (x, None) if x.ndim == 2 else (None, x)
    if h.itemsize == 4:
        step_typed[float](cell, x, ids, h, c, W_x, W_h, b, b_h, h_new, c_new)
    else:
        step_typed[double](cell, x, ids, h, c, W_x, W_h, b, b_h, h_new, c_new)
    return h_new, c_new


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
    """Check what the typed arrays of a step do not: the shapes, and the range of ids (B,)."""
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
    cdef Py_ssize_t B = h.shape[0], H = h.shape[1], V = W.shape[1]
    cdef int threads = max_threads() if B * H * V > SMALL else 1
    cdef Workspace lines = Workspace(lines_size(3, 2 * B + H))
    return product(
        B, V, H, lines_of(lines, &h[0, 0], B, H), False, lines_of(lines, &W[0, 0], H, V), True, &b[0], False,
        <floating **>lines_of(lines, <const floating *>&logits[0, 0], B, V), threads, False)
