"""Decoders after Llama: what Mistral, Qwen, SmolLM, Gemma and Phi change in it.

Most published models of today are a Llama (:mod:`minillm.models.llama`) with two or three changes.
Each change is explained here once.  A family is a row of ``FAMILIES``, which lists its changes.

**Biases** (Qwen 2).  Llama has none.  Qwen kept the biases of queries, keys and values:

    [q, k, v] = x W_qkv + b_qkv                         db_qkv = sum over rows of d[q, k, v]

The bias of a query gives every key a score that does not depend on the query's token, and which
rotation changes with the distance.  This is said to help with longer texts (Su 2023).

**Norms of queries and keys**, or "QK-norm" (Qwen 3, Gemma 3).  Each head's query and key are
normalised by an RMS norm before they are rotated:

    q = rms_norm(q) g_q        k = rms_norm(k) g_k

The length of a normalised row is sqrt(w), so a score q k / sqrt(w) is at most sqrt(w) max|g_q|
max|g_k|, however large the weights grow.  Without the norms, scores of large models grow in
training until the softmax has one weight of 1, and no gradient (Henry et al. 2020; Dehghani et al.
2023).

**Windows**, or "sliding-window attention" (Mistral, Gemma 3, the small Phi 3).  A token attends to
the last W tokens only, itself included.  A layer's work and cache are then bounded by W rather than
by the text.  Information still travels further: one layer passes it on by W - 1 tokens, L layers by
L (W - 1).  With ``sinks``, which no family was trained with, the first tokens stay in sight, too
(:mod:`minillm.ops.mask`).  Mistral has windows in all layers.  In Gemma 3 every sixth layer is
*global*: its tokens attend to all earlier ones.  The *local* layers have a smaller base of their
angles, ``local_base``, because their distances are short.

**Layers without rotation**, or "NoPE" (SmolLM 3: every fourth).  A causal model without any
position learns distances from the mask, because a later token attends to more keys, and it does
better on texts that are longer than in training (Kazemnejad et al. 2023).  A few such layers among
rotated ones keep the quality of both (Yang et al. 2025).

**Four norms** (Gemma 3).  The result of each branch is normalised again before it is added, so that
every branch adds a row of known size, and the sum grows evenly over the layers:

    x = x + norm(attention(norm_1(x)))
    x = x + norm(feed_forward(norm_2(x)))

**Scaled embeddings** (Gemma).  x = sqrt(D) E[id].  A table that is tied to the output has small
rows, as logits need them; the blocks need rows with numbers of size 1.  The factor gives each use
its own scale, as in Vaswani et al. (2017), section 3.4.  E has two uses, so the gradient of the
output is added to sqrt(D) dx.

**Gated GELU**, or "GeGLU" (Gemma).  The gate of the feed-forward layer is a GELU in place of SiLU:

    h = gelu(gate) up        dup = dh gelu(gate)        dgate = gelu'(gate) (dh up)

**Hashed n-grams** (ours, for small models of characters).  Each token has the vectors of the
n-grams that end there, too: x_t = E[id_t] + E_2[..] + ... (:mod:`minillm.layers.hashed_ngrams`).
No family has them; a model that other programs read must not.

Legend: B batch, T time, C context, V vocabulary, D width, F feed-forward width, N heads of queries,
M heads of keys, w width of a head, W window, L layers.

Sources: Jiang et al. (2023), "Mistral 7B", section 2; Beltagy, Peters and Cohan (2020),
"Longformer", for windows; Yang et al. (2024), "Qwen2 technical report", section 2.2; Yang et al.
(2025), "Qwen3 technical report", section 2; Bakouch et al. (2025), "SmolLM3"; Gemma team (2025),
"Gemma 3 technical report", section 2; Abdin et al. (2024), "Phi-3 technical report"; Su (2023),
"The magical effect of the bias term: RoPE + bias = better length extrapolation"; Henry et al.
(2020), "Query-key normalization for Transformers"; Dehghani et al. (2023), "Scaling vision
Transformers to 22 billion parameters", section 2; Kazemnejad et al. (2023), "The impact of
positional encoding on length generalization in Transformers"; Yang et al. (2025), "RoPE to NoPE and
back again"; Shazeer (2020), "GLU variants improve Transformer", equation 6.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense, embedding, hashed_ngrams
from minillm.layers.block import pre_norm
from minillm.layers.dense import gated_feed_forward
from minillm.layers.fresh import ParamSpec, at_depth, ones
from minillm.layers.gradients import merge_gradients
from minillm.layers.heads import CAUSAL, Attend, join_heads, join_qkv, split_heads, split_qkv
from minillm.layers.norms import norm_if_any
from minillm.layers.types import Backward, Ids, Op, Params, Rng
from minillm.models import sizes
from minillm.models.llama import Llama, LlamaConfig
from minillm.ops import Mask


@dataclass(frozen=True)
class Changes:
    """The changes of a family to a Llama."""

    bias: bool = False  # of queries, keys and values
    head_norms: bool = False  # of queries and keys
    windows: bool = False  # a token attends to the last W tokens
    global_every: int | None = None  # every n-th layer has no window, and other angles
    unrotated_every: int | None = None  # every n-th layer has no rotation
    four_norms: bool = False
    scaled_embedding: bool = False
    gate: str = "silu"  # or "gelu"


FAMILIES = {
    "mistral": Changes(windows=True),
    "qwen2": Changes(bias=True),
    "qwen3": Changes(head_norms=True),
    "smollm3": Changes(unrotated_every=4),
    "gemma3": Changes(
        head_norms=True,
        windows=True,
        global_every=6,
        four_norms=True,
        scaled_embedding=True,
        gate="gelu",
    ),
    "phi3": Changes(windows=True),
}


@dataclass(frozen=True)
class DecoderConfig(LlamaConfig):
    """The sizes of a decoder: a Llama's, its family, and the numbers that its changes need."""

    family: str = "qwen3"
    window: int | None = None  # W; None: a token attends to all before it
    sinks: int = 0  # first tokens that stay in sight of every window
    global_every: int | None = None  # None: the family's; 0: no layer
    unrotated_every: int | None = None  # None: the family's; 0: no layer
    local_base: float = 10000.0  # of the angles in local layers, if others are global
    ngrams: int | None = None  # the longest n-gram with a vector of its own; None: tokens alone

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes.check_one_of(self, "family", tuple(FAMILIES))
        c = self.changes
        sizes.fill_in(self, global_every=c.global_every, unrotated_every=c.unrotated_every)
        sizes.check_at_least(self, 0, "global_every", "unrotated_every", "sinks")
        sizes.check_at_least(self, 1, "window")
        sizes.check_at_least(self, 2, "ngrams")
        sizes.check_above_zero(self, "local_base")
        if self.window is not None and not c.windows:
            raise sizes.wrong(self, "window", f"None for {self.family}")
        if self.sinks > 0 and self.window is None:
            raise sizes.wrong(self, "sinks", "0 without a window")

    @property
    def changes(self) -> Changes:
        """The family's changes."""
        return FAMILIES[self.family]

    def mask_of(self, layer: int) -> Mask:
        """Whom a token sees in a layer: all tokens before, or its window and the sinks."""
        if _every(self.global_every, layer):  # a global layer
            return CAUSAL
        return Mask(causal=True, window=self.window, sinks=self.sinks)

    def rotation_of(self, layer: int) -> tuple[float, Any] | None:
        """The base of a layer's angles and their scaling; None: no rotation."""
        if _every(self.unrotated_every, layer):
            return None
        if self.global_every and not _every(self.global_every, layer):  # a local layer
            return self.local_base, None
        return self.rotary_base, self.rope_scaling


