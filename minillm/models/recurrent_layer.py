"""One recurrent layer, whichever its cell, in the form that models stack.

The three recurrences differ in what a state is (h, or h and c) and in their
weights.  Here a state is a tuple and the weights are named entries of a model's
parameters, ``prefix.W_x`` and so on, so that a model is written once for all
cells.  No gradient is derived in this file: it only calls those of ``ops``.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops

CELLS = ("rnn", "lstm", "gru")
State = tuple[NDArray, ...]  # (h,) or, of an lstm, (h, c); each (B, H)

_OPS: dict[str, Callable[..., Any]] = {"rnn": ops.rnn, "lstm": ops.lstm, "gru": ops.gru}
_STEPS: dict[str, Callable[..., Any]] = {
    "rnn": ops.rnn_step,
    "lstm": ops.lstm_step,
    "gru": ops.gru_step,
}
_WEIGHTS = {
    "rnn": ("W_x", "W_h", "b"),
    "lstm": ("W_x", "W_h", "b"),
    "gru": ("W_x", "W_h", "b_x", "b_h"),
}
_GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def new_parameters(
    cell: str, prefix: str, I: int, H: int, rng: np.random.Generator, dtype: type = np.float32
) -> dict[str, NDArray]:
    """Fresh weights of a layer from I inputs to H hidden units.

    Input weights are uniform with variance 1 / I.  Each gate's recurrent weights
    are a random rotation, which neither shrinks nor grows what it carries through
    time (Saxe, McClelland and Ganguli 2014).  Biases are zero, but for the lstm's
    forget gate: 1, so that it starts by remembering (Gers et al. 2000; Jozefowicz,
    Zaremba and Sutskever 2015).
    """
    gates = _GATES[cell]
    bound = np.sqrt(3 / I)
    rotations = [np.linalg.qr(rng.standard_normal((H, H)))[0] for _ in range(gates)]
    weights = {
        "W_x": rng.uniform(-bound, bound, (I, gates * H)),
        "W_h": np.concatenate(rotations, axis=1),
    } | {name: np.zeros(gates * H) for name in _WEIGHTS[cell][2:]}
    if cell == "lstm":
        weights["b"][H : 2 * H] = 1
    return {f"{prefix}.{name}": weights[name].astype(dtype) for name in _WEIGHTS[cell]}


def zero_state(cell: str, B: int, H: int, dtype: type = np.float32) -> State:
    """The state before a sequence begins."""
    return tuple(np.zeros((B, H), dtype) for _ in range(2 if cell == "lstm" else 1))


def run(
    cell: str,
    params: dict[str, NDArray],
    prefix: str,
    x: NDArray,
    state: State,
    lengths: NDArray[np.integer] | None = None,
) -> tuple[tuple[NDArray, State], Callable]:
    """A whole sequence: x (B, T, I) or ids (B, T) -> hs (B, T, H) and the last state.

    ``backward(dhs, dlast=None)`` -> dx (None by ids), dstate and a dictionary of the
    weights' gradients; dlast and dstate are tuples as the state is.
    """
    names = [f"{prefix}.{name}" for name in _WEIGHTS[cell]]
    (hs, *last), op_backward = _OPS[cell](x, *state, *(params[n] for n in names), lengths=lengths)
    S = len(state)

    def backward(dhs, dlast=None):
        gradients = op_backward(dhs, *(dlast or ()))
        dx, rest = (None, gradients) if x.ndim == 2 else (gradients[0], gradients[1:])
        return dx, tuple(rest[:S]), dict(zip(names, rest[S:], strict=True))

    return (hs, tuple(last)), backward


def run_bidirectional(
    cell: str,
    params: dict[str, NDArray],
    prefix: str,
    x: NDArray,
    states: tuple[State, State],
    lengths: NDArray[np.integer] | None = None,
) -> tuple[tuple[NDArray, tuple[State, State]], Callable]:
    """Two layers side by side, one of which reads from right to left.

    x (B, T, I) -> hs (B, T, 2H), left-to-right first, and both last states (the
    second is the one that has read back to the first step).  The weights are under
    ``prefix.forward`` and ``prefix.reverse``.
    ``backward(dhs, dlasts=(None, None))`` -> dx, dstates, gradients.

    Source: Schuster and Paliwal (1997), "Bidirectional recurrent neural networks".
    """
    (hs_forward, last_forward), forward_backward = run(
        cell, params, f"{prefix}.forward", x, states[0], lengths
    )
    x_reversed, x_backward = ops.reverse(x, lengths)
    (hs_reversed, last_reverse), reverse_backward = run(
        cell, params, f"{prefix}.reverse", x_reversed, states[1], lengths
    )
    hs_reverse, hs_backward = ops.reverse(hs_reversed, lengths)
    hs = np.concatenate([hs_forward, hs_reverse], axis=-1)
    H = hs_forward.shape[-1]

    def backward(dhs, dlasts=(None, None)):
        dx_forward, dstate_forward, gradients = forward_backward(dhs[..., :H], dlasts[0])
        dx_reversed, dstate_reverse, reverse_gradients = reverse_backward(
            hs_backward(dhs[..., H:]), dlasts[1]
        )
        dx = dx_forward + x_backward(dx_reversed)
        return dx, (dstate_forward, dstate_reverse), gradients | reverse_gradients

    return (hs, (last_forward, last_reverse)), backward


def step(cell: str, params: dict[str, NDArray], prefix: str, x: NDArray, state: State) -> State:
    """One step without history, for generation: x (B, I) or ids (B,) -> the new state, h first."""
    weights = (params[f"{prefix}.{name}"] for name in _WEIGHTS[cell])
    new = _STEPS[cell](x, *state, *weights)
    return new if isinstance(new, tuple) else (new,)
