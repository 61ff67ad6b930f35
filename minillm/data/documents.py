"""The documents of a corpus, and the parts that ranks work on.

A document is a whole file, or a line of it; in a file named ``.jsonl`` it is the ``text`` of a
line's JSON object.  The text of a document always ends with a line's end.

A *part* has about 32 MB: several files, or a stretch of a large one.  The division into parts
depends only on the files, not on the number of ranks.  So all results are the same for any number
of ranks.
"""

import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from minillm.data.compressed import decompressed, is_compressed, joined
from minillm.data.corpora import decoded
from minillm.data.entries import entry
from minillm.data.files import json_object, naming, read_once, reading, shown
from minillm.data.lines import is_json_lines, lines_of
from minillm.data.python_texts import TEXTS

PART = 1 << 25  # bytes
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
    start: int = 0
    stop: int | None = None

    @property
    def name(self) -> str:
        """The name for messages."""
        return shown(self.file) + (f", after byte {self.start}" if self.start else "")


@dataclass
class Part:
    """Consecutive stretches, their size on disk, and whether they can be read only once."""

    stretches: list[Stretch]
    size: int = 0
    once: bool = False


def parts_of(
    files: Sequence[str], size: int | None = None, documents: str = "file", whole: bool = False
) -> list[Part]:
    """The parts of a corpus: each but the last has at least ``size`` bytes.

    A file is cut after that many bytes, unless it is compressed, or a document that has to stay
    ``whole``.
    """
    size = size or PART
    parts: list[Part] = []
    for file in files:
        split = not whole or documents == "line" or is_json_lines(file)
        for stretch, length in _stretches(file, size, split):
            if not parts or parts[-1].size >= size:
                parts.append(Part([]))
            parts[-1].stretches.append(stretch)
            parts[-1].size += length
            parts[-1].once |= read_once(file)
    return parts


def dealt(parts: Sequence[Part], ranks: int) -> list[list[int]]:
    """The numbers of the parts that each rank works on, in order.

    The largest part is dealt first, and each goes to the rank with the fewest bytes.  Standard
    input goes to rank 0, the only rank that has it.
    """
    loads = [0] * ranks
    hands: list[list[int]] = [[] for _ in range(ranks)]
    for number in sorted(range(len(parts)), key=lambda k: (not parts[k].once, -parts[k].size)):
        rank = 0 if parts[number].once else loads.index(min(loads))
        loads[rank] += parts[number].size
        hands[rank].append(number)
    return [sorted(hand) for hand in hands]


def _stretches(file: str, size: int, split: bool) -> Iterator[tuple[Stretch, int]]:
    """The stretches of a file, with their sizes.  A missing file is reported when it is read."""
    if file in TEXTS or read_once(file) or not Path(file).is_file():
        yield Stretch(file), 0
        return
    start, end = 0, os.path.getsize(file)
    if split and end > size and not is_compressed(file):
        with naming(file), open(file, "rb") as opened:
            while (stop := _line_after(opened, start + size)) is not None:
                yield Stretch(file, start, stop), stop - start
                start = stop
    yield Stretch(file, start), end - start


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


def pieces_of(part: Part, documents: str) -> Iterator[Piece]:
    """The texts of a part in pieces; None where a document ends.  documents: "file" or "line"."""
    for stretch in part.stretches:
        by_line = documents == "line" or is_json_lines(stretch.file)
        yield from _of_lines(stretch) if by_line else _of_whole(stretch)


def _of_whole(stretch: Stretch) -> Iterator[Piece]:
    lines = 0
    with _opened(stretch) as file:
        for text in cut_at_spaces(decoded(file, stretch.name, BLOCK)):
            yield (f"{stretch.name}, after line {lines}" if lines else stretch.name), text
            lines += text.count("\n")
    if stretch.stop is None:
        yield stretch.name, None


def _of_lines(stretch: Stretch) -> Iterator[Piece]:
    """A document of each line that is not blank."""
    objects = is_json_lines(stretch.file)
    with _opened(stretch) as file:
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
        if stretch.start == 0 and stretch.stop is None:
            with decompressed(file, stretch.name) as contents:
                yield contents
        else:
            file.seek(stretch.start)
            yield file if stretch.stop is None else joined(_bytes(file, stretch))


def _bytes(file: BinaryIO, stretch: Stretch) -> Iterator[bytes]:
    assert stretch.stop is not None
    left = stretch.stop - stretch.start
    while left and (data := file.read(min(left, _READ))):
        left -= len(data)
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
