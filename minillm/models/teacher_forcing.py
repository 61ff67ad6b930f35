"""The shared parts of all models that write a target, token by token, from a source."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm import checks, ops
from minillm.layers import dense
from minillm.layers.types import Gradients, Ids, Params
from minillm.ops.padding import length_mask


class TargetConfig:
    """A configuration with one id for BOS and EOS, the first one after the target vocabulary."""

    @property
    def bos(self) -> int:
        """The id that stands before the first token of a target, and after the last."""
        sizes = vars(self)
        return sizes.get("target_vocabulary") or sizes["vocabulary"]

    eos = bos


def teacher_forcing(targets: Ids, bos: int) -> Ids:
    """The inputs of a decoder in training: BOS, then each target but the last, (B, T)."""
    inputs = np.empty_like(targets)
    inputs[:, 0] = bos
    inputs[:, 1:] = targets[:, :-1]
    return inputs


def target_loss(
    params: Params,
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
    lengths = checks.sequence_lengths("target_loss", lengths, *targets.shape)
    real = length_mask(lengths, targets.shape[1])  # (B, T)
    logits, output_backward = dense.layer(params, "output", hs[real])  # (tokens, V)
    loss, loss_backward = ops.cross_entropy(logits, targets[real], label_smoothing=label_smoothing)

    def backward():
        drows, gradients = output_backward(loss_backward())
        dhs = np.zeros_like(hs)
        dhs[real] = drows
        return dhs, gradients

    return loss, backward
