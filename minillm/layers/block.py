"""The Transformer's block: branches, each of which adds its result to x.

    x = x + attention(norm_1(x))            each token gathers from others
    x = x + feed_forward(norm_2(x))         each token by itself

Each branch is *added* to x.  The path from the first x to the last is therefore a sum, and the
gradient flows back along it undiminished (He et al. 2016).  Dropout is applied to each result
before it is added.

This is the order of GPT-2, "pre-norm".  Vaswani et al. (2017), BERT and the first GPT normalise
the sum instead, "post-norm":

    x = norm_1(x + attention(x))
    x = norm_2(x + feed_forward(x))

There every gradient passes through all the norms above it.  The deeper the stack, the more the
gradients of its upper and lower layers differ, and the learning rate has to rise slowly from zero.
With the norm inside the branch, the sum itself is never rescaled, and deep stacks train well from
the start (Xiong et al. 2020).  The price is one more norm after the last block.

A decoder has a third branch between the two: cross-attention to the encoder's memory.

The names of the weights tell the form of a part: a norm without a bias is an RMS norm, and a
feed-forward layer with ``W_gate_up`` is gated.  Llama has both (:mod:`minillm.models.llama`).

Legend: B batch, T time, S source steps, D width, F width inside the feed-forward layer, N heads.

Sources: Vaswani et al. (2017), "Attention is all you need", section 3.1; Radford et al. (2019),
"Language models are unsupervised multitask learners", section 2.3, for the order; Xiong et al.
(2020), "On layer normalization in the Transformer architecture", figure 1.
"""

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense
from minillm.layers.cache import Cache
from minillm.layers.dropout import dropout as drop
from minillm.layers.fresh import Draw, Fresh, ones, side_by_side
from minillm.layers.gradients import Trained, any_trained, merge_gradients
from minillm.layers.heads import (
    cross_attention,
    new_cross_attention,
    new_self_attention,
    self_attention,
)
from minillm.layers.types import Gradients, Ids, Op, Params, Rng

EPSILON = 1e-5  # of the norms


def new_block(
    prefix: str,
    D: int,
    F: int,
    draw: Draw,
    *,
    qkv: Draw | None = None,
    summed: Draw | None = None,
    cross: bool = False,
) -> dict[str, Fresh]:
    """Declare the weights of a block, with cross-attention or without.

    Matrices are drawn by ``draw``, except W_qkv, ``attention.W_o`` and ``feed_forward.W_2``.
    W_qkv is drawn by ``qkv`` (None: as three matrices).  The other two, which write into the sum,
    are drawn by ``summed`` (None: like the rest).
    """
    qkv, summed = qkv or side_by_side(3, draw), summed or draw
    params = new_cross_attention(f"{prefix}.cross", D, draw) if cross else {}
    params |= new_self_attention(f"{prefix}.attention", D, qkv, summed)
    params |= dense.new_matrix(f"{prefix}.feed_forward", "_1", D, F, draw)
    params |= dense.new_matrix(f"{prefix}.feed_forward", "_2", F, D, summed)
    for number in (1, 2, 3) if cross else (1, 2):
        params |= new_norm(f"{prefix}.norm_{number}", D)
    return params


def new_norm(prefix: str, D: int) -> dict[str, Fresh]:
    """Declare the weights of a layer norm: gain 1, bias 0."""
    return {f"{prefix}.gain": Fresh((D,), ones), f"{prefix}.bias": Fresh((D,))}


def block(
    params: Params,
    prefix: str,
    x: NDArray,
    heads: int,
    *,
    key_heads: int | None = None,
    rotate: Op | None = None,
    causal: bool = False,
    lengths: Ids | None = None,
    cache: Cache | None = None,
    packed: Ids | None = None,
    memory: NDArray | None = None,
    memory_lengths: Ids | None = None,
    activation: Op = ops.gelu,
    **options: Any,
) -> tuple[NDArray, Callable]:
    """Self-attention, cross-attention if there is a memory, and a feed-forward layer.

    x (B, T, D) -> y (B, T, D).  :func:`minillm.layers.heads.self_attention` gets ``key_heads``,
    ``rotate``, ``causal``, ``lengths``, ``cache`` and ``packed``.  memory (B, S, D) is the output
    of the encoder, masked past memory_lengths (B,).  All other options are passed to
    :func:`residual`.
    ``backward(dy, trained=None)`` -> dx, dmemory if there is a memory, gradients.
    """

    def attention(x):
        seen: dict[str, Any] = {"causal": causal, "lengths": lengths, "cache": cache}
        name = f"{prefix}.attention"
        return self_attention(params, name, x, heads, key_heads, rotate, packed=packed, **seen)

    def cross(x):
        return cross_attention(params, f"{prefix}.cross", x, memory, memory_lengths, heads)

    def forward(x):
        return feed_forward(params, f"{prefix}.feed_forward", x, activation)

    branches = [attention, forward] if memory is None else [attention, cross, forward]
    norms = {f"{prefix}.norm_{number}": branch for number, branch in enumerate(branches, 1)}
    return residual(params, norms, x, **options)


