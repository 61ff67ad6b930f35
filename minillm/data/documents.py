"""The documents of a corpus, in blocks to encode.

A document is a whole file, or a line of it; in a file named ``.jsonl`` it is the ``text`` of a
line's JSON object.  The text of a document always ends with a line's end.
"""

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from minillm.data.corpora import opened, text_blocks
from minillm.data.entries import from_json
from minillm.data.files import shown
from minillm.data.lines import is_json_lines, lines_of

BLOCK = 1 << 21  # bytes of text that are encoded at a time

_SPACES = frozenset(" \t\n\r\f\v")  # white space by every definition
_LONGEST = 1 << 24  # characters without any space, after which a text is cut anyway

Piece = tuple[str, str | None]  # its place for messages, and its text; None: a document ends


class Document(Struct):
    """A line of JSON lines; what else it holds is not read."""

    text: str


def blocks_of(files: Sequence[str], documents: str, size: int) -> Iterator[list[Piece]]:
    """The pieces of a corpus, up to ``size`` characters at a time: to encode each singly is slow.

    documents: "file" or "line".
    """
    block: list[Piece] = []
    length = 0
    for file in files:
        by_line = documents == "line" or is_json_lines(file)
        for place, text in _of_lines(file) if by_line else _of_whole(file, size):
            if block and length + len(text or "") > size:
                yield block
                block, length = [], 0
            block.append((place, text))
            length += len(text or "")
    if block:
        yield block


def _of_whole(file: str, size: int) -> Iterator[Piece]:
    """A file as one document, in pieces."""
    name, lines = shown(file), 0
    for text in cut_at_spaces(text_blocks(file, size)):
        yield (f"{name}, after line {lines}" if lines else name), text
        lines += text.count("\n")
    yield name, None


def _of_lines(file: str) -> Iterator[Piece]:
    """A document of each line that is not blank."""
    objects = is_json_lines(file)
    with opened(file) as contents:
        for line, place in lines_of(contents, shown(file)):
            text = from_json(line, place, Document).text if objects and line.strip() else line
            if text.strip():
                yield place, text if text.endswith("\n") else text + "\n"
                yield place, None


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
