"""Pairs of texts: the source that an encoder-decoder reads, the target that it writes."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from minillm.data.lines import read_lines
from minillm.errors import InputError

Pair = tuple[str, str]


class PairData(Protocol):
    """A data set of pairs in three parts: "training", "validation" and "test"."""

    def pairs(self, part: str) -> Iterable[Pair]:
        """The pairs of a part.  InputError where the set has no such part."""


def read_pairs(path: str | Path) -> Iterator[Pair]:
    """The pairs of a UTF-8 file of lines ``source<TAB>target``, one at a time.

    InputError, with the line's number, for a line with no tab or more than one, or with an
    empty side; and for a file that cannot be read or is empty.
    """
    for line, place in read_lines(path):
        sides = line.split("\t")
        if len(sides) != 2:
            found = "no tab" if len(sides) == 1 else f"{len(sides) - 1} tabs"
            raise InputError(f"{place}: expected source<TAB>target, found {found}")
        source, target = (side.strip() for side in sides)
        if not source or not target:
            side = "target" if source else "source"
            raise InputError(f"{place}: expected source<TAB>target, found an empty {side}")
        yield source, target


class PairFile:
    """Pairs from a file; for validation those of another file, or the last tenth of the first."""

    def __init__(self, path: str | Path, validation_path: str | Path | None = None):
        self.path, self.validation_path = path, validation_path
        count = sum(1 for _ in read_pairs(path))
        held_out = 0 if validation_path else count // 10
        self.training_count = count - held_out
        if not validation_path and held_out == 0:
            raise InputError(
                f"{path}: expected 10 pairs or more, of which a tenth is held out, found {count}"
            )

    def pairs(self, part: str) -> Iterator[Pair]:
        """The pairs of "training" or "validation"; a file has no "test"."""
        if part == "test":
            raise InputError(f"{self.path}: it has no test part: give the file to measure on")
        if part == "validation" and self.validation_path:
            yield from read_pairs(self.validation_path)
            return
        for number, pair in enumerate(read_pairs(self.path)):
            if (number >= self.training_count) == (part == "validation"):
                yield pair
