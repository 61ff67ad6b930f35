"""From a model's logits to text: greedy choice and sampling, one token at a time.

Sources: top-k, Fan, Lewis and Dauphin (2018), section 5.2; top-p ("nucleus"), Holtzman et al.
(2020), section 3.1.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np


class Steppable(Protocol):
    """What generation needs of a model: to read ids (B, T) and predict the next, with a state."""

    def zero_state(self, B: int) -> Any: ...

    def read(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, Any]: ...


def next_probabilities(
    logits: np.ndarray,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> np.ndarray:
    """The probabilities from which the next token is drawn, float64.

        p = softmax(logits / temperature)

    of which ``top_k`` keeps the k likeliest tokens, then ``top_p`` the fewest likeliest tokens
    whose probabilities sum to at least p (always one at least); the rest get zero, and what is
    kept is scaled to sum to one.  Temperature 0 is the greedy choice: all on the likeliest token.
    Of equal logits the lower id counts as the likelier.

    logits (..., V) -> (..., V).
    """
    if not temperature >= 0:
        raise ValueError(f"temperature: expected 0 or more, found {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k: expected 1 or more, found {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p: expected above 0 and at most 1, found {top_p}")
    logits = np.asarray(logits, np.float64)
    if temperature == 0:
        temperature, top_k = 1.0, 1

    order = np.argsort(-logits, axis=-1, kind="stable")  # likeliest first
    ranked = np.take_along_axis(logits, order, axis=-1)
    with np.errstate(over="ignore"):  # a tiny temperature: minus infinity, thus zero, is right
        ranked = np.exp((ranked - ranked[..., :1]) / temperature)
    if top_k is not None:
        ranked[..., top_k:] = 0
    ranked /= ranked.sum(axis=-1, keepdims=True)
    if top_p is not None and top_p < 1:
        likelier = np.cumsum(ranked, axis=-1) - ranked  # the sum of all that are likelier: 0 first
        ranked[likelier >= top_p] = 0
        ranked /= ranked.sum(axis=-1, keepdims=True)

    probabilities = np.empty_like(ranked)
    np.put_along_axis(probabilities, order, ranked, axis=-1)
    return probabilities


def sample(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws an id from each row: probabilities (..., V) -> ids (...).

    By inversion: the first id at which the cumulated probability exceeds a uniform number.
    """
    cumulated = np.cumsum(probabilities, axis=-1)
    total = cumulated[..., -1:]
    uniform = rng.random(total.shape) * total  # below the total, rounding included
    return np.sum(cumulated <= uniform, axis=-1)


def generate(
    model: Steppable,
    prompt: Sequence[int] | np.ndarray,
    length: int,
    rng: np.random.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    banned: Sequence[int] = (),
) -> Iterator[int]:
    """Continues ``prompt`` (one id or more) by ``length`` ids, each yielded when it is drawn.

    ``banned`` ids, such as the unknown word, are never drawn.  See :func:`next_probabilities`.
    """
    if len(prompt) == 0:
        raise ValueError("prompt: expected at least one id")
    logits, state = model.read(np.array([prompt]), model.zero_state(1))
    for remaining in range(length - 1, -1, -1):
        scores = np.array(logits[0], np.float64)
        scores[list(banned)] = -np.inf
        id = int(sample(next_probabilities(scores, temperature, top_k, top_p), rng))
        yield id
        if remaining:
            logits, state = model.read(np.array([[id]]), state)
