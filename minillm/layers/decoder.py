"""The decoder's block: attention to the target so far, then to the source, then feed-forward.

    x = residual(x, attention)          each target token gathers from those before it
    x = residual(x, cross_attention)    and from all tokens of the source
    x = residual(x, feed_forward)       each by itself

What the encoder made of the source is the *memory*, (B, S, D).  :mod:`minillm.layers.encoder`
has ``residual``, with its two orders.

Legend: B batch, T target steps, S source steps, D width, F hidden width, N heads.

Source: Vaswani et al. (2017), "Attention is all you need", sections 3.1 and 3.2.3.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import encoder
from minillm.layers.encoder import Draw, residual
from minillm.layers.transformer import (
    EPSILON,
    Op,
    Params,
    feed_forward,
    join_heads,
    new_norm,
    self_attention,
    split_heads,
)


def new_block(prefix: str, D: int, F: int, draw: Draw) -> Params:
    """Fresh weights of a block; ``draw(I, O)`` makes a matrix from I inputs to O outputs."""
    W_kv = np.concatenate([draw(D, D), draw(D, D)], axis=1)
    cross = encoder.with_biases(f"{prefix}.cross", q=draw(D, D), kv=W_kv, o=draw(D, D))
    return (
        encoder.new_block(prefix, D, F, draw)
        | cross
        | new_norm(f"{prefix}.norm_3", D, W_kv.dtype.type)
    )


def decoder_block(
    params: Params,
    prefix: str,
    x: NDArray,
    memory: NDArray,
    lengths: NDArray[np.integer] | None,
    N: int,
    *,
    post_norm: bool = True,
    activation: Op = ops.relu,
    epsilon: float = EPSILON,
    rate: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[NDArray, Callable]:
    """x (B, T, D), memory (B, S, D), lengths (B,) of the memory -> (B, T, D), causal.

    With rng there is dropout.  ``backward(dy)`` -> dx, dmemory, gradients.  Weights: those of
    an encoder's block, ``cross.W_q|b_q|W_kv|b_kv|W_o|b_o``, and ``norm_3`` after ``norm_1``
    (attention) and ``norm_2`` (cross-attention), for the feed-forward layer.
    """
    add = partial(residual, params, post_norm=post_norm, epsilon=epsilon, rate=rate, rng=rng)

    def attention(x):
        return self_attention(params, f"{prefix}.attention", x, N)

    def cross(x):
        return cross_attention(params, f"{prefix}.cross", x, memory, lengths, N)

    def forward(x):
        return feed_forward(params, f"{prefix}.feed_forward", x, activation)

    x, attention_backward = add(f"{prefix}.norm_1", x, attention)
    x, cross_backward = add(f"{prefix}.norm_2", x, cross)
    y, feed_forward_backward = add(f"{prefix}.norm_3", x, forward)

    def backward(dy):
        dx, gradients = feed_forward_backward(dy)
        dx, dmemory, of_cross = cross_backward(dx)
        dx, of_attention = attention_backward(dx)
        return dx, dmemory, gradients | of_cross | of_attention

    return y, backward


def cross_attention(
    params: Params,
    prefix: str,
    x: NDArray,
    memory: NDArray,
    lengths: NDArray[np.integer] | None,
    N: int,
) -> tuple[NDArray, Callable]:
    """N heads of attention of the target to the source.

        q = x W_q + b_q        [k, v] = memory W_kv + b_kv
        y = softmax(q k^T / sqrt(D / N)) v W_o + b_o        the heads' results side by side

    x (B, T, D), memory (B, S, D), which nobody looks at past lengths (B,) -> y (B, T, D).
    ``backward(dy)`` -> dx, dmemory, gradients.
    """
    W_q, b_q, W_o, b_o = (f"{prefix}.{name}" for name in ("W_q", "b_q", "W_o", "b_o"))
    q, q_backward = ops.linear(x, params[W_q], params[b_q])  # (B, T, D)
    (k, v), kv_backward = keys_and_values(params, prefix, memory, N)  # (B, N, S, D/N)
    context, attention_backward = ops.scaled_dot_product_attention(
        split_heads(q, N), k, v, lengths=lengths
    )
    y, output_backward = ops.linear(join_heads(context), params[W_o], params[b_o])

    def backward(dy):
        dcontext, dW_o, db_o = output_backward(dy)
        dq, dk, dv = attention_backward(split_heads(dcontext, N))
        dmemory, gradients = kv_backward(dk, dv)
        dx, dW_q, db_q = q_backward(join_heads(dq))
        return dx, dmemory, gradients | {W_q: dW_q, b_q: db_q, W_o: dW_o, b_o: db_o}

    return y, backward


def keys_and_values(
    params: Params, prefix: str, memory: NDArray, N: int
) -> tuple[tuple[NDArray, NDArray], Callable]:
    """What :func:`cross_attention` looks at: memory (B, S, D) -> k, v (B, N, S, D/N).

    ``backward(dk, dv)`` -> dmemory, gradients.
    """
    W_kv, b_kv = f"{prefix}.W_kv", f"{prefix}.b_kv"
    kv, linear_backward = ops.linear(memory, params[W_kv], params[b_kv])  # (B, S, 2D)
    k, v = (split_heads(part, N) for part in np.split(kv, 2, axis=-1))

    def backward(dk, dv):
        dkv = np.concatenate([join_heads(dk), join_heads(dv)], axis=-1)
        dmemory, dW_kv, db_kv = linear_backward(dkv)
        return dmemory, {W_kv: dW_kv, b_kv: db_kv}

    return (k, v), backward
