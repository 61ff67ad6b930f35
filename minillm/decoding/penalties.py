"""Penalties: tokens that have occurred become less probable; and a bias of single tokens.

Models repeat themselves, the more so the more probable their tokens are.  The penalties change the
logits before temperature and the rules of :mod:`minillm.decoding.sampling` act:

    penalised     divides or multiplies the logits of all tokens of the text, the prompt included
    Occurrences   subtracts from the logits of the tokens that have been drawn
    Bias          adds to the logits of chosen tokens, whether they have occurred or not

The last two are adjustments of a :class:`minillm.decoding.continuation.Continuation`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float64]


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


@dataclass(frozen=True)
class Occurrences:
    """Penalties of the tokens that have been drawn, by how often and by whether.

        x_i -> x_i - frequency c_i - presence [c_i > 0]

    c_i is the number of times that id i was drawn; the prompt does not count.  Negative values
    make repetition more probable.

    Source: OpenAI (2023), "API reference", frequency_penalty and presence_penalty.
    """

    frequency: float = 0.0
    presence: float = 0.0

    def adjust(self, logits: Logits, written: Sequence[int]) -> Logits:
        """The logits (V,) after the penalties: a new array."""
        ids, counts = np.unique(np.asarray(written, np.int64), return_counts=True)
        logits = logits.copy()
        logits[ids] -= self.frequency * counts + self.presence
        return logits


@dataclass(frozen=True)
class Bias:
    """A number that is added to the logit of each of some tokens.

        x_i -> x_i + bias_i

    A bias of 100 or -100 makes a token certain or impossible, as far as logits differ by less.

    Source: OpenAI (2023), "API reference", logit_bias.
    """

    biases: Mapping[int, float]

    def adjust(self, logits: Logits, written: Sequence[int]) -> Logits:
        """The logits (V,) with the biases: a new array."""
        logits = logits.copy()
        logits[list(self.biases)] += np.array(list(self.biases.values()))
        return logits
