"""A corpus: its documents, and the parts of it that are worked on apart.

A document is a whole file, or a line of it; in a file named ``.jsonl`` it is the ``text`` of a
line's JSON object.  Its text ends with a line's end, whatever it was stored in.

A *part* is some 32 MB: several files, or a stretch of a large one.  Which parts there are depends
on the files alone, not on the number of ranks, and so what is made of the parts does not either.
"""

import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from minillm.data.compressed import decompressed, is_compressed, joined
from minillm.data.corpora import decoded, text_blocks
from minillm.data.files import (
    LONGEST_LINE,
    bounded_lines,
    json_object,
    naming,
    read_once,
    reading,
    shown,
)
from minillm.data.registry import built_in
from minillm.errors import InputError, short

PART = 1 << 25  # bytes
BLOCK = 1 << 21  # bytes of text that are encoded at a time

_SPACES = frozenset(" \t\n\r\f\v")  # what every definition of white space agrees on
_LONGEST = 1 << 24  # characters without any space, after which a text is cut all the same

# A line's end between two characters that no definition counts as white space (in UTF-8): no token
# of any of our vocabularies reaches across it, and none depends on what stands on the other side.
_END_OF_LINE = re.compile(
    rb"(?:[!-~]|[\xc3-\xdf][\x80-\xbf]|\xe3(?!\x80\x80)[\x80-\xbf]{2}|[\xe4-\xee][\x80-\xbf]{2}"
    rb"|[\xf0-\xf4][\x80-\xbf]{3})\r?\n(?=[!-~\xc3-\xdf\xe4-\xee\xf0-\xf4])"
)

_JSON_LINES = re.compile(r"\.jsonl(\.gz|\.zst)?$")


@dataclass(frozen=True)
class Stretch:
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
    """Stretches that follow each other; their size on the disk; whether they are read only once."""

    stretches: list[Stretch]
    bytes: int = 0
    once: bool = False


def parts_of(
    files: Sequence[str], size: int | None = None, documents: str = "file", whole: bool = False
) -> list[Part]:
    """The parts of a corpus: each but the last has at least ``size`` bytes.

    Files are cut after that many where they can be: not if they are compressed, nor within a
    document that is to stay ``whole``.
    """
    size = size or PART
    parts: list[Part] = []
    for file in files:
        split = not whole or documents == "line" or bool(_JSON_LINES.search(file))
        for stretch, bytes in _stretches(file, size, split):
            if not parts or parts[-1].bytes >= size:
                parts.append(Part([]))
            parts[-1].stretches.append(stretch)
            parts[-1].bytes += bytes
            parts[-1].once |= read_once(file)
    return parts


def dealt(parts: Sequence[Part], ranks: int) -> list[list[int]]:
    """The numbers of the parts that each rank works on, in order.

    The largest is dealt first, each to the rank that has least.  Standard input is that of rank 0.
    """
    loads = [0] * ranks
    hands: list[list[int]] = [[] for _ in range(ranks)]
    for number in sorted(range(len(parts)), key=lambda k: (not parts[k].once, -parts[k].bytes)):
        rank = 0 if parts[number].once else loads.index(min(loads))
        loads[rank] += parts[number].bytes
        hands[rank].append(number)
    return [sorted(hand) for hand in hands]


def _stretches(file: str, size: int, split: bool) -> Iterator[tuple[Stretch, int]]:
    if built_in(file) or read_once(file) or not Path(file).is_file():  # what is wrong is told later
        yield Stretch(file), 0
        return
    start, end = 0, os.path.getsize(file)
    if split and end > size and not is_compressed(file):
        with naming(file), open(file, "rb") as opened:
            while (stop := _end_of_line(opened, start + size)) is not None:
                yield Stretch(file, start, stop), stop - start
                start = stop
    yield Stretch(file, start), end - start


def _end_of_line(file: BinaryIO, start: int, block: int = 1 << 16) -> int | None:
    """Where a line begins, the first after ``start``, before which a text can be cut."""
    while True:
        file.seek(start)
        data = file.read(block)
        match = _END_OF_LINE.search(data)
        if match:
            return start + match.end()
        if len(data) < block:
            return None
        start += block - 8  # a place where two blocks meet is looked at as well


