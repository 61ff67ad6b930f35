"""Characters: the smallest vocabulary, without an unknown token."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError, short
from minillm.text.vocabulary import Vocabulary, check_texts
from minillm.unicode import line_and_column

_BLOCK = 1 << 20  # characters that are encoded at a time


class Characters(Vocabulary):
    """One id for each character (Unicode code point) of a text, in code point order.

    >>> vocabulary = Characters.from_text("banana")
    >>> vocabulary.tokens
    ['a', 'b', 'n']
    >>> vocabulary.encode("nab")
    array([2, 0, 1], dtype=int32)
    >>> vocabulary.decode([1, 0, 2])
    'ban'
    """

    unit = "character"

    def __init__(self, tokens: Sequence[str]):
        self.tokens = check_texts(list(tokens), "tokens")
        if not self.tokens or any(len(token) != 1 for token in self.tokens):
            raise ValueError(f"tokens: expected single characters, found {short(self.tokens)}")
        self._codes = _code_points("".join(self.tokens))
        if not np.all(self._codes[:-1] < self._codes[1:]):
            raise ValueError(
                "tokens: expected distinct characters in code point order, "
                f"found {short(self.tokens)}"
            )
        self.line_end = self.tokens.index("\n") if "\n" in self.tokens else None

    @classmethod
    def from_text(cls, text: str) -> "Characters":
        """The vocabulary of all the characters of ``text``."""
        return cls.from_texts([text])

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> "Characters":
        """The vocabulary of all the characters of several texts."""
        characters: set[str] = set()
        for text in texts:
            characters.update(text)
        return cls(sorted(characters))

    def encode(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """The ids of the characters of ``text``, (T,).

        InputError, with ``name``, line and column, for a character that the vocabulary lacks.
        """
        encoded = np.empty(len(text), np.int32)
        for start in range(0, len(text), _BLOCK):
            codes = _code_points(text[start : start + _BLOCK])
            ids = np.searchsorted(self._codes, codes)
            lacking = self._codes[np.minimum(ids, len(self) - 1)] != codes
            if lacking.any():
                at = start + int(np.argmax(lacking))
                raise InputError(
                    f"{line_and_column(text, at, name)}: the character {text[at]!r} "
                    f"(U+{ord(text[at]):04X}) is not among the {len(self)} that the model knows"
                )
            encoded[start : start + _BLOCK] = ids
        return encoded

    def stream(self, ids: Iterable[int], unknown_words: Iterable[str] = ()) -> Iterator[str]:
        """The text of ``ids``, a character at a time; none is unknown."""
        for number in ids:
            yield self.token(number)

    def split(self, text: str) -> list[str]:
        """The characters of ``text``."""
        return list(text)


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
