"""Standard input, some lines at a time."""

import sys
from collections.abc import Iterator
from itertools import islice

CHUNK = 1024  # lines that are read together, so that those of similar length can be batched


def chunks() -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Lines of standard input and their places; one at a time from a terminal."""
    from minillm.data.lines import read_lines

    lines = read_lines("-")
    size = 1 if sys.stdin is not None and sys.stdin.isatty() else CHUNK
    while chunk := list(islice(lines, size)):
        texts, places = zip(*chunk, strict=True)
        yield texts, places