def residual(
    params: Params,
    branches: Mapping[str, Callable],
    x: NDArray,
    *,
    post_norm: bool = False,
    epsilon: float = EPSILON,
    dropout: float = 0.0,
    rng: Rng = None,
) -> tuple[NDArray, Callable]:
    """x + f(norm(x)) for each branch f in turn; or, post-norm, norm(x + f(x)).

    ``branches`` maps the prefix of a norm's weights to its f.  x (..., D) -> y (..., D).  With rng
    there is dropout.  The backward of a branch returns dx, the gradients of its other inputs, if it
    has any, and those of its weights.  ``backward(dy, trained=None)`` returns the same for all.
    """
    h, backwards = None, []
    for norm, branch in branches.items():
        if post_norm:
            h, branch_backward = branch(x)
            h, dropout_backward = drop(h, dropout, rng)
            (_, x), norm_backward = add_norm(params, norm, x, h, epsilon)  # norm(x + f(x))
        else:
            (x, y), norm_backward = add_norm(params, norm, x, h, epsilon)  # x + the last f, normed
            h, branch_backward = branch(y)
            h, dropout_backward = drop(h, dropout, rng)
        backwards.append((norm_backward, branch_backward, dropout_backward))

    def backward(dy, trained=None):
        dx, others, parts = dy, [], []
        for norm_backward, branch_backward, dropout_backward in reversed(backwards):
            if post_norm:
                # y = norm(x + dropout(f(x)))
                dtotal, of_norm = norm_backward(None, dx)
                dx, *more, of_branch = branch_backward(dropout_backward(dtotal), trained)
                dx = dtotal + dx
            else:
                # y = x + dropout(f(norm(x)))
                dnormed, *more, of_branch = branch_backward(dropout_backward(dx), trained)
                dx, of_norm = norm_backward(dx, dnormed)  # dx + the gradient through the norm
            others += more
            parts += [of_branch, of_norm]
        return dx, *others, merge_gradients(*parts)

    return x if post_norm else x + h, backward


def backward_through(
    backwards: Mapping[str, Callable], dy: NDArray, trained: Trained, *below: str
) -> tuple[NDArray | None, Gradients]:
    """Run the backwards of blocks, from the last to the first.

    ``backwards`` maps the prefix of a block's weights to its backward.  ``below`` has the prefixes
    of the weights below all blocks.  The run ends where no weight further down is trained.
    -> dx, or None if it is not needed; gradients.
    """
    prefixes, dx = list(backwards), dy
    parts: list[Gradients] = []
    for number in reversed(range(len(prefixes))):
        if not any_trained(trained, *below, *prefixes[: number + 1]):
            return None, merge_gradients(*parts)
        dx, gradients = backwards[prefixes[number]](dx, trained)
        parts.append(gradients)
    return dx if any_trained(trained, *below) else None, merge_gradients(*parts)


# --- the parts of a block -----------------------------------------------------------


def feed_forward(
    params: Params, prefix: str, x: NDArray, activation: Op = ops.gelu
) -> tuple[NDArray, Callable]:
    """y = activation(x W_1 + b_1) W_2 + b_2, with a hidden width of F, usually 4 D.

    A gated layer, whose activation is :func:`minillm.ops.swiglu`, has ``W_gate_up`` (D, 2 F) and
    ``W_down`` (F, D) in place of W_1 and W_2.

    x (..., D) -> y (..., D).  ``backward(dy, trained=None)`` -> dx, gradients.
    """
    gated = f"{prefix}.W_gate_up" in params
    first, second = ("_gate_up", "_down") if gated else ("_1", "_2")
    z, first_backward = dense.layer(params, prefix, x, suffix=first)
    h, activation_backward = activation(z)  # (..., F)
    y, second_backward = dense.layer(
        params, prefix, h, suffix=second, recompute=lambda: activation(z)[0]
    )

    def backward(dy, trained=None):
        dh, of_second = second_backward(dy, trained)
        dx, of_first = first_backward(activation_backward(dh), trained)
        return dx, merge_gradients(of_first, of_second)

    return y, backward


def add_norm(
    params: Params, prefix: str, x: NDArray, h: NDArray | None, epsilon: float = EPSILON
) -> tuple[tuple[NDArray, NDArray], Callable]:
    """x + h (None: x alone) and its norm, as :func:`norm` has it.

    ``backward(dtotal, dy)``, the gradients by the sum and the norm -> dx, which equals dh, and
    gradients.
    """
    gain, bias = f"{prefix}.gain", f"{prefix}.bias"
    outputs, op_backward = ops.add_norm(x, h, params[gain], params.get(bias), epsilon)
    terms = 1 if h is None else 2

    def backward(dtotal, dy):
        dx, *gradients = op_backward(dtotal, dy)
        return dx, dict(zip((gain, bias), gradients[terms - 1 :], strict=False))

    return outputs, backward


def norm(
    params: Params, prefix: str, x: NDArray, epsilon: float = EPSILON
) -> tuple[NDArray, Callable]:
    """Layer norm, with ``prefix.gain`` and ``prefix.bias``; without a bias, RMS norm.

    ``backward(dy)`` -> dx, gradients.
    """
    gain, bias = f"{prefix}.gain", f"{prefix}.bias"
    if bias not in params:
        y, op_backward = ops.rms_norm(x, params[gain], epsilon)
    else:
        y, op_backward = ops.layer_norm(x, params[gain], params[bias], epsilon)

    def backward(dy):
        dx, *gradients = op_backward(dy)
        return dx, dict(zip((gain, bias), gradients, strict=False))

    return y, backward
