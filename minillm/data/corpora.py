"""Whole texts: from UTF-8 files, standard input, or the texts that come with Python."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from minillm.data.compressed import decompressed
from minillm.data.files import MOST_IN_MEMORY, reading, shown, too_large
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


def split_text(text: str) -> tuple[str, str]:
    """The first nine tenths, for training, and the last tenth, for validation."""
    cut = len(text) * 9 // 10
    return text[:cut], text[cut:]
