"""Texts larger than memory, which are read a block at a time."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from minillm.data.corpora import BLOCK, text_blocks
from minillm.data.files import MOST_IN_MEMORY, read_once
from minillm.data.python_texts import DEFAULT_TEXT


class TextStream:
    """The text that `read_text` would return, in blocks of whole lines, any number of times.

    Standard input, a pipe and a device are read once, and kept in memory, at most MOST_IN_MEMORY
    bytes of each.  A line longer than a block is cut between words.  The whole text is read once
    for its number of ``characters`` and its ``sha256``.  InputError, as from `read_text`, for bytes
    that are not UTF-8.
    """

    def __init__(self, files: Sequence[str], block: int = BLOCK):
        self.files, self.block = list(files) or [DEFAULT_TEXT], block
        once = any(map(read_once, self.files))
        self._kept = list(self._read(MOST_IN_MEMORY)) if once else None
        digest, self.characters = hashlib.sha256(), 0
        for text in self.blocks():
            digest.update(text.encode("utf-8", "surrogatepass"))
            self.characters += len(text)
        self.sha256 = digest.hexdigest()

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[str]:
        """The text from character ``start`` to ``stop``."""
        at = 0
        for text in self._read() if self._kept is None else self._kept:
            begin, end = start - at, len(text) if stop is None else stop - at
            at += len(text)
            if begin < len(text) and end > 0:
                yield text[max(0, begin) : end]

    def _read(self, most: int | None = None) -> Iterator[str]:
        for name in self.files:
            yield from text_blocks(name, self.block, most)


def sentence_starts(
    pieces: Iterable[NDArray[np.int32]], start: int, line_end: int | None
) -> Iterator[NDArray[np.int32]]:
    """The ids of a text in pieces, with ``start`` before the first and after each line's end."""
    opening = True
    for ids in pieces:
        if len(ids):
            ends = np.zeros(0, int) if line_end is None else np.flatnonzero(ids[:-1] == line_end)
            at = np.concatenate([[0], ends + 1]) if opening else ends + 1
            yield np.insert(ids, at, start).astype(np.int32)
            opening = line_end is not None and bool(ids[-1] == line_end)
