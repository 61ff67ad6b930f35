"""WordPiece's training on large texts: :mod:`minillm.text.wordpiece` with less work.

Each merge updates only a few words: an index lists the words of each pair.  Unlike the count of a
pair, its gain may rise when other pairs are merged.  So all gains are computed again, as arrays.

>>> from minillm.text import wordpiece
>>> words = {"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}
>>> learn_pieces(words, 5) == wordpiece.learn_pieces(words, 5)
True
"""

from collections.abc import Mapping

import numpy as np

from minillm.text.bpe import join
from minillm.text.wordpiece import LEAST, gain, glue, neighbours, spell


def learn_pieces(words: Mapping[str, int], number: int) -> list[str]:
    """See :func:`minillm.text.wordpiece.learn_pieces`."""
    table = PairTable(words)
    learned: list[str] = []
    while len(learned) < number:
        row = table.best()
        if row is None:
            break
        if (piece := table.merge(row)) is not None:
            learned.append(piece)
    return learned


class PairTable:
    """The pieces of words, as numbers, and the words that contain each pair of them.

    left, right, count (P,): of each pair, in the order of first occurrence.  pieces (N,): the
    count of each piece in the words.
    """

    def __init__(self, words: Mapping[str, int]):
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._texts = [[self._number(piece) for piece in spell(word)] for word in words]
        self._weights = list(words.values())
        self._rows: dict[tuple[int, int], int] = {}
        self._where: list[set[int]] = []  # the words that contain a pair, or once did
        self.left, self.right = np.zeros(1024, np.int32), np.zeros(1024, np.int32)
        self.count, self.pieces = np.zeros(1024), np.zeros(len(self.names))
        for at, text in enumerate(self._texts):
            for piece in text:
                self.pieces[piece] += self._weights[at]
            self._add(at, self._weights[at])

    def _number(self, piece: str) -> int:
        if piece not in self._numbers:
            self._numbers[piece] = len(self.names)
            self.names.append(piece)
        return self._numbers[piece]

    def _row(self, pair: tuple[int, int]) -> int:
        """The row of a pair; a new one gets the next."""
        row = self._rows.setdefault(pair, len(self._rows))
        if row == len(self._where):
            self._where.append(set())
            if row == len(self.count):
                self.left, self.right = np.tile(self.left, 2), np.tile(self.right, 2)
                self.count = np.append(self.count, np.zeros(row))
            self.left[row], self.right[row] = pair
        return row

    def _add(self, at: int, weight: int) -> None:
        """Add a weight, which may be negative, to the counts of the pairs of a word."""
        for pair in neighbours(self._texts[at]):
            row = self._row(pair)
            self.count[row] += weight
            self._where[row].add(at)

    def best(self) -> int | None:
        """The row of the pair that gains the most; None if none gains anything."""
        rows = np.flatnonzero(self.count >= LEAST)
        left, right = self.left[rows], self.right[rows]
        left_count, right_count, total = self.pieces[left], self.pieces[right], self.pieces.sum()
        gains = gain(self.count[rows], left_count, right_count, total, left == right)
        if not len(rows) or gains.max() <= 0:
            return None
        names, ties = self.names, rows[gains == gains.max()].tolist()
        return min(ties, key=lambda row: (names[self.left[row]], names[self.right[row]]))

    def merge(self, row: int) -> str | None:
        """Make one piece of a pair wherever it occurs; None if the piece exists already."""
        pair = int(self.left[row]), int(self.right[row])
        piece = glue(self.names[pair[0]], self.names[pair[1]])
        if piece in self._numbers:
            self.count[row] = -np.inf
            return None
        new = self._number(piece)
        self.pieces = np.append(self.pieces, 0)
        for at in self._where[row].copy():
            self._add(at, -self._weights[at])
            self._texts[at] = join(self._texts[at], pair, new)
            self._add(at, self._weights[at])
            made = self._texts[at].count(new) * self._weights[at]
            for number, more in ((pair[0], -made), (pair[1], -made), (new, made)):
                self.pieces[number] += more
        return piece
