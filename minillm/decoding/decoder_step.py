"""One token of each row: the equations of a Transformer's decoder, in one call.

When a model writes, each weight is used once for a token of each row.  For a small model, the
Python calls of :mod:`minillm.models.gpt` or :mod:`minillm.models.transformer` would take longer
than the arithmetic.  The twin of :func:`_decoder_step` therefore runs all blocks in one call, and
looks up the addresses of the weights once for many tokens.  A GPT is a decoder without
cross-attention.  There is no backward, because nothing is trained while a model writes.

Each branch f of a block reads norm(x), and its result is added:

    x = x + f(norm(x))          pre-norm
    x = norm(x) + f(norm(x))    post-norm

Post-norm is usually written x = norm(x + f(x)).  It is the same model with the lines cut
elsewhere: the norm after one branch is here the norm before the next, and the first branch has
no norm.

Legend: Q rows, B texts or sources, S positions, T positions of a row's past, D width, N heads,
V vocabulary.
"""

from collections.abc import Iterator, Sequence
from operator import is_, itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.layers.norms import EPS
from minillm.layers.types import Params
from minillm.ops._padding import length_mask, zero_padding
from minillm.ops.gelu import gelu_forward
from minillm.ops.layer_norm import layer_norm_forward
from minillm.ops.softmax import masked_softmax

Past = list[NDArray]  # keys and values of each layer, (B, N, S, D/N) each

# The logits are y E^T, or y W + b.  None stands for a weight that the model does not have.
MODEL_WEIGHTS = ("norm.gain", "norm.bias", "output.E", "output.W", "output.b")
BLOCK_WEIGHTS = (
    *("norm_1.gain", "norm_1.bias", "attention.W_qkv", "attention.b_qkv", "attention.W_o"),
    *("attention.b_o", "norm_2.gain", "norm_2.bias", "cross.W_q", "cross.b_q", "cross.W_o"),
    *("cross.b_o", "norm_3.gain", "norm_3.bias", "feed_forward.W_1", "feed_forward.b_1"),
    *("feed_forward.W_2", "feed_forward.b_2"),
)


class FoundWeights:
    """The weights of a model for its steps, looked up once for many of them.

    ``names`` has the parameter of each weight; None stands for one that the model does not have.

    The arrays of one object never change, because another thread may be using them.  When a weight
    of the model has been replaced, the model gets a new object.
    """

    def __init__(self, params: Params, names: Sequence[str | None]) -> None:
        self._found = itemgetter(*[name for name in names if name])
        self._given = self._found(params)
        taken = [getattr(weight, "array", weight) for weight in self._given]
        used = [_in_order(weight) for weight in taken]
        self._copied = not all(map(is_, used, taken))
        each = iter(used)
        arrays: list[Any] = [next(each) if name else None for name in names]
        self.arrays = tuple(arrays)
        self.addresses: Any = None  # of the arrays; the kernel fills them in

    def are_in(self, params: Params) -> bool:
        """Whether these arrays still are the weights of the model: a copy never is."""
        return not self._copied and all(map(is_, self._found(params), self._given))


def _in_order(weight: Any) -> Any:
    """A weight as the kernels take it: an array in C order, or a quantised matrix."""
    if not isinstance(weight, np.ndarray):
        return weight
    return weight if weight.flags.c_contiguous else weight.copy("C")


class StepWeights(FoundWeights):
    """The weights of a decoder as :func:`_decoder_step` takes them.

    ``names`` has the parameter for each of MODEL_WEIGHTS, and for each of BLOCK_WEIGHTS of each
    layer.
    """

    def __init__(
        self, params: Params, names: Sequence[str | None], *, post_norm: bool, relu: bool
    ) -> None:
        super().__init__(params, names)
        self.post_norm, self.relu = post_norm, relu

    def blocks(self) -> Iterator[dict[str, Any]]:
        """Yield the weights of each block, by their names in BLOCK_WEIGHTS."""
        n = len(BLOCK_WEIGHTS)
        for first in range(len(MODEL_WEIGHTS), len(self.arrays), n):
            yield dict(zip(BLOCK_WEIGHTS, self.arrays[first : first + n], strict=True))


