"""From a model's logits to the next token: greedy choice, temperature, top-k and top-p.

Sources: top-k, Fan, Lewis and Dauphin (2018), section 5.2; top-p ("nucleus"), Holtzman et al.
(2020), section 3.1.
"""

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError
from minillm.ops.softmax import softmax_forward


def next_probabilities(
    logits: NDArray,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> NDArray[np.float64]:
    """The probabilities from which the next token is drawn: logits (..., V) -> (..., V).

        p = softmax(logits / temperature)

    ``top_k`` keeps the k most probable tokens; then ``top_p`` keeps the smallest number of the
    most probable tokens whose probabilities sum to at least p, always at least one.  All others
    get probability zero, and the rest is normalised again.  Temperature 0 is the greedy choice:
    the most probable token has probability one.  Of equal logits, those of lower ids are kept.

    InputError for logits that are NaN.
    """
    if not temperature >= 0:
        raise ValueError(f"temperature: expected 0 or more, found {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k: expected 1 or more, found {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p: expected above 0 and at most 1, found {top_p}")
    logits = np.asarray(logits, np.float64)
    require_finite(logits)
    if temperature == 0:
        best = np.arange(logits.shape[-1]) == logits.argmax(axis=-1, keepdims=True)
        return best.astype(np.float64)
    with np.errstate(over="ignore"):  # a tiny temperature makes minus infinity, as it should
        p = softmax_forward((logits - logits.max(axis=-1, keepdims=True)) / temperature)
    if top_k is None and top_p is None:
        return p

    order = np.argsort(-logits, axis=-1, kind="stable")  # the most probable first
    ranked = np.take_along_axis(p, order, axis=-1)
    if top_k is not None:
        ranked[..., top_k:] = 0
    ranked /= ranked.sum(axis=-1, keepdims=True)
    if top_p is not None and top_p < 1:
        before = np.cumsum(ranked, axis=-1) - ranked  # of the tokens ranked before each
        ranked[before >= top_p] = 0
        ranked /= ranked.sum(axis=-1, keepdims=True)
    np.put_along_axis(p, order, ranked, axis=-1)
    return p


def sample(probabilities: NDArray, rng: np.random.Generator) -> NDArray[np.int64]:
    """One id drawn from each row: probabilities (..., V) -> ids (...).

    By inversion: the first id at which the cumulative probability exceeds a uniform number.
    """
    cumulative = np.cumsum(probabilities, axis=-1)
    total = cumulative[..., -1:]
    uniform = rng.random(total.shape) * total  # below the total, rounding included
    return np.sum(cumulative <= uniform, axis=-1)


def require_finite(logits: NDArray) -> None:
    """InputError unless each row's largest logit is finite: else softmax is not defined.

    Minus infinity is allowed, for a token that is impossible, but not for all tokens.
    """
    largest = logits.max(axis=-1)  # NaN if one is
    if not np.isfinite(largest).all():
        found = largest[~np.isfinite(largest)].flat[0]
        raise InputError(
            f"the model's logits are {'NaN' if np.isnan(found) else found}: its weights are "
            "damaged, or its training diverged"
        )
