"""The shared parts of all models that write a target, token by token, from a source.

A decoder's state is a dictionary of arrays for B sources and K hypotheses of each.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense
from minillm.layers.types import Gradients, Ids, State
from minillm.ops import _validate
from minillm.ops._padding import length_mask


def select(state: State, rows: Ids, parents: Ids) -> State:
    """Select sources of a decoder's state, and hypotheses of each of them.

    rows (b,) in 0..B-1, parents (b, k) in 0..K-1 -> a state of b sources with k hypotheses each.
    The name of an entry tells its shape.  ``memory...`` is (B, ...): the hypotheses of a source
    share it.  ``shared...`` belongs to all sources together.  All other entries are (B, K, ...),
    and the first entry of a state is one of them.
    """
    B = len(next(iter(state.values())))
    all_rows = np.array_equal(rows, np.arange(B))  # then the memory need not be copied
    selected = {}
    for name, entry in state.items():
        if name.startswith("shared."):
            selected[name] = entry
        elif not name.startswith("memory."):
            selected[name] = entry[rows[:, None], parents]
        else:
            selected[name] = entry if all_rows else entry[rows]
    return selected


def one_hypothesis(state: State) -> State:
    """Turn a state without hypotheses, (B, ...), into one of one hypothesis each, (B, 1, ...)."""
    return {
        name: entry if name.startswith("memory.") else entry[:, None]
        for name, entry in state.items()
    }


def teacher_forcing(targets: Ids, bos: int) -> Ids:
    """The inputs of a decoder in training: BOS, then each target but the last, (B, T)."""
    inputs = np.empty_like(targets)
    inputs[:, 0] = bos
    inputs[:, 1:] = targets[:, :-1]
    return inputs


def target_loss(
    params: dict[str, NDArray],
    hs: NDArray,
    targets: Ids,
    lengths: Ids,
    label_smoothing: float = 0.0,
) -> tuple[np.floating, Callable[[], tuple[NDArray, Gradients]]]:
    """The mean cross-entropy of the targets under softmax(hs W + b), without the padding.

    hs (B, T, H), targets (B, T), lengths (B,) -> loss in nats per token.  The weights are
    ``output.W`` and ``output.b``.  ``backward()`` -> dhs, gradients.

    The padding is left out before the output layer, because that layer is wide.
    """
    lengths = _validate.sequence_lengths("target_loss", lengths, *targets.shape)
    real = length_mask(lengths, targets.shape[1])  # (B, T)
    logits, output_backward = dense.layer(params, "output", hs[real])  # (tokens, V)
    loss, loss_backward = ops.cross_entropy(logits, targets[real], label_smoothing=label_smoothing)

    def backward():
        drows, gradients = output_backward(loss_backward())
        dhs = np.zeros_like(hs)
        dhs[real] = drows
        return dhs, gradients

    return loss, backward