@twinned
def _decoder_step(
    weights: StepWeights,
    x: NDArray,
    past: Past,
    rows: NDArray[np.int64] | None,
    counts: NDArray[np.int64],
    memory: Past,
    lengths: NDArray[np.int64] | None,
    shown: int,
) -> tuple[NDArray, NDArray | None]:
    """x (Q, D), the embedded tokens -> logits (Q, V), attention weights (Q, N, S) or None.

    Row q has read counts[q] tokens, this one included, whose keys and values are written into
    ``past``.  Without ``rows``, row q has text q of ``past``, from position 0 on.  With rows
    (Q, T), ``past`` has one text, and row q has its positions rows[q].  ``memory`` has the keys and
    values of B sources with ``lengths``, Q / B rows for each; it is empty if there is no
    cross-attention.  The attention weights are those of cross-attention in the layer ``shown``.
    """
    gain, bias, E, W, b = weights.arrays[: len(MODEL_WEIGHTS)]
    last_norm = {"norm.gain": gain, "norm.bias": bias}
    attention = None
    for layer, w in enumerate(weights.blocks()):
        y, residual = _branch_input(x, w, "norm_1", weights.post_norm)
        context = _attend(y, w, past[2 * layer], past[2 * layer + 1], rows, counts)
        x = residual + context @ w["attention.W_o"] + w["attention.b_o"]
        if lengths is not None:
            keys, values = memory[2 * layer], memory[2 * layer + 1]
            y, residual = _branch_input(x, w, "norm_2", weights.post_norm)
            context, seen = _attend_to_source(y, w, keys, values, lengths)
            x = residual + context @ w["cross.W_o"] + w["cross.b_o"]
            attention = seen if layer == shown else attention
        y, residual = _branch_input(x, w, "norm_3", weights.post_norm)
        h = y @ w["feed_forward.W_1"] + w["feed_forward.b_1"]
        h = np.maximum(h, 0) if weights.relu else gelu_forward(h.ravel()).reshape(h.shape)
        x = residual + h @ w["feed_forward.W_2"] + w["feed_forward.b_2"]
    y, _ = _branch_input(x, last_norm, "norm", weights.post_norm)
    logits = y @ E.T if E is not None else y @ W
    return logits if b is None else logits + b, attention


def _branch_input(
    x: NDArray, w: dict[str, Any], norm: str, post_norm: bool
) -> tuple[NDArray, NDArray]:
    """The input norm(x) of a branch, and the term that its result is added to."""
    gain, bias = w[f"{norm}.gain"], w[f"{norm}.bias"]
    y = x if gain is None else layer_norm_forward(x, gain, bias, EPS)[0]
    return y, y if post_norm else x


def _attend(
    x: NDArray,
    w: dict[str, NDArray],
    keys: NDArray,
    values: NDArray,
    rows: NDArray[np.int64] | None,
    counts: NDArray[np.int64],
) -> NDArray:
    """x (Q, D) -> the context of each row's past (Q, D).

    The keys and values of x become the last of each row: keys[b, :, t].
    """
    (Q, D), (_, N, _, width) = x.shape, keys.shape
    q, k, v = np.split(x @ w["attention.W_qkv"] + w["attention.b_qkv"], 3, axis=1)  # (Q, D) each
    text = np.arange(Q) if rows is None else np.zeros(Q, np.int64)
    place = counts - 1 if rows is None else rows[np.arange(Q), counts - 1]
    keys[text, :, place] = k.reshape(Q, N, width)
    values[text, :, place] = v.reshape(Q, N, width)
    if rows is not None:  # gather the past of each row: (Q, N, T, D/N)
        keys, values = (pool[0][:, rows].swapaxes(0, 1) for pool in (keys, values))
    context, _ = look(q.reshape(Q, N, 1, width), keys, values, counts)
    return context.reshape(Q, D)


def _attend_to_source(
    x: NDArray, w: dict[str, NDArray], keys: NDArray, values: NDArray, lengths: NDArray[np.int64]
) -> tuple[NDArray, NDArray]:
    """x (Q, D) -> the context of each row's source (Q, D), attention weights (Q, N, S)."""
    (Q, D), (B, N, S, width) = x.shape, keys.shape
    q = (x @ w["cross.W_q"] + w["cross.b_q"]).reshape(B, Q // B, N, width).swapaxes(1, 2)
    context, seen = look(q, keys, values, lengths)  # (B, N, Q/B, D/N), (B, N, Q/B, S)
    return context.swapaxes(1, 2).reshape(Q, D), seen.swapaxes(1, 2).reshape(Q, N, S)


def look(
    q: NDArray, keys: NDArray, values: NDArray, lengths: NDArray[np.int64]
) -> tuple[NDArray, NDArray]:
    """The attention of q (B, N, T, D/N) to the first lengths[b] keys: context, weights."""
    keys, values = (zero_padding(x, lengths) for x in (keys, values))
    scores = q @ keys.swapaxes(-1, -2) * q.shape[-1] ** -0.5  # (B, N, T, S)
    weights, _ = masked_softmax(scores, length_mask(lengths, keys.shape[2])[:, None, None])
    return weights @ values, weights
