"""A second forward pass of causal Transformers: packed conversations, recomputed blocks.

Fine-tuning for chat needs two things that a model's page does not have.  One row contains many
conversations, which do not see each other (:mod:`minillm.training.packing`), and the output layer
is computed at counted tokens only.  A block may also keep its input alone, and run once more before
its backward pass (:mod:`minillm.training.recomputing`).  The equations do not change: the block of
the page is called with another attention and other positions.
"""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import checks, ops
from minillm.layers.gradients import backward_through, merge_gradients
from minillm.layers.heads import Attend, causal
from minillm.layers.norms import norm
from minillm.layers.types import Backward, Ids, Op, Rng
from minillm.models.gpt import GPT, gpt_block
from minillm.models.llama import Llama, llama_block
from minillm.training.packing import attend_within, positions
from minillm.training.recomputing import recomputed


class Packed:
    """A GPT or a Llama in fine-tuning; with ``recompute``, blocks run again for their backward."""

    def __init__(self, model: GPT | Llama, recompute: bool = False) -> None:
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
        c, p = self.model.config, self.model.params
        checks.fits_context(ids.shape[1] if lengths is None else int(lengths.max()), c.context)
        places = np.arange(ids.shape[1]) if lengths is None else positions(lengths)
        attend = causal if lengths is None else attend_within(lengths)
        x, embed_backward, norm_of, block = self._parts(ids, np.broadcast_to(places, ids.shape))
        x, dropout_backward = ops.dropout(x, c.dropout, rng)
        backwards = {}
        for prefix in (f"blocks.{layer}" for layer in range(c.layers)):
            forward = partial(block, prefix, attend)
            run = partial(recomputed, forward) if self.recompute else forward
            x, backwards[prefix] = run(x, rng)
        y, norm_backward = norm_of(x)

        def backward(dy):
            dx, of_norm = norm_backward(dy)
            dx, of_blocks = backward_through(p, backwards, dx, "embedding", "positions")
            of_tables = {} if dx is None else embed_backward(dropout_backward(dx))
            return merge_gradients(of_norm, of_blocks, of_tables)

        return y, backward

    def _parts(self, ids: Ids, places: Ids) -> tuple[NDArray, Backward, Op, Any]:
        """The embedded tokens, with their backward; the last norm; the block."""
        model, c, p = self.model, self.model.config, self.model.params
        if isinstance(model, GPT):

            def gpt(prefix: str, attend: Attend, x: NDArray, rng: Rng) -> Any:
                return gpt_block(p, prefix, x, c.heads, c.dropout, rng, attend)

            return *model.embed(ids, places), partial(norm, p, "norm"), gpt

        def llama(prefix: str, attend: Attend, x: NDArray, rng: Rng) -> Any:
            return llama_block(p, prefix, x, places, model.config, rng, attend)

        return *model.embed(ids), partial(norm, p, "norm", eps=model.config.eps), llama
