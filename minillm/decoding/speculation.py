"""Speculation: an n-gram model guesses the next tokens, and one pass of the network checks them.

A step of a large network reads all of its weights for one token.  A pass over several tokens reads
them once, so it takes little longer.  Given k guesses of the next tokens, one pass yields the
logits after each.  As long as the token drawn is the guess, the next logits are there already.
After the first wrong guess, the rest of the pass is of no use.

Each token is drawn from the network's own probabilities, with the same random numbers as without
guesses.  The text is thus the same, greedy or sampled.  (Leviathan et al. accept a guess x of
probability q(x) with the probability min(1, p(x) / q(x)).  The guesses here are certain, q(x) = 1,
and to draw from p and to compare does the same.)

An n-gram model of the text so far, above all of the prompt, makes the guesses: it finds where the
last few tokens occurred before, and guesses the tokens that followed there.  Code, summaries and
corrections repeat their sources.  Elsewhere guesses are wrong and cost time.  A
:class:`Speculation` counts its gains and losses, and guesses as long as the losses are small.

Sources: Leviathan, Kalman and Matias (2023), "Fast inference from Transformers via speculative
decoding"; Yang et al. (2023), "Inference with reference: lossless acceleration of large language
models", for guesses from the prompt; Saxena (2023), "Prompt lookup decoding".
"""

from collections.abc import Sequence
from typing import Any

from minillm.decoding.causal import CausalReader

ORDERS = (5, 3)  # tokens before a guess that must have occurred, the best first

# The time to check a guess, in steps: measured with 135 million weights of 4 bits, which have to
# come from memory, on one thread; a single guess takes a third of it.  The weights of a small
# model stay in the cache of the CPU, and guesses gain nothing.
OF_GUESS = 0.34
LEAST_WEIGHTS = 10**8
OF_PROMPT = 0.12  # of a step: the time to read a token of a prompt, at least

SHARE = 0.03  # of the time that guesses may cost
MANY = 15  # guesses at a time
SAVED = 8.0  # steps: of what has been gained, no more is spent on wrong guesses


def is_worthwhile(reader: Any) -> bool:
    """Whether a pass over several tokens takes little longer than a step of a model."""
    if not isinstance(reader, CausalReader) or reader.most_steps <= MANY:
        return False
    return sum(weight.size for weight in reader.model.params.values()) >= LEAST_WEIGHTS


class OwnNGrams:
    """The tokens that followed the last ones of a text where they occurred before."""

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], int] = {}  # a context -> the last place after it
        self._known = 0  # tokens of the text whose places are entered

    def guess(self, text: Sequence[int], k: int) -> list[int]:
        """The k tokens that follow the last ones of ``text``, or none; a text may only grow."""
        for end in range(self._known, len(text)):
            for order in ORDERS:
                if end >= order:
                    self._after[tuple(text[end - order : end])] = end
        self._known = len(text)
        for order in ORDERS:
            place = self._after.get(tuple(text[-order:]))
            if place is not None:
                guesses = list(text[place : place + k])
                for at in range(len(guesses), k):  # a text that repeats itself to its end
                    guesses.append(guesses[at - (len(text) - place)])
                return guesses
        return []


class Speculation:
    """The number of tokens to guess: more after right guesses, none while they cost too much.

    It is an odd number: with the token before, the guesses then fill whole tiles of rows.

    It counts in steps of the network, not in seconds, so that one seed always writes one text.
    """

    def __init__(self) -> None:
        self.most = 1
        self._ngrams = OwnNGrams()
        self._balance = 0.0  # steps that guesses have gained, or lost
        self._elapsed = 0.0  # steps

    def elapse(self, tokens: int) -> None:
        """Count the time in which tokens are read, without guesses."""
        self._elapsed += 1 if tokens == 1 else OF_PROMPT * tokens

    def guess(self, text: Sequence[int], most: int) -> list[int]:
        """At most ``most`` tokens that may follow the text."""
        k = min(self.most, most)
        if k < 1 or self._balance + SHARE * self._elapsed < OF_GUESS * k:
            return []
        return self._ngrams.guess(text, k)

    def learn(self, guessed: int, right: int) -> None:
        """Count a pass that drew ``right`` tokens as they had been guessed, and one more."""
        self._balance = min(self._balance + right - OF_GUESS * guessed, SAVED)
        self._elapsed += 1 + OF_GUESS * guessed
        self.most = min(self.most + 2, MANY) if right == guessed else self.most // 2 | 1
