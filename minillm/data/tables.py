"""Look-ups in columns that are longer than memory, and divided among ranks.

    gather:  out[i] = values[places[i]]        tally:  count[j] = |{i : places[i] = j}|

The places are in no order, and values and count are longer than memory.  They are cut into tables
that fit.  One pass over the places deals them to the tables, in files.  Each table in turn answers
the places in its file, in the same order.  A second pass over the places takes each answer from the
file of its table.  All files are read from front to back.

Several ranks are dealt to in the same way before; then they exchange the files.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import DTypeLike, NDArray

from minillm.data.streams import OnDisk, Spill
from minillm.mpi import Ranks


@dataclass(frozen=True)
class Streams:
    """The resources of the streams: a folder, bytes of memory, the processes of the job.

    progress is called with a line of text after each block.
    """

    spill: Spill
    memory: int
    ranks: Ranks
    progress: Callable[[str], None] = lambda line: None

    @property
    def chunk(self) -> int:
        """Tokens of the text that are sorted at once."""
        return max(1, self.memory // 76)

    @property
    def block(self) -> int:
        """Elements of a column that are in memory at once."""
        return max(1, self.memory // 256)

    @property
    def table(self) -> int:
        """Elements of a table of `gather`; twice as many as in a table of `tally`."""
        return max(1, self.memory // 16)

    def rounds(self, length: int, size: int) -> int:
        """The number of times that all ranks exchange ``size`` elements of unequal columns."""
        return max(self.ranks.gather(-(-length // size)))


def gather(streams: Streams, values: OnDisk, places: OnDisk, bounds: NDArray) -> OnDisk:
    """values[places]; rank r has the values bounds[r] to bounds[r + 1] - 1."""
    asked = _exchanged(streams, _dealt(streams, places, bounds), np.int32)
    answers = [_gather_here(streams, values, each) for each in asked]
    return _merged(streams, places, bounds, _exchanged(streams, answers, values.dtype))


def _gather_here(streams: Streams, values: OnDisk, places: OnDisk) -> OnDisk:
    """Gather from this rank's values, table by table."""
    bounds, answers = _bounds(len(values), streams.table), []
    dealt = _dealt(streams, places, bounds)
    for (begin, end), column in zip(pairwise(bounds), dealt, strict=True):
        table = values[begin:end]
        answers.append(streams.spill.new(values.dtype))
        for part in column.blocks(streams.block):
            answers[-1].extend(table[part])
            streams.progress(f"suffixes: {sum(map(len, answers)):,} of {len(places):,} read")
    return _merged(streams, places, bounds, answers)


def tally(streams: Streams, places: OnDisk, bounds: NDArray) -> OnDisk:
    """The frequency in places of each number of this rank, bounds[r] to bounds[r + 1] - 1."""
    received = _exchanged(streams, _dealt(streams, places, bounds), np.int32)
    size, length = streams.table // 2 + 1, int(np.diff(bounds)[streams.ranks.rank])
    parts = _bounds(length, size)
    dealt = [_dealt(streams, column, parts) for column in received]
    out = streams.spill.new(np.int64)
    for table, (begin, end) in enumerate(pairwise(parts)):
        count = np.zeros(end - begin, np.int64)
        for columns in dealt:
            for part in columns[table].blocks(size // 2 + 1):
                count += np.bincount(part, minlength=len(count))
                streams.progress(f"suffixes: {len(out):,} of {length:,} counted")
        out.extend(count)
    return out


def collected(streams: Streams, column: OnDisk, shift: int) -> OnDisk:
    """Join the columns of all ranks on rank 0.

    The sum of the shifts of lower ranks is added to each column.
    """
    ranks, new = streams.ranks, streams.spill.new
    if ranks.size == 1:
        return column
    nothing = [new(column.dtype) for _ in range(1, ranks.size)]
    whole, shifts = new(column.dtype), np.append(0, np.cumsum(ranks.gather(shift)))
    received = _exchanged(streams, [column, *nothing], column.dtype)
    for each, added in zip(received, shifts[:-1], strict=True):
        for part in each.blocks(streams.block):
            whole.extend(part + added)
    return whole


# --- dealing ----------------------------------------------------------------------------


def _bounds(length: int, size: int) -> NDArray:
    """The bounds of tables of ``size`` elements; there is at least one table."""
    return np.append(np.arange(0, max(1, length), size), length)


def _order(places: NDArray, bounds: NDArray) -> tuple[NDArray[np.int64], NDArray, NDArray]:
    """The order that sorts places by their part, the parts, and the number of places in each.

    Part r has bounds[r] to bounds[r + 1] - 1.
    """
    owner = (np.searchsorted(bounds, places, "right") - 1).astype(np.int16)
    return np.argsort(owner, kind="stable"), owner, np.bincount(owner, minlength=len(bounds) - 1)


def _dealt(streams: Streams, places: OnDisk, bounds: NDArray) -> list[OnDisk]:
    """The places in each part, counted from its beginning."""
    if len(bounds) == 2:
        return [places]
    dealt = [streams.spill.new(np.int32) for _ in bounds[1:]]
    for block in places.blocks(streams.block):
        order, owner, sizes = _order(block, bounds)
        here = (block - bounds[owner])[order]
        for column, part in zip(dealt, np.split(here, np.cumsum(sizes)[:-1]), strict=True):
            column.extend(part)
    return dealt


def _merged(streams: Streams, places: OnDisk, bounds: NDArray, answers: Sequence[OnDisk]) -> OnDisk:
    """The answers of each part in the order of the places: undo `_dealt`."""
    if len(answers) == 1:
        return answers[0]
    out, position = streams.spill.new(answers[0].dtype), np.zeros(len(answers), np.int64)
    for block in places.blocks(streams.block):
        order, _, sizes = _order(block, bounds)
        ends = position + sizes
        parts = zip(answers, position, ends, strict=True)
        merged = np.empty(len(block), out.dtype)
        merged[order] = np.concatenate([column[begin:end] for column, begin, end in parts])
        out.extend(merged)
        position = ends
    return out


def _exchanged(streams: Streams, columns: Sequence[OnDisk], dtype: DTypeLike) -> Sequence[OnDisk]:
    """Send column r to rank r; return the columns that the ranks sent here."""
    if streams.ranks.size == 1:
        return columns
    received = [streams.spill.new(dtype) for _ in columns]
    block = streams.block // len(columns) + 1
    for k in range(streams.rounds(max(map(len, columns)), block)):
        parts = streams.ranks.exchange([each[k * block : (k + 1) * block] for each in columns])
        for column, part in zip(received, parts, strict=True):
            column.extend(part)
    return received
