"""GPT: a stack of Transformer blocks that predicts the next token.

    x_t = E[id_t] + P[t]                        the token and its position
    x = x + attention(norm_1(x))                L times: each token gathers from those before it,
    x = x + feed_forward(norm_2(x))                      then each is transformed separately
    y = norm(x)
    P(id_{t+1} | id_1 .. id_t) = softmax(y_t E^T)

A recurrent model squeezes everything it has read into one state.  Here each token attends to every
token before it.  A recurrent model runs step by step.  Here a whole text is processed by matrix
products, because no step waits for the result of the step before.  The price is a *context*: there
are C position vectors P, and no token sees further back than C.

The block is GPT-2's; :mod:`minillm.layers.block` explains the place of its norms.  E is used
twice, for reading and for predicting.  :mod:`minillm.models.causal` is about writing with a GPT.
There is one deviation: the original applies dropout to attention weights as well.

Legend: B batch, T time, C context, V vocabulary, D width, N heads, L layers.

Sources: Radford, Narasimhan, Salimans and Sutskever (2018), "Improving language understanding
by generative pre-training"; Radford et al. (2019), "Language models are unsupervised multitask
learners"; Press and Wolf (2017) for the tied output.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minillm.layers import embedding
from minillm.layers.block import block, new_block, new_norm
from minillm.layers.cache import Cache
from minillm.layers.fresh import Fresh, normal
from minillm.layers.types import Backward, Ids, Rng
from minillm.models import sizes
from minillm.models.gpt_step import OneTokenSteps

DEVIATION = 0.02  # of fresh weights (Radford et al. 2018, section 4.1)


@dataclass(frozen=True)
class GPTConfig:
    """The sizes of a GPT."""

    vocabulary: int  # V
    context: int = 128  # C
    layers: int = 4  # L
    heads: int = 4  # N
    width: int = 128  # D
    dropout: float = 0.0

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "vocabulary", "layers", "heads", "width")
        sizes.check_at_least(self, 2, "context")
        sizes.check_below_one(self, "dropout")
        sizes.check_divides(self, "heads", "width")


class GPT(OneTokenSteps[GPTConfig]):
    """Token and position embeddings, L blocks, a last norm; the output is tied to E.

    ``params``: ``embedding.E`` (V, D), ``positions.E`` (C, D), ``blocks.0.norm_1.gain`` and so
    on, as :mod:`minillm.layers.block` names them, ``norm.gain`` and ``norm.bias`` (D,).
    """

    @staticmethod
    def new_parameters(config: GPTConfig) -> dict[str, Fresh]:
        """Declare the parameters; the first predictions are nearly uniform.

        Matrices that write into the sum are smaller by sqrt(2 L), because 2 L results add up.
        """
        D, L, first = config.width, config.layers, normal(DEVIATION)
        params = {
            "embedding.E": Fresh((config.vocabulary, D), first),
            "positions.E": Fresh((config.context, D), first),
        }
        summed = normal(DEVIATION / np.sqrt(2 * L))
        for layer in range(L):
            params |= new_block(f"blocks.{layer}", D, 4 * D, first, qkv=first, summed=summed)
        return params | new_norm("norm", D)

    def embed(self, ids: Ids, start: Ids | None = None) -> tuple[NDArray, Backward]:
        """x_t = E[id_t] + P[t]: ids (B, T), at the positions from start (B,) on -> x (B, T, D).

        ``backward(dx)`` -> gradients.  Raises ValueError for rows longer than the context.
        """
        self.check_fits(ids.shape[1])
        positions = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)  # (B, T)
        if start is not None:
            positions = np.minimum(start[:, None] + positions, self.config.context - 1)  # padding
        return embedding.layer(self.params, {"embedding.E": ids, "positions.E": positions})

    def block(
        self, layer: int, x: NDArray, rng: Rng = None, cache: Cache | None = None
    ) -> tuple[NDArray, Callable]:
        """x + attention(norm_1(x)), then x + feed_forward(norm_2(x)): x (B, T, D) -> (B, T, D)."""
        p, b, N, dropout = self.params, f"blocks.{layer}", self.config.heads, self.config.dropout
        return block(p, b, x, N, causal=True, cache=cache, dropout=dropout, rng=rng)

    def predict(self, y: NDArray) -> tuple[NDArray, Callable]:
        """The logits of the next token: y (..., D) -> y E^T (..., V).

        ``backward(dlogits)`` -> dy, gradients.
        """
        return embedding.output(self.params, "embedding.E", y)
