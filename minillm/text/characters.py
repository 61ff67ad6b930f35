"""Characters: the smallest vocabulary, in which nothing needs to be unknown."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError
from minillm.text.vocabulary import visible

_PIECE = 1 << 20  # characters that are encoded at a time


class Characters:
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
    pretokenised = False
    bos: int | None = None
    eos: int | None = None
    unknown: int | None = None
    padding: int | None = None
    sentence_end: int | None = None  # a text is one sequence, across its lines

    def __init__(self, tokens: Sequence[str]):
        self.tokens = list(tokens)
        if not self.tokens or any(len(token) != 1 for token in self.tokens):
            raise ValueError("tokens: expected at least one, each a single character")
        self._codes = _code_points("".join(self.tokens))
        if not np.all(self._codes[:-1] < self._codes[1:]):
            raise ValueError("tokens: expected distinct characters in code point order")
        self.line_end = self.tokens.index("\n") if "\n" in self.tokens else None

    @classmethod
    def from_text(cls, text: str) -> "Characters":
        """The vocabulary of all the characters of ``text``."""
        return cls(sorted(set(text)))

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"<Characters: {len(self):,} tokens>"

    def encode(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """The ids of the characters of ``text``, (T,).

        InputError, with ``name``, line and column, at a character that the vocabulary lacks.
        """
        encoded = np.empty(len(text), np.int32)
        for start in range(0, len(text), _PIECE):
            codes = _code_points(text[start : start + _PIECE])
            ids = np.searchsorted(self._codes, codes)
            lacking = self._codes[np.minimum(ids, len(self) - 1)] != codes
            if lacking.any():
                raise self._lacks(text, start + int(np.argmax(lacking)), name)
            encoded[start : start + _PIECE] = ids
        return encoded

    def _lacks(self, text: str, at: int, name: str) -> InputError:
        line = text.count("\n", 0, at) + 1
        column = at - text.rfind("\n", 0, at)
        return InputError(
            f"{name}, line {line}, column {column}: the character {text[at]!r} "
            f"(U+{ord(text[at]):04X}) is not among the {len(self)} that the model knows"
        )

    encode_known = encode

    def decode(self, ids: Iterable[int], unknown_words: Iterable[str] = ()) -> str:
        """The text of ``ids``; no character is unknown, so ``unknown_words`` are not used."""
        return "".join(self.stream(ids))

    def stream(self, ids: Iterable[int], unknown_words: Iterable[str] = ()) -> Iterator[str]:
        """The text of ``ids``, a character at a time."""
        for id in ids:
            yield self.tokens[id]

    def split(self, text: str) -> list[str]:
        """The characters of ``text``."""
        return list(text)

    def show(self, id: int) -> str:
        """A character as a label of a plot."""
        return visible(self.tokens[id])

    def to_dict(self) -> dict:
        """Its JSON form; :func:`minillm.text.vocabulary_from_dict` reads it back."""
        return {"unit": self.unit, "tokens": self.tokens}


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
