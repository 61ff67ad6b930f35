"""Passages of a long text, [CLS] tokens [SEP], with masked tokens for a model to predict.

15% of the tokens of each row are predicted.  If all of them became [MASK], the model would learn
only about texts that contain [MASK], unlike real texts.  So of these

    80% become [MASK],
    10% become a random token, so that the model does not trust every token that it reads,
    10% do not change, so that it does not distrust every token, either.

Special tokens are neither masked nor drawn.  One passage in ten is shorter, so that the model also
learns from short texts.

Sources: Devlin, Chang, Lee and Toutanova (2018), "BERT: pre-training of deep bidirectional
transformers for language understanding", section 3.1 and appendices A.1 and A.2; the code published
with it for the number of places in a row and the shorter passages.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm.data.windows import Ids, RandomWindows

SHORT = 0.1  # share of the passages
CHOSEN = 0.15  # share of the tokens that are predicted
HIDDEN, REPLACED = 0.8, 0.1  # shares of these that become [MASK], or a random token


class Texts(NamedTuple):
    """Texts (B, T), their lengths (B,), and the part, 0 or 1, that each token belongs to (B, T)."""

    ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    segments: NDArray[np.int64]


class Passages(RandomWindows):
    """An endless series of batches of passages from random places.

    An epoch has as many tokens as the text, if no passage is short.
    """

    def __init__(
        self,
        ids: Ids,
        batch: int,
        context: int,
        cls: int,
        sep: int,
        seed: int = 0,
        position: int = 0,
    ):
        super().__init__(ids, batch, context - 2, seed, position)
        self.cls, self.sep = cls, sep

    def next(self) -> Texts:  # type: ignore[override]
        """The next batch."""
        rng = np.random.default_rng((self.seed, self.position))
        self.position += 1
        starts = rng.integers(0, len(self.ids) - self.window, (self.batch, 1))
        passages = self.ids[starts + np.arange(self.window)].astype(np.int64)  # (B, room)
        short = rng.random(self.batch) < SHORT
        least = min(2, self.window)
        lengths = np.where(short, rng.integers(least, self.window + 1, self.batch), self.window)
        rows = [[row[:length]] for row, length in zip(passages, lengths, strict=True)]
        return framed(rows, self.cls, self.sep)


def passages_once(ids: Ids, batch: int, context: int, cls: int, sep: int) -> Iterator[Texts]:
    """The whole text in consecutive passages; the last one may be shorter."""
    room = context - 2
    starts = range(0, len(ids), room)
    for begin in range(0, len(starts), batch):
        rows = [[ids[start : start + room]] for start in starts[begin : begin + batch]]
        yield framed(rows, cls, sep)


def framed(rows: Iterable[list[NDArray]], cls: int, sep: int, padding: int = 0) -> Texts:
    """The parts of each row with [CLS] before the first and [SEP] after each, padded.

    >>> texts = framed([[[7, 8], [9]], [[7]]], cls=1, sep=2)
    >>> texts.ids.tolist(), texts.lengths.tolist()
    ([[1, 7, 8, 2, 9, 2], [1, 7, 2, 0, 0, 0]], [6, 3])
    >>> texts.segments.tolist()
    [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]]
    """
    whole, numbers = [], []
    for parts in rows:
        whole.append(np.concatenate([[cls], *([*part, sep] for part in parts)]))
        sizes = [len(part) + 1 + (number == 0) for number, part in enumerate(parts)]
        numbers.append(np.repeat(np.arange(len(parts)), sizes))
    lengths = np.array([len(row) for row in whole], np.int64)
    ids = np.full((len(whole), lengths.max()), padding, np.int64)
    segments = np.zeros_like(ids)
    for at, (row, of_row) in enumerate(zip(whole, numbers, strict=True)):
        ids[at, : len(row)], segments[at, : len(row)] = row, of_row
    return Texts(ids, lengths, segments)


class MaskedBatch(NamedTuple):
    """Texts with tokens to predict: B rows of T tokens, M places.

    ids (B, T): the tokens that the model reads; lengths (B,) of the rows; segments (B, T): the
    part of the text that a token belongs to, 0 or 1; places (B, T): True at the tokens to predict;
    targets (M,): the original tokens there, row by row.
    """

    ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    segments: NDArray[np.int64]
    places: NDArray[np.bool_]
    targets: NDArray[np.int64]

    def part(self, rows: slice) -> "MaskedBatch":
        """Select rows."""
        ids, lengths, segments, places, targets = self
        taken = np.zeros(len(ids), bool)
        taken[rows] = True
        kept = targets[taken[np.nonzero(places)[0]]]
        return MaskedBatch(ids[rows], lengths[rows], segments[rows], places[rows], kept)


@dataclass(frozen=True)
class Masking:
    """The tokens that may be masked.

    mask: the id of [MASK]; ordinary (V,): True for the ids that are not special.
    """

    mask: int
    ordinary: NDArray[np.bool_]

    def hide(self, texts: Texts, rng: np.random.Generator) -> MaskedBatch:
        """Texts with some of their tokens masked.

        >>> texts = Texts(np.array([[0, 5, 6, 7, 5, 0]]), np.array([6]), np.zeros((1, 6), int))
        >>> masking = Masking(1, ordinary=np.arange(8) >= 5)
        >>> batch = masking.hide(texts, np.random.default_rng(1))
        >>> batch.ids.tolist(), batch.places.astype(int).tolist(), batch.targets.tolist()
        ([[0, 5, 1, 7, 5, 0]], [[0, 0, 1, 0, 0, 0]], [6])
        """
        ids, lengths, segments = texts
        may = self.ordinary[ids] & (np.arange(ids.shape[1]) < lengths[:, None])  # (B, T)
        places = choose_tokens(may, rng)
        dice = rng.random(ids.shape)
        drawn = rng.choice(np.flatnonzero(self.ordinary), ids.shape)
        read = np.where(places & (dice < HIDDEN + REPLACED), drawn, ids)
        read = np.where(places & (dice < HIDDEN), self.mask, read)
        return MaskedBatch(read, lengths, segments, places, ids[places])


def how_many(may: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The number of places to choose in each row (B,): 15% of the possible ones, at least one."""
    among = may.sum(axis=1)
    return np.minimum(among, np.maximum(1, np.rint(CHOSEN * among).astype(np.int64)))


def choose_tokens(may: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Some of the True places of each row, all equally likely; (B, T)."""
    lots = np.where(may, rng.random(may.shape), np.inf)
    ranks = lots.argsort(axis=1).argsort(axis=1)
    return ranks < how_many(may)[:, None]