# --- documents --------------------------------------------------------------------------


def pieces_of(part: Part, documents: str) -> Iterator[tuple[str, str | None]]:
    """The texts of a part in pieces, each with its place for messages; None: a document ends.

    documents: "file" or "line".
    """
    for stretch in part.stretches:
        if _JSON_LINES.search(stretch.file):
            yield from _of_objects(stretch)
        elif documents == "line":
            yield from _of_lines(stretch)
        else:
            yield from _of_whole(stretch)


def begins_inside(part: Part, documents: str) -> bool:
    """Whether the first document of a part has begun in the part before."""
    first = part.stretches[0]
    return first.start > 0 and documents == "file" and not _JSON_LINES.search(first.file)


def _of_whole(stretch: Stretch) -> Iterator[tuple[str, str | None]]:
    lines = 0
    for text in cut_at_spaces(_blocks(stretch)):
        yield (f"{stretch.name}, after line {lines}" if lines else stretch.name), text
        lines += text.count("\n")
    if stretch.stop is None:
        yield stretch.name, None


def _of_lines(stretch: Stretch) -> Iterator[tuple[str, str | None]]:
    number, held = 0, ""
    for block in _blocks(stretch):
        *lines, held = (held + block).split("\n")
        for line in lines:
            number += 1
            if line and not line.isspace():
                place = f"{stretch.name}, document of line {number}"
                yield place, line + "\n"
                yield place, None
        if len(held) > LONGEST_LINE:
            raise InputError(
                f"{stretch.name}, line {number + 1}: expected a document of at most "
                f"{LONGEST_LINE:,} characters, found a longer one"
            )


def _of_objects(stretch: Stretch) -> Iterator[tuple[str, str | None]]:
    found = False
    with _opened(stretch) as file:
        for number, line in enumerate(bounded_lines(file, stretch.name), 1):
            if line.isspace():
                continue
            found = True
            place = f"{stretch.name}, line {number}"
            values = json_object(line, place)
            text = values.get("text")
            if not isinstance(text, str):
                raise InputError(
                    f'{place}: expected an object with "text": a string, found '
                    f"{short(text) if 'text' in values else 'none'}"
                )
            if text and not text.isspace():
                yield place, text if text.endswith("\n") else text + "\n"
                yield place, None
    if not found:
        raise InputError(f"{stretch.name}: expected JSON lines, found an empty file")


def _blocks(stretch: Stretch) -> Iterator[str]:
    if stretch.start == 0 and stretch.stop is None:
        yield from text_blocks(stretch.file, BLOCK)
    else:
        with _opened(stretch) as file:
            yield from decoded(file, stretch.name, BLOCK)


@contextmanager
def _opened(stretch: Stretch) -> Iterator[BinaryIO]:
    """The bytes of a stretch."""
    with reading(stretch.file) as file:
        if stretch.start == 0 and stretch.stop is None:
            with decompressed(file, stretch.name) as contents:
                yield contents
        else:
            file.seek(stretch.start)
            stop = os.path.getsize(stretch.file) if stretch.stop is None else stretch.stop
            yield joined(_bytes(file, stop - stretch.start))


def _bytes(file: BinaryIO, left: int) -> Iterator[bytes]:
    while left and (data := file.read(min(left, io.DEFAULT_BUFFER_SIZE * 16))):
        left -= len(data)
        yield data


def cut_at_spaces(blocks: Iterable[str], longest: int = _LONGEST) -> Iterator[str]:
    """The same text, cut only before white space that follows something else.

    There no token begins before the cut and ends after it, in any of our vocabularies, and none
    depends on what stands on the other side: the pieces have the tokens of the whole.
    """
    held = ""
    for block in blocks:
        held += block
        cut = len(held.rstrip())
        if 0 < cut < len(held) and held[cut] in _SPACES:
            yield held[:cut]
            held = held[cut:]
        elif len(held) > longest:
            yield held
            held = ""
    if held:
        yield held
