"""Pairs of texts: the source that an encoder-decoder reads, and the target that it writes."""

from collections.abc import Iterator
from pathlib import Path

from minillm.data.lines import read_columns
from minillm.data.splits import Split
from minillm.errors import InputError

Pair = tuple[str, str]


def read_pairs(path: str | Path) -> Iterator[Pair]:
    """The pairs of a UTF-8 file, one at a time, without white space around their sides.

    A file named ``.jsonl`` has lines ``{"source": "...", "target": "..."}``, any other file lines
    ``source<TAB>target``.  A source with several references has a line for each.  InputError names
    a line with a missing or empty side.
    """
    for columns, place in read_columns(path, "source", "target"):
        source, target = (text.strip() for text in columns)
        if not source or not target:
            side = "target" if source else "source"
            raise InputError(f"{place}: expected source and target, found an empty {side}")
        yield source, target


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
