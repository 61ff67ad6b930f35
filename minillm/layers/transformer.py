"""The Transformer's block: attention between the tokens, then a layer for each by itself.

This is GPT's, with the parts that all Transformers share; :mod:`minillm.layers.encoder` and
:mod:`minillm.layers.decoder` put them together for the others.

    x = x + attention(norm_1(x))            each token gathers from those before it
    x = x + feed_forward(norm_2(x))         each token by itself

Both are *added* to x, so that the path from the first x to the last is a sum, along which
the gradient flows back undiminished (He et al. 2016); dropout acts on what is added.

This is the order of GPT-2, "pre-norm".  Vaswani et al. (2017), BERT and the first GPT
normalise the sum instead, "post-norm": x = norm(x + attention(x)).  There every gradient
passes through all the normalisations above it; the deeper the stack, the more the gradients
of its upper and lower layers differ, and the learning rate has to rise slowly from zero.
With the normalisation inside the branch the sum itself is never rescaled, and deep stacks
train from the start (Xiong et al. 2020).  The price is one more norm after the last block.

Legend: B batch, T time, S positions of the cache, D width, N heads.

Sources: Vaswani et al. (2017), "Attention is all you need", sections 3.2 and 3.3; Radford et
al. (2019), "Language models are unsupervised multitask learners", section 2.3, for the
order; Xiong et al. (2020), "On layer normalization in the Transformer architecture".
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import cache as cache_layer
from minillm.layers.cache import Cache
from minillm.layers.dense import layer as dense
from minillm.layers.dropout import dropout
from minillm.layers.fresh import Fresh, normal, ones
from minillm.ops.gelu import gelu_forward
from minillm.ops.layer_norm import layer_norm_forward

Params = dict[str, NDArray]

Op = Callable[[NDArray], tuple[NDArray, Callable]]

EPSILON = 1e-5  # of the norms
DEVIATION = 0.02  # of fresh weights (Radford et al. 2018, section 4.1)


def new_block(prefix: str, D: int, layers: int) -> dict[str, Fresh]:
    """Fresh weights of one of ``layers`` blocks.

    Normal with deviation 0.02; those that write into the sum, ``attention.W_o`` and
    ``feed_forward.W_2``, are smaller by sqrt(2 layers), for that many of them add up.
    """
    first, summed = normal(DEVIATION), normal(DEVIATION / np.sqrt(2 * layers))
    params = {
        "attention.W_qkv": Fresh((D, 3 * D), first),
        "attention.b_qkv": Fresh((3 * D,)),
        "attention.W_o": Fresh((D, D), summed),
        "attention.b_o": Fresh((D,)),
        "feed_forward.W_1": Fresh((D, 4 * D), first),
        "feed_forward.b_1": Fresh((4 * D,)),
        "feed_forward.W_2": Fresh((4 * D, D), summed),
        "feed_forward.b_2": Fresh((D,)),
    }
    params |= new_norm("norm_1", D) | new_norm("norm_2", D)
    return {f"{prefix}.{name}": array for name, array in params.items()}


def new_norm(prefix: str, D: int) -> dict[str, Fresh]:
    """A layer norm that changes nothing yet: gain 1, bias 0."""
    return {f"{prefix}.gain": Fresh((D,), ones), f"{prefix}.bias": Fresh((D,))}


def block(
    params: Params,
    prefix: str,
    x: NDArray,
    N: int,
    rate: float = 0.0,
    rng: np.random.Generator | None = None,
    cache: Cache | None = None,
    start: NDArray[np.int64] | None = None,
) -> tuple[NDArray, Callable]:
    """x (B, T, D) -> (B, T, D), causal.  With rng there is dropout.

    With a cache the tokens stand at the positions start[b], start[b] + 1, ...; their keys and
    values are written into it.  ``backward(dy)`` -> dx, gradients.
    """
    (x, h), norm_1_backward = add_norm(params, f"{prefix}.norm_1", x)
    h, attention_backward = self_attention(params, f"{prefix}.attention", h, N, cache, start)
    h, dropout_1_backward = dropout(h, rate, rng)
    (middle, h), norm_2_backward = add_norm(params, f"{prefix}.norm_2", x, h)  # x + h, its norm
    h, feed_forward_backward = feed_forward(params, f"{prefix}.feed_forward", h)
    h, dropout_2_backward = dropout(h, rate, rng)
    y = middle + h

    def backward(dy, trained=None):
        # y = middle + dropout(feed_forward(norm_2(middle)))
        dh, gradients = feed_forward_backward(dropout_2_backward(dy), trained)
        dmiddle, norm_2 = norm_2_backward(dy, dh)  # dy + the gradient through the norm
        # middle = x + dropout(attention(norm_1(x)))
        dh, attention = attention_backward(dropout_1_backward(dmiddle), trained)
        dx, norm_1 = norm_1_backward(dmiddle, dh)
        return dx, gradients | norm_2 | attention | norm_1

    return y, backward


def add_norm(
    params: Params,
    prefix: str,
    x: NDArray,
    h: NDArray | None = None,
    epsilon: float = EPSILON,
) -> tuple[tuple[NDArray, NDArray], Callable]:
    """x + h (None: x alone) and its layer norm, with ``prefix.gain`` and ``prefix.bias``.

    ``backward(dtotal, dy)``, by the sum and by the norm -> dx, which is dh too, gradients.
    """
    gain, bias = f"{prefix}.gain", f"{prefix}.bias"
    outputs, op_backward = ops.add_norm(x, h, params[gain], params[bias], epsilon)

    def backward(dtotal, dy):
        dx, *_, dgain, dbias = op_backward(dtotal, dy)
        return dx, {gain: dgain, bias: dbias}

    return outputs, backward


def norm(
    params: Params, prefix: str, x: NDArray, epsilon: float = EPSILON
) -> tuple[NDArray, Callable]:
    """Layer norm, with ``prefix.gain`` and ``prefix.bias``.  ``backward(dy)`` -> dx, gradients."""
    gain, bias = f"{prefix}.gain", f"{prefix}.bias"
    y, op_backward = ops.layer_norm(x, params[gain], params[bias], epsilon)

    def backward(dy, trained=None):
        dx, dgain, dbias = op_backward(dy)
        return dx, {gain: dgain, bias: dbias}

    return y, backward


def self_attention(
    params: Params,
    prefix: str,
    x: NDArray,
    N: int,
    cache: Cache | None = None,
    start: NDArray[np.int64] | None = None,
    causal: bool = True,
    lengths: NDArray[np.integer] | None = None,
) -> tuple[NDArray, Callable]:
    """N heads of attention of a sequence to itself: causal, or each token to the whole of it.

        [q, k, v] = x W_qkv + b_qkv                       each head has D / N columns of each
        y = softmax(q k^T / sqrt(D / N)) v W_o + b_o      the heads' results side by side

    x (B, T, D) -> y (B, T, D).  Nobody attends past lengths (B,).  With a cache see
    :func:`block`; its earlier keys and values are constants to the backward.
    ``backward(dy)`` -> dx, gradients.
    """
    T = x.shape[1]
    qkv, qkv_backward = dense(params, prefix, x, suffix="_qkv")  # (B, T, 3D)
    q, k, v = (split_heads(part, N) for part in np.split(qkv, 3, axis=-1))  # (B, N, T, D/N)
    if cache is not None and start is not None:
        k, v = cache_layer.append(cache, prefix, start, k, v)  # (B, N, S, D/N)
    context, attention_backward = ops.scaled_dot_product_attention(q, k, v, causal, lengths, start)
    y, output_backward = dense(params, prefix, join_heads(context), suffix="_o")

    def backward(dy, trained=None):
        dcontext, of_output = output_backward(dy, trained)
        dq, dk, dv = attention_backward(split_heads(dcontext, N))
        if start is not None:
            dk, dv = (_rows_at(array, start, T) for array in (dk, dv))
        dx, of_qkv = qkv_backward(_side_by_side(dq, dk, dv), trained)
        return dx, of_qkv | of_output

    return y, backward


def attention_weights(params: Params, prefix: str, x: NDArray, N: int) -> NDArray:
    """The softmax(q k^T / sqrt(D / N)) of :func:`self_attention`: x (B, T, D) -> (B, N, T, T)."""
    qkv, _ = ops.linear(x, params[f"{prefix}.W_qkv"], params[f"{prefix}.b_qkv"])
    q, k, _ = (split_heads(part, N) for part in np.split(qkv, 3, axis=-1))  # (B, N, T, D/N)
    return weights_of(q, k, np.tril(np.ones((x.shape[1], x.shape[1]), bool)))


def weights_of(q: NDArray, k: NDArray, allowed: NDArray[np.bool_]) -> NDArray:
    """softmax(q k^T / sqrt(D / N)) over the allowed keys: (B, N, T, S), for pictures and the like.

    q (B, N, T, D/N), k (B, N, S, D/N); allowed (T, S) or (B, 1, 1, S), at least one for a query.
    """
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1], dtype=q.dtype)
    scores = np.where(allowed, scores, -np.inf)
    exp_scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exp_scores / exp_scores.sum(axis=-1, keepdims=True)


def split_heads(x: NDArray, N: int) -> NDArray:
    """(B, T, D) -> (B, N, T, D/N): head n has the columns from n D/N on."""
    B, T, D = x.shape
    return x.reshape(B, T, N, D // N).transpose(0, 2, 1, 3)


def join_heads(x: NDArray) -> NDArray:
    """(B, N, T, D/N) -> (B, T, D)."""
    B, N, T, width = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, T, N * width)


def _side_by_side(*parts: NDArray) -> NDArray:
    """(B, N, T, D/N) each -> (B, T, 3D).  No copy where they are one array's, as from the twin."""
    B, N, T, width = parts[0].shape
    whole = parts[0].base
    of_one = all(part.base is whole for part in parts)
    if whole is not None and of_one and whole.shape == (B, T, len(parts), N, width):
        return whole.reshape(B, T, -1)
    return np.concatenate([join_heads(part) for part in parts], axis=-1)