def _every(n: int | None, layer: int) -> bool:
    """Whether the layer is one of every n-th ones; with n of None or 0, none is."""
    return n is not None and n > 0 and (layer + 1) % n == 0


def geglu(x: NDArray) -> tuple[NDArray, Callable]:
    """[gate, up] = x, and y = gelu(gate) up: x (..., 2 F) -> y (..., F).

    ``backward(dy)`` -> dx.  Keeps x and gelu(gate).
    """
    gate, up = np.split(x, 2, axis=-1)
    a, gelu_backward = ops.gelu(gate)
    return a * up, lambda dy: np.concatenate([gelu_backward(dy * up), dy * a], axis=-1)


def attention(
    params: Params,
    prefix: str,
    config: DecoderConfig,
    rotate: Op | None,
    attend: Attend,
    x: NDArray,
) -> tuple[NDArray, Callable]:
    """:func:`minillm.layers.heads.self_attention` with the changes.

    x (B, T, D) -> y (B, T, D).  ``backward(dy)`` -> dx, gradients.
    """
    c, eps = config, config.eps
    # [q, k, v] = x W_qkv + b_qkv
    qkv, qkv_backward = dense.layer(params, prefix, x, suffix="_qkv")
    q, k, v = split_qkv(qkv, c.heads, c.key_heads)  # (B, N, T, w), (B, M, T, w) twice
    q, norm_q_backward = norm_if_any(params, f"{prefix}.norm_q", q, eps)
    k, norm_k_backward = norm_if_any(params, f"{prefix}.norm_k", k, eps)
    if rotate is not None:
        (q, q_backward), (k, k_backward) = rotate(q), rotate(k)
    # y = softmax(q k^T / sqrt(w)) v W_o, normalised
    context, attend_backward = attend(q, k, v)
    y, o_backward = dense.layer(params, prefix, join_heads(context), suffix="_o")
    y, norm_backward = norm_if_any(params, f"{prefix}.norm", y, eps)

    def backward(dy):
        dy, of_norm = norm_backward(dy)
        dcontext, of_o = o_backward(dy)
        dq, dk, dv = attend_backward(split_heads(dcontext, c.heads))
        if rotate is not None:
            dq, dk = q_backward(dq), k_backward(dk)
        dq, of_norm_q = norm_q_backward(dq)
        dk, of_norm_k = norm_k_backward(dk)
        dx, of_qkv = qkv_backward(join_qkv(dq, dk, dv))
        return dx, merge_gradients(of_qkv, of_norm_q, of_norm_k, of_o, of_norm)

    return y, backward


