"""A few tokens of each text through all blocks of a Transformer, in one call.

When a model writes, each weight is used once for a token of each row.  For a small model, the
Python calls of its page would take longer than the arithmetic; for a large one, the weights have
to come from memory, and should do so once.  The twin of :func:`block_step` therefore runs all
blocks in one call, of a GPT, a Llama or a translator's decoder, and looks up the
addresses of the weights once for many tokens.  Quantised weights (:mod:`minillm.quantised`) stay
packed.  There is no backward, because nothing is trained while a model writes.

The twin cuts post-norm in another place.  It computes each branch f as

    x = x + f(norm(x))          pre-norm
    x = norm(x) + f(norm(x))    post-norm

Post-norm is usually written x = norm(x + f(x)).  This is the same model: the norm after one branch
is the norm before the next, and the first branch has no norm.

Legend: B texts, T new tokens of each, Q = B T rows, K rows of each source, S positions, D width,
N heads, M heads of keys, w their width, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import replace
from operator import is_, itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm._kernels import twinned
from minillm.layers.heads import CAUSAL, Attend
from minillm.layers.norms import EPS
from minillm.layers.types import Params
from minillm.ops import Mask
from minillm.ops.rotary import cos_and_sin

Past = list[NDArray]  # keys and values of each layer, (B, M, S, w) each
Rotation = tuple[float, Any]  # the base of the angles, and their scaling


class FoundWeights:
    """The weights of a model for its steps, looked up once for many of them.

    ``names`` has the parameter of each weight; None, or a name that is none of the model's, stands
    for one that it does not have.

    The arrays of one object never change, because another thread may be using them.  When a weight
    of the model has been replaced, its reader makes a new object.
    """

    def __init__(self, params: Params, names: Sequence[str | None]) -> None:
        known = [name if name in params else None for name in names]
        self._found = itemgetter(*[name for name in known if name])
        self._given = self._found(params)
        taken = [getattr(weight, "array", weight) for weight in self._given]
        used = [_contiguous(weight) for weight in taken]
        self._copied = not all(map(is_, used, taken))
        each = iter(used)
        self.arrays = tuple(next(each) if name else None for name in known)
        self.addresses: Any = None  # of the arrays; the kernel fills them in

    def are_in(self, params: Params) -> bool:
        """Whether these arrays still are the weights of the model: a copy never is."""
        return not self._copied and all(map(is_, self._found(params), self._given))


def _contiguous(weight: Any) -> Any:
    """A weight as the kernels take it: an array in C order, or a quantised matrix."""
    if not isinstance(weight, np.ndarray):
        return weight
    return weight if weight.flags.c_contiguous else weight.copy("C")


class StepWeights(FoundWeights):
    """The weights of ``owner``'s model for :func:`block_step`, and what its blocks are.

    ``blocks`` and ``last_norm`` are prefixes of names.  ``output`` is the table that the output
    layer is tied to, or "output.W".

    ``arrays`` has the norm of the output, its matrix and its bias, and then, for each block, its
    three branches: attention, attention to a source, feed-forward.  A branch is its norm, a gain
    and a bias, and two matrices, each with a bias.  Behind them are the gains of the norms of
    queries, of keys and of the result (:mod:`minillm.models.decoders`).  With ``post_norm``, the
    norm of a branch is the one that follows the branch before.

    ``activation`` is "relu" or "gelu", or "silu gate" or "gelu gate".  Of each layer, ``windows``
    and ``sinks`` (L,) have what its mask says, 0 for none, and ``tables`` (L,) the number of its
    angles in ``rotations``, -1 for none.
    """

    def __init__(
        self,
        owner: Any,
        blocks: Sequence[str],
        output: str,
        *,
        last_norm: str | None = None,
        activation: str = "gelu",
        crosses: bool = False,
        post_norm: bool = False,
        eps: float = EPS,
        masks: Sequence[Mask] | None = None,
        angles: Sequence[Rotation | None] | None = None,
        head_width: int = 0,
    ) -> None:
        self.owner, self.activation, self.post_norm, self.eps = owner, activation, post_norm, eps
        self.tied, self.head_width = output != "output.W", head_width
        angles = angles or [None] * len(blocks)
        self.masks = masks or [CAUSAL] * len(blocks)
        self.windows = np.array([mask.window or 0 for mask in self.masks], np.int64)
        self.sinks = np.array([mask.sinks for mask in self.masks], np.int64)
        self.rotations = list(dict.fromkeys(one for one in angles if one is not None))
        numbers = {one: number for number, one in enumerate(self.rotations)}
        self.tables = np.array([-1 if one is None else numbers[one] for one in angles], np.int64)
        feed_forward = ("gate_up", "down") if activation.endswith("gate") else ("1", "2")
        count = 3 if crosses else 2
        after = [f"{block}.norm_{1 + k}" for block in blocks for k in range(count)]
        norms = iter([None, *after] if post_norm else [*after, last_norm])
        names: list[str | None] = []
        for block in blocks:
            attention, transform = f"{block}.attention", f"{block}.feed_forward"
            names += [*_branch(next(norms), attention, "qkv", "o")]
            names += [f"{attention}.{norm}.gain" for norm in ("norm_q", "norm_k", "norm")]
            names += _branch(next(norms) if crosses else None, f"{block}.cross", "q", "o")
            names += [*_branch(next(norms), transform, *feed_forward), f"{transform}.norm.gain"]
        last = [*_norm(next(norms)), output, None if self.tied else "output.b"]
        super().__init__(owner.model.params, [*last, *names])

    _known: tuple[NDArray, NDArray] | None = None  # cosines and sines at the first positions

    def cos_and_sin(self, positions: NDArray, dtype: np.dtype) -> tuple[NDArray, NDArray]:
        """The cosines and sines at positions (B, T) for each of ``rotations``: (A, B T, w/2)."""
        if not self.rotations:
            return (np.zeros((0, 0, 0), dtype),) * 2
        known, places = self._known, positions.ravel()
        if known is None or places.max() >= known[0].shape[1]:
            several = np.arange(2 * places.max() + 64)  # one position would take NumPy as long
            found = [
                cos_and_sin(several[None], self.head_width, *rotation, dtype)
                for rotation in self.rotations
            ]
            cos, sin = (np.array([pair[k][0] for pair in found], dtype) for k in (0, 1))
            known = self._known = cos, sin
        return known[0].take(places, axis=1), known[1].take(places, axis=1)


def _norm(prefix: str | None) -> list[str | None]:
    return [prefix and f"{prefix}.gain", prefix and f"{prefix}.bias"]


def _branch(norm: str | None, prefix: str, first: str, second: str) -> list[str | None]:
    weights = [f"{prefix}.{kind}_{matrix}" for matrix in (first, second) for kind in "Wb"]
    return [*_norm(norm), *weights]


@twinned
def block_step(
    weights: StepWeights,
    x: NDArray,
    cos: NDArray,
    sin: NDArray,
    past: Past,
    start: NDArray[np.int64],
    rows: NDArray[np.int64] | None = None,
    memory: Sequence[NDArray] = (),
    lengths: NDArray[np.int64] | None = None,
    shown: int = -1,
) -> tuple[NDArray, NDArray | None]:
    """x (Q, D), the embedded tokens -> logits (Q, V), attention weights (Q, N, S) or None.

    Text b has read start[b] tokens before its T rows, which follow each other.  Their keys and
    values are written into ``past``.  Without ``rows``, text b is text b of ``past``, from position
    0 on.  With rows (Q, S), T is 1 and ``past`` has one text, of whose positions text b has
    rows[b].  The twin reads cos and sin (A, Q, w/2) of each row's angles; the blocks compute them.

    ``memory`` has the keys and values of sources with ``lengths``, of each Q / K rows; it is empty
    if there is no cross-attention.  The attention weights are the cross-attention of the layer
    ``shown``.
    """
    (Q, _), B, each = x.shape, len(start), np.arange(len(x))
    text, after = np.divmod(each, Q // B)
    position = start[text] + after  # of each row in its text
    place = position if rows is None else rows[each, position]
    text = text if rows is None else 0 * text

    def attend(layer: int) -> Attend:
        """The attention of each row's new token of a layer to its own past."""
        pools = past[2 * layer : 2 * layer + 2]  # keys and values, (B, M, S, w) each
        mask = replace(weights.masks[layer], start=position)

        def attend_own(q: NDArray, k: NDArray, v: NDArray) -> tuple[NDArray, Any]:
            for pool, new in zip(pools, (k, v), strict=True):
                pool[text, :, place] = new[:, :, 0]
            keys, values = (  # (Q, M, S, w)
                pool[text] if rows is None else pool[0][:, rows].swapaxes(0, 1) for pool in pools
            )
            return ops.scaled_dot_product_attention(q, keys, values, mask=mask)

        return attend_own

    source = memory, lengths, shown
    y, seen = weights.owner.all_blocks(x[:, None], position[:, None], attend, source)
    return weights.owner.predict(y[:, 0]), seen
