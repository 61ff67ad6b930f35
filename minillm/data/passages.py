"""Passages of a long text in BERT's format: [CLS] tokens [SEP].

Source: Devlin et al. (2018), appendix A.2.  As in the code published with it, one passage in ten is
shorter, so that the model also learns from short texts.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from minillm.data.masking import Texts
from minillm.data.windows import Ids, RandomWindows

SHORT = 0.1  # share of the passages


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
