"""Longer texts than in training: scaled angles of the rotary embedding.

In :mod:`minillm.ops.rotary`, pair i turns by theta_i = base^(-2 i / D) from one position to the
next.  A text of L tokens, the longest in training, has turned it

    turns_i = L theta_i / (2 pi)

times.  A fast pair has turned many times, so it has met every angle, and a longer text shows it no
new one.  A slow pair has turned less than once: in a text of s L tokens, it meets angles that the
training has not shown, and the scores that depend on them are arbitrary.  So a model that has
learned from L tokens fails soon after them, unless the angles are changed.  Each class here is one
change:

    linear     theta_i / s                           every pair
    Llama 3    theta_i to theta_i / s                by the number of turns
    YaRN       theta_i to theta_i / s                by i, and larger scores

**Larger scores.**  A softmax over more keys is flatter, because there are more keys among which the
weights are shared.  A factor for the scores takes this back.  A score is the product of a rotated
query and a rotated key, so if cos and sin are multiplied by m, scores are multiplied by m^2, and
neither the attention nor its gradient changes: the rotation y = m R x has dx = m R^T dy.

**Dynamic scaling** (by the length of the text, "NTK-aware": bloc97 and emozilla 2023) enlarges the
base from the L-th token on.  In transformers it changes nothing in a text that fits the context,
and our models read no longer ones, so it has no class.

Legend: D width of a head, s ``factor``, L ``original_context``, m ``attention_factor``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, get_args

import numpy as np
from numpy.typing import NDArray

LARGEST = 1e9  # of the numbers of a scaling; the least is 1 / LARGEST


def frequencies(D: int, base: float) -> NDArray:
    """The angle theta_i by which each pair turns from one position to the next: (D/2,)."""
    return base ** (-2 * np.arange(D // 2) / D)


@dataclass(frozen=True)
class Linear:
    """Linear scaling, or position interpolation.

        theta_i = theta_i / s

    Position p gets the angles of position p / s.  In a text of s L tokens, no angle is new.  But
    near positions also differ by less, and the fast pairs, which told them apart, no longer do so
    well: the model must learn on.

    Source: Chen et al. (2023), "Extending context window of large language models via positional
    interpolation", section 2.3.
    """

    factor: float
    attention_factor: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        _check(self, "factor")

    def frequencies(self, D: int, base: float) -> NDArray:
        """The angle by which each pair turns from one position to the next: (D/2,)."""
        return frequencies(D, base) / self.factor


@dataclass(frozen=True)
class Llama3:
    """Llama 3's scaling: fast pairs keep their angles, slow ones are divided by s.

    A pair that turns ``high_frequency_factor`` times or more in L tokens has no new angle in a
    longer text, and tells near positions apart: it stays.  One that turns ``low_frequency_factor``
    times or less is scaled as in :class:`Linear`.  Between them, it is a mixture:

        r_i = (turns_i - low) / (high - low)                limited to 0 .. 1
        theta_i = r_i theta_i + (1 - r_i) theta_i / s

    Sources: Peng et al. (2023), "YaRN", section 3.2, for the mixture; the form is taken from Meta's
    published code of Llama 3.1.
    """

    factor: float
    low_frequency_factor: float
    high_frequency_factor: float
    original_context: float
    attention_factor: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        _check(self, *(entry.name for entry in fields(self)))
        low, high = self.low_frequency_factor, self.high_frequency_factor
        if low >= high:
            raise ValueError(f"high_frequency_factor: expected more than {low}, found {high}")

    def frequencies(self, D: int, base: float) -> NDArray:
        """The angle by which each pair turns from one position to the next: (D/2,)."""
        theta, low = frequencies(D, base), self.low_frequency_factor
        turns = self.original_context * theta / (2 * np.pi)
        r = np.clip((turns - low) / (self.high_frequency_factor - low), 0, 1)
        return r * theta + (1 - r) * theta / self.factor


@dataclass(frozen=True)
class Yarn:
    """YaRN ("yet another RoPE extension"): a mixture along the pairs, and larger scores.

    Pairs that turn beta_fast times or more in L tokens stay, those that turn beta_slow times or
    less are divided by s.  turns_i = n is solved for i, and the mixture is linear in i:

        i(n) = D ln(L / (2 pi n)) / (2 ln base)
        first, last = i(beta_fast), i(beta_slow)            rounded outwards, limited to 0 .. D - 1
        r_i = (i - first) / (last - first)                  limited to 0 .. 1
        theta_i = (1 - r_i) theta_i + r_i theta_i / s
        m = 1 + 0.1 ln s                                    if no other is given

    m is the authors' fit to the perplexity of Llamas with different s.  ``truncate`` is the
    rounding of first and last.

    Source: Peng, Quesnelle, Fan and Shippole (2023), "YaRN: efficient context window extension of
    large language models", sections 3.2 to 3.4; rounding and limits are taken from their code.
    """

    factor: float
    original_context: float
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float = None  # type: ignore[assignment]  # m; None: 1 + 0.1 ln s

    def __post_init__(self) -> None:
        _check(self, "factor", "original_context", "beta_fast", "beta_slow")
        if self.beta_fast < self.beta_slow:
            raise ValueError(
                f"beta_fast: expected {self.beta_slow} or more, found {self.beta_fast}"
            )
        if self.attention_factor is None:
            object.__setattr__(self, "attention_factor", yarn_attention_factor(self.factor))
        _check(self, "attention_factor")

    def frequencies(self, D: int, base: float) -> NDArray:
        """The angle by which each pair turns from one position to the next: (D/2,)."""
        if base <= 1:
            raise ValueError(f"base: expected above 1 with YaRN, found {base}")
        first, last = (
            D * math.log(self.original_context / (2 * math.pi * turns)) / (2 * math.log(base))
            for turns in (self.beta_fast, self.beta_slow)
        )
        if self.truncate:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, D - 1)
        if first == last:
            last += 0.001  # the mixture is a step
        r = np.clip((np.arange(D // 2) - first) / (last - first), 0, 1)
        theta = frequencies(D, base)
        return (1 - r) * theta + r * theta / self.factor


def yarn_attention_factor(factor: float) -> float:
    """YaRN's factor of cos and sin: 1 + 0.1 ln(factor), and 1 for shorter texts."""
    return 1 + 0.1 * math.log(factor) if factor > 1 else 1.0


Scaling = Linear | Llama3 | Yarn


def class_of(values: Mapping[str, object]) -> type:
    """The class whose fields are these, as in a run's config.json; Linear if there is none."""
    for scaling in get_args(Scaling):
        if {entry.name for entry in fields(scaling)} == values.keys():
            return scaling
    return Linear


def _check(scaling: object, *names: str) -> None:
    """ValueError for a number with which angles could overflow, or be NaN."""
    for name in names:
        number = getattr(scaling, name)
        if not 1 / LARGEST <= number <= LARGEST:
            raise ValueError(f"{name}: expected a number from 1e-9 to 1e9, found {number}")
