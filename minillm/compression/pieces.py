"""Files as tokens and bytes: where a tokenizer does not give a text back, its bytes are kept.

A file is a list of pieces, each some tokens and then some bytes: of characters or words that the
tokenizer lacks, of spaces that it changes, and of what is no UTF-8.
"""

import re
from collections.abc import Iterator

import numpy as np

from minillm.errors import InputError
from minillm.layers.types import Ids
from minillm.text import Vocabulary

Piece = tuple[Ids, bytearray]
SHORT = 4  # bytes of a text between others that are not worth a piece of their own
_WORD = re.compile(r"[^\S\n]*(?:\n|\S+)|[^\S\n]+")


def cut(tokenizer: Vocabulary, data: bytes) -> list[Piece]:
    """The pieces of a file."""
    pieces: list[Piece] = [(np.zeros(0, np.int32), bytearray())]
    for text, ids in _parts(tokenizer, data.decode("utf-8", "surrogateescape")):
        raw = text.encode("utf-8", "surrogateescape")
        if ids is not None and (len(raw) > SHORT or len(raw) == len(data)):
            pieces.append((ids, bytearray()))
        else:
            pieces[-1][1].extend(raw)
    return pieces


def _parts(tokenizer: Vocabulary, text: str) -> Iterator[tuple[str, Ids | None]]:
    """Yield the parts of a text, with their ids if the tokenizer gives them back as they were.

    Each is the longest one from its place on, as doubling and halving find it.  Words are not cut,
    and the spaces before a part of words are a part of their own.
    """
    words = tokenizer.unknown is not None
    units: list[str] = _WORD.findall(text) if words else list(text)
    lacking = set[str]()

    def ids_of(part: str) -> Ids | None:
        if part in lacking:
            return None
        try:
            ids = tokenizer.encode_known(part)
        except InputError:
            if len(part) == 1:
                lacking.add(part)
            return None
        return ids if tokenizer.decode(ids.tolist()) == part else None

    at = 0
    while at < len(units):
        if words and (space := re.match(r"[^\S\n]+(?=\S|\n)", units[at])):
            yield space[0], None
            units[at] = units[at][space.end() :]
        end, ids, step, rising = at, None, 1, True
        while step:
            tried = min(end + step, len(units))
            longer = ids_of("".join(units[at:tried])) if tried > end else None
            if longer is not None:
                end, ids = tried, longer
            rising = rising and longer is not None
            step = 2 * step if rising else step // 2
        end = max(end, at + 1)
        yield "".join(units[at:end]), ids
        at = end
