"""Look-ups in columns that are longer than memory, and divided among ranks.

    gather:  out[i] = values[places[i]]        tally:  count[j] = |{i : places[i] = j}|

The places are in no order, and values and count are longer than memory.  They are cut into tables
that fit.  One pass over the places deals them to the tables, in files.  Each table in turn answers
the places in its file, in the same order.  A second pass over the places takes each answer from the
file of its table.  All files are read from front to back.  Among ranks, the same is done before,
with messages in place of files.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


def _deal(places: NDArray, bounds: NDArray) -> tuple[NDArray[np.int64], list[NDArray]]:
    """Sort places by their part: return the order, and the places of each part.

    Part r has bounds[r] to bounds[r + 1] - 1; its places are counted from its beginning.
    """
    owner = (np.searchsorted(bounds, places, "right") - 1).astype(np.int16)
    order = np.argsort(owner, kind="stable")
    cuts = np.cumsum(np.bincount(owner, minlength=len(bounds) - 1))[:-1]
    return order, np.split((places - bounds[owner])[order].astype(np.int32), cuts)


def _send(streams: Streams, places: OnDisk, bounds: NDArray) -> tuple[OnDisk, list[list[int]]]:
    """Send all places to their ranks: return those received, and their number in each round."""
    received, sizes = streams.spill.new(np.int32), []
    block = streams.block
    for k in range(streams.rounds(len(places), block)):
        _, parts = _deal(places[k * block : (k + 1) * block], bounds)
        parts = streams.ranks.exchange(parts)
        received.extend(np.concatenate(parts))
        sizes.append([len(part) for part in parts])
    return received, sizes


def gather(streams: Streams, values: OnDisk, places: OnDisk, bounds: NDArray) -> OnDisk:
    """values[places]; rank r has the values bounds[r] to bounds[r + 1] - 1."""
    if streams.ranks.size == 1:
        return _gather_here(streams, values, places)
    received, sizes = _send(streams, places, bounds)
    all_answers = _gather_here(streams, values, received)
    out, at, block = streams.spill.new(values.dtype), 0, streams.block
    for k, size in enumerate(sizes):
        answers = all_answers[at : at + sum(size)]
        at += sum(size)
        returned = streams.ranks.exchange(np.split(answers, np.cumsum(size)[:-1]))
        order, _ = _deal(places[k * block : (k + 1) * block], bounds)
        out.extend(_back(order, np.concatenate(returned)))
    return out


def _back(order: NDArray[np.int64], answers: NDArray) -> NDArray:
    """Undo the sorting of `_deal`."""
    out = np.empty_like(answers)
    out[order] = answers
    return out


def _gather_here(streams: Streams, values: OnDisk, places: OnDisk) -> OnDisk:
    """Gather from one rank's values, table by table."""
    new, block = streams.spill.new, streams.block
    bounds, dealt = _tables(streams, places, len(values), streams.table)
    answered = []
    for k, column in enumerate(dealt):
        table = values[bounds[k] : bounds[k + 1]]
        answered.append(new(values.dtype))
        for part in column.blocks(block):
            answered[-1].extend(table[part])
            streams.progress(f"suffixes: {sum(map(len, answered)):,} of {len(places):,} read")
    if len(answered) == 1:
        return answered[0]
    out, position = new(values.dtype), np.zeros(len(answered), np.int64)
    for part in places.blocks(block):
        order, parts = _deal(part, bounds)
        sizes = [len(each) for each in parts]
        answers = [
            column[at : at + size]
            for column, at, size in zip(answered, position, sizes, strict=True)
        ]
        position += sizes
        out.extend(_back(order, np.concatenate(answers)))
    return out


def _tables(
    streams: Streams, places: OnDisk, length: int, size: int
) -> tuple[NDArray, list[OnDisk]]:
    """Cut ``length`` elements into tables: return their bounds, and the places in each."""
    bounds = np.append(np.arange(0, length, size), length)
    if len(bounds) <= 2:
        return np.array([0, length]), [places]
    dealt = [streams.spill.new(np.int32) for _ in bounds[1:]]
    for part in places.blocks(streams.block):
        for column, each in zip(dealt, _deal(part, bounds)[1], strict=True):
            column.extend(each)
    return bounds, dealt


def tally(streams: Streams, places: OnDisk, bounds: NDArray) -> OnDisk:
    """The frequency in places of each number of this rank, bounds[r] to bounds[r + 1] - 1."""
    if streams.ranks.size > 1:
        places, _ = _send(streams, places, bounds)
    length = int(np.diff(bounds)[streams.ranks.rank])
    table = streams.table // 2 + 1
    parts, dealt = _tables(streams, places, length, table)
    out = streams.spill.new(np.int64)
    for size, column in zip(np.diff(parts), dealt, strict=True):
        count = np.zeros(size, np.int64)
        for part in column.blocks(table // 2 + 1):
            count += np.bincount(part, minlength=size)
            streams.progress(f"suffixes: {len(out):,} of {length:,} counted")
        out.extend(count)
    return out


def collected(streams: Streams, column: OnDisk, shift: int) -> OnDisk:
    """Join the columns of all ranks on rank 0.

    The sum of the shifts of lower ranks is added to each column.
    """
    ranks, block = streams.ranks, streams.block
    if ranks.size == 1:
        return column
    whole, nothing = streams.spill.new(column.dtype), np.zeros(0, column.dtype)
    shifts = np.append(0, np.cumsum(ranks.gather(shift)))
    for source, length in enumerate(ranks.gather(len(column))):
        for at in range(0, length, block):
            piece = column[at : at + block] if ranks.rank == source else nothing
            received = ranks.exchange([piece, *[nothing] * (ranks.size - 1)])
            if ranks.rank == 0:
                whole.extend(received[source] + shifts[source])
    return whole
