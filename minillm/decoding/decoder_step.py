"""One token of each row through all blocks of a Transformer's decoder, in one call.

When a model writes, each weight is used once for a token of each row.  For a small model, the
Python calls of :mod:`minillm.models.gpt` or :mod:`minillm.models.transformer` would take longer
than the arithmetic.  The twin of :func:`decoder_step` therefore runs all blocks in one call, and
looks up the addresses of the weights once for many tokens.  A GPT is a decoder without
cross-attention.  There is no backward, because nothing is trained while a model writes.

The twin cuts post-norm in another place.  It computes each branch f as

    x = x + f(norm(x))          pre-norm
    x = norm(x) + f(norm(x))    post-norm

Post-norm is usually written x = norm(x + f(x)).  This is the same model: the norm after one branch
is the norm before the next, and the first branch has no norm.

Legend: Q rows, B texts or sources, S positions, T positions of a row's past, D width, N heads,
V vocabulary.
"""

from collections.abc import Sequence
from operator import is_, itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm._kernels import twinned
from minillm.decoding.cache import Counts
from minillm.layers import dense, embedding, heads
from minillm.layers.block import post_norm, pre_norm
from minillm.layers.dense import feed_forward
from minillm.layers.heads import Attend
from minillm.layers.norms import norm
from minillm.layers.types import Ids, Params

Past = list[NDArray]  # keys and values of each layer, (B, N, S, D/N) each

BRANCHES = {
    "attention": ("W_qkv", "b_qkv", "W_o", "b_o"),
    "cross": ("W_q", "b_q", "W_o", "b_o"),
    "feed_forward": ("W_1", "b_1", "W_2", "b_2"),
}


class FoundWeights:
    """The weights of a model for its steps, looked up once for many of them.

    ``names`` has the parameter of each weight; None stands for one that the model does not have.

    The arrays of one object never change, because another thread may be using them.  When a weight
    of the model has been replaced, its reader makes a new object.
    """

    def __init__(self, params: Params, names: Sequence[str | None]) -> None:
        self.params = params
        self._found = itemgetter(*[name for name in names if name])
        self._given = self._found(params)
        taken = [getattr(weight, "array", weight) for weight in self._given]
        used = [_contiguous(weight) for weight in taken]
        self._copied = not all(map(is_, used, taken))
        each = iter(used)
        arrays: list[Any] = [next(each) if name else None for name in names]
        self.arrays = tuple(arrays)
        self.addresses: Any = None  # of the arrays; the kernel fills them in

    def are_in(self, params: Params) -> bool:
        """Whether these arrays still are the weights of the model: a copy never is."""
        return not self._copied and all(map(is_, self._found(params), self._given))


def _contiguous(weight: Any) -> Any:
    """A weight as the kernels take it: an array in C order, or a quantised matrix."""
    if not isinstance(weight, np.ndarray):
        return weight
    return weight if weight.flags.c_contiguous else weight.copy("C")


class DecoderWeights(FoundWeights):
    """The weights of a decoder for :func:`decoder_step`.

    ``blocks`` and ``last_norm`` are prefixes of names; with ``post_norm`` there is no last norm.
    There may be no blocks: the rest is the output layer.
    E is the table that the output is tied to; None: the output is ``output.W`` and ``output.b``.

    ``arrays`` has the norm of the output, E, W and b, and then, for each branch of each block, its
    norm and its four weights in BRANCHES.  A norm is a gain and a bias.  None stands for a weight
    that the model does not have.  With ``post_norm``, the norm of a branch is the one that follows
    the branch before.
    """

    def __init__(
        self,
        params: Params,
        blocks: Sequence[str],
        *,
        last_norm: str | None,
        E: str | None,
        crosses: bool = False,
        post_norm: bool = False,
        relu: bool = False,
    ) -> None:
        self.blocks, self.last_norm, self.E = blocks, None if post_norm else last_norm, E
        self.post_norm, self.relu = post_norm, relu
        branches = [branch for branch in BRANCHES if crosses or branch != "cross"]
        after = [f"{block}.norm_{1 + k}" for block in blocks for k in range(len(branches))]
        norms: list[str | None] = [None, *after] if post_norm else [*after, last_norm]
        norm_before = iter(norms)
        names: list[str | None] = []
        for block in blocks:
            for branch, weights in BRANCHES.items():
                if branch in branches:
                    names += _gain_and_bias(next(norm_before))
                    names += [f"{block}.{branch}.{weight}" for weight in weights]
                else:
                    names += [None] * (2 + len(weights))
        output = (E, None, None) if E else (None, "output.W", "output.b")
        super().__init__(params, [*_gain_and_bias(next(norm_before)), *output, *names])


class OutputLayer:
    """The layer ``output`` of a model for all steps of a search, which multiply by it each time.

    It is a decoder without blocks.  Changes of the weights in place may not reach it, because its
    twin makes a copy.
    """

    def __init__(self, params: Params) -> None:
        # A matrix that is no array, with LoRA or quantised, multiplies by itself.
        plain = isinstance(params["output.W"], np.ndarray)
        self.params = params
        self.weights = DecoderWeights(params, [], last_norm=None, E=None) if plain else None

    def __call__(self, y: NDArray) -> NDArray:
        """y (..., D) -> logits (..., V)."""
        rows = y.reshape(-1, y.shape[-1])
        # For a single row in each step, the copy would take longer than it saves.
        if len(rows) == 1 or self.weights is None or not self.weights.are_in(self.params):
            return dense.layer(self.params, "output", y)[0]
        counts = np.ones(len(rows), np.int64)
        logits, _ = decoder_step(self.weights, rows, [], None, counts, [], None, shown=-1)
        return logits.reshape(*y.shape[:-1], -1)


