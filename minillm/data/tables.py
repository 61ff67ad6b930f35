"""Look-ups in columns that are longer than memory.

    gather:  out[i] = values[places[i]]        tally:  count[j] = |{i : places[i] = j}|

The places are in no order, and values and count are longer than memory.  They are cut into tables
that fit.  One pass over the places deals them to the tables, in files.  Each table in turn answers
the places in its file, in the same order.  A second pass over the places takes each answer from the
file of its table.  All files are read from front to back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from minillm.data.streams import OnDisk, Spill


@dataclass(frozen=True)
class ExternalMemory:
    """The resources of the streams: a folder, and bytes of memory.

    progress is called with a line of text after each block.
    """

    spill: Spill
    memory: int
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


def gather(streams: ExternalMemory, values: OnDisk, places: OnDisk) -> OnDisk:
    """values[places]."""
    bounds, answers = _bounds(len(values), streams.table), []
    dealt = _dealt(streams, places, bounds)
    for (begin, end), column in zip(pairwise(bounds), dealt, strict=True):
        table = values[begin:end]
        answers.append(streams.spill.new(values.dtype))
        for part in column.blocks(streams.block):
            answers[-1].extend(table[part])
            streams.progress(f"suffixes: {sum(map(len, answers)):,} of {len(places):,} read")
    return _merged(streams, places, bounds, answers)


def tally(streams: ExternalMemory, places: OnDisk, length: int) -> OnDisk:
    """The frequency in places of each of the numbers below ``length``."""
    size, out = streams.table // 2 + 1, streams.spill.new(np.int64)
    bounds = _bounds(length, size)
    dealt = _dealt(streams, places, bounds)
    for (begin, end), column in zip(pairwise(bounds), dealt, strict=True):
        count = np.zeros(end - begin, np.int64)
        for part in column.blocks(size // 2 + 1):
            count += np.bincount(part, minlength=len(count))
            streams.progress(f"suffixes: {len(out):,} of {length:,} counted")
        out.extend(count)
    return out


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


def _dealt(streams: ExternalMemory, places: OnDisk, bounds: NDArray) -> list[OnDisk]:
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


def _merged(
    streams: ExternalMemory, places: OnDisk, bounds: NDArray, answers: Sequence[OnDisk]
) -> OnDisk:
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
