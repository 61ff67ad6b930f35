"""From a model's logits to the next token: temperature, top-k, top-p and the draw.

A rule is a function that decides which tokens may be drawn.  It is registered by its name, which
is also the name of its value in :func:`next_probabilities` and :class:`minillm.decoding.Writer`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError
from minillm.ops.softmax import softmax_forward

# Probabilities (..., V), the most probable first, and the rule's value -> a mask of those kept.
Rule = Callable[[NDArray[np.float64], float], NDArray[np.bool_]]

RULES: dict[str, Rule] = {}


def rule(function: Rule) -> Rule:
    """Register a rule; the rules act in the order in which they are registered."""
    RULES[function.__name__] = function
    return function


@rule
def top_k(ranked: NDArray[np.float64], k: float) -> NDArray[np.bool_]:
    """Keep the k most probable tokens.

    Source: Fan, Lewis and Dauphin (2018), "Hierarchical neural story generation", section 5.2.
    """
    if not k >= 1:
        raise ValueError(f"top_k: expected 1 or more, found {k}")
    return np.broadcast_to(np.arange(ranked.shape[-1]) < k, ranked.shape)


@rule
def top_p(ranked: NDArray[np.float64], p: float) -> NDArray[np.bool_]:
    """Keep the smallest number of the most probable tokens whose probabilities sum to at least p.

    Source: Holtzman et al. (2020), "The curious case of neural text degeneration", section 3.1.
    """
    if not 0 < p <= 1:
        raise ValueError(f"top_p: expected above 0 and at most 1, found {p}")
    before = np.cumsum(ranked, axis=-1) - ranked  # the sum over the tokens ranked before each
    return (before < p) | (p == 1)


def next_probabilities(
    logits: NDArray, temperature: float = 1.0, **values: float | None
) -> NDArray[np.float64]:
    """The probabilities of the next token after the rules: logits (..., V) -> (..., V).

        p = softmax(logits / temperature)

    ``values`` has the values of rules, such as top_k=40; None: the rule is not applied.  A token
    that a rule does not keep gets probability zero, and the rest is normalised again.  Temperature
    0 is the greedy choice: the most probable token has probability one.  Among equal logits, lower
    ids are kept.

    InputError for logits that are NaN.
    """
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature: expected a finite number from 0, found {temperature}")
    if unknown := values.keys() - RULES.keys():
        raise TypeError(f"{min(unknown)}: expected one of {', '.join(RULES)}")
    logits = np.asarray(logits, np.float64)
    largest = logits.max(axis=-1, keepdims=True)
    require_finite(largest)
    if temperature == 0:
        best = np.arange(logits.shape[-1]) == logits.argmax(axis=-1, keepdims=True)
        p = best.astype(np.float64)
    else:
        with np.errstate(over="ignore"):  # a tiny temperature makes minus infinity, as it should
            p = softmax_forward((logits - largest) / temperature)
    rules = {name: value for name, value in values.items() if value is not None}
    if not rules:
        return p

    order = np.argsort(-logits, axis=-1, kind="stable")  # the most probable first
    ranked = np.take_along_axis(p, order, axis=-1)
    for name in (name for name in RULES if name in rules):
        ranked = np.where(RULES[name](ranked, rules[name]), ranked, 0)
        ranked /= ranked.sum(axis=-1, keepdims=True)
    np.put_along_axis(p, order, ranked, axis=-1)
    return p


def sample(probabilities: NDArray, rng: np.random.Generator) -> NDArray[np.int64]:
    """One id drawn from each row: probabilities (..., V) -> ids (...).

    By inversion: the first id at which the cumulative probability exceeds a uniform number.
    """
    cumulative = probabilities.cumsum(axis=-1)
    total = cumulative[..., -1:]
    uniform = rng.random(total.shape) * total  # below the total, rounding included
    return (cumulative <= uniform).sum(axis=-1)


def require_finite(largest: NDArray) -> None:
    """InputError unless the largest logit of each row is finite, because softmax needs that.

    Other logits may be minus infinity: these tokens are impossible.
    """
    finite = np.isfinite(largest)
    if not finite.all():
        worst = largest[~finite].flat[0]
        raise InputError(
            f"the model's logits are {'NaN' if np.isnan(worst) else worst}: its weights are "
            "damaged, or its training diverged"
        )
