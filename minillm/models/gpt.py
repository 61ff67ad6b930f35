"""GPT: a stack of Transformer blocks that predicts the next token.

    x_t = E[id_t] + P[t]                        the token and its position
    x = x + attention(norm_1(x))                L times: each token gathers from earlier ones,
    x = x + feed_forward(norm_2(x))                      then each is transformed separately
    y = norm(x)
    P(id_{t+1} | id_1 .. id_t) = softmax(y_t E^T)

A recurrent model squeezes everything it has read into one state, and runs step by step.  Here each
token attends to every token before it, and no step waits for the one before, so matrix products
process a whole text at once.  The price is a *context*: there are C position vectors P, and no
token sees further back than C.

The block is GPT-2's; :mod:`minillm.layers.block` explains the place of its norms.  E is used
twice, for reading and for predicting.  There is one deviation: the original applies dropout to
attention weights as well.

Legend: B batch, T time, C context, V vocabulary, D width, N heads, L layers.

Sources: Radford, Narasimhan, Salimans and Sutskever (2018), "Improving language understanding
by generative pre-training"; Radford et al. (2019), "Language models are unsupervised multitask
learners"; Press and Wolf (2017) for the tied output.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import embedding, stack
from minillm.layers.block import new_block
from minillm.layers.dense import feed_forward
from minillm.layers.fresh import ParamSpec, at_depth, normal
from minillm.layers.gradients import merge_gradients
from minillm.layers.heads import Attend, self_attention
from minillm.layers.norms import EPS, new_norm, norm
from minillm.layers.types import Backward, Ids, Rng
from minillm.models import base, sizes

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

    eps: ClassVar[float] = EPS  # of the norms
    tied: ClassVar[bool] = True  # the output is E

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "vocabulary", "layers", "heads", "width")
        sizes.check_at_least(self, 2, "context")
        sizes.check_below_one(self, "dropout")
        sizes.check_divides(self, "heads", "width")

    @property
    def key_heads(self) -> int:
        """Every head has its own keys: N."""
        return self.heads

    @property
    def head_width(self) -> int:
        """The width of a head: D / N."""
        return self.width // self.heads


class GPT(base.CausalModel[GPTConfig]):
    """Token and position embeddings, L blocks, a last norm; the output is tied to E.

    ``params``: ``embedding.E`` (V, D), ``positions.E`` (C, D), ``blocks.0.norm_1.gain`` and so
    on, as :func:`minillm.layers.block.new_block` names them, ``norm.gain`` and ``norm.bias`` (D,).
    """

    below = ("embedding", "positions")
    activation = "gelu"

    @staticmethod
    def new_parameters(config: GPTConfig) -> dict[str, ParamSpec]:
        """Declare the parameters; the first predictions are almost uniform.

        Matrices that write into the sum are smaller by sqrt(2 L), because 2 L results add up.
        """
        D, L, first = config.width, config.layers, normal(DEVIATION)
        params = {
            "embedding.E": ParamSpec((config.vocabulary, D), first, "table", 0),
            "positions.E": ParamSpec((config.context, D), first, "table", 0),
        }
        summed = normal(DEVIATION / np.sqrt(2 * L))
        for layer in range(L):
            block = new_block(f"blocks.{layer}", D, 4 * D, first, qkv=first, summed=summed)
            params |= at_depth(1 + layer, block)
        return params | new_norm("norm", D)

    def tables(self, ids: Ids, positions: Ids) -> dict[str, Ids]:
        """The ids of the rows of each table that :meth:`embed` adds."""
        return {"embedding.E": ids, "positions.E": positions}

    def embed(self, ids: Ids, positions: Ids, rng: Rng = None) -> tuple[NDArray, Backward]:
        """x_t = E[id_t] + P[t]: ids and positions (B, T) -> x (B, T, D).

        With rng there is dropout.  ``backward(dx)`` -> gradients.
        """
        x, tables_backward = embedding.layer(self.params, self.tables(ids, positions))
        x, dropout_backward = ops.dropout(x, self.config.dropout, rng)
        return x, lambda dx: tables_backward(dropout_backward(dx))

    def block(
        self, layer: int, x: NDArray, positions: Ids, attend: Attend, rng: Rng = None
    ) -> tuple[NDArray, Callable]:
        """x + attention(norm_1(x)), then x + feed_forward(norm_2(x)): x (B, T, D) -> (B, T, D).

        The positions are in x already.  With rng there is dropout.  ``backward(dy)`` -> dx,
        gradients.
        """
        p, c, b = self.params, self.config, f"blocks.{layer}"
        # x = x + attention(norm_1(x))
        a, norm_1_backward = norm(p, f"{b}.norm_1", x)
        a, attention_backward = self_attention(p, f"{b}.attention", a, c.heads, attend)
        a, drop_1_backward = ops.dropout(a, c.dropout, rng)
        x = x + a
        # y = x + feed_forward(norm_2(x))
        f, norm_2_backward = norm(p, f"{b}.norm_2", x)
        f, feed_forward_backward = feed_forward(p, f"{b}.feed_forward", f)
        f, drop_2_backward = ops.dropout(f, c.dropout, rng)

        def backward(dy):
            # y = x + feed_forward(norm_2(x))
            df, of_feed_forward = feed_forward_backward(drop_2_backward(dy))
            df, of_norm_2 = norm_2_backward(df)
            dx = dy + df  # x has two uses
            # x = x + attention(norm_1(x))
            da, of_attention = attention_backward(drop_1_backward(dx))
            da, of_norm_1 = norm_1_backward(da)
            return dx + da, merge_gradients(of_feed_forward, of_norm_2, of_attention, of_norm_1)

        return x + f, backward

    def predict(self, y: NDArray) -> tuple[NDArray, Callable]:
        """The logits of the next token: y (..., D) -> y E^T (..., V).

        ``backward(dlogits)`` -> dy, gradients.
        """
        return embedding.output(self.params, "embedding.E", y)

    hidden, forward = stack.hidden, stack.forward  # through embed, the blocks, the norm, predict

    def loss(self, batch: tuple[Ids, Ids], rng: Rng = None) -> tuple[np.floating, Backward]:
        """The mean cross-entropy in nats per token of (inputs, targets), both (B, T).

        With rng there is dropout.  ``backward()`` -> gradients keyed as ``params``.
        """
        inputs, targets = batch
        logits, logits_backward = self.forward(inputs, rng)
        loss, loss_backward = ops.cross_entropy(logits, targets)
        return loss, lambda: logits_backward(loss_backward())