def _rows_at(x: NDArray, start: NDArray[np.int64], T: int) -> NDArray:
    """The T positions from start[b] on: (B, N, S, D/N) -> (B, N, T, D/N)."""
    return np.stack([x[b, :, first : first + T] for b, first in enumerate(start)])


def feed_forward(
    params: Params, prefix: str, x: NDArray, activation: Op = ops.gelu
) -> tuple[NDArray, Callable]:
    """y = activation(x W_1 + b_1) W_2 + b_2, of width F inside: usually F = 4 D.

    x (..., D) -> y (..., D).  ``backward(dy)`` -> dx, gradients.
    """
    h, first_backward = dense(params, prefix, x, suffix="_1")  # (..., F)
    a, activation_backward = activation(h)
    y, second_backward = dense(params, prefix, a, suffix="_2")

    def backward(dy, trained=None):
        da, of_second = second_backward(dy, trained)
        dx, of_first = first_backward(activation_backward(da), trained)
        return dx, of_first | of_second

    return y, backward


# --- one token at a time ----------------------------------------------------------

OF_A_BLOCK = (
    *("norm_1.gain", "norm_1.bias", "attention.W_qkv", "attention.b_qkv", "attention.W_o"),
    *("attention.b_o", "norm_2.gain", "norm_2.bias", "feed_forward.W_1", "feed_forward.b_1"),
    *("feed_forward.W_2", "feed_forward.b_2"),
)


