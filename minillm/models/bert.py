"""BERT: Transformer blocks that see a whole text at once, and fill in masked tokens.

    x_t = norm(E[id_t] + P[t] + S[segment_t])   the token, its position, its part of the text
    x = block(x)                                L times: attention to all tokens, feed-forward
    h = norm(gelu(x_t W + b))                   at the masked places t
    P(token at t) = softmax(h E^T + c)

A model that predicts the next token may look only to the left, because the answer is on the right.
Here the answers are masked (see :mod:`minillm.data.masking`), so each is predicted from both
sides.  Afterwards the vectors x of a text can be used for other tasks.  The price is that only one
token in seven is predicted, and that a BERT cannot write text.

The blocks normalise the sum (post-norm), as Vaswani et al. (2017) do, by default with an epsilon
of 1e-12, and use the exact gelu.  E is used twice, for reading and for predicting.  The first
token, [CLS], may become a vector of the whole text, tanh(x_0 W + b), for a classifier.

There are three deviations.  The original applies dropout to attention weights as well.  It also
learns from [CLS] whether the second part of a text follows the first, which does not help (Liu et
al. 2019).  And the initial weights are chosen for short trainings: see ``new_parameters``.

Legend: B batch, T time, C context, M masked places, V vocabulary, D width, N heads, L layers.

Source: Devlin, Chang, Lee and Toutanova (2018), "BERT: pre-training of deep bidirectional
transformers for language understanding", figures 1 and 2, section 3, appendix A; the code
published with it, for the head, the epsilon and the initial weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.data.masking import MaskedBatch
from minillm.layers import dense, embedding, stack
from minillm.layers.block import new_block, post_norm
from minillm.layers.dense import feed_forward
from minillm.layers.fresh import ParamSpec, Shape, at_depth, normal, side_by_side
from minillm.layers.gradients import merge_gradients
from minillm.layers.heads import Attend, self_attention, to_all
from minillm.layers.norms import new_norm, norm
from minillm.layers.positions import sinusoids
from minillm.layers.types import Backward, Ids, Rng
from minillm.models import base, sizes

exact_gelu = partial(ops.gelu, approximate=False)


@dataclass(frozen=True)
class BERTConfig:
    """The sizes of a BERT, and its heads."""

    vocabulary: int  # V
    context: int = 64  # C
    layers: int = 4  # L
    heads: int = 4  # N
    width: int = 128  # D
    inner: int | None = None  # width inside the feed-forward layers; None: 4 D
    segments: int = 2
    dropout: float = 0.0
    eps: float = 1e-12  # of the norms
    masked_words: bool = True  # a head that predicts masked words
    pooler: bool = False  # a head that makes a vector of [CLS]

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "vocabulary", "layers", "heads", "width", "inner", "segments")
        sizes.check_at_least(self, 2, "context")
        sizes.check_below_one(self, "dropout")
        sizes.check_above_zero(self, "eps")
        sizes.check_divides(self, "heads", "width")


class BERT(base.Model[BERTConfig]):
    """Embeddings, L blocks, and heads on them.

    ``params``: ``embedding.E`` (V, D), ``positions.E`` (C, D), ``segments.E`` (2, D),
    ``embedding.norm.gain`` and ``.bias`` (D,); ``blocks.0.norm_1.gain`` and so on, as
    :mod:`minillm.layers.block` names them; ``mask.W`` (D, D), ``mask.b``,
    ``mask.norm.gain``, ``mask.norm.bias`` (D,), ``mask.output_b`` (V,); ``pooler.W`` (D, D),
    ``pooler.b`` (D,).
    """

    below: tuple[str, ...] = ("embedding", "positions", "segments")

    @staticmethod
    def new_parameters(config: BERTConfig) -> dict[str, ParamSpec]:
        """Declare the parameters: matrices are normal, biases zero.

        The deviation is the published 0.02 at the published width, 768.  Narrower models have
        larger weights, so that their sums over the width are as large.

        A model that is trained for minutes must first discover that neighbours matter.  With the
        published weights, it learns little but the frequencies of tokens for a long time.  So
        sinusoids are added to the position vectors: "three to the left" is then the same linear
        map everywhere, and is learned once, not for each position.  And queries and keys are twice
        as large, so that attention is not almost uniform.
        """
        c, D = config, config.width
        deviation = 0.02 * (768 / D) ** 0.5
        draw = normal(deviation)

        def waves(shape: Shape, rng: np.random.Generator, dtype: type) -> NDArray:
            (C, width), P = shape, normal(0.02)(shape, rng, dtype)
            P += 3 * deviation * sinusoids(np.arange(C), width + width % 2)[:, :width]
            return P

        def large_queries_and_keys(shape: Shape, rng: np.random.Generator, dtype: type) -> NDArray:
            W_qkv = side_by_side(3, draw)(shape, rng, dtype)
            W_qkv[:, : 2 * D] *= 2
            return W_qkv

        params = {
            "embedding.E": ParamSpec((c.vocabulary, D), draw, "table"),
            "positions.E": ParamSpec((c.context, D), waves, "table"),
            "segments.E": ParamSpec((c.segments, D), draw, "table"),
        }
        params = at_depth(0, params | new_norm("embedding.norm", D))
        for layer in range(c.layers):
            F = c.inner or 4 * D
            block = new_block(f"blocks.{layer}", D, F, draw, qkv=large_queries_and_keys)
            params |= at_depth(1 + layer, block)
        if c.masked_words:
            params |= dense.new_matrix("mask", "", D, D, draw) | new_norm("mask.norm", D)
            params["mask.output_b"] = ParamSpec((c.vocabulary,))
        if c.pooler:
            params |= dense.new_matrix("pooler", "", D, D, draw)
        return params

    @property
    def unused(self) -> list[str]:
        """The names of the weights that the loss does not use."""
        return [name for name in self.params if name.startswith("pooler.")]

    # --- the equations ----------------------------------------------------------

    def hidden(
        self, ids: Ids, lengths: Ids | None = None, segments: Ids | None = None, rng: Rng = None
    ) -> tuple[NDArray, Backward]:
        """The vector of each token: ids (B, T) -> x (B, T, D).

        Ids past lengths[b] are masked (None: no padding).  segments (B, T), from 0 (None: all 0).
        With rng there is dropout.
        ``backward(dx)`` -> gradients of the parameters that were used.

        Raises ValueError for rows longer than the context.
        """
        attend = to_all(lengths)
        return stack.hidden(self, ids, rng, None, lambda layer: attend, segments=segments)

    def embed(
        self, ids: Ids, positions: Ids, rng: Rng = None, segments: Ids | None = None
    ) -> tuple[NDArray, Backward]:
        """norm(E[id] + P[t] + S[segment]): ids and positions (B, T) -> x (B, T, D).

        ``backward(dx)`` -> gradients.
        """
        c, p = self.config, self.params
        segments = np.zeros_like(ids) if segments is None else segments
        tables = {"embedding.E": ids, "positions.E": positions, "segments.E": segments}
        tables = {E: rows for E, rows in tables.items() if E in p}  # an encoder may lack one
        x, tables_backward = embedding.layer(p, tables)  # (B, T, D)
        x, norm_backward = norm(p, "embedding.norm", x, c.eps)
        x, dropout_backward = ops.dropout(x, c.dropout, rng)

        def backward(dx):
            dx, of_norm = norm_backward(dropout_backward(dx))
            return merge_gradients(of_norm, tables_backward(dx))

        return x, backward

    def block(
        self, layer: int, x: NDArray, positions: Ids, attend: Attend, rng: Rng = None
    ) -> tuple[NDArray, Callable]:
        """norm(x + attention(x)), then norm(x + feed_forward(x)): x (B, T, D) -> (B, T, D).

        With rng there is dropout.  ``backward(dy)`` -> dx, gradients.
        """
        p, c, b = self.params, self.config, f"blocks.{layer}"

        def attention(x):
            return self_attention(p, f"{b}.attention", x, c.heads, attend)

        def transform(x):
            return feed_forward(p, f"{b}.feed_forward", x, exact_gelu)

        branches = {f"{b}.norm_1": attention, f"{b}.norm_2": transform}
        return post_norm(p, branches, x, c.dropout, rng, c.eps)

    def masked_words(self, x: NDArray) -> tuple[NDArray, Callable]:
        """The logits of the original tokens at M masked places: x (M, D) -> (M, V).

        ``backward(dlogits)`` -> dx, gradients.
        """
        p = self.params
        h, dense_backward = dense.layer(p, "mask", x, exact_gelu)
        h, norm_backward = norm(p, "mask.norm", h, self.config.eps)
        logits, output_backward = embedding.output(p, "embedding.E", h, "mask.output_b")

        def backward(dlogits):
            dh, of_output = output_backward(dlogits)
            dh, of_norm = norm_backward(dh)
            dx, of_dense = dense_backward(dh)
            return dx, merge_gradients(of_output, of_norm, of_dense)

        return logits, backward

    def pool(self, x: NDArray) -> tuple[NDArray, Callable]:
        """A vector for each text, from its first token: x (B, T, D) -> tanh(x_0 W + b) (B, D).

        ``backward(dpooled)`` -> dx, gradients.
        """
        pooled, dense_backward = dense.layer(self.params, "pooler", x[:, 0], ops.tanh)

        def backward(dpooled):
            dfirst, gradients = dense_backward(dpooled)
            dx = np.zeros_like(x)
            dx[:, 0] = dfirst
            return dx, gradients

        return pooled, backward

    def fill(self, batch: MaskedBatch) -> NDArray:
        """The logits of the original tokens at the masked places of a batch, (M, V)."""
        x, _ = self.hidden(batch.ids, batch.lengths, batch.segments)
        return self.masked_words(x[batch.places])[0]

    # --- training ---------------------------------------------------------------

    def loss(self, batch: MaskedBatch, rng: Rng = None) -> tuple[np.floating, Backward]:
        """The mean cross-entropy of the masked words in nats.

        With rng there is dropout.  ``backward()`` -> gradients keyed as ``params``.  Only the
        masked places go through the wide output layer.
        """
        ids, lengths, segments, places, targets = batch
        x, hidden_backward = self.hidden(ids, lengths, segments, rng)
        logits, words_backward = self.masked_words(x[places])  # (M, V)
        loss, loss_backward = ops.cross_entropy(logits, targets)

        def backward():
            drows, of_words = words_backward(loss_backward())
            dx = np.zeros_like(x)
            dx[places] = drows
            return merge_gradients(of_words, hidden_backward(dx))

        return loss, backward
