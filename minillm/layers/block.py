"""The residual stream of a Transformer: branches, each of which adds its result to x.

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

Legend: B batch, T time, D width, F width inside the feed-forward layer.

Sources: Vaswani et al. (2017), "Attention is all you need", section 3.1; Radford et al. (2019),
"Language models are unsupervised multitask learners", section 2.3, for the order; Xiong et al.
(2020), "On layer normalization in the Transformer architecture", figure 1.
"""

from collections.abc import Callable, Mapping

from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense
from minillm.layers.fresh import Draw, ParamSpec, side_by_side
from minillm.layers.gradients import merge_gradients
from minillm.layers.heads import new_cross_attention, new_self_attention
from minillm.layers.norms import EPS, new_norm, norm
from minillm.layers.types import Params, Rng

# x (..., D) -> y (..., D), backward.  The backward returns dx, the gradients of any other inputs,
# and the gradients of the weights.
Branch = Callable[[NDArray], tuple[NDArray, Callable]]


def new_block(
    prefix: str,
    D: int,
    F: int,
    draw: Draw,
    *,
    qkv: Draw | None = None,
    summed: Draw | None = None,
    cross: bool = False,
) -> dict[str, ParamSpec]:
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


def pre_norm(
    params: Params,
    branches: Mapping[str, Branch],
    x: NDArray,
    dropout: float = 0.0,
    rng: Rng = None,
    eps: float = EPS,
) -> tuple[NDArray, Callable]:
    """x = x + dropout(f(norm(x))), for each branch f in turn.

    ``branches`` maps the prefix of a norm's weights to its f.  x (..., D) -> y (..., D).
    ``backward(dy)`` -> dx, the gradients of the branches' other inputs, gradients.
    """
    backwards = []
    for prefix, branch in branches.items():
        h, norm_backward = norm(params, prefix, x, eps)
        h, branch_backward = branch(h)
        h, dropout_backward = ops.dropout(h, dropout, rng)
        x = x + h
        backwards.append((norm_backward, branch_backward, dropout_backward))

    def backward(dy):
        dx, others, parts = dy, [], []
        for norm_backward, branch_backward, dropout_backward in reversed(backwards):
            # x + dropout(f(norm(x)))
            dh, *of_inputs, of_branch = branch_backward(dropout_backward(dx))
            dh, of_norm = norm_backward(dh)
            dx = dx + dh  # x has two uses
            others += of_inputs
            parts += [of_branch, of_norm]
        return dx, *others, merge_gradients(*parts)

    return x, backward


def post_norm(
    params: Params,
    branches: Mapping[str, Branch],
    x: NDArray,
    dropout: float = 0.0,
    rng: Rng = None,
    eps: float = EPS,
) -> tuple[NDArray, Callable]:
    """x = norm(x + dropout(f(x))), for each branch f in turn.

    It takes the arguments of :func:`pre_norm`, and its backward returns the same.
    """
    backwards = []
    for prefix, branch in branches.items():
        h, branch_backward = branch(x)
        h, dropout_backward = ops.dropout(h, dropout, rng)
        x, norm_backward = norm(params, prefix, x + h, eps)
        backwards.append((norm_backward, branch_backward, dropout_backward))

    def backward(dy):
        dx, others, parts = dy, [], []
        for norm_backward, branch_backward, dropout_backward in reversed(backwards):
            # norm(x + dropout(f(x)))
            dsum, of_norm = norm_backward(dx)
            dx, *of_inputs, of_branch = branch_backward(dropout_backward(dsum))
            dx = dsum + dx  # x has two uses
            others += of_inputs
            parts += [of_branch, of_norm]
        return dx, *others, merge_gradients(*parts)

    return x, backward
