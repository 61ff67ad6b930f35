"""From a model's logits to the next token: adjustments, temperature, rules such as top-p, the draw.

1. Adjustments change the logits.  Models repeat themselves, so penalties make tokens that have
   occurred less probable; a bias adds to chosen tokens.
2. The temperature: p = softmax(logits / temperature).
3. Rules decide which tokens may be drawn: each keeps the most probable ones.
4. One token is drawn.

A rule is registered by its name, which is also the name of its value in :func:`next_probabilities`
and of its field in :class:`Sampling`.  The fields declare the ranges of the values; the rules trust
them.

To sort a whole vocabulary takes longer than all the rest.  The rules seldom keep more than a few
tokens, so only the most probable ones are ranked where that is enough.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError
from minillm.option import checked, option

Logits = NDArray[np.float64]

# The logits (V,) of the next id, and all ids that have been drawn -> the logits after a change: a
# new array.  A change with a state, such as how far a grammar has read, belongs to one text.
Adjustment = Callable[[Logits, Sequence[int]], Logits]

# Probabilities (n,) in descending order, and the rule's value -> a mask of those kept, the first.
Rule = Callable[[NDArray[np.float64], float], NDArray[np.bool_]]

RULES: dict[str, Rule] = {}

LIKELY = 1024  # tokens that are ranked first: the rules seldom keep more


# --- adjustments ---------------------------------------------------------------------------------


def penalised(logits: NDArray, text: Sequence[int], penalty: float) -> Logits:
    """The logits (V,) after the tokens of a text have been made less probable: a new array.

        x_i -> x_i / penalty if x_i > 0, else x_i penalty       for each id i in the text

    Source: Keskar et al. (2019), "CTRL: a conditional Transformer language model for controllable
    generation", section 4.1.  They divide negative logits as well, which makes these tokens more
    probable.
    """
    logits = np.array(logits, np.float64)
    ids = np.asarray(text, np.int64)
    logits[ids] *= np.where(logits[ids] > 0, 1 / penalty, penalty)  # once for equal ids
    return logits


def less_often(
    logits: Logits, written: Sequence[int], frequency: float = 0.0, presence: float = 0.0
) -> Logits:
    """The logits (V,) after penalties of the tokens that have been drawn: a new array.

        x_i -> x_i - frequency c_i - presence [c_i > 0]

    c_i is the number of times that id i was drawn; the prompt does not count.  Negative values
    make repetition more probable.

    Source: OpenAI (2023), "API reference", frequency_penalty and presence_penalty.
    """
    ids, counts = np.unique(np.asarray(written, np.int64), return_counts=True)
    logits = logits.copy()
    logits[ids] -= frequency * counts + presence
    return logits


def biased(logits: Logits, written: Sequence[int], biases: Mapping[int, float]) -> Logits:
    """The logits (V,) with a number added to each of some tokens: a new array.

    A bias of 100 or -100 makes a token certain or impossible, as far as logits differ by less.

    Source: OpenAI (2023), "API reference", logit_bias.
    """
    logits = logits.copy()
    logits[list(biases)] += np.array(list(biases.values()))
    return logits


# --- rules ---------------------------------------------------------------------------------------


def rule(function: Rule) -> Rule:
    """Register a rule; the rules act in the order in which they are registered."""
    RULES[function.__name__] = function
    return function


@rule
def top_k(ranked: NDArray[np.float64], k: float) -> NDArray[np.bool_]:
    """Keep the k most probable tokens.

    Source: Fan, Lewis and Dauphin (2018), "Hierarchical neural story generation", section 5.2.
    """
    return np.arange(len(ranked)) < k


@rule
def top_p(ranked: NDArray[np.float64], p: float) -> NDArray[np.bool_]:
    """Keep the smallest number of the most probable tokens whose probabilities sum to at least p.

    Source: Holtzman et al. (2020), "The curious case of neural text degeneration", section 3.1.
    """
    before = np.cumsum(ranked) - ranked  # the sum over the tokens ranked before each
    return (before < p) | (p == 1)


@rule
def min_p(ranked: NDArray[np.float64], p: float) -> NDArray[np.bool_]:
    """Keep the tokens with at least p times the probability of the most probable one.

    Where the model is sure, few tokens pass; where it is not, many do, however small each is.

    Source: Nguyen et al. (2024), "Turning up the heat: min-p sampling for creative and coherent
    LLM outputs", section 4.
    """
    return ranked >= p * ranked[0]


def next_probabilities(
    logits: NDArray, temperature: float = 1.0, **values: float | None
) -> NDArray[np.float64]:
    """The probabilities of the next token after the rules: logits (..., V) -> (..., V).

        p = softmax(logits / temperature)

    ``values`` has the values of rules, such as top_k=40; None: the rule is not applied.  A token
    that a rule does not keep gets probability zero, and the rest is normalised again.  Temperature
    0 is the greedy choice: the most probable token has probability one.  Among equal logits, lower
    ids are kept.

    >>> logits = np.log([0.1, 0.4, 0.2, 0.3])
    >>> next_probabilities(logits, top_k=3).round(2).tolist()
    [0.0, 0.44, 0.22, 0.33]
    >>> next_probabilities(logits, top_k=3, top_p=0.5).round(2).tolist()
    [0.0, 0.57, 0.0, 0.43]

    InputError for logits that are NaN, and for a value out of its range.
    """
    given = {"temperature": temperature, **values}
    checked(Sampling, {n: v for n, v in given.items() if n in Sampling.__dataclass_fields__})
    logits = np.asarray(logits, np.float64)
    if unknown := values.keys() - RULES.keys():
        raise TypeError(f"expected a rule of {', '.join(RULES)}, found {min(unknown)}")
    p = tempered(logits, temperature)
    rules = [(RULES[name], value) for name in RULES if (value := values.get(name)) is not None]
    if not rules:
        return p
    V = logits.shape[-1]
    for row, of_row in zip(logits.reshape(-1, V), p.reshape(-1, V), strict=True):
        (first, value), order = rules[0], rank(row, LIKELY)
        if first(of_row[order], value)[-1]:  # otherwise it drops all less likely tokens, too
            order = rank(row, V)
        ranked = of_row[order]
        for rule, value in rules:
            ranked = np.where(rule(ranked, value), ranked, 0)
            ranked /= ranked.sum()
        of_row[:] = 0
        of_row[order] = ranked
    return p


def tempered(logits: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """softmax(logits / temperature), (..., V); at 0, one for the largest logit of each row."""
    largest = logits.max(axis=-1, keepdims=True)
    require_finite(largest)
    if temperature == 0:
        best = np.arange(logits.shape[-1]) == logits.argmax(axis=-1, keepdims=True)
        return best.astype(np.float64)
    p = logits - largest
    with np.errstate(over="ignore"):  # a tiny temperature makes minus infinity, as it should
        p /= temperature  # in place, because each new array of a large V costs as much
    np.exp(p, out=p)
    p /= p.sum(axis=-1, keepdims=True)
    return p


def rank(logits: NDArray, most: int) -> NDArray[np.intp]:
    """The ids of the ``most`` largest logits (V,), and of those that equal the least of them.

    The largest come first; among equal ones, lower ids.
    """
    if most >= len(logits):
        return np.argsort(-logits, kind="stable")
    ids = np.flatnonzero(logits >= np.partition(logits, -most)[-most])
    return ids[np.argsort(-logits[ids], kind="stable")]


def sample(probabilities: NDArray, rng: np.random.Generator) -> NDArray[np.int64]:
    """One id drawn from each row: probabilities (..., V) -> ids (...).

    By inversion: the first id at which the cumulative probability exceeds a uniform number.
    """
    cumulative = probabilities.cumsum(axis=-1)
    total = cumulative[..., -1:]
    uniform = rng.random(total.shape) * total  # below the total, rounding included
    return (cumulative <= uniform).sum(axis=-1)


_option = partial(option, group="sampling")


@dataclass(frozen=True)
class Sampling:
    """The rules of drawing a token, of a text, a chat, the server and on the command line.

    A generator of random numbers starts from ``seed``; None: from an unpredictable one.
    InputError for a value out of its range.
    """

    temperature: float = _option(
        0.8,
        "below 1, probable tokens more often, above 1 less often; 0: the most probable",
        "T",
        least=0,
    )
    top_k: int | None = _option(
        None, "sample from the K most probable tokens only", "K", least=1, most=10**6
    )
    top_p: float | None = _option(
        None,
        "sample from the smallest set of most probable tokens whose probabilities sum to P",
        "P",
        above=0,
        most=1,
    )
    min_p: float | None = _option(
        None,
        "sample from tokens with at least P times the largest probability",
        "P",
        least=0,
        most=1,
    )
    repetition_penalty: float = _option(
        1.0, "above 1, tokens of the text so far are less probable", "R", above=0, most=1e6
    )
    seed: int | None = _option(
        None, "the same seed draws the same text", "N", least=0, most=2**63 - 1
    )

    def __post_init__(self) -> None:
        checked(type(self), vars(self), "")

    def draw(self, logits: NDArray, rng: np.random.Generator, text: Sequence[int] = ()) -> int:
        """The next id, from its logits (V,); ``text`` are the ids before it."""
        if self.temperature == 0 and self.repetition_penalty == 1:
            best = int(logits.argmax())
            require_finite(logits[best])
            return best
        return int(sample(self.probabilities(logits, text), rng))

    def probabilities(self, logits: NDArray, text: Sequence[int] = ()) -> NDArray[np.float64]:
        """The probabilities (V,) that the next id is drawn with."""
        if self.repetition_penalty != 1:
            logits = penalised(logits, text, self.repetition_penalty)
        rules = {name: getattr(self, name, None) for name in RULES}
        return next_probabilities(logits, self.temperature, **rules)


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
