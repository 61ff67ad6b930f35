"""Recurrent layers of any cell, in one direction or in both, and stacks of them.

The three cells differ in their weights and in their state: h, or h and c.  Here the
weights are entries of a model's parameters (``prefix.W_x`` and so on) and the state is a
dictionary (``prefix.h`` and, of an lstm, ``prefix.c``), so that a model is written once
for all cells.

Legend: B batch, T time, I input width, H hidden width, L layers, V vocabulary; M the
width of a layer's output: H, or 2H where it reads in both directions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers.dropout import dropout as drop
from minillm.layers.fresh import Fresh, Shape, side_by_side, uniform, zeros

Params = dict[str, NDArray]
State = dict[str, NDArray]


class Cell(NamedTuple):
    """What distinguishes one recurrence from another."""

    run: Callable[..., Any]  # over a whole sequence
    step: Callable[..., Any]  # one step, without history
    state: tuple[str, ...]
    weights: tuple[str, ...]
    gates: int


CELLS = {
    "rnn": Cell(ops.rnn, ops.rnn_step, ("h",), ("W_x", "W_h", "b"), 1),
    "lstm": Cell(ops.lstm, ops.lstm_step, ("h", "c"), ("W_x", "W_h", "b"), 4),
    "gru": Cell(ops.gru, ops.gru_step, ("h",), ("W_x", "W_h", "b_x", "b_h"), 3),
}


def new_layer(
    prefix: str,
    cell: str,
    I: int,
    H: int,
    bidirectional: bool = False,
) -> dict[str, Fresh]:
    """Fresh weights of a layer from I inputs to H hidden units, in each of its directions.

    Input weights are uniform with variance 1 / I.  The recurrent weights of each gate are
    a random orthogonal matrix, which preserves the norm of the state from step to step
    (Saxe, McClelland and Ganguli 2014).  Biases are zero, except that of the lstm's forget
    gate: with 1, the cell at first remembers (Gers et al. 2000; Jozefowicz, Zaremba and
    Sutskever 2015).
    """
    if bidirectional:
        forward = new_layer(f"{prefix}.forward", cell, I, H)
        return forward | new_layer(f"{prefix}.reverse", cell, I, H)
    gates, (_, _, *biases) = CELLS[cell].gates, CELLS[cell].weights
    bias = remembering if cell == "lstm" else zeros
    return {
        f"{prefix}.W_h": Fresh((H, gates * H), side_by_side(gates, orthogonal)),
        f"{prefix}.W_x": Fresh((I, gates * H), uniform(np.sqrt(3 / I))),
    } | {f"{prefix}.{name}": Fresh((gates * H,), bias) for name in biases}


def orthogonal(shape: Shape, rng: np.random.Generator, dtype: type) -> NDArray:
    """A random orthogonal matrix."""
    return np.linalg.qr(rng.standard_normal(shape))[0].astype(dtype)


def remembering(shape: Shape, rng: np.random.Generator, dtype: type) -> NDArray:
    """The bias of an lstm: 1 for the forget gate, which is the second of four, and else 0."""
    return np.repeat(np.array([0, 1, 0, 0], dtype), shape[0] // 4)


def zero_state(params: Params, prefix: str, cell: str, layers: int, B: int) -> State:
    """The state of a stack before a sequence begins: ``prefix.0.h`` (B, M) and so on."""
    forward = f"{prefix}.0.forward.W_h"
    W_h = params[forward if forward in params else f"{prefix}.0.W_h"]
    M = len(W_h) * (2 if forward in params else 1)
    return {
        f"{prefix}.{number}.{name}": np.zeros((B, M), W_h.dtype)
        for number in range(layers)
        for name in CELLS[cell].state
    }


def layer(
    params: Params,
    prefix: str,
    x: NDArray,
    state: State,
    cell: str,
    lengths: NDArray[np.integer] | None = None,
) -> tuple[tuple[NDArray, State], Callable]:
    """One layer over a whole sequence, in both directions if its weights are for both.

    x (B, T, I) or, in one direction, ids (B, T), which stand for one-hot vectors; state
    (B, M) each; lengths (B,) or None -> hs (B, T, M), the state after the last step.
    ``backward(dhs, dstate=None)`` -> dx (None for ids), dstate, gradients.  A dhs that is
    None and entries that dstate lacks are zero.
    """
    if f"{prefix}.forward.W_x" in params:
        return _both_directions(params, prefix, x, state, cell, lengths)
    weights = [f"{prefix}.{name}" for name in CELLS[cell].weights]
    entries = [f"{prefix}.{name}" for name in CELLS[cell].state]
    (hs, *last), op_backward = CELLS[cell].run(
        x, *(state[name] for name in entries), *(params[name] for name in weights), lengths=lengths
    )

    def backward(dhs, dstate=None):
        dlast = [(dstate or {}).get(name) for name in entries]
        gradients = op_backward(dhs, *dlast)
        dx, *gradients = gradients if x.ndim == 3 else (None, *gradients)
        dfirst = dict(zip(entries, gradients, strict=False))
        return dx, dfirst, dict(zip(weights, gradients[len(entries) :], strict=True))

    return (hs, dict(zip(entries, last, strict=True))), backward


def _both_directions(
    params: Params,
    prefix: str,
    x: NDArray,
    state: State,
    cell: str,
    lengths: NDArray[np.integer] | None,
) -> tuple[tuple[NDArray, State], Callable]:
    """Two layers side by side, the second of which reads from right to left.

    x (B, T, I), state (B, 2H) each -> hs (B, T, 2H), the last state: of the second layer
    the one after it has read back to the first step.  The first H columns belong to
    ``prefix.forward``, the others to ``prefix.reverse``.
    ``backward(dhs, dstate=None)`` -> dx, dstate, gradients.

    Source: Schuster and Paliwal (1997), "Bidirectional recurrent neural networks".
    """
    first_forward, first_reverse = _split(state, prefix, cell)
    (hs_forward, last_forward), forward_backward = layer(
        params, f"{prefix}.forward", x, first_forward, cell, lengths
    )
    x_reversed, x_backward = ops.reverse(x, lengths)
    (hs_reversed, last_reverse), reverse_backward = layer(
        params, f"{prefix}.reverse", x_reversed, first_reverse, cell, lengths
    )
    hs_reverse, hs_backward = ops.reverse(hs_reversed, lengths)
    hs = np.concatenate([hs_forward, hs_reverse], axis=-1)
    H = hs_forward.shape[-1]

    def backward(dhs, dstate=None):
        dhs = np.zeros_like(hs) if dhs is None else dhs
        dlast_forward, dlast_reverse = _split(dstate or {}, prefix, cell)
        dx_forward, dfirst_forward, gradients = forward_backward(dhs[..., :H], dlast_forward)
        dx_reversed, dfirst_reverse, reverse_gradients = reverse_backward(
            hs_backward(dhs[..., H:]), dlast_reverse
        )
        dx = dx_forward + x_backward(dx_reversed)
        dfirst = _join(dfirst_forward, dfirst_reverse, prefix, cell)
        return dx, dfirst, gradients | reverse_gradients

    return (hs, _join(last_forward, last_reverse, prefix, cell)), backward


def _split(state: State, prefix: str, cell: str) -> tuple[State, State]:
    """The states (B, H) of the two directions, from those of the layer (B, 2H)."""
    forward, reverse = {}, {}
    for name in CELLS[cell].state:
        if (both := state.get(f"{prefix}.{name}")) is not None:
            halves = np.split(both, 2, axis=1)
            forward[f"{prefix}.forward.{name}"], reverse[f"{prefix}.reverse.{name}"] = halves
    return forward, reverse


def _join(forward: State, reverse: State, prefix: str, cell: str) -> State:
    """The inverse of ``_split``."""
    return {
        f"{prefix}.{name}": np.concatenate(
            [forward[f"{prefix}.forward.{name}"], reverse[f"{prefix}.reverse.{name}"]], axis=1
        )
        for name in CELLS[cell].state
    }


def stack(
    params: Params,
    prefix: str,
    x: NDArray,
    state: State,
    cell: str,
    layers: int,
    lengths: NDArray[np.integer] | None = None,
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
    frozen: int = 0,
) -> tuple[tuple[NDArray, State], Callable]:
    """L layers, each over the outputs of the one before, with dropout between them.

    x (B, T, I) or, in one direction, ids (B, T); state (B, M) each -> hs (B, T, M) of the
    last layer, and the last state of all layers.  The weights of layer l are under
    ``prefix.l``.  Dropout is applied between layers, never between steps.
    ``backward(dhs, dstate=None)`` -> dx (None for ids), dstate, gradients, which ends above the
    lowest ``frozen`` layers.

    Source: Zaremba, Sutskever and Vinyals (2014), "Recurrent neural network
    regularization", for where the dropout goes.
    """
    last: State = {}
    backwards = []
    for number in range(layers):
        x, dropout_backward = drop(x, dropout, rng if number > 0 else None)
        (x, layer_last), layer_backward = layer(
            params, f"{prefix}.{number}", x, state, cell, lengths
        )
        last |= layer_last
        if number >= frozen:
            backwards.append((dropout_backward, layer_backward))

    def backward(dhs, dstate=None):
        dx, dfirst, gradients = dhs, {}, {}
        for dropout_backward, layer_backward in reversed(backwards):
            dx, layer_dfirst, layer_gradients = layer_backward(dx, dstate)
            dx = dropout_backward(dx)
            dfirst |= layer_dfirst
            gradients |= layer_gradients
        return dx, dfirst, gradients

    return (x, last), backward


def stack_over_ids(
    params: Params,
    prefix: str,
    embedding: str | None,
    ids: NDArray[np.integer],
    state: State,
    cell: str,
    layers: int,
    lengths: NDArray[np.integer] | None = None,
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
    frozen: int = 0,
) -> tuple[tuple[NDArray, State], Callable]:
    """An embedding, x_t = E[id_t], with dropout, and a stack over it.

    ids (B, T) -> as :func:`stack`.  ``embedding`` names E (V, I) among the parameters;
    None: the input is one-hot, and ``prefix.0.W_x`` has a row for each id.
    ``backward(dhs, dstate=None)`` -> dstate, gradients, which include dE; of the lowest
    ``frozen`` parts, the embedding and then the layers, it computes none.

    The first layer multiplies every x_t by its W_x.  But E[id] W_x is a row of E W_x.
    In one direction, where E has fewer rows than there are steps and nothing is dropped
    from x, this table (V, gates H) is computed instead, and each step looks up its row.
    """
    options = lengths, dropout, rng, max(0, frozen - 1)
    if embedding is None:
        outputs, one_hot_backward = stack(params, prefix, ids, state, cell, layers, *options)
        return outputs, lambda dhs, dstate=None: one_hot_backward(dhs, dstate)[1:]

    E, W_x = params[embedding], f"{prefix}.0.W_x"
    drops = rng is not None and dropout > 0
    if W_x in params and len(E) < ids.size and not drops:
        table, table_backward = ops.linear(E, params[W_x])
        params = params | {W_x: table}
        outputs, lookup_backward = stack(params, prefix, ids, state, cell, layers, *options)

        def backward_by_table(dhs, dstate=None):
            _, dfirst, gradients = lookup_backward(dhs, dstate)
            if W_x in gradients:
                dE, gradients[W_x] = table_backward(gradients[W_x])
                gradients |= {} if frozen else {embedding: dE}
            return dfirst, gradients

        return outputs, backward_by_table

    x, embedding_backward = ops.embedding(ids, E)  # (B, T, I)
    x, dropout_backward = drop(x, dropout, rng)
    outputs, stack_backward = stack(params, prefix, x, state, cell, layers, *options)

    def backward(dhs, dstate=None):
        dx, dfirst, gradients = stack_backward(dhs, dstate)
        if frozen == 0:
            gradients[embedding] = embedding_backward(dropout_backward(dx))
        return dfirst, gradients

    return outputs, backward


def layer_step(params: Params, prefix: str, x: NDArray, state: State, cell: str) -> State:
    """One step of a layer without history, for generation: x (..., I) or ids (...) -> new state.

    The leading axes are those of the state: (B,), or (B, K) for K hypotheses of each row.
    Its output is its h.
    """
    entries = [f"{prefix}.{name}" for name in CELLS[cell].state]
    shape = state[entries[0]].shape
    rows = x.reshape(-1) if x.dtype.kind in "iu" else x.reshape(-1, x.shape[-1])
    new = CELLS[cell].step(
        rows,
        *(state[name].reshape(-1, shape[-1]) for name in entries),
        *(params[f"{prefix}.{name}"] for name in CELLS[cell].weights),
    )
    new = new if isinstance(new, tuple) else (new,)
    return {name: entry.reshape(shape) for name, entry in zip(entries, new, strict=True)}


def stack_step(
    params: Params, prefix: str, x: NDArray, state: State, cell: str, layers: int
) -> tuple[NDArray, State]:
    """One step of a stack, as :func:`layer_step` -> h of the last layer (..., H), new state."""
    new: State = {}
    for number in range(layers):
        name = f"{prefix}.{number}"
        new |= layer_step(params, name, x, state, cell)
        x = new[f"{name}.h"]
    return x, new
