"""Pairs of texts: the source that an encoder-decoder reads, and the target that it writes."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from minillm.data.lines import is_json_lines, read_rows
from minillm.errors import InputError

Pair = tuple[str, str]


class PairData(Protocol):
    """A data set of pairs in three parts: "training", "validation" and "test"."""

    def pairs(self, part: str) -> Iterable[Pair]:
        """The pairs of a part.  InputError if the set has no such part."""


def read_pairs(path: str | Path) -> Iterator[Pair]:
    """The pairs of a UTF-8 file, one at a time.

    A file named ``.jsonl`` has lines ``{"source": "...", "target": "..."}``, any other file lines
    ``source<TAB>target``.  A "target" may be a list, which makes a pair of each of its texts.
    InputError names a line with a missing or empty side.
    """
    for pair, _ in read_placed_pairs(path):
        yield pair


def read_placed_pairs(path: str | Path) -> Iterator[tuple[Pair, str]]:
    """The pairs of :func:`read_pairs`, each with its place in the file."""
    for source, target, place in read_rows(path, ("source", "target"), several=True):
        if "\t" in target and not is_json_lines(path):
            tabs = 1 + target.count("\t")
            raise InputError(f"{place}: expected source<TAB>target, found {tabs} tabs")
        yield pair_of(source, target, place), place


def pair_of(source: str, target: str, place: str) -> Pair:
    """A pair without white space around its sides; InputError if one of them is empty."""
    if not source.strip() or not target.strip():
        side = "target" if source.strip() else "source"
        raise InputError(f"{place}: expected source and target, found an empty {side}")
    return source.strip(), target.strip()


class PairFile:
    """Pairs from a file; the validation pairs come from another file, or are the last tenth."""

    def __init__(self, path: str | Path, validation_path: str | Path | None = None):
        self.path, self.validation_path = path, validation_path
        count = sum(1 for _ in read_pairs(path))
        held_out = 0 if validation_path else count // 10
        self.training_count = count - held_out
        if not validation_path and held_out == 0:
            raise InputError(
                f"{path}: expected 10 pairs or more, because a tenth is held out, found {count}"
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
