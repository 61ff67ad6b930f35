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
from minillm._kernels import twinned
from minillm.layers import encoder
from minillm.layers.dense import layer as dense
from minillm.layers.encoder import residual
from minillm.layers.fresh import Draw, Fresh, side_by_side
from minillm.layers.transformer import (
    EPSILON,
    Op,
    Params,
    feed_forward,
    join_heads,
    new_norm,
    self_attention,
    split_heads,
    weights_of,
)
from minillm.ops import _validate


def new_block(prefix: str, D: int, F: int, draw: Draw) -> dict[str, Fresh]:
    """Fresh weights of a block; ``draw`` makes a matrix from I inputs to O outputs."""
    kv, q, o = Fresh((D, 2 * D), side_by_side(2, draw)), Fresh((D, D), draw), Fresh((D, D), draw)
    cross = encoder.with_biases(f"{prefix}.cross", kv=kv, q=q, o=o)
    return cross | encoder.new_block(prefix, D, F, draw) | new_norm(f"{prefix}.norm_3", D)


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

    def backward(dy, trained=None):
        dx, gradients = feed_forward_backward(dy, trained)
        dx, dmemory, of_cross = cross_backward(dx, trained)
        dx, of_attention = attention_backward(dx, trained)
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
    (k, v), kv_backward = keys_and_values(params, prefix, memory, N)
    y, attend_backward = attend(params, prefix, x, k, v, lengths)

    def backward(dy, trained=None):
        dx, dk, dv, gradients = attend_backward(dy, trained)
        dmemory, of_kv = kv_backward(dk, dv, trained)
        return dx, dmemory, gradients | of_kv

    return y, backward


def keys_and_values(
    params: Params, prefix: str, memory: NDArray, N: int
) -> tuple[tuple[NDArray, NDArray], Callable]:
    """What the target looks at, and does not depend on it.

    memory (B, S, D) -> k, v (B, N, S, D/N).
    ``backward(dk, dv)`` -> dmemory, gradients.
    """
    kv, linear_backward = dense(params, prefix, memory, suffix="_kv")  # (B, S, 2D)
    k, v = (split_heads(part, N) for part in np.split(kv, 2, axis=-1))

    def backward(dk, dv, trained=None):
        dkv = np.concatenate([join_heads(dk), join_heads(dv)], axis=-1)
        return linear_backward(dkv, trained)

    return (k, v), backward


def attend(
    params: Params,
    prefix: str,
    x: NDArray,
    k: NDArray,
    v: NDArray,
    lengths: NDArray[np.integer] | None,
) -> tuple[NDArray, Callable]:
    """:func:`cross_attention` to keys and values (B, N, S, D/N): x (B, T, D) -> y (B, T, D).

    ``backward(dy)`` -> dx, dk, dv, gradients.
    """
    N = k.shape[1]
    q, q_backward = dense(params, prefix, x, suffix="_q")  # (B, T, D)
    context, attention_backward = ops.scaled_dot_product_attention(
        split_heads(q, N), k, v, lengths=lengths
    )
    y, output_backward = dense(params, prefix, join_heads(context), suffix="_o")

    def backward(dy, trained=None):
        dcontext, of_output = output_backward(dy, trained)
        dq, dk, dv = attention_backward(split_heads(dcontext, N))
        dx, of_q = q_backward(join_heads(dq), trained)
        return dx, dk, dv, of_q | of_output

    return y, backward


def cross_weights(
    params: Params, prefix: str, x: NDArray, k: NDArray, lengths: NDArray[np.integer]
) -> NDArray:
    """The softmax of :func:`attend`: x (B, T, D), keys (B, N, S, D/N) -> (B, N, T, S)."""
    q, _ = ops.linear(x, params[f"{prefix}.W_q"], params[f"{prefix}.b_q"])
    valid = np.arange(k.shape[2]) < lengths[:, None, None, None]
    return weights_of(split_heads(q, k.shape[1]), k, valid)


# --- one token at a time -------------------------------------------------------------

# Beam search drops some hypotheses after each token and continues others twice.  To copy a
# hypothesis's keys and values each time would cost more than the token.  So they stay where they
# were written, in rows of a pool that all hypotheses share, and a hypothesis is a list of rows.


def step(
    params: Params,
    prefix: str,
    x: NDArray,
    pool: tuple[NDArray, NDArray],
    past: NDArray[np.int64],
    memory: tuple[NDArray, NDArray],
    lengths: NDArray[np.integer],
    *,
    post_norm: bool = True,
    activation: Op = ops.relu,
    epsilon: float = EPSILON,
) -> tuple[NDArray, NDArray]:
    """:func:`decoder_block` for one token of K hypotheses of each source, with no backward.

    x (B, K, D) -> (B, K, D), and what the cross-attention got (B, K, D).  ``pool``:
    keys and values (R, D) of target tokens, of which hypothesis k of source b has the rows
    past[b, k] (T,); the last of them is written here.
    ``memory``: what :func:`keys_and_values` made of the source, (B, N, S, D/N).
    """
    add = partial(residual, params, post_norm=post_norm, epsilon=epsilon)
    N, asked = memory[0].shape[1], []

    def attention(x):
        return attend_to_past(params, f"{prefix}.attention", x, N, *pool, past), None

    def cross(x):
        asked.append(x)
        return attend(params, f"{prefix}.cross", x, *memory, lengths)

    def forward(x):
        return feed_forward(params, f"{prefix}.feed_forward", x, activation)

    x, _ = add(f"{prefix}.norm_1", x, attention)
    x, _ = add(f"{prefix}.norm_2", x, cross)
    y, _ = add(f"{prefix}.norm_3", x, forward)
    return y, asked[0]


def attend_to_past(
    params: Params,
    prefix: str,
    x: NDArray,
    N: int,
    keys: NDArray,
    values: NDArray,
    past: NDArray[np.int64],
) -> NDArray:
    """``self_attention`` of the last tokens x (B, K, D) of hypotheses: see :func:`step`."""
    (B, K, D), P = x.shape, len(keys)
    rows = _validate.ids("attend_to_past", "past", past, P)
    qkv, _ = ops.linear(x, params[f"{prefix}.W_qkv"], params[f"{prefix}.b_qkv"])
    q, keys[rows[..., -1]], values[rows[..., -1]] = np.split(qkv, 3, axis=-1)
    query, k, v = (x.reshape(-1, N, D // N) for x in (np.ascontiguousarray(q), keys, values))
    context = attend_to_rows(query, k, v, rows.reshape(B * K, -1))
    y, _ = ops.linear(context.reshape(B, K, D), params[f"{prefix}.W_o"], params[f"{prefix}.b_o"])
    return y


@twinned
def attend_to_rows(
    query: NDArray, keys: NDArray, values: NDArray, rows: NDArray[np.int64]
) -> NDArray:
    """Attention of single queries, each to rows of its own out of a pool of keys and values.

    query (R, N, D), keys and values (P, N, D), rows (R, T) in 0..P-1 -> context (R, N, D).
    """
    own_keys, own_values = (pool[rows].swapaxes(1, 2) for pool in (keys, values))  # (R, N, T, D)
    context, _ = ops.scaled_dot_product_attention(query[:, :, None], own_keys, own_values)
    return context[:, :, 0]
