"""Recurrent layers of any cell, in one direction or in both, and stacks of them.

The cells of ``CELLS`` differ in their weights and in their state: h, or h and c.  Here the
weights are entries of a model's parameters (``prefix.W_x`` and so on), and the state is a
dictionary (``prefix.h`` and, for an lstm, ``prefix.c``).  One model thus works with all cells.

Legend: B batch, T time, I input width, H hidden width, L layers, V vocabulary; M the
width of a layer's output: H, or 2H in both directions.
"""

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense
from minillm.layers.fresh import ParamSpec, Shape, side_by_side, uniform
from minillm.layers.gradients import is_trained, merge_gradients
from minillm.layers.types import Ids, Params, Rng, State
from minillm.ops.recurrence import CELLS


def new_layer(
    prefix: str, cell: str, I: int, H: int, bidirectional: bool = False
) -> dict[str, ParamSpec]:
    """Declare the weights of a layer from I inputs to H hidden units, in each direction.

    Input weights are uniform with variance 1 / I.  The recurrent weights of each gate are
    a random orthogonal matrix, which preserves the norm of the state from step to step
    (Saxe, McClelland and Ganguli 2014).  Biases are zero, except for a gate that begins open.
    """
    if bidirectional:
        forward = new_layer(f"{prefix}.forward", cell, I, H)
        return forward | new_layer(f"{prefix}.reverse", cell, I, H)
    gates, names = CELLS[cell].gates, CELLS[cell].weights

    def draw_bias(shape: Shape, rng: np.random.Generator, dtype: type) -> NDArray:
        return np.repeat(np.array([n == CELLS[cell].open_gate for n in range(gates)], dtype), H)

    declared = {
        "W_h": ParamSpec((H, gates * H), side_by_side(gates, orthogonal)),
        "W_x": ParamSpec((I, gates * H), uniform(np.sqrt(3 / I))),
    } | {name: ParamSpec((gates * H,), draw_bias) for name in names if name.startswith("b")}
    return {f"{prefix}.{name}": fresh for name, fresh in declared.items() if name in names}


def orthogonal(shape: Shape, rng: np.random.Generator, dtype: type) -> NDArray:
    """Draw a random orthogonal matrix."""
    return np.linalg.qr(rng.standard_normal(shape))[0].astype(dtype)


def zero_state(params: Params, prefix: str, cell: str, layers: int, B: int) -> State:
    """The state of a stack before a sequence begins: ``prefix.0.h`` (B, M) and so on."""
    forward = f"{prefix}.0.forward.W_x"
    W_x = params[forward if forward in params else f"{prefix}.0.W_x"]
    M = W_x.shape[1] // CELLS[cell].gates * (2 if forward in params else 1)
    entries, _ = state_and_weights(prefix, cell, layers)
    return {name: np.zeros((B, M), W_x.dtype) for name in entries}


def layer(
    params: Params, prefix: str, x: NDArray, state: State, cell: str, lengths: Ids | None = None
) -> tuple[tuple[NDArray, State], Callable]:
    """Run one layer over a whole sequence, in both directions if it has weights for both.

    x (B, T, I) or, in one direction, ids (B, T) in place of one-hot vectors; state (B, M)
    each; lengths (B,) or None -> hs (B, T, M), the state after the last step.
    ``backward(dhs, dstate=None)`` -> dx (None for ids), dstate, gradients.  None for dhs, and
    an entry missing from dstate, mean zero.
    """
    if f"{prefix}.forward.W_x" in params:
        return _both_directions(params, prefix, x, state, cell, lengths)
    weights = [f"{prefix}.{name}" for name in CELLS[cell].weights]
    entries = [f"{prefix}.{name}" for name in CELLS[cell].state]
    first, own_weights = [state[name] for name in entries], [params[name] for name in weights]
    (hs, *last), op_backward = CELLS[cell].run(x, *first, *own_weights, lengths=lengths)
    by_ids = x.ndim == 2

    def backward(dhs, dstate=None):
        dlast = [(dstate or {}).get(name) for name in entries]
        gradients = op_backward(dhs, *dlast)
        dx, *gradients = (None, *gradients) if by_ids else gradients
        dfirst = dict(zip(entries, gradients, strict=False))
        return dx, dfirst, dict(zip(weights, gradients[len(entries) :], strict=True))

    return (hs, dict(zip(entries, last, strict=True))), backward