def _gain_and_bias(norm: str | None) -> list[str | None]:
    return [norm and f"{norm}.gain", norm and f"{norm}.bias"]


@twinned
def decoder_step(
    weights: DecoderWeights,
    x: NDArray,
    past: Past,
    rows: NDArray[np.int64] | None,
    counts: Counts,
    memory: Past,
    lengths: NDArray[np.int64] | None,
    shown: int,
) -> tuple[NDArray, NDArray | None]:
    """x (Q, D), the embedded tokens -> logits (Q, V), attention weights (Q, N, S) or None.

    Row q has read counts[q] tokens, this one included, whose keys and values are written into
    ``past``.  Without ``rows``, row q has text q of ``past``, from position 0 on.  With rows
    (Q, T), ``past`` has one text, and row q has its positions rows[q].  ``memory`` has the keys and
    values of B sources with ``lengths``, Q / B rows for each; it is empty if there is no
    cross-attention.  The attention weights come from cross-attention in the layer ``shown``.
    """
    each, noted = np.arange(len(x)), None
    text, place = (each, counts - 1) if rows is None else (0 * each, rows[each, counts - 1])
    x = x[:, None]  # (Q, 1, D)
    for layer, block in enumerate(weights.blocks):
        own = slice(2 * layer, 2 * layer + 2)  # keys and values
        attend = attend_each(past[own], text, place, rows, counts)
        x, seen = _block(weights, block, x, past[0].shape[1], attend, memory[own], lengths)
        noted = seen if layer == shown else noted
    p, y = weights.params, x[:, 0]
    if weights.last_norm:
        y, _ = norm(p, weights.last_norm, y)
    logits, _ = embedding.output(p, weights.E, y) if weights.E else dense.layer(p, "output", y)
    return logits, noted


def _block(
    weights: DecoderWeights,
    block: str,
    x: NDArray,
    N: int,
    attend: Attend,
    memory: Past,
    lengths: NDArray[np.int64] | None,
) -> tuple[NDArray, NDArray | None]:
    """x (Q, 1, D) -> (Q, 1, D), and the weights of cross-attention, if there is one."""
    p, seen = weights.params, None

    def attention(x: NDArray) -> tuple[NDArray, Any]:
        return heads.self_attention(p, f"{block}.attention", x, N, attend)

    def cross(x: NDArray) -> tuple[NDArray, Any]:
        nonlocal seen
        y, seen = _attend_to_source(p, f"{block}.cross", x, memory, lengths)
        return y, None

    def transform(x: NDArray) -> tuple[NDArray, Any]:
        activation = ops.relu if weights.relu else ops.gelu
        return feed_forward(p, f"{block}.feed_forward", x, activation)

    branches = [attention, transform] if lengths is None else [attention, cross, transform]
    residual = post_norm if weights.post_norm else pre_norm
    y, _ = residual(p, {f"{block}.norm_{1 + k}": f for k, f in enumerate(branches)}, x)
    return y, seen


def _attend_to_source(
    params: Params, prefix: str, x: NDArray, memory: Past, lengths: Any
) -> tuple[NDArray, NDArray]:
    """Cross-attention of x (Q, 1, D) to B sources -> y (Q, 1, D), its weights (Q, N, S)."""
    keys, values = memory
    (Q, _, D), (B, N, S, _) = x.shape, keys.shape
    of_source = x.reshape(B, Q // B, D)
    y, _ = heads.attend(params, prefix, of_source, keys, values, lengths)
    # The weights are the results for values that are one-hot.
    q, _ = dense.layer(params, prefix, of_source, suffix="_q")
    one_hot = np.broadcast_to(np.eye(S, dtype=x.dtype), (B, N, S, S))
    weights, _ = heads.to_all(lengths)(heads.split_heads(q, N), keys, one_hot)  # (B, N, Q/B, S)
    return y.reshape(x.shape), weights.swapaxes(1, 2).reshape(Q, N, S)


def attend_each(
    past: Past,
    text: Ids,
    place: Ids,
    rows: Ids | None,
    counts: Ids,
    window: int | None = None,
) -> Attend:
    """The attention of Q new tokens, each to its own past, or to the window at its end.

    ``past`` has the keys and values of a layer, (B, N, S, D/N) each.  The new ones of token q are
    written to the position ``place[q]`` of ``text[q]``.  It attends to the first counts[q]
    positions of that text or, with rows (Q, T), of rows[q].
    """

    def attend(q: NDArray, k: NDArray, v: NDArray) -> tuple[NDArray, Any]:
        for pool, new in zip(past, (k, v), strict=True):
            pool[text, :, place] = new[:, :, 0]
        keys, values = (  # (Q, N, T, D/N)
            pool[text] if rows is None else pool[0][:, rows].swapaxes(0, 1) for pool in past
        )
        return ops.scaled_dot_product_attention(
            q, keys, values, causal=True, start=counts - 1, window=window
        )

    return attend
