"""Attribution: the tokens and the heads that made a prediction, in a stack of attention.

A score s, such as the log probability of a token, depends on activations c: the input vector of
each token, and the result of each head, before W_o mixes the heads.  Three measurements:

    zero ablation                s minus the s of a forward pass in which c is zero
    patching                     the same, with the c of another text in place of zero
    gradient times activation    sum of dc * c

The last needs one backward pass for all heads.  It is the linear estimate of the first,
s - s' = dc * (c - c'), and exact where s is linear in c.  It misses effects in which several heads
replace each other, and saturation: a weight of attention near 1 has a small slope.  For tokens it
says nothing, because a norm reads them: the length of a vector has almost no slope.

An *induction head* looks from a token to the one after its last occurrence, and so continues what
it has read before.

Legend: T time, V vocabulary, D width, L layers, N heads, w width of a head.

Sources: Olsson et al. (2022), "In-context learning and induction heads"; Simonyan, Vedaldi and
Zisserman (2014), "Deep inside convolutional networks", for gradients; Michel, Levy and Neubig
(2019), "Are sixteen heads really better than one?", for heads by gradient and by ablation.
"""

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.decoding import next_probabilities
from minillm.layers.gradients import PartlyTrained
from minillm.layers.heads import Attend, attend_by
from minillm.layers.types import Ids

Patches = Mapping[tuple[int, ...], Any]


class Reading:
    """A forward pass over ids (T,): x (T, D), results of the heads (L, N, T, w), y (T, D).

    ``patches`` replaces the x of a token, under (j,), or the result of a head, under (layer, head).
    ``backward(dy)`` -> dx and the gradients of the heads, of a pass without patches.
    """

    def __init__(self, model: Any, ids: Ids, patches: Patches | None = None):
        ids, layers, patches = ids[None], range(model.config.layers), patches or {}
        x = model.embed(ids, np.arange(ids.shape[1])[None])[0].copy()
        for j, *head in patches:
            if not head:
                x[0, j] = patches[j,]
        results, slopes = dict[int, NDArray](), dict[int, NDArray]()

        def attend(layer: int) -> Attend:
            def heads(q: NDArray, k: NDArray, v: NDArray) -> tuple[NDArray, Callable]:
                result, backward = attend_by(model.mask(layer))(q, k, v)
                for of, *head in patches:
                    if head and of == layer:
                        result[0, *head] = patches[of, *head]
                results[layer] = result[0]

                def noting(dresult):
                    slopes[layer] = dresult[0]
                    return backward(dresult)

                return result, noting

            return heads

        own = copy(model)
        own.embed = lambda *_: (x, lambda dx: {"x": dx[0]})
        own.params = PartlyTrained(model.params, model.below)  # no gradient in the blocks is needed
        y, y_backward = own.hidden(ids, attend=attend)

        def backward(dy):
            dx = y_backward(dy[None])["x"]
            return dx, np.stack([slopes[layer] for layer in layers])

        self.x, self.y, self.backward = x[0], y[0], backward
        self.heads = np.stack([results[layer] for layer in layers])


def contributions(reading: Reading, dy: NDArray) -> tuple[NDArray, NDArray]:
    """Gradient times activation of the score whose gradient with respect to y is dy (T, D).

    -> of each head (L, N), and dx (T, D).
    """
    dx, dheads = reading.backward(dy)
    return (dheads * reading.heads).sum(axis=(2, 3)), dx


def log_probabilities(model: Any, ids: Ids, patches: Patches | None = None) -> NDArray:
    """log P of each token after the first, (T - 1,)."""
    logits, _ = model.predict(Reading(model, ids, patches).y[:-1])
    return np.log(next_probabilities(logits)[np.arange(len(ids) - 1), ids[1:]])


def token_effects(model: Any, ids: Ids) -> NDArray:
    """Ablation: what the input vector of each token adds to log P of each, (T - 1, T)."""
    whole = log_probabilities(model, ids)
    without = [log_probabilities(model, ids, {(j,): 0.0}) for j in range(len(ids))]
    return whole[:, None] - np.stack(without, axis=1)


def head_effects(model: Any, ids: Ids, other: Ids | None = None) -> NDArray:
    """Ablation: what each head adds to log P of each token after the first, (T - 1, L, N).

    With other ids (T,), each head's result is patched with its result on that text.
    """
    heads = Reading(model, ids if other is None else other).heads * (other is not None)
    L, N = heads.shape[:2]
    whole, found = log_probabilities(model, ids), np.empty((len(ids) - 1, L, N))
    for at in np.ndindex(L, N):
        found[:, *at] = whole - log_probabilities(model, ids, {at: heads[at]})
    return found


def induction_scores(weights: NDArray, ids: Ids) -> NDArray:
    """The mean weight on the token after the last occurrence, by head.

    weights (L, N, T, T) of a causal model -> (L, N), over the tokens that occurred before; NaN if
    there are none.
    """
    places = [(t, np.flatnonzero(ids[:t] == ids[t])) for t in range(len(ids))]
    pairs = np.array([(t, before[-1] + 1) for t, before in places if len(before)], int)
    rows, columns = pairs.reshape(-1, 2).T
    return weights[..., rows, columns].mean(axis=-1) if len(rows) else weights[..., 0, 0] * np.nan
