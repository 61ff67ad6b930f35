"""The documents of a corpus, and its parts: each becomes a shard.

A document is a whole file, or a line of it; in a file named ``.jsonl`` it is the ``text`` of a
line's JSON object.  The text of a document always ends with a line's end.

A *part* is several small files, or a stretch of a large one.  The division into parts depends only
on the files.
"""

import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from minillm.data.compressed import decompressed, is_compressed, joined
from minillm.data.corpora import decoded
from minillm.data.entries import entry
from minillm.data.files import json_object, naming, read_once, reading, shown
from minillm.data.lines import is_json_lines, lines_of
from minillm.data.python_texts import TEXTS

BLOCK = 1 << 21  # bytes of text that are encoded at a time

_SPACES = frozenset(" \t\n\r\f\v")  # white space by every definition
_READ = 1 << 17  # bytes
_LONGEST = 1 << 24  # characters without any space, after which a text is cut anyway

# A line's end between two characters that no definition counts as white space (in UTF-8): no token
# of any of our vocabularies reaches across it, and none depends on the text on the other side.
_END_OF_LINE = re.compile(
    rb"(?:[!-~]|[\xc3-\xdf][\x80-\xbf]|\xe3(?!\x80\x80)[\x80-\xbf]{2}|[\xe4-\xee][\x80-\xbf]{2}"
    rb"|[\xf0-\xf4][\x80-\xbf]{3})\r?\n(?=[!-~\xc3-\xdf\xe4-\xee\xf0-\xf4])"
)

Piece = tuple[str, str | None]  # its place for messages, and its text; None: a document ends


class Stretch(NamedTuple):
    """Whole lines of a file, from one byte to another; None: to its end."""

    file: str
    size: int
    start: int = 0
    stop: int | None = None

    @property
    def name(self) -> str:
        """The name for messages."""
        return shown(self.file) + (f", after byte {self.start}" if self.start else "")


Part = list[Stretch]


def parts_of(files: Sequence[str], size: int) -> list[Part]:
    """The parts of a corpus: each but the last has at least ``size`` bytes on disk.

    A file is cut after that many bytes, unless it is compressed.
    """
    parts: list[Part] = []
    for file in files:
        for stretch in _stretches(file, size):
            if not parts or size_of(parts[-1]) >= size:
                parts.append([])
            parts[-1].append(stretch)
    return parts


def size_of(part: Part) -> int:
    """The bytes of a part."""
    return sum(stretch.size for stretch in part)


def _stretches(file: str, size: int) -> Iterator[Stretch]:
    """The stretches of a file.  A missing file is reported when it is read."""
    if file in TEXTS or read_once(file) or not Path(file).is_file():
        yield Stretch(file, 0)
        return
    start, end = 0, os.path.getsize(file)
    if end > size and not is_compressed(file):
        with naming(file), open(file, "rb") as opened:
            while (stop := _line_after(opened, start + size)) is not None:
                yield Stretch(file, stop - start, start, stop)
                start = stop
    yield Stretch(file, end - start, start)


def _line_after(file: BinaryIO, start: int, block: int = 1 << 16) -> int | None:
    """The beginning of the first line after ``start`` before which a text can be cut."""
    while True:
        file.seek(start)
        data = file.read(block)
        match = _END_OF_LINE.search(data)
        if match:
            return start + match.end()
        if len(data) < block:
            return None
        start += block - 8  # the blocks overlap by more than the longest match


# --- documents --------------------------------------------------------------------------


def blocks_of(part: Part, documents: str) -> Iterator[list[Piece]]:
    """The pieces of a part, some BLOCK of text at a time: to encode short ones singly is slow."""
    block: list[Piece] = []
    size = 0
    for place, text in pieces_of(part, documents):
        block.append((place, text))
        size += len(text or "")
        if size >= BLOCK:
            yield block
            block, size = [], 0
    if block:
        yield block


def pieces_of(part: Part, documents: str) -> Iterator[Piece]:
    """The texts of a part in pieces; None where a document ends.  documents: "file" or "line"."""
    for stretch in part:
        by_line = documents == "line" or is_json_lines(stretch.file)
        with _opened(stretch) as file:
            yield from (_of_lines if by_line else _of_whole)(stretch, file)


def _of_whole(stretch: Stretch, file: BinaryIO) -> Iterator[Piece]:
    lines = 0
    for text in cut_at_spaces(decoded(file, stretch.name, BLOCK)):
        yield (f"{stretch.name}, after line {lines}" if lines else stretch.name), text
        lines += text.count("\n")
    if stretch.stop is None:
        yield stretch.name, None


def _of_lines(stretch: Stretch, file: BinaryIO) -> Iterator[Piece]:
    """A document of each line that is not blank."""
    objects = is_json_lines(stretch.file)
    for line, place in lines_of(file, stretch.name):
        text = line
        if objects and line.strip():
            text = entry(json_object(line, place), "text", str, place)
        if text.strip():
            yield place, text if text.endswith("\n") else text + "\n"
            yield place, None


@contextmanager
def _opened(stretch: Stretch) -> Iterator[BinaryIO]:
    """The contents of a stretch, decompressed; a compressed file is one stretch."""
    if stretch.file in TEXTS:
        yield io.BytesIO(TEXTS[stretch.file]().encode())
        return
    with reading(stretch.file) as file:
        if stretch.start:
            file.seek(stretch.start)
        if stretch.stop is not None:
            yield joined(_bytes(file, stretch.size))
        else:
            with decompressed(file, stretch.name) as contents:
                yield contents


def _bytes(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size and (data := file.read(min(size, _READ))):
        size -= len(data)
        yield data


def cut_at_spaces(blocks: Iterable[str], longest: int = _LONGEST) -> Iterator[str]:
    """The same text, cut only before white space that follows something else.

    In all of our vocabularies, no token reaches across such a cut, and none depends on the text on
    the other side.  So the pieces have the same tokens as the whole text.
    """
    rest = ""
    for block in blocks:
        rest += block
        cut = len(rest.rstrip())
        if 0 < cut < len(rest) and rest[cut] in _SPACES:
            yield rest[:cut]
            rest = rest[cut:]
        elif len(rest) > longest:
            yield rest
            rest = ""
    if rest:
        yield rest
