"""Llama: the GPT of today.

    x_t = E[id_t]                               the token alone
    x = x + attention(norm_1(x))                L times: queries and keys are rotated,
    x = x + feed_forward(norm_2(x))                      the feed-forward layer is gated
    y = norm(x)
    P(id_{t+1} | id_1 .. id_t) = softmax(y_t E^T)       or softmax(y_t W)

Like :mod:`minillm.models.gpt`, it is a stack of blocks that predicts the next token.  This is what
has changed since GPT-2 (2019), line by line:

- x_t = E[id_t]: no vector P[t] is added.  Each attention rotates its queries and keys by angles
  that grow with their positions (:mod:`minillm.ops.rotary`), so that a score depends on the
  distance of two tokens rather than on their positions.  No table ends at C (Su et al. 2021).
- norm(x) is an RMS norm (:mod:`minillm.ops.norms`): the row is divided by the root of its mean
  square, and its mean stays.  This is less work, and no worse (Zhang and Sennrich 2019).
- attention: N heads of queries share M heads of keys and values, so that the cache, and what is
  read from it for each token, is N / M times smaller.  GPT-2 has M = N.  With M = 1 (Shazeer
  2019) the model gets worse; a few heads are almost as good as N (Ainslie et al. 2023).
- feed_forward(x) = (silu(x W_gate) * x W_up) W_down (:func:`minillm.ops.swiglu`): one half of the
  hidden numbers gates the other.  With three matrices in place of two, F is about 8/3 D in place
  of 4 D, for as many weights.  At equal size the loss is lower; why is not understood (Shazeer
  2020).
- There are no biases: without them the training of large models is more stable (Chowdhery et al.
  2022).
- The output is tied to E in small models, where E has a large part of all weights; in large ones
  it is a matrix of its own, W.

The norms are before each branch, as in GPT-2.  Each part has its derivation in chapter 22.

Legend: B batch, T time, C context, V vocabulary, D width, F feed-forward width, N heads of queries,
M heads of keys, w width of a head, L layers.

Sources: Touvron et al. (2023), "LLaMA: open and efficient foundation language models", section
2.2; for grouped queries, Touvron et al. (2023), "Llama 2"; Su et al. (2021), "RoFormer"; Zhang and
Sennrich (2019), "Root mean square layer normalization"; Shazeer (2019), "Fast Transformer
decoding"; Ainslie et al. (2023), "GQA"; Shazeer (2020), "GLU variants improve Transformer";
Chowdhery et al. (2022), "PaLM", section 2.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.errors import InputError
from minillm.layers import dense, embedding, stack
from minillm.layers.dense import gated_feed_forward
from minillm.layers.fresh import ParamSpec, at_depth, normal, ones
from minillm.layers.gradients import merge_gradients
from minillm.layers.heads import Attend, self_attention
from minillm.layers.norms import norm
from minillm.layers.types import Backward, Ids, Rng
from minillm.models import base, sizes
from minillm.ops.rotary_scaling import Scaling, class_of

DEVIATION = 0.02  # of fresh weights


@dataclass(frozen=True)
class LlamaConfig:
    """The sizes of a Llama.  A size that is None, or left out, follows from the others."""

    vocabulary: int  # V
    context: int = 128  # C
    layers: int = 4  # L
    heads: int = 4  # N
    key_heads: int = None  # type: ignore[assignment]  # M; None: N
    width: int = 128  # D
    feed_forward: int = None  # type: ignore[assignment]  # F; None: 8/3 D, a multiple of 32
    rotary_base: float = 10000.0
    eps: float = 1e-5  # of the norms
    tied: bool = True  # the output is E
    head_width: int = None  # type: ignore[assignment]  # w; None: D / N
    rope_scaling: Scaling | None = None  # of the angles, for longer texts
    dropout: float = 0.0

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "vocabulary", "layers", "heads", "width")
        if self.head_width is None:
            sizes.check_divides(self, "heads", "width")
        sizes.fill_in(self, key_heads=self.heads, head_width=self.width // self.heads)
        sizes.fill_in(self, feed_forward=sizes.gated_width(self.width))
        sizes.check_at_least(self, 1, "key_heads", "feed_forward")
        sizes.check_at_least(self, 2, "context", "head_width")
        sizes.check_below_one(self, "dropout")
        sizes.check_divides(self, "key_heads", "heads")
        sizes.check_above_zero(self, "rotary_base", "eps")
        if self.head_width % 2:
            raise sizes.wrong(self, "head_width", "an even number")
        if self.rope_scaling is not None:
            if not isinstance(self.rope_scaling, Scaling):
                raise sizes.wrong(self, "rope_scaling", "a scaling of the angles")
            try:
                self.rope_scaling.frequencies(self.head_width, self.rotary_base)
            except ValueError as error:
                raise InputError(str(error), "rope_scaling") from None

    @classmethod
    def nested(cls, values: Mapping[str, Any]) -> dict[str, type]:
        """The fields that are dataclasses in these values, and the class of each."""
        scaling = values.get("rope_scaling")
        return {"rope_scaling": class_of(scaling)} if isinstance(scaling, Mapping) else {}


class Llama(base.CausalModel[LlamaConfig]):
    """Token embeddings, L blocks, a last norm, and an output that may be tied to E.

    ``params``: ``embedding.E`` (V, D); ``norm.gain`` (D,); ``output.W`` (D, V) if it is not tied;
    and for each block, under ``blocks.0.`` and so on, ``norm_1.gain`` (D,), ``attention.W_qkv``
    (D, (N + 2M) w), ``attention.W_o`` (N w, D), ``norm_2.gain`` (D,), ``feed_forward.W_gate_up``
    (D, 2F), ``feed_forward.W_down`` (F, D).
    """

    activation = "silu gate"

    @staticmethod
    def new_parameters(config: LlamaConfig) -> dict[str, ParamSpec]:
        """Declare the parameters, drawn as in a GPT: the first predictions are almost uniform."""
        c, first = config, normal(DEVIATION)
        D, N, M, w, F = c.width, c.heads, c.key_heads, c.head_width, c.feed_forward
        summed = normal(DEVIATION / np.sqrt(2 * c.layers))
        params = {"embedding.E": ParamSpec((c.vocabulary, D), first, "table", 0)}
        for layer in range(c.layers):
            b = f"blocks.{layer}"
            block = {
                f"{b}.norm_1.gain": ParamSpec((D,), ones),
                f"{b}.attention.W_qkv": ParamSpec((D, (N + 2 * M) * w), first, "matrix"),
                f"{b}.attention.W_o": ParamSpec((N * w, D), summed, "matrix"),
                f"{b}.norm_2.gain": ParamSpec((D,), ones),
                f"{b}.feed_forward.W_gate_up": ParamSpec((D, 2 * F), first, "matrix"),
                f"{b}.feed_forward.W_down": ParamSpec((F, D), summed, "matrix"),
            }
            params |= at_depth(1 + layer, block)
        params["norm.gain"] = ParamSpec((D,), ones)
        if not c.tied:
            params["output.W"] = ParamSpec((D, c.vocabulary), first, "matrix")
        return params

    def embed(
        self, ids: Ids, positions: Ids | None = None, rng: Rng = None
    ) -> tuple[NDArray, Backward]:
        """x_t = E[id_t]: ids (B, T) -> x (B, T, D).  Positions count in the blocks alone.

        With rng there is dropout.  ``backward(dx)`` -> gradients.
        """
        x, table_backward = embedding.layer(self.params, {"embedding.E": ids})
        x, dropout_backward = ops.dropout(x, self.config.dropout, rng)
        return x, lambda dx: table_backward(dropout_backward(dx))

    def rotation(self, layer: int) -> Any:
        """The base of a layer's angles and their scaling."""
        return self.config.rotary_base, self.config.rope_scaling

    def block(
        self, layer: int, x: NDArray, positions: Ids, attend: Attend, rng: Rng = None
    ) -> tuple[NDArray, Callable]:
        """x + attention(norm_1(x)), then x + feed_forward(norm_2(x)): x (B, T, D) -> (B, T, D).

        Queries and keys are rotated by their positions (B, T).  With rng there is dropout.
        ``backward(dy)`` -> dx, gradients.
        """
        p, c, b, eps = self.params, self.config, f"blocks.{layer}", self.config.eps
        base, scaling = self.rotation(layer)
        rotate = partial(ops.rotary, positions=positions, base=base, scaling=scaling)
        # x = x + attention(norm_1(x))
        a, norm_1_backward = norm(p, f"{b}.norm_1", x, eps)
        a, attention_backward = self_attention(
            p, f"{b}.attention", a, c.heads, attend, c.key_heads, rotate
        )
        a, drop_1_backward = ops.dropout(a, c.dropout, rng)
        x = x + a
        # y = x + feed_forward(norm_2(x))
        f, norm_2_backward = norm(p, f"{b}.norm_2", x, eps)
        f, feed_forward_backward = gated_feed_forward(p, f"{b}.feed_forward", f)
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
        """The logits of the next token: y (..., D) -> y E^T or y W (..., V).

        ``backward(dlogits)`` -> dy, gradients.
        """
        if self.config.tied:
            return embedding.output(self.params, "embedding.E", y)
        return dense.layer(self.params, "output", y)

    hidden, forward = stack.hidden, stack.forward  # through embed, the blocks, the norm, predict

    def loss(self, batch: tuple[Ids, Ids], rng: Rng = None) -> tuple[np.floating, Backward]:
        """The mean cross-entropy in nats per token of (inputs, targets), both (B, T).

        With rng there is dropout.  ``backward()`` -> gradients keyed as ``params``.
        """
        inputs, targets = batch
        logits, logits_backward = self.forward(inputs, rng)
        loss, loss_backward = ops.cross_entropy(logits, targets)
        return loss, lambda: logits_backward(loss_backward())
