"""Attention in heads: of a sequence to itself, and to another sequence.

A token's query says what it looks for, its key what it can be found by, and its value what it hands
over.  Each of N heads has its own queries, keys and values, of width D / N:

    [q, k, v] = x W_qkv + b_qkv                         self-attention
    q = x W_q + b_q,  [k, v] = memory W_kv + b_kv       cross-attention
    y = softmax(q k^T / sqrt(D / N)) v W_o + b_o        the heads' results side by side

Several heads of queries may share a head of keys and values: N of queries and M of keys, and W_qkv
is (D, (N + 2 M) w).  The width w of a head need not be D / N; W_o is (N w, D).

Legend: B batch, T time, S positions of keys, D width, N heads, M heads of keys, w their width.

Source: Vaswani et al. (2017), "Attention is all you need", section 3.2.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense
from minillm.layers.fresh import Draw, ParamSpec, side_by_side
from minillm.layers.gradients import merge_gradients
from minillm.layers.types import Ids, Op, Params
from minillm.ops import Mask

# Queries (B, N, T, w), keys and values (B, M, S, w) -> the heads' results (B, N, T, w), backward.
Attend = Callable[[NDArray, NDArray, NDArray], tuple[NDArray, Callable]]


def attend_by(mask: Mask) -> Attend:
    """Attention of each query to the keys that it sees."""
    return partial(ops.scaled_dot_product_attention, mask=mask)


CAUSAL = Mask(causal=True)
causal = attend_by(CAUSAL)


def to_all(lengths: Ids | None = None) -> Attend:
    """Attention to all positions of row b before lengths[b]."""
    return attend_by(Mask(lengths=lengths))


def new_self_attention(prefix: str, D: int, qkv: Draw, o: Draw) -> dict[str, ParamSpec]:
    """Declare ``W_qkv`` (D, 3D) and ``W_o`` (D, D), with biases of zeros."""
    return dense.new_matrix(prefix, "_qkv", D, 3 * D, qkv) | dense.new_matrix(prefix, "_o", D, D, o)


def new_cross_attention(prefix: str, D: int, draw: Draw) -> dict[str, ParamSpec]:
    """Declare ``W_kv`` (D, 2D), ``W_q`` and ``W_o`` (D, D), with biases of zeros."""
    params = dense.new_matrix(prefix, "_kv", D, 2 * D, side_by_side(2, draw))
    params |= dense.new_matrix(prefix, "_q", D, D, draw)
    return params | dense.new_matrix(prefix, "_o", D, D, draw)


def self_attention(
    params: Params,
    prefix: str,
    x: NDArray,
    heads: int,
    attend: Attend,
    key_heads: int | None = None,
    rotate: Op | None = None,
) -> tuple[NDArray, Callable]:
    """Attention of a sequence to itself.

    x (B, T, D) -> y (B, T, D).  ``attend`` computes the heads' results from their queries, keys and
    values, as :func:`causal` does.  key_heads is M (None: N).  ``rotate`` is an op of queries and
    of keys, such as :func:`minillm.ops.rotary` at the positions of x.
    ``backward(dy)`` -> dx, the gradients of any other inputs of ``attend``, gradients.
    """
    # [q, k, v] = x W_qkv + b_qkv
    qkv, qkv_backward = dense.layer(params, prefix, x, suffix="_qkv")
    q, k, v = split_qkv(qkv, heads, key_heads or heads)  # (B, N, T, w), (B, M, T, w) twice
    if rotate is not None:
        (q, q_backward), (k, k_backward) = rotate(q), rotate(k)
    # y = softmax(q k^T / sqrt(w)) v W_o + b_o
    context, attend_backward = attend(q, k, v)
    y, o_backward = dense.layer(params, prefix, join_heads(context), suffix="_o")

    def backward(dy):
        dcontext, of_o = o_backward(dy)
        dq, dk, dv, *of_inputs = attend_backward(split_heads(dcontext, heads))
        if rotate is not None:
            dq, dk = q_backward(dq), k_backward(dk)
        dx, of_qkv = qkv_backward(join_qkv(dq, dk, dv))
        return dx, *of_inputs, merge_gradients(of_qkv, of_o)

    return y, backward


def cross_attention(
    params: Params, prefix: str, x: NDArray, memory: NDArray, lengths: Ids | None, heads: int
) -> tuple[NDArray, Callable]:
    """Attention of a target to a source.

    x (B, T, D), memory (B, S, D) -> y (B, T, D).  Keys past lengths[b] are masked.
    ``backward(dy)`` -> dx, dmemory, gradients.
    """
    (k, v), kv_backward = keys_and_values(params, prefix, memory, heads)
    y, attend_backward = attend(params, prefix, x, k, v, lengths)

    def backward(dy):
        dx, dk, dv, of_attention = attend_backward(dy)
        dmemory, of_kv = kv_backward(dk, dv)
        return dx, dmemory, merge_gradients(of_attention, of_kv)

    return y, backward


def keys_and_values(
    params: Params, prefix: str, memory: NDArray, heads: int
) -> tuple[tuple[NDArray, NDArray], Callable]:
    """The part of :func:`cross_attention` that does not depend on the target.

    memory (B, S, D) -> k, v (B, N, S, D/N).
    ``backward(dk, dv)`` -> dmemory, gradients.
    """
    kv, kv_backward = dense.layer(params, prefix, memory, suffix="_kv")  # (B, S, 2D)
    k, v = (split_heads(part, heads) for part in np.split(kv, 2, axis=-1))

    def backward(dk, dv):
        return kv_backward(np.concatenate([join_heads(dk), join_heads(dv)], axis=-1))

    return (k, v), backward


def attend(
    params: Params, prefix: str, x: NDArray, k: NDArray, v: NDArray, lengths: Ids | None
) -> tuple[NDArray, Callable]:
    """:func:`cross_attention` to keys and values (B, N, S, D/N): x (B, T, D) -> y (B, T, D).

    ``backward(dy)`` -> dx, dk, dv, gradients.
    """
    heads = k.shape[1]
    q, q_backward = dense.layer(params, prefix, x, suffix="_q")  # (B, T, D)
    context, attention_backward = to_all(lengths)(split_heads(q, heads), k, v)
    y, o_backward = dense.layer(params, prefix, join_heads(context), suffix="_o")

    def backward(dy):
        dcontext, of_o = o_backward(dy)
        dq, dk, dv = attention_backward(split_heads(dcontext, heads))
        dx, of_q = q_backward(join_heads(dq))
        return dx, dk, dv, merge_gradients(of_q, of_o)

    return y, backward


# --- splitting and joining heads ----------------------------------------------------


def split_heads(x: NDArray, heads: int) -> NDArray:
    """(B, T, D) -> (B, N, T, D/N): head n has the columns from n D/N on."""
    B, T, D = x.shape
    return x.reshape(B, T, heads, D // heads).transpose(0, 2, 1, 3)


def join_heads(x: NDArray) -> NDArray:
    """(B, N, T, w) -> (B, T, N w)."""
    B, N, T, width = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, T, N * width)


def split_qkv(qkv: NDArray, N: int, M: int) -> tuple[NDArray, NDArray, NDArray]:
    """Queries of N heads, keys and values of M: (B, T, (N + 2M) w) -> (B, N or M, T, w) each."""
    heads = split_heads(qkv, N + 2 * M)
    return heads[:, :N], heads[:, N : N + M], heads[:, N + M :]


def join_qkv(*parts: NDArray) -> NDArray:
    """The inverse of :func:`split_qkv`."""
    B, _, T, _ = parts[0].shape
    return np.concatenate([part.swapaxes(1, 2) for part in parts], axis=2).reshape(B, T, -1)
