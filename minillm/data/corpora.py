"""Whole texts: from UTF-8 files, standard input, or the texts that come with Python."""

import codecs
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from minillm.data.compressed import decompressed
from minillm.data.files import MOST_IN_MEMORY, reading, shown, too_large
from minillm.data.python_texts import DEFAULT_TEXT, TEXTS
from minillm.errors import InputError

BLOCK = 1 << 20  # bytes that are read at a time


def read_text(names: Sequence[str]) -> str:
    """The joined texts of all ``names``, each ending with a line's end.

    A name is a path, ``-`` for standard input, or a built-in text; no names: python-docs.  A file
    may be compressed with gzip or zstandard.  Line ends become ``\\n`` and a byte order mark is
    dropped.  InputError names a file that is missing, empty, binary, not UTF-8, or larger than
    MOST_IN_MEMORY.
    """
    return "".join(
        text for name in names or [DEFAULT_TEXT] for text in text_blocks(name, most=MOST_IN_MEMORY)
    )


def text_blocks(name: str, block: int = BLOCK, most: int | None = None) -> Iterator[str]:
    """The text of one name, in blocks of whole lines; a line longer than a block is cut."""
    with opened(name) as file:
        yield from decoded(file, shown(name), block, most)


@contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed, or of a built-in text."""
    if name in TEXTS:
        yield io.BytesIO(TEXTS[name]().encode())
        return
    with reading(name) as stored, decompressed(stored, shown(name)) as file:
        yield file


def decoded(
    file: BinaryIO, name: str, block: int = BLOCK, most: int | None = None
) -> Iterator[str]:
    """The text of a file's bytes, in blocks of whole lines; a line's end is added to the last."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    text, read, lines, blank, ended = "", 0, 0, True, True
    while True:
        data = file.read(block)
        zero = data.find(b"\0")
        if zero >= 0:
            raise InputError(
                f"{name}: expected UTF-8 text, found a binary file (a zero at byte {read + zero})"
            )
        try:
            text += decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            bad = error.object[error.start]
            at = read + len(data) - len(error.object) + error.start
            line = lines + text.count("\n") + error.object[: error.start].count(b"\n") + 1
            raise InputError(
                f"{name}, line {line}: expected UTF-8 text, found the byte 0x{bad:02x} "
                f"(at byte {at})"
            ) from None
        read += len(data)
        if most is not None and read > most:
            raise too_large(name, most)
        blank = blank and not text.strip()
        if not data:
            break
        cut = text.rfind("\n") + 1
        if not cut and len(text) >= block:
            cut = text.rfind(" ") + 1 or len(text) - 1
        lines += text.count("\n", 0, cut)
        if cut:
            yield text[:cut].replace("\r\n", "\n")
            ended = text[cut - 1] == "\n"
        text = text[cut:]
    if blank:
        raise InputError(f"{name}: expected text, found an empty file")
    if text or not ended:
        text = text.replace("\r\n", "\n")
        yield text if text.endswith("\n") else text + "\n"


def split_text(text: str) -> tuple[str, str]:
    """The first nine tenths, for training, and the last tenth, for validation."""
    cut = len(text) * 9 // 10
    return text[:cut], text[cut:]
