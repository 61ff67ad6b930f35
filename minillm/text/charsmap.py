"""SentencePiece's normalisation: a table of replacements, the longest that fits first.

A file has the table as bytes: a trie of the texts to replace, in UTF-8, and their replacements,
each with a zero after it.  The trie is a double array (Aoe 1989): all nodes share one array of 32
bits each.  The child of a node for the byte c is at ``node ^ offset ^ c``, with the offset of the
node, and notes this byte, because it may be the child of another node.

The table "nmt_nfkc" of most models composes characters by Unicode's NFKC, makes each kind of white
space a space, and removes control characters.

Source: Kudo and Richardson (2018), "SentencePiece"; the library Darts-clone defined the format of
the array.  Hugging Face's tokenizers replaces a whole grapheme by the replacement of its
beginning, where it is short, so it drops marks that the table does not know.  We follow
SentencePiece.
"""

import re
from functools import lru_cache

import numpy as np

_MOST = 1 << 24  # bytes of a table


class Charsmap:
    """A table of replacements; an empty one replaces nothing.

    ValueError for bytes that are no table.
    """

    def __init__(self, data: bytes):
        self.data = data
        size = int.from_bytes(data[:4], "little")
        if data and (size % 4 or not 1024 <= size <= min(len(data) - 4, _MOST)):
            raise ValueError(f"expected a table of characters, found {len(data):,} bytes of others")
        self._units: list[int] = np.frombuffer(data, "<u4", size // 4, min(4, len(data))).tolist()
        self._texts = data[4 + size :]
        self._replaced = lru_cache(1 << 16)(self._replace)
        plain = "".join(map(chr, range(32, 127)))
        # Most texts are ASCII, which few tables change.
        changes_ascii = bool(data) and self._replace(plain) != plain
        self._parts = re.compile("(?s).+" if changes_ascii else "[ -~]?[^ -~]+")

    def normalise(self, text: str) -> str:
        """The text after all replacements."""
        if not self.data:
            return text
        return self._parts.sub(lambda part: self._replaced(part[0]), text)

    def _replace(self, text: str) -> str:
        data, at, result = text.encode(), 0, []
        while at < len(data):
            length, replacement = self._longest(data, at)
            if not length:  # a character remains
                length = 1
                while at + length < len(data) and data[at + length] & 0xC0 == 0x80:
                    length += 1
                replacement = data[at : at + length]
            result.append(replacement)
            at += length
        return b"".join(result).decode("utf-8", "replace")

    def _longest(self, data: bytes, start: int) -> tuple[int, bytes]:
        """The length of the longest text in the table that begins there, and its replacement.

        The length is 0 if there is none.
        """
        found, replacement = 0, b""
        node = _offset(self._units[0])
        for at in range(start, len(data)):
            node ^= data[at]
            unit = self._units[node] if node < len(self._units) else 0
            if unit & 0x800000FF != data[at]:
                break
            node ^= _offset(unit)
            if unit >> 8 & 1 and node < len(self._units):  # a text ends here
                value = self._units[node] & 0x7FFFFFFF
                found = at + 1 - start
                replacement = self._texts[value : self._texts.find(b"\0", value)]
        return found, replacement


def _offset(unit: int) -> int:
    """The offset of a node's children, which has an exponent."""
    return unit >> 10 << ((unit & 0x200) >> 6)
