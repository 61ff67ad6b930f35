"""Pairs of texts: the source that an encoder-decoder reads, and the target that it writes."""

from collections.abc import Iterator
from pathlib import Path

from minillm.data.lines import is_json_lines, read_rows
from minillm.data.splits import Split
from minillm.errors import InputError

Pair = tuple[str, str]


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


def open_pairs(path: str | Path, validation: str | Path | None = None) -> Split[Pair]:
    """The pairs of a file; the validation pairs come from another file, or are the last tenth."""
    pairs = list(read_pairs(path))
    if validation:
        return Split(path, {"training": pairs, "validation": list(read_pairs(validation))})
    cut = len(pairs) - len(pairs) // 10
    if cut == len(pairs):
        raise InputError(
            f"{path}: expected 10 pairs or more, because a tenth is held out, found {cut}"
        )
    return Split(path, {"training": pairs[:cut], "validation": pairs[cut:]})
