"""Lines of standard input or files, in chunks."""

import sys
from collections.abc import Iterator, Sequence
from itertools import chain, islice

from minillm.data.lines import read_lines

CHUNK = 1024  # lines, so that lines of similar length can be batched


def chunks(files: Sequence[str] = ()) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Lines of files, or of standard input, and their places; one at a time from a terminal.

    The output for a chunk is flushed before the next one is read.
    """
    files = files or ["-"]
    lines = chain.from_iterable(map(read_lines, files))
    typed = "-" in files and sys.stdin is not None and sys.stdin.isatty()
    while chunk := list(islice(lines, 1 if typed else CHUNK)):
        texts, places = zip(*chunk, strict=True)
        yield texts, places
        sys.stdout.flush()