def feed_forward(
    params: Params, prefix: str, config: DecoderConfig, x: NDArray
) -> tuple[NDArray, Callable]:
    """y = (f(x W_gate) * x W_up) W_down, where f is SiLU or GELU, and its norm if there is one.

    x (B, T, D) -> y (B, T, D).  ``backward(dy)`` -> dx, gradients.
    """
    gate = geglu if config.changes.gate == "gelu" else ops.swiglu
    y, layers_backward = gated_feed_forward(params, prefix, x, gate)
    y, norm_backward = norm_if_any(params, f"{prefix}.norm", y, config.eps)

    def backward(dy):
        dy, of_norm = norm_backward(dy)
        dx, of_layers = layers_backward(dy)
        return dx, merge_gradients(of_layers, of_norm)

    return y, backward


class Decoder(Llama):
    """A Llama with other vectors of tokens and other blocks.

    ``params``: as a Llama's; with n-grams, ``embedding.ngrams.2.E`` (R, D) to
    ``embedding.ngrams.N.E``; and for each block, where the family has them, ``attention.b_qkv``
    ((N + 2M) w,), ``attention.norm_q.gain`` and ``attention.norm_k.gain`` (w,), and the norms of
    the results, ``attention.norm.gain`` and ``feed_forward.norm.gain`` (D,).
    """

    config: DecoderConfig

    @staticmethod
    def new_parameters(config: DecoderConfig) -> dict[str, ParamSpec]:  # type: ignore[override]
        """Declare a Llama's parameters, and the changes' own: biases of 0, gains of 1."""
        c, changes = config, config.changes
        params = Llama.new_parameters(c) | hashed_ngrams.new_tables(c.ngrams or 1, c.width)
        for layer in range(c.layers):
            b, added = f"blocks.{layer}", {}
            if changes.bias:
                columns = (c.heads + 2 * c.key_heads) * c.head_width
                added[f"{b}.attention.b_qkv"] = ParamSpec((columns,))
            if changes.head_norms:
                added[f"{b}.attention.norm_q.gain"] = ParamSpec((c.head_width,), ones)
                added[f"{b}.attention.norm_k.gain"] = ParamSpec((c.head_width,), ones)
            if changes.four_norms:
                added[f"{b}.attention.norm.gain"] = ParamSpec((c.width,), ones)
                added[f"{b}.feed_forward.norm.gain"] = ParamSpec((c.width,), ones)
            params |= at_depth(1 + layer, added)
        return params

    @property
    def activation(self) -> str:  # type: ignore[override]
        """SiLU or GELU, gated."""
        return f"{self.config.changes.gate} gate"

    @property
    def lookback(self) -> int:  # type: ignore[override]
        """The longest n-gram begins N - 1 tokens before its last one."""
        return (self.config.ngrams or 1) - 1

    def mask(self, layer: int) -> ops.Mask:
        """Whom a token sees: those before it, or the last ones in a layer with a window."""
        return self.config.mask_of(layer)

    def rotation(self, layer: int) -> tuple[float, Any] | None:
        """The base of a layer's angles and their scaling; None: no rotation."""
        return self.config.rotation_of(layer)

    def embed(
        self, ids: Ids, positions: Ids | None = None, rng: Rng = None, before: Ids | None = None
    ) -> tuple[NDArray, Backward]:
        """x_t = E[id_t], plus the n-grams that end there, times sqrt(D) if they are scaled.

        ids (B, T) -> x (B, T, D).  The tokens before are before (B, N - 1); None: ids of 0.  With
        rng there is dropout, and half of the n-grams are dropped.  With positions (B, T), a row may
        hold several texts, each from position 0 on.  ``backward(dx)`` -> gradients.
        """
        c, p = self.config, self.params
        if self.lookback:
            if before is None:
                before = np.zeros((len(ids), self.lookback), np.int64)
            x, vectors_backward = hashed_ngrams.layer(p, "embedding.E", ids, before, rng, positions)
        else:
            x, vectors_backward = embedding.layer(p, {"embedding.E": ids})
        scale = x.dtype.type(np.sqrt(c.width) if c.changes.scaled_embedding else 1)
        x, dropout_backward = ops.dropout(scale * x, c.dropout, rng)
        return x, lambda dx: vectors_backward(scale * dropout_backward(dx))

    def block(
        self, layer: int, x: NDArray, positions: Ids, attend: Attend, rng: Rng = None
    ) -> tuple[NDArray, Callable]:
        """A Llama's block with the changes: x (B, T, D) at positions (B, T) -> (B, T, D).

        With rng there is dropout.  ``backward(dy)`` -> dx, gradients.
        """
        p, c, b = self.params, self.config, f"blocks.{layer}"
        rotate, angles = None, self.rotation(layer)
        if angles is not None:
            rotate = partial(ops.rotary, positions=positions, base=angles[0], scaling=angles[1])
        branches = {
            f"{b}.norm_1": partial(attention, p, f"{b}.attention", c, rotate, attend),
            f"{b}.norm_2": partial(feed_forward, p, f"{b}.feed_forward", c),
        }
        return pre_norm(p, branches, x, c.dropout, rng, c.eps)
