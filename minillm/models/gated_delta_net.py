"""A hybrid of today: three layers of the gated delta rule, then one of attention (2024).

    x_t = E[id_t]
    x = x + memory(norm_1(x)),       in every fourth layer x + attention(norm_1(x))
    x = x + feed_forward(norm_2(x))                                    L times both
    y = norm(x)
    P(id_{t+1} | id_1 .. id_t) = softmax(y_t E^T)

Attention and the feed-forward layer are the same as in :mod:`minillm.models.llama`.  The memory:

    q, k, v = parts of silu(convolution(x W_qkv))          N heads of width w each
    q = q / |q|,  k = k / |k|                               so that a key is replaced, not scaled
    beta = sigmoid(x W_beta)                                how much of the error is corrected
    alpha = exp(-exp(A_log) softplus(x W_alpha + b_alpha))  how much of the memory is kept
    o = gated_delta_rule(q, k, v, alpha, beta)              see minillm.ops.gated_delta_rule
    memory = (rms_norm(o) * silu(x W_gate)) W_o

Layers with a memory of fixed size do most of the work.  One layer in four has attention and looks
things up exactly, which w x w numbers cannot do for all tokens of a long text.

Legend: B batch, T time, V vocabulary, D width, F feed-forward width, N heads, w width of a head,
K size of the convolution, L layers.

Sources: Yang, Kautz and Hatamizadeh (2024), "Gated delta networks: improving Mamba2 with delta
rule", section 3.4 and figure 1; for alpha, Dao and Gu (2024), "Transformers are SSMs"; the
proportion of one in four follows the published Qwen3-Next (2025).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense, embedding, stack
from minillm.layers.block import pre_norm
from minillm.layers.dense import gated_feed_forward
from minillm.layers.fresh import ParamSpec, Shape, at_depth, normal, ones, steps, uniform
from minillm.layers.gradients import merge_gradients
from minillm.layers.heads import Attend, join_heads, self_attention, split_heads
from minillm.layers.norms import norm
from minillm.layers.types import Backward, Ids, Params, Rng
from minillm.models import base, sizes

DEVIATION = 0.02  # of fresh weights
EVERY = 4  # one layer in four has attention, the last of the four
K = 4  # steps of the convolution


@dataclass(frozen=True)
class GatedDeltaNetConfig:
    """The sizes of a hybrid."""

    vocabulary: int  # V
    context: int = 128  # C
    layers: int = 4  # L
    heads: int = 4  # N
    width: int = 128  # D
    feed_forward: int = None  # type: ignore[assignment]  # F; None: 8/3 D, a multiple of 32
    rotary_base: float = 10000.0
    eps: float = 1e-5  # of the norms

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "vocabulary", "layers", "heads", "width")
        sizes.check_at_least(self, 2, "context")
        sizes.check_divides(self, "heads", "width")
        sizes.check_above_zero(self, "rotary_base", "eps")
        sizes.fill_in(self, feed_forward=sizes.gated_width(self.width))
        sizes.check_at_least(self, 1, "feed_forward")

    def has_attention(self, layer: int) -> bool:
        """Whether this layer has attention, counted from 0."""
        return layer % EVERY == EVERY - 1


def unit(x: NDArray, eps: float) -> tuple[NDArray, Callable]:
    """x / |x|, row by row: an RMS norm with the gain 1 / sqrt(w).  ``backward(dy)`` -> dx."""
    width = x.shape[-1]
    y, norm_backward = ops.rms_norm(x, np.full(width, width**-0.5, x.dtype), eps)
    return y, lambda dy: norm_backward(dy)[0]


def memory(
    params: Params, prefix: str, x: NDArray, config: GatedDeltaNetConfig
) -> tuple[NDArray, Callable]:
    """The layer of a memory: x (B, T, D) -> y (B, T, D).  ``backward(dy)`` -> dx, gradients."""
    p, c = params, config
    N, B, D = c.heads, len(x), c.width
    # q, k, v = parts of silu(convolution(x W_qkv))
    qkv, qkv_backward = dense.layer(p, prefix, x, suffix="_qkv")  # (B, T, 3D)
    before = np.zeros((B, K - 1, 3 * D), x.dtype)
    W, b = p[f"{prefix}.convolution.W"], p[f"{prefix}.convolution.b"]
    (qkv, _), convolution_backward = ops.causal_convolution(qkv, W, b, before)
    qkv, silu_backward = ops.silu(qkv)
    q, k, v = (split_heads(part, N) for part in np.split(qkv, 3, axis=-1))  # (B, N, T, w)
    (q, q_backward), (k, k_backward) = unit(q, c.eps), unit(k, c.eps)
    # beta, alpha (B, N, T)
    beta, beta_backward = dense.layer(p, prefix, x, ops.sigmoid, suffix="_beta")
    delta, delta_backward = dense.layer(p, prefix, x, ops.softplus, suffix="_alpha")
    rate = np.exp(p[f"{prefix}.A_log"])  # (N,)
    alpha = np.exp(-rate * delta)
    S0 = np.zeros((B, N, D // N, D // N), x.dtype)
    (o, _), rule_backward = ops.gated_delta_rule(
        q, k, v, alpha.swapaxes(1, 2), beta.swapaxes(1, 2), S0
    )
    # memory = (rms_norm(o) * silu(x W_gate)) W_o
    o, norm_backward = norm(p, f"{prefix}.norm", o, c.eps)
    o = join_heads(o)  # (B, T, D)
    gate, gate_backward = dense.layer(p, prefix, x, ops.silu, suffix="_gate")
    y, o_backward = dense.layer(p, prefix, o * gate, suffix="_o")

    def backward(dy):
        dproduct, of_o = o_backward(dy)
        dx_gate, of_gate = gate_backward(dproduct * o)
        do, of_norm = norm_backward(split_heads(dproduct * gate, N))
        dq, dk, dv, dalpha, dbeta, _dS0 = rule_backward(do)
        # alpha = exp(-rate delta), rate = exp(A_log)
        dm = dalpha.swapaxes(1, 2) * alpha  # the gradient of -rate delta, (B, T, N)
        dA_log = (dm * -delta).sum(axis=(0, 1)) * rate
        dx_alpha, of_alpha = delta_backward(dm * -rate)
        dx_beta, of_beta = beta_backward(np.ascontiguousarray(dbeta.swapaxes(1, 2)))
        # q, k, v = parts of silu(convolution(x W_qkv))
        parts = q_backward(dq), k_backward(dk), dv
        dqkv = np.concatenate([join_heads(part) for part in parts], axis=-1)
        dqkv, dW, db, _dbefore = convolution_backward(silu_backward(dqkv))
        dx, of_qkv = qkv_backward(dqkv)
        own = {
            f"{prefix}.convolution.W": dW,
            f"{prefix}.convolution.b": db,
            f"{prefix}.A_log": dA_log,
        }
        gradients = of_o, of_gate, of_norm, of_alpha, of_beta, of_qkv, own
        return dx + dx_gate + dx_alpha + dx_beta, merge_gradients(*gradients)  # x has four uses

    return y, backward


class GatedDeltaNet(base.StackModel[GatedDeltaNetConfig]):
    """Token embeddings, L layers of a memory or of attention, a last norm, a tied output.

    ``params``: ``embedding.E`` (V, D), ``norm.gain`` (D,), and for each layer, under ``blocks.0.``
    and so on, ``norm_1.gain`` and ``norm_2.gain`` (D,), ``feed_forward.W_gate_up`` (D, 2F) and
    ``feed_forward.W_down`` (F, D).  A layer with attention has ``attention.W_qkv`` (D, 3D) and
    ``attention.W_o`` (D, D).  Another one has ``memory.W_qkv`` (D, 3D), ``memory.convolution.W``
    (K, 3D) and ``.b`` (3D,), ``memory.W_beta`` and ``memory.W_alpha`` (D, N), ``memory.b_alpha``,
    ``memory.A_log`` (N,), ``memory.norm.gain`` (w,), ``memory.W_gate`` and ``memory.W_o`` (D, D).
    """

    @staticmethod
    def new_parameters(config: GatedDeltaNetConfig) -> dict[str, ParamSpec]:
        """Declare the parameters; the first predictions are almost uniform."""
        c, first, summed = config, normal(DEVIATION), normal(DEVIATION / np.sqrt(2 * config.layers))
        D, N, F = c.width, c.heads, c.feed_forward
        params = {"embedding.E": ParamSpec((c.vocabulary, D), first, "table", 0)}
        for layer in range(c.layers):
            b = f"blocks.{layer}"
            m = f"{b}.attention" if c.has_attention(layer) else f"{b}.memory"
            own = {
                f"{b}.norm_1.gain": ParamSpec((D,), ones),
                f"{m}.W_qkv": ParamSpec((D, 3 * D), first, "matrix"),
                f"{m}.W_o": ParamSpec((D, D), summed, "matrix"),
            }
            if not c.has_attention(layer):
                own |= {
                    f"{m}.convolution.W": ParamSpec((K, 3 * D), uniform(K**-0.5)),
                    f"{m}.convolution.b": ParamSpec((3 * D,)),
                    f"{m}.W_beta": ParamSpec((D, N), first, "matrix"),
                    f"{m}.W_alpha": ParamSpec((D, N), first, "matrix"),
                    f"{m}.b_alpha": ParamSpec((N,), steps),
                    f"{m}.A_log": ParamSpec((N,), rates),
                    f"{m}.norm.gain": ParamSpec((D // N,), ones),
                    f"{m}.W_gate": ParamSpec((D, D), first, "matrix"),
                }
            own |= {
                f"{b}.norm_2.gain": ParamSpec((D,), ones),
                f"{b}.feed_forward.W_gate_up": ParamSpec((D, 2 * F), first, "matrix"),
                f"{b}.feed_forward.W_down": ParamSpec((F, D), summed, "matrix"),
            }
            params |= at_depth(1 + layer, own)
        return params | {"norm.gain": ParamSpec((D,), ones)}

    def embed(self, ids: Ids, positions: Ids, rng: Rng = None) -> tuple[NDArray, Backward]:
        """x_t = E[id_t]: ids (B, T) -> x (B, T, D).  ``backward(dx)`` -> gradients."""
        return embedding.layer(self.params, {"embedding.E": ids})

    def block(
        self, layer: int, x: NDArray, positions: Ids, attend: Attend, rng: Rng = None
    ) -> tuple[NDArray, Callable]:
        """A layer: x (B, T, D) -> (B, T, D).  ``backward(dy)`` -> dx, gradients."""
        p, c, b = self.params, self.config, f"blocks.{layer}"
        rotate = partial(ops.rotary, positions=positions, base=c.rotary_base)

        def mix(x):
            if c.has_attention(layer):
                return self_attention(p, f"{b}.attention", x, c.heads, attend, rotate=rotate)
            return memory(p, f"{b}.memory", x, c)

        def transform(x):
            return gated_feed_forward(p, f"{b}.feed_forward", x)

        return pre_norm(p, {f"{b}.norm_1": mix, f"{b}.norm_2": transform}, x, eps=c.eps)

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


def rates(shape: Shape, rng: np.random.Generator, dtype: type) -> NDArray:
    """The logarithms of rates between 1 and 16: a head remembers longer or shorter."""
    return np.log(rng.uniform(1, 16, shape)).astype(dtype)
