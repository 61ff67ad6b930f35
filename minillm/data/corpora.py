"""Texts, whole or in blocks: UTF-8 files, standard input, or the texts that come with Python."""

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from minillm.data.compressed import decompressed
from minillm.data.files import MOST_IN_MEMORY, STANDARD_INPUT, is_stream, reading, shown, too_large
from minillm.data.lines import decoded
from minillm.data.python_texts import DEFAULT_TEXT, TEXTS
from minillm.errors import InputError

BLOCK = 1 << 20  # bytes that are read at a time


def read_text(names: Sequence[str]) -> str:
    """The joined texts of all ``names``, each ending with a line's end.

    A name is a path, ``-`` for standard input, or a built-in text; no names: python-docs.  A file
    may be compressed with gzip.  Line ends become ``\\n`` and a byte order mark is
    dropped.  InputError names a file that is missing, empty, binary, not UTF-8, or larger than
    MOST_IN_MEMORY.
    """
    return "".join(
        text for name in names or [DEFAULT_TEXT] for text in text_blocks(name, most=MOST_IN_MEMORY)
    )


@contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed, or of a built-in text."""
    if name in TEXTS:
        yield io.BytesIO(TEXTS[name]().encode())
        return
    with reading(name) as stored, decompressed(stored, shown(name)) as file:
        yield file


def text_blocks(name: str, block: int = BLOCK, most: int | None = None) -> Iterator[str]:
    """The text of one name, in blocks of whole lines; the last one, too, ends with a line's end.

    A line longer than a block is cut between words.
    """
    rest, read, line, blank = b"", 0, 1, True
    with opened(name) as file:
        while data := file.read(block):
            read += len(data)
            if most is not None and read > most:
                raise too_large(shown(name), most)
            rest += data
            cut = rest.rfind(b"\n") + 1
            if not cut and len(rest) >= block:
                cut = len(rest) if b"\0" in data else rest.rfind(b" ", 0, -1) + 1
            text, rest = decoded(rest[:cut], shown(name), line), rest[cut:]
            line, blank = line + text.count("\n"), blank and not text.strip()
            if text:
                yield text.replace("\r\n", "\n")
    text = decoded(rest, shown(name), line).replace("\r\n", "\n")
    if blank and not text.strip():
        raise InputError(f"{shown(name)}: expected text, found an empty file")
    if text:
        yield f"{text}\n"


class TextStream:
    """The text that `read_text` would return, in blocks of whole lines, any number of times.

    Standard input, a pipe and a device are read once, and kept in memory, at most MOST_IN_MEMORY
    bytes of each.  A line longer than a block is cut between words.  The whole text is read once
    for its number of ``characters`` and its ``sha256``.  InputError, as from `read_text`, for bytes
    that are not UTF-8.
    """

    def __init__(self, files: Sequence[str], block: int = BLOCK):
        self.files, self.block = list(files) or [DEFAULT_TEXT], block
        once = any(name == STANDARD_INPUT or is_stream(name) for name in self.files)
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


def split_text(text: str) -> tuple[str, str]:
    """The first nine tenths, for training, and the last tenth, for validation."""
    cut = len(text) * 9 // 10
    return text[:cut], text[cut:]
