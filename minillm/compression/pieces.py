"""Files as tokens and bytes: where a tokenizer does not give a text back, its bytes are kept.

A file is a list of pieces, each some tokens and then some bytes.  The tokens are those of the
longest text that the tokenizer returns as it was; the bytes are of characters or words that it
lacks, of spaces that it changes, and of what is no UTF-8.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from minillm.compression.range_coder import Decoder, Encoder
from minillm.errors import InputError
from minillm.layers.types import Ids
from minillm.text import Vocabulary

SHORT = 4  # bytes between others that are not worth the lengths of a piece
RECENT = 1 << 16  # the sum of the counts at which they are halved
_WORD = re.compile(r"[^\S\n]*(?:\n|\S+)|[^\S\n]+")
_SPACE = re.compile(r"[^\S\n]+(?=\S|\n)")


class Piece(NamedTuple):
    """Some tokens, and the bytes after them."""

    ids: Ids
    rest: bytes


def cut(tokenizer: Vocabulary, data: bytes) -> list[Piece]:
    """The pieces of a file."""
    pieces, none = list[Piece](), np.zeros(0, np.int32)
    for text, ids in _parts(tokenizer, data.decode("utf-8", "surrogateescape")):
        raw = text.encode("utf-8", "surrogateescape")
        if ids is not None and (len(raw) > SHORT or not pieces):
            pieces.append(Piece(ids, b""))
            continue
        before = pieces.pop() if pieces else Piece(none, b"")
        pieces.append(Piece(before.ids, before.rest + raw))
    return pieces


def join(tokenizer: Vocabulary, pieces: Sequence[Piece]) -> bytes:
    """The file of its pieces."""
    return b"".join(tokenizer.decode(ids.tolist()).encode() + rest for ids, rest in pieces)


def _parts(tokenizer: Vocabulary, text: str) -> Iterator[tuple[str, Ids | None]]:
    """Yield the parts of a text, with their ids if the tokenizer returns them as they were.

    Each is the longest one from its place on, as doubling and halving find it.  Words are not cut,
    and the spaces before a part of words are a part of their own.
    """
    units: list[str] = list(text) if tokenizer.unknown is None else _WORD.findall(text)

    def ids_of(first: int, last: int) -> Ids | None:
        part = "".join(units[first:last])
        try:
            ids = tokenizer.encode_known(part)
        except InputError:
            return None
        return ids if tokenizer.decode(ids.tolist()) == part else None

    at = 0
    while at < len(units):
        if tokenizer.unknown is not None and (space := _SPACE.match(units[at])):
            yield space[0], None
            units[at] = units[at][space.end() :]
        end, ids, step, rising = at, None, 1, True
        while step:
            tried = min(end + step, len(units))
            longer = ids_of(at, tried) if tried > end else None
            if longer is not None:
                end, ids = tried, longer
            rising = rising and longer is not None
            step = 2 * step if rising else step // 2
        end = max(end, at + 1)
        yield "".join(units[at:end]), ids
        at = end


# --- lengths and bytes in the archive -------------------------------------------------------------


class Bytes:
    """The counts of the bytes so far: their frequencies."""

    def __init__(self) -> None:
        self.counts = [1] * 256

    def encode(self, encoder: Encoder, byte: int) -> None:
        """Encode a byte, and count it."""
        start = sum(self.counts[:byte])
        encoder.encode(start, start + self.counts[byte], sum(self.counts))
        self._add(byte)

    def decode(self, decoder: Decoder) -> int:
        """Decode a byte, and count it."""
        total = sum(self.counts)
        found, byte, start = decoder.find(total), 0, 0
        while start + self.counts[byte] <= found:
            start += self.counts[byte]
            byte += 1
        decoder.decode(start, start + self.counts[byte], total)
        self._add(byte)
        return byte

    def _add(self, byte: int) -> None:
        self.counts[byte] += 16
        if sum(self.counts) > RECENT:
            self.counts = [(count + 1) // 2 for count in self.counts]
