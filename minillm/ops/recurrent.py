"""Recurrent networks over whole sequences, with backpropagation through time.

Legend: B batch, T time, I input width, H hidden width.  x is (B, T, I), a state
(B, H), and weights are (in, out), with the gates side by side along the last
axis in PyTorch's order.

The loops over time are in ``minillm/_kernels/recurrent.py``, forward above
backward: read them beside this page.  With da_t the gradient by step t's
pre-activation a_t = x_t W_x + h_{t-1} W_h + b, every recurrence here has

    dx_t = da_t W_x^T        dW_x = sum over t of x_t^T da_t
    dh_{t-1} += da_t W_h^T   dW_h = sum over t of h_{t-1}^T da_t      db = sum of da_t

and they differ in how da_t follows from dh_t alone.

x may be ids (B, T) instead, which stand for one-hot vectors of width I: x_t W_x is
then row x_t of W_x, no product at all, and the backward has no dx.

``lengths`` (B,): row b ends after lengths[b] steps.  Later outputs are zero,
the last state is the one at the last valid step (the initial state at length
0), and nothing beyond the length changes any result or gradient.

Each backward takes the gradients of the outputs in their order; None means zero.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import active_kernels
from minillm.ops import _validate


def rnn(
    x: NDArray,
    h0: NDArray,
    W_x: NDArray,
    W_h: NDArray,
    b: NDArray,
    lengths: NDArray[np.integer] | None = None,
) -> tuple[tuple[NDArray, NDArray], Callable]:
    """The simple recurrent network.

        h_t = tanh(x_t W_x + h_{t-1} W_h + b)

    x (B, T, I), h0 (B, H), W_x (I, H), W_h (H, H), b (H,), lengths (B,) or None
    -> hs (B, T, H), h_last (B, H).
    ``backward(dhs, dh_last=None)`` -> dx, dh0, dW_x, dW_h, db.  Keeps x and hs.

    Backward, from the last step to the first, with dh_t gathered from hs, from
    h_last and from step t + 1:

        da_t = dh_t (1 - h_t^2)

    Raises TypeError or ValueError where dtypes, shapes or lengths do not fit.
    Source: Elman (1990), "Finding structure in time".
    """
    x, sizes = _inputs("rnn", x, h0=(h0, "B H"), W_x=(W_x, "I H"), W_h=(W_h, "H H"), b=(b, "H"))
    steps = _validate.sequence_lengths("rnn", lengths, sizes["B"], sizes["T"])
    kernels = active_kernels()
    inputs = _contiguous(x, h0, W_x, W_h)
    hs, h_last = kernels.rnn_forward(*inputs, *_contiguous(b), steps)

    def backward(dhs, dh_last=None):
        upstream = _gradients("rnn", dhs=(dhs, hs), dh_last=(dh_last, h_last))
        return _by_floats(*kernels.rnn_backward(*upstream, *inputs, steps, hs))

    return (hs, h_last), backward


def lstm(
    x: NDArray,
    h0: NDArray,
    c0: NDArray,
    W_x: NDArray,
    W_h: NDArray,
    b: NDArray,
    lengths: NDArray[np.integer] | None = None,
) -> tuple[tuple[NDArray, NDArray, NDArray], Callable]:
    """Long short-term memory: a cell c that gates write, keep and read.

        i, f, g, o = x_t W_x + h_{t-1} W_h + b,   then sigmoid of i, f, o; tanh of g
        c_t = f c_{t-1} + i g
        h_t = o tanh(c_t)

    x (B, T, I), h0 and c0 (B, H), W_x (I, 4H), W_h (H, 4H), b (4H,), lengths
    (B,) or None -> hs (B, T, H), h_last (B, H), c_last (B, H).
    ``backward(dhs, dh_last=None, dc_last=None)`` -> dx, dh0, dc0, dW_x, dW_h, db.
    Keeps x, hs, the gates (B, T, 4H) and the cells (B, T, H).

    Backward, from the last step to the first:

        do = dh_t tanh(c_t)
        dc_t += dh_t o (1 - tanh(c_t)^2)
        di, df, dg, dc_{t-1} = dc_t g, dc_t c_{t-1}, dc_t i, dc_t f
        da_t = [di i (1 - i), df f (1 - f), dg (1 - g^2), do o (1 - o)]

    Raises TypeError or ValueError where dtypes, shapes or lengths do not fit.
    Source: Hochreiter and Schmidhuber (1997), "Long short-term memory", with the
    forget gate of Gers, Schmidhuber and Cummins (2000), "Learning to forget".
    """
    x, sizes = _inputs(
        "lstm",
        x,
        h0=(h0, "B H"),
        c0=(c0, "B H"),
        W_x=(W_x, "I 4H"),
        W_h=(W_h, "H 4H"),
        b=(b, "4H"),
    )
    steps = _validate.sequence_lengths("lstm", lengths, sizes["B"], sizes["T"])
    kernels = active_kernels()
    inputs = _contiguous(x, h0, c0, W_x, W_h)
    hs, h_last, c_last, gates, cs = kernels.lstm_forward(*inputs, *_contiguous(b), steps)

    def backward(dhs, dh_last=None, dc_last=None):
        upstream = _gradients(
            "lstm", dhs=(dhs, hs), dh_last=(dh_last, h_last), dc_last=(dc_last, c_last)
        )
        return _by_floats(*kernels.lstm_backward(*upstream, *inputs, steps, hs, gates, cs))

    return (hs, h_last, c_last), backward


def gru(
    x: NDArray,
    h0: NDArray,
    W_x: NDArray,
    W_h: NDArray,
    b_x: NDArray,
    b_h: NDArray,
    lengths: NDArray[np.integer] | None = None,
) -> tuple[tuple[NDArray, NDArray], Callable]:
    """The gated recurrent unit: a state that steps part of the way to a candidate n.

        x_r, x_z, x_n = x_t W_x + b_x        h_r, h_z, h_n = h_{t-1} W_h + b_h
        r = sigmoid(x_r + h_r)
        z = sigmoid(x_z + h_z)
        n = tanh(x_n + r h_n)
        h_t = (1 - z) n + z h_{t-1}

    x (B, T, I), h0 (B, H), W_x (I, 3H), W_h (H, 3H), b_x and b_h (3H,), lengths
    (B,) or None -> hs (B, T, H), h_last (B, H).
    ``backward(dhs, dh_last=None)`` -> dx, dh0, dW_x, dW_h, db_x, db_h.
    Keeps x, hs, the gates (B, T, 3H) and h_n (B, T, H).

    Backward, from the last step to the first:

        dn, dz, dh_{t-1} = dh_t (1 - z), dh_t (h_{t-1} - n), dh_t z
        da_n = dn (1 - n^2)        dr = da_n h_n
        da_t by x: [dr r (1 - r), dz z (1 - z), da_n]
        da_t by h: [dr r (1 - r), dz z (1 - z), da_n r]

    Raises TypeError or ValueError where dtypes, shapes or lengths do not fit.
    Source: Cho et al. (2014), "Learning phrase representations using RNN
    encoder-decoder", equations 5 to 8, with z and 1 - z exchanged and the reset
    applied after the recurrent product, as cuDNN and PyTorch do.
    """
    x, sizes = _inputs(
        "gru",
        x,
        h0=(h0, "B H"),
        W_x=(W_x, "I 3H"),
        W_h=(W_h, "H 3H"),
        b_x=(b_x, "3H"),
        b_h=(b_h, "3H"),
    )
    steps = _validate.sequence_lengths("gru", lengths, sizes["B"], sizes["T"])
    kernels = active_kernels()
    inputs = _contiguous(x, h0, W_x, W_h)
    hs, h_last, gates, h_n = kernels.gru_forward(*inputs, *_contiguous(b_x, b_h), steps)

    def backward(dhs, dh_last=None):
        upstream = _gradients("gru", dhs=(dhs, hs), dh_last=(dh_last, h_last))
        return _by_floats(*kernels.gru_backward(*upstream, *inputs, steps, hs, gates, h_n))

    return (hs, h_last), backward


def rnn_step(x: NDArray, h: NDArray, W_x: NDArray, W_h: NDArray, b: NDArray) -> NDArray:
    """One step of ``rnn`` without history, for generation: x (B, I) or ids (B,), h (B, H) -> h."""
    x, _ = _inputs(
        "rnn_step", x, "B I", h=(h, "B H"), W_x=(W_x, "I H"), W_h=(W_h, "H H"), b=(b, "H")
    )
    return active_kernels().rnn_step(*_contiguous(x, h, W_x, W_h, b))


def lstm_step(
    x: NDArray, h: NDArray, c: NDArray, W_x: NDArray, W_h: NDArray, b: NDArray
) -> tuple[NDArray, NDArray]:
    """One step of ``lstm`` without history: x (B, I) or ids (B,), h and c (B, H) -> h, c."""
    x, _ = _inputs(
        "lstm_step",
        x,
        "B I",
        h=(h, "B H"),
        c=(c, "B H"),
        W_x=(W_x, "I 4H"),
        W_h=(W_h, "H 4H"),
        b=(b, "4H"),
    )
    return active_kernels().lstm_step(*_contiguous(x, h, c, W_x, W_h, b))


def gru_step(
    x: NDArray, h: NDArray, W_x: NDArray, W_h: NDArray, b_x: NDArray, b_h: NDArray
) -> NDArray:
    """One step of ``gru`` without history: x (B, I) or ids (B,), h (B, H) -> h."""
    x, _ = _inputs(
        "gru_step",
        x,
        "B I",
        h=(h, "B H"),
        W_x=(W_x, "I 3H"),
        W_h=(W_h, "H 3H"),
        b_x=(b_x, "3H"),
        b_h=(b_h, "3H"),
    )
    return active_kernels().gru_step(*_contiguous(x, h, W_x, W_h, b_x, b_h))


def reverse(x: NDArray, lengths: NDArray[np.integer] | None = None) -> tuple[NDArray, Callable]:
    """Each row's valid steps in reverse order; the padding stays where it is, as zeros.

    x (B, T, D), lengths (B,) or None -> y (B, T, D), y[b, t] = x[b, lengths[b] - 1 - t].
    ``backward(dy)`` -> dx.  Keeps the order.

    A recurrence over ``reverse(x)``, reversed again, reads from right to left:
    with it, a bidirectional network needs no gradient of its own (Schuster and
    Paliwal 1997).  Reversing is its own inverse and its own transpose, so that
    forward and backward are the same function.
    """
    sizes = _validate.floats("reverse", x=(x, "B T D"))
    steps = _validate.sequence_lengths("reverse", lengths, sizes["B"], sizes["T"])
    source = steps[:, None] - 1 - np.arange(sizes["T"])  # (B, T), negative in the padding

    def reversed_rows(a):
        y = a[np.arange(len(a))[:, None], source]  # whole rows at a time
        y[source < 0] = 0
        return y

    return reversed_rows(x), reversed_rows


def _inputs(
    op: str, x: NDArray, axes: str = "B T I", **arrays: tuple[NDArray, str]
) -> tuple[NDArray, dict[str, int]]:
    """x, floats or ids, checked together with the other arguments, and all sizes."""
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "iu":
        return x, _validate.floats(op, x=(x, axes), **arrays)
    sizes = _validate.floats(op, **arrays)
    B, *steps = axes.split()[:-1]
    if x.ndim != 1 + len(steps) or len(x) != sizes[B] or x.size == 0:
        raise ValueError(
            f"{op}: x has shape {x.shape}, expected ({', '.join([f'B = {sizes[B]}', *steps])})"
        )
    _validate.ids(op, "x", x, sizes["I"])
    return x.astype(np.int64, copy=False), {**sizes, "T": x.size // len(x)}


def _by_floats(dx: NDArray | None, *gradients: NDArray) -> tuple[NDArray, ...]:
    """No gradient by ids."""
    return gradients if dx is None else (dx, *gradients)


def _contiguous(*arrays: NDArray) -> tuple[NDArray, ...]:
    return tuple(np.ascontiguousarray(a) for a in arrays)


def _gradients(op: str, **gradients: tuple[NDArray | None, NDArray]) -> tuple[NDArray, ...]:
    """Upstream gradients as the kernels want them: None as zeros, checked, in C order."""
    for name, (gradient, output) in gradients.items():
        if gradient is not None and (
            gradient.shape != output.shape or gradient.dtype != output.dtype
        ):
            raise ValueError(
                f"{op}: {name} is {gradient.dtype} of shape {gradient.shape}, "
                f"expected {output.dtype} of shape {output.shape}"
            )
    return tuple(
        np.zeros_like(output) if gradient is None else np.ascontiguousarray(gradient)
        for gradient, output in gradients.values()
    )