def _both_directions(
    params: Params, prefix: str, x: NDArray, state: State, cell: str, lengths: Ids | None
) -> tuple[tuple[NDArray, State], Callable]:
    """Run two layers side by side; the second reads from right to left.

    x (B, T, I), state (B, 2H) each -> hs (B, T, 2H), the last state.  The second layer reaches
    its last state at the first step.  The first H columns belong to ``prefix.forward``, the
    others to ``prefix.reverse``.
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
        return dx, dfirst, merge_gradients(gradients, reverse_gradients)

    return (hs, _join(last_forward, last_reverse, prefix, cell)), backward


def _split(state: State, prefix: str, cell: str) -> tuple[State, State]:
    """Split the states of a layer (B, 2H) into the states of its two directions (B, H)."""
    forward, reverse = {}, {}
    for name in CELLS[cell].state:
        if (both := state.get(f"{prefix}.{name}")) is not None:
            halves = np.split(both, 2, axis=1)
            forward[f"{prefix}.forward.{name}"], reverse[f"{prefix}.reverse.{name}"] = halves
    return forward, reverse


def _join(forward: State, reverse: State, prefix: str, cell: str) -> State:
    """Undo ``_split``."""
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
    lengths: Ids | None = None,
    dropout: float = 0.0,
    rng: Rng = None,
) -> tuple[tuple[NDArray, State], Callable]:
    """Run L layers, each over the outputs of the previous one, with dropout between them.

    x (B, T, I) or, in one direction, ids (B, T); state (B, M) each -> hs (B, T, M) of the
    last layer, and the last state of all layers.  The weights of layer l are under
    ``prefix.l``.  Dropout is applied between layers, never between steps.
    ``backward(dhs, dstate=None, lowest=0)`` -> dx (None for ids), dstate, gradients.  It stops
    after the layer ``lowest``.

    Source: Zaremba, Sutskever and Vinyals (2014), "Recurrent neural network
    regularization", for the place of the dropout.
    """
    require_own(state, prefix, cell, layers)
    last: State = {}
    backwards = []
    for number in range(layers):
        x, dropout_backward = ops.dropout(x, dropout, rng if number > 0 else None)
        name = f"{prefix}.{number}"
        (x, layer_last), layer_backward = layer(params, name, x, state, cell, lengths)
        last |= layer_last
        backwards.append((dropout_backward, layer_backward))

    def backward(dhs, dstate=None, lowest=0):
        dx, dfirst, gradients = dhs, {}, {}
        for dropout_backward, layer_backward in reversed(backwards[lowest:]):
            dx, layer_dfirst, layer_gradients = layer_backward(dx, dstate)
            dx = dropout_backward(dx)
            dfirst |= layer_dfirst
            gradients = merge_gradients(gradients, layer_gradients)
        return dx, dfirst, gradients

    return (x, last), backward


def stack_over_ids(
    params: Params,
    prefix: str,
    embedding: str | None,
    ids: Ids,
    state: State,
    cell: str,
    layers: int,
    lengths: Ids | None = None,
    dropout: float = 0.0,
    rng: Rng = None,
) -> tuple[tuple[NDArray, State], Callable]:
    """Run an embedding, x_t = E[id_t], with dropout, and a stack over it.

    ids (B, T) -> outputs as of :func:`stack`.  ``embedding`` is the name of E (V, I) among the
    parameters; None: the input is one-hot, and ``prefix.0.W_x`` has a row for each id.
    ``backward(dhs, dstate=None, whole=False)`` -> dstate, gradients, dE among them.  It ends with
    the lowest layer that is trained, unless the dstate of all layers is needed: ``whole``.
    """
    x, own_params, input_backward = _input(params, f"{prefix}.0.W_x", embedding, ids, dropout, rng)
    outputs, stack_backward = stack(
        own_params, prefix, x, state, cell, layers, lengths, dropout, rng
    )

    def backward(dhs, dstate=None, whole=False):
        lowest = 0 if whole else _lowest_trained(params, prefix, embedding, layers)
        dx, dfirst, gradients = stack_backward(dhs, dstate, lowest)
        if lowest == 0:
            gradients = input_backward(dx, gradients)
        return dfirst, gradients

    return outputs, backward


def _input(
    params: Params, W_x: str, embedding: str | None, ids: Ids, dropout: float, rng: Rng
) -> tuple[NDArray, Params, Callable]:
    """ids (B, T) -> the input of the first layer, and the parameters that it takes.

    The first layer multiplies every x_t by its W_x.  But E[id] W_x is a row of E W_x.
    In one direction, where E has fewer rows than there are steps and nothing is dropped
    from x, this table (V, gates H) is computed instead, and each step looks up its row.
    ``backward(dx, gradients)``, with the gradients of the stack -> all gradients.
    """
    if embedding is None:
        return ids, params, lambda dx, gradients: gradients
    E, drops = params[embedding], rng is not None and dropout > 0
    if W_x in params and len(E) < ids.size and not drops:
        table, table_backward = ops.linear(E, params[W_x])

        def backward(dx, gradients):
            # table = E W_x; for the stack, the table was its W_x
            dE, dW_x = table_backward(gradients[W_x])
            return gradients | {embedding: dE, W_x: dW_x}

        return ids, params | {W_x: table}, backward
    x, embedding_backward = ops.embedding(ids, E)
    x, dropout_backward = ops.dropout(x, dropout, rng)

    def backward_to_table(dx, gradients):
        return gradients | {embedding: embedding_backward(dropout_backward(dx))}

    return x, params, backward_to_table


def _lowest_trained(params: Params, prefix: str, embedding: str | None, layers: int) -> int:
    """The number of the lowest layer to be trained; ``layers`` if none is."""
    if embedding is not None and is_trained(params, embedding):
        return 0
    numbers = (n for n in range(layers) if is_trained(params, f"{prefix}.{n}"))
    return next(numbers, layers)


def bridge(params: Params, last: State) -> tuple[State, Callable]:
    """Map the last states of an encoder (B, M) to the first states of a decoder (B, H).

    The maps ``bridge.0.h`` and so on are affine, with a tanh for h, because a decoder's h has
    values in [-1, 1].  ``backward(dstate)`` -> dlast, gradients.
    """
    state, backwards = {}, {}
    for entry in (name.removeprefix("encoder.") for name in last):
        activation = ops.tanh if entry.endswith(".h") else None
        state[f"decoder.{entry}"], backwards[entry] = dense.layer(
            params, f"bridge.{entry}", last[f"encoder.{entry}"], activation
        )

    def backward(dstate):
        dlast, parts = {}, []
        for entry, entry_backward in backwards.items():
            dlast[f"encoder.{entry}"], of_entry = entry_backward(dstate[f"decoder.{entry}"])
            parts.append(of_entry)
        return dlast, merge_gradients(*parts)

    return state, backward


def require_own(state: State, prefix: str, cell: str, layers: int) -> None:
    """ValueError for the state of another stack: of another cell, or with more layers or fewer."""
    own, _ = state_and_weights(prefix, cell, layers)
    start = f"{prefix}."
    found = {name for name in state if name.startswith(start)}
    if found != set(own):
        raise ValueError(f"state: expected {sorted(own)}, found {sorted(found)}")


@functools.cache
def state_and_weights(prefix: str, cell: str, layers: int) -> tuple[list[str], list[str]]:
    """The names of a stack's states, and of its weights, layer after layer."""
    prefixes = [f"{prefix}.{number}" for number in range(layers)]
    states, weights = CELLS[cell].state, CELLS[cell].weights
    return (
        [f"{layer}.{name}" for layer in prefixes for name in states],
        [f"{layer}.{name}" for layer in prefixes for name in weights],
    )
