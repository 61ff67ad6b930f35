"""A second forward pass of causal Transformers, for fine-tuning: packed rows, recomputed blocks.

The equations are the model's: its block is called with another attention and other positions, and
the output layer is computed at counted tokens only.

**Packing.**  Sequences of different lengths stand one after another, in place of rows filled with
padding.  Most layers look at one token at a time, so such a row costs what its tokens cost.
Attention is the exception: its mask says that a token sees only its own sequence
(:mod:`minillm.ops.mask`).  In batches of conversations, whose lengths differ widely, half of the
work would otherwise be spent on padding.

**Recomputing.**  A backward pass needs the results of the forward pass: in a Transformer's block
the norms, queries, keys, values and hidden numbers of every token, some 16 D floats per token.
Over L blocks that is far more than the weights of a small model.  A recomputed block keeps its
input, D floats, and frees all other results at once.  Before its backward pass it runs forward
again:

    kept                     without: 16 D L for each token        with: D L, and 16 D of one block
    products of a step       without: 1 forward, 2 backward        with: 2 forward, 2 backward

Thus a step takes a third longer, and with 30 layers a tenth of the memory.  Where the weights are
frozen, as with LoRA, a backward pass has one product for each product of the forward pass, and a
step takes half as long again.  Dropout draws the same numbers again, because the generator is
copied before the first forward pass.

Legend: B batch, T time, D width, L layers, n sequences, R the sum of their lengths.

Source: Krell, Kosec, Perez and Fitzgibbon (2021), "Efficient sequence packing without
cross-contamination"; Chen, Xu, Zhang and Guestrin (2016), "Training deep nets with sublinear memory
cost", section 4.1.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import checks, ops
from minillm.layers.gradients import merge_gradients
from minillm.layers.heads import Attend, attend_by
from minillm.layers.stack import with_block
from minillm.layers.types import Backward, Ids, Rng


def positions(lengths: Ids) -> NDArray[np.int64]:
    """The position of each token in its sequence: lengths (n,) -> (R,).

    >>> positions(np.array([3, 2])).tolist()
    [0, 1, 2, 0, 1]
    """
    return np.concatenate([np.arange(length) for length in lengths])


def recomputed(
    block: Callable[..., tuple[NDArray, Callable]],
    layer: int,
    x: NDArray,
    rng: Rng = None,
    **others: Any,
) -> tuple[NDArray, Callable]:
    """A model's block, with a backward that runs it forward again.  Keeps x."""
    again = deepcopy(rng)
    y, _ = block(layer, x, rng=rng, **others)

    def backward(dy):
        _, block_backward = block(layer, x, rng=deepcopy(again), **others)
        return block_backward(dy)

    return y, backward


class Packed:
    """A model of blocks in fine-tuning.  With ``recompute``, they run again for their backward."""

    def __init__(self, model: Any, recompute: bool = False) -> None:
        self.model, self.recompute = model, recompute

    def loss(
        self,
        batch: tuple[Ids, Ids],
        rng: Rng = None,
        mask: NDArray[np.bool_] | None = None,
        lengths: Ids | None = None,
    ) -> tuple[np.floating, Backward]:
        """The mean cross-entropy of each target that counts, in nats.

        It takes the arguments of :meth:`log_likelihood`, and returns minus its mean.
        ``backward()`` -> gradients.
        """
        log_p, likelihood_backward = self.log_likelihood(batch, rng, mask, lengths)
        n = log_p.dtype.type(len(log_p))

        def backward():
            return likelihood_backward(np.full_like(log_p, -1 / n))

        return -log_p.sum() / n, backward

    def log_likelihood(
        self,
        batch: tuple[Ids, Ids],
        rng: Rng = None,
        mask: NDArray[np.bool_] | None = None,
        lengths: Ids | None = None,
    ) -> tuple[NDArray, Backward]:
        """log P(target | inputs up to its position) of each target that counts, in nats: (n,).

        inputs and targets (B, T).  A target does not count where mask (B, T) is False, and its
        logits are not computed.  With rng there is dropout.  ``lengths`` belong to
        sequences that fill one row; each has at most C tokens.  ``backward(dlog_p)`` -> gradients.

        Raises ValueError if no target counts.
        """
        inputs, targets = batch
        counted = np.ones(inputs.shape, bool) if mask is None else mask
        if not counted.any():
            raise ValueError("mask: expected a True, found False everywhere")
        y, hidden_backward = self.hidden(inputs, rng, lengths)  # (B, T, D)
        logits, predict_backward = self.model.predict(y[counted])  # (n, V)
        log_p, likelihood_backward = ops.log_likelihood(logits, targets[counted])

        def backward(dlog_p):
            dy = np.zeros_like(y)
            dy[counted], of_output = predict_backward(likelihood_backward(dlog_p))
            return merge_gradients(hidden_backward(dy), of_output)  # E may have two uses

        return log_p, backward

    def hidden(
        self, ids: Ids, rng: Rng = None, lengths: Ids | None = None
    ) -> tuple[NDArray, Backward]:
        """The model's ``hidden``: ids (B, T) -> y (B, T, D).  ``backward(dy)`` -> gradients."""
        model = self.model
        if self.recompute:
            model = with_block(model, partial(recomputed, model.block))
        if lengths is None:
            return model.hidden(ids, rng)
        checks.fits_context(int(lengths.max()), model.config.context)

        def attend(layer: int) -> Attend:
            return attend_by(replace(model.mask(layer), rows=lengths))

        return model.hidden(ids, rng, positions(lengths)[None], attend)
