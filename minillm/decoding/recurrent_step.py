"""One step of recurrent layers for generation, without a backward pass."""

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm._kernels import twinned
from minillm.layers.recurrent import require_own, state_and_weights
from minillm.layers.types import Params, State
from minillm.ops.recurrence import CELLS, Cell


def layer_step(params: Params, prefix: str, x: NDArray, state: State, cell: str) -> State:
    """Run one step of a layer: -> the new state.

    x (..., I) or ids (...).  The leading axes are the same as in the state: (B,), or (B, K)
    for K hypotheses of each row.  The output of the step is its h.
    """
    entries = [f"{prefix}.{name}" for name in CELLS[cell].state]
    shape = state[entries[0]].shape
    rows = x.reshape(-1) if x.dtype.kind in "iu" else x.reshape(-1, x.shape[-1])
    old = [state[name].reshape(-1, shape[-1]) for name in entries]
    weights = [params[f"{prefix}.{name}"] for name in CELLS[cell].weights]
    new = CELLS[cell].step(rows, *old, *weights)
    new = new if isinstance(new, tuple) else (new,)
    return {name: entry.reshape(shape) for name, entry in zip(entries, new, strict=True)}


def stack_step(
    params: Params,
    prefix: str,
    x: NDArray,
    state: State,
    cell: str,
    layers: int,
    output: str | None = None,
) -> tuple[NDArray, State]:
    """Run one step of a stack, like :func:`layer_step`: -> h of the last layer, new state.

    With ``output``, the prefix of an output layer, the logits h W + b are returned instead of h.
    """
    require_own(state, prefix, cell, layers)
    entries, weights = state_and_weights(prefix, cell, layers)
    shape = state[entries[0]].shape
    rows = x.reshape(-1, *x.shape[len(shape) - 1 :])
    of_output = [f"{output}.W", f"{output}.b"] if output else []
    result, new = _stacked_step(
        CELLS[cell],
        np.ascontiguousarray(rows, np.int64 if rows.dtype.kind in "iu" else None),
        list(checks.contiguous(*(state[name].reshape(-1, shape[-1]) for name in entries))),
        list(checks.contiguous(*(params[name] for name in weights))),
        list(checks.contiguous(*(params[name] for name in of_output))),
    )
    named = zip(entries, new, strict=True)
    if len(shape) == 2:
        return result, dict(named)
    return result.reshape(*shape[:-1], -1), {name: entry.reshape(shape) for name, entry in named}


@twinned
def _stacked_step(
    cell: Cell, x: NDArray, states: list[NDArray], weights: list[NDArray], output: list[NDArray]
) -> tuple[NDArray, list[NDArray]]:
    """One step of each layer in turn, and of the output layer.

    x (B, I) or ids (B,); the states (B, H) and the weights of all layers, in their order; W (H, V)
    and b (V,) of the output layer, or none.  -> logits (B, V), or h (B, H) of the last layer where
    there is no output layer; the new states.
    """
    entries, count = len(cell.state), len(cell.weights)
    new: list[NDArray] = []
    for layer in range(len(weights) // count):
        old = states[entries * layer : entries * (layer + 1)]
        made = cell.step(x, *old, *weights[count * layer : count * (layer + 1)])
        new += made if isinstance(made, tuple) else [made]
        x = new[-entries]
    if output:
        W, b = output
        x = x @ W + b
    return x, new
