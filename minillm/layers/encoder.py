"""The encoder's block: each token attends to the whole sequence, before and after it.

    x = residual(x, attention)          each token gathers from all
    x = residual(x, feed_forward)       each token by itself

``residual`` adds what a branch computes, and normalises in one of two places:

    post-norm        y = norm(x + dropout(f(x)))        the Transformer of 2017, BERT
    pre-norm         y = x + dropout(f(norm(x)))        GPT-2 and most since

Why pre-norm stacks are easier to train is told in :mod:`minillm.layers.transformer`; they need
one more norm after the last block.

Legend: B batch, T time, D width, F hidden width, N heads.

Sources: Vaswani et al. (2017), "Attention is all you need", section 3.1; Devlin, Chang, Lee
and Toutanova (2019), "BERT", section 3; for the two orders, Xiong et al. (2020), "On layer
normalization in the Transformer architecture", figure 1.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers.dropout import dropout
from minillm.layers.fresh import Draw, Fresh, side_by_side
from minillm.layers.transformer import (
    EPSILON,
    Op,
    Params,
    add_norm,
    feed_forward,
    new_norm,
    self_attention,
)


def new_block(
    prefix: str, D: int, F: int, draw: Draw, draw_qkv: Draw | None = None
) -> dict[str, Fresh]:
    """Fresh weights of a block; ``draw`` makes a matrix from I inputs to O outputs."""
    qkv = draw_qkv or side_by_side(3, draw)
    params = with_biases(f"{prefix}.attention", qkv=Fresh((D, 3 * D), qkv), o=Fresh((D, D), draw))
    params |= with_biases(
        f"{prefix}.feed_forward", **{"1": Fresh((D, F), draw), "2": Fresh((F, D), draw)}
    )
    return params | new_norm(f"{prefix}.norm_1", D) | new_norm(f"{prefix}.norm_2", D)


def with_biases(prefix: str, **weights: Fresh) -> dict[str, Fresh]:
    """For each matrix (I, O), ``prefix.W_name`` and a bias ``prefix.b_name`` (O,) of zeros."""
    params = {}
    for name, W in weights.items():
        params[f"{prefix}.W_{name}"] = W
        params[f"{prefix}.b_{name}"] = Fresh(W.shape[1:])
    return params


def encoder_block(
    params: Params,
    prefix: str,
    x: NDArray,
    N: int,
    lengths: NDArray[np.integer] | None = None,
    *,
    post_norm: bool = True,
    activation: Op = ops.relu,
    epsilon: float = EPSILON,
    rate: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[NDArray, Callable]:
    """x (B, T, D) -> (B, T, D).  Nobody attends past lengths (B,).  With rng there is dropout.

    ``backward(dy)`` -> dx, gradients.  Weights: ``attention.W_qkv|b_qkv|W_o|b_o``,
    ``norm_1.gain|bias``, ``feed_forward.W_1|b_1|W_2|b_2``, ``norm_2.gain|bias``.
    """
    add = partial(residual, params, post_norm=post_norm, epsilon=epsilon, rate=rate, rng=rng)

    def attention(x):
        return self_attention(params, f"{prefix}.attention", x, N, causal=False, lengths=lengths)

    def forward(x):
        return feed_forward(params, f"{prefix}.feed_forward", x, activation)

    x, attention_backward = add(f"{prefix}.norm_1", x, attention)
    y, feed_forward_backward = add(f"{prefix}.norm_2", x, forward)

    def backward(dy, trained=None):
        dx, gradients = feed_forward_backward(dy, trained)
        dx, of_attention = attention_backward(dx, trained)
        return dx, gradients | of_attention

    return y, backward


def residual(
    params: Params,
    norm: str,
    x: NDArray,
    branch: Op,
    *,
    post_norm: bool,
    epsilon: float = EPSILON,
    rate: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[NDArray, Callable]:
    """x and what a branch makes of it, added: y = norm(x + f(x)), or y = x + f(norm(x)).

    ``norm`` is the prefix of the norm's weights.  x (..., D) -> y (..., D).  The branch's
    backward returns dx, gradients; if it has more inputs, dx, their gradients, gradients, and
    so does ``backward(dy)``.
    """
    if post_norm:
        h, branch_backward = branch(x)
        h, dropout_backward = dropout(h, rate, rng)
        (_, y), norm_backward = add_norm(params, norm, x, h, epsilon)

        def post_backward(dy, trained=None):
            # y = norm(x + dropout(f(x)))
            dtotal, of_norm = norm_backward(None, dy)
            dx, *others, gradients = branch_backward(dropout_backward(dtotal), trained)
            return dtotal + dx, *others, gradients | of_norm

        return y, post_backward

    (_, normed), norm_backward = add_norm(params, norm, x, epsilon=epsilon)
    h, branch_backward = branch(normed)
    h, dropout_backward = dropout(h, rate, rng)

    def pre_backward(dy, trained=None):
        # y = x + dropout(f(norm(x)))
        dnormed, *others, gradients = branch_backward(dropout_backward(dy), trained)
        dx, of_norm = norm_backward(dy, dnormed)  # dy + the gradient through the norm
        return dx, *others, gradients | of_norm

    return x + h, pre_backward
