"""Sequences of unequal length: stored end to end, batched by length, padded in batches."""

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_POOL = 100  # batches that are sorted together: the more, the less padding


class Sequences:
    """Many sequences of ids, end to end in one array, without a Python object for each.

    >>> sequences = Sequences([[3, 1], [], [4, 1, 5]])
    >>> len(sequences), sequences[2].tolist(), sequences.lengths.tolist()
    (3, [4, 1, 5], [2, 0, 3])
    >>> sequences.padded(np.array([0, 2]))[0].tolist()
    [[3, 1, 0], [4, 1, 5]]
    """

    def __init__(self, sequences: Iterable[Iterable[int]] = ()):
        self._ids, self._ends = array("i"), array("q", [0])
        for sequence in sequences:
            self.append(sequence)

    def append(self, sequence: Iterable[int]) -> None:
        """Add a sequence at the end."""
        self._ids.extend(sequence)
        self._ends.append(len(self._ids))

    @property
    def ids(self) -> NDArray[np.intc]:
        """All ids, end to end."""
        return np.frombuffer(self._ids, np.intc)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The length of each sequence, (N,)."""
        ends = np.frombuffer(self._ends, np.int64)
        return ends[1:] - ends[:-1]

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> NDArray[np.intc]:
        return self.ids[self._ends[row] : self._ends[row + 1]]

    def padded(self, rows: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The sequences ``rows`` as one array (B, T), padded with zeros, and lengths (B,)."""
        ends = np.frombuffer(self._ends, np.int64)
        starts, lengths = ends[rows], ends[rows + 1] - ends[rows]
        steps = np.arange(max(1, lengths.max()))
        real = steps < lengths[:, None]  # (B, T)
        ids = np.zeros(real.shape, np.int64)
        ids[real] = self.ids[(starts[:, None] + steps)[real]]
        return ids, lengths


Column = Sequences | NDArray


class Minibatches:
    """An endless series of random batches of rows of similar length.

    A column of Sequences makes two entries of a batch (padded ids, lengths), an array one (its
    rows).  So columns (source, target) make batches of source, source lengths, target, target
    lengths; columns (text, label) make ids, lengths, labels.

    The order of an epoch depends only on the seed and the epoch's number.  The rows are shuffled.
    Each pool of 100 batches is sorted by length, by the last column first (by a column of much
    longer texts before it, such as the sources of summaries), and cut into batches.  The batches
    are shuffled.  The state is ``position``, the number of batches drawn.
    """

    def __init__(self, columns: tuple[Column, ...], batch: int, seed: int):
        self.columns = columns
        self.batch = batch
        self.seed = seed
        self._sorted_by = _longest_last([c for c in columns if isinstance(c, Sequences)])
        self.position, self.epoch = 0, 0  # the batches so far, and the epoch of the order
        self._order = self._epoch_order()

    @property
    def batches_per_epoch(self) -> int:
        """The number of batches in which each row is read once."""
        return len(self._order)

    def next(self) -> tuple[NDArray, ...]:
        """The next batch."""
        epoch, place = divmod(self.position, self.batches_per_epoch)
        if epoch != self.epoch:
            self.epoch, self._order = epoch, self._epoch_order(epoch)
        self.position += 1
        return self._rows(self._order[place])

    def once(self) -> Iterator[tuple[NDArray, ...]]:
        """Every row once, sorted by length, for evaluation; the position does not change."""
        for rows in _cut(self._by_length(np.arange(len(self.columns[0]))), self.batch):
            yield self._rows(rows)

    def _epoch_order(self, epoch: int = 0) -> list[NDArray]:
        rng = np.random.default_rng([self.seed, epoch])
        rows = rng.permutation(len(self.columns[0]))
        batches: list[NDArray] = []
        for pool in _cut(rows, _POOL * self.batch):
            batches += _cut(self._by_length(pool), self.batch)
        return [batches[k] for k in rng.permutation(len(batches))]

    def _by_length(self, rows: NDArray) -> NDArray:
        lengths = [column.lengths[rows] for column in self._sorted_by]
        return rows[np.lexsort(lengths)] if lengths else rows

    def _rows(self, rows: NDArray) -> tuple[NDArray, ...]:
        batch: list[NDArray] = []
        for column in self.columns:
            batch += column.padded(rows) if isinstance(column, Sequences) else [column[rows]]
        return tuple(batch)


def _longest_last(columns: list[Sequences]) -> list[Sequences]:
    """The columns in the order of sorting, the most important one last.

    Only one column can have batches almost without padding: the last one, unless another is more
    than twice as long.  (With e-mails of up to 400 words and their subjects, a third of the work on
    the e-mails would otherwise be padding.)
    """
    longest = max(columns, key=lambda column: len(column.ids), default=None)
    if longest is None or len(longest.ids) <= 2 * len(columns[-1].ids):
        return columns
    return [*(column for column in columns if column is not longest), longest]


def _cut(rows: NDArray, size: int) -> list[NDArray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def batches_in_order(
    order: Sequence[int] | NDArray[np.integer],
    lengths: Sequence[int] | NDArray[np.integer],
    *,
    rows: float = math.inf,
    tokens: float = math.inf,
    padding: float = math.inf,
) -> Iterator[NDArray[np.int64]]:
    """The numbers of the rows of each batch, from an ``order`` that is sorted by length.

    A batch has at most this many ``rows``, ``tokens`` (with its padding), and tokens that are
    ``padding``; or it is one row.

    >>> lengths = [3, 100, 4, 95]
    >>> [batch.tolist() for batch in batches_in_order([1, 3, 2, 0], lengths, padding=40)]
    [[1, 3], [2, 0]]
    """
    batch: list[int] = []
    longest = real = 0
    for row in map(int, order):
        length = int(lengths[row])
        longest, real = max(longest, length), real + length
        size = longest * (len(batch) + 1)
        if batch and (len(batch) == rows or size > tokens or size - real > padding):
            yield np.array(batch)
            batch, longest, real = [], length, length
        batch.append(row)
    if batch:
        yield np.array(batch)