def step(
    x: NDArray,
    of_block: list[NDArray],
    keys: NDArray,
    values: NDArray,
    start: NDArray[np.int64],
) -> NDArray:
    """:func:`block` for one token of each row, without a backward: x (B, D) -> (B, D).

    ``of_block`` has the weights that ``OF_A_BLOCK`` names.  Keys and values (B, N, S, D/N) have
    room for the position start[b] of row b, and get its own.
    """
    gain_1, bias_1, W_qkv, b_qkv, W_o, b_o, gain_2, bias_2, W_1, b_1, W_2, b_2 = of_block
    B, N, _, width = keys.shape
    h, _, _ = layer_norm_forward(x, gain_1, bias_1, EPSILON)
    q, k, v = np.split(h @ W_qkv + b_qkv, 3, axis=1)  # (B, D) each
    context = np.empty_like(x)
    for b, t in enumerate(start):
        keys[b, :, t], values[b, :, t] = k[b].reshape(N, width), v[b].reshape(N, width)
        scores = keys[b, :, : t + 1] @ q[b].reshape(N, width, 1) * width**-0.5  # (N, t + 1, 1)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        context[b] = (weights * values[b, :, : t + 1]).sum(axis=1).ravel()
    middle = x + context @ W_o + b_o
    h, _, _ = layer_norm_forward(middle, gain_2, bias_2, EPSILON)
    hidden = gelu_forward((h @ W_1 + b_1).ravel()).reshape(B, -1)
    return middle + hidden @ W_2 + b_2
