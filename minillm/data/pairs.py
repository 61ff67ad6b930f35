"""Pairs of texts: the source that an encoder-decoder reads, and the target that it writes."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Protocol

from minillm.data.lines import is_json_lines, read_rows
from minillm.errors import InputError

Pair = tuple[str, str]

JUDGED = 1000  # pairs whose sizes tell summaries from translations
LARGEST_RATIO = 1 / 3  # of a summary to its source
LEAST_SOURCE = 160  # bytes


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


def are_summaries(pairs: Iterable[Pair]) -> bool:
    """Whether targets are summaries, by the sizes of the first ``JUDGED`` pairs.

    The median target has at most a third of the size of its source, and the median source has 160
    bytes or more, which is some 30 words.  Sizes are in bytes of UTF-8, because a translation from
    English to Chinese has a third of the characters.
    """
    sizes = [tuple(len(side.encode()) for side in pair) for pair in islice(pairs, JUDGED)]
    if not sizes:
        return False
    ratio = median(target / source for source, target in sizes)
    return ratio <= LARGEST_RATIO and median(source for source, _ in sizes) >= LEAST_SOURCE


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
