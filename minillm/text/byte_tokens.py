"""The interface of vocabularies whose tokens are bytes, with special tokens between them."""

import codecs
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from minillm.text.vocabulary import SpecialTokens, Vocabulary, visible

MASK = "<mask>"


class ByteTokens(Vocabulary):
    """A vocabulary of bytes, or of texts as bytes, and of special tokens.

    ``tokens`` are bytes, by id.  In ``encode``, the text of a special token becomes that token.
    ``hidden`` has the ids of the special tokens that are no part of an answer's text, ``shown`` the
    texts of the others, such as ``<think>``.
    """

    tokens: Sequence[bytes]
    special: SpecialTokens
    shown: Sequence[str] = ()
    hidden: frozenset[int]
    add_eos: bool = False

    @property
    def special_ids(self) -> list[int]:
        """The ids of special tokens, whose text always becomes them."""
        return list(self.special.ids.values())

    def encode(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """The ids of the tokens of ``text``, (T,); EOS is the last if ``add_eos``.

        InputError, with ``name``, line and column, for a lone surrogate, which UTF-8 cannot hold.
        """
        ids = self.opened(self.encode_each([text], [name])[0])
        return np.concatenate([ids, np.array([self.eos], np.int32)]) if self.add_eos else ids

    def encode_known(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """Like :meth:`encode`, without BOS and EOS."""
        return self.encode_each([text], [name])[0]

    @abstractmethod
    def encode_ordinary(self, text: str, first: bool = True) -> NDArray[np.int32]:
        """Like :meth:`encode_known`, but the text of a special token is split like any other.

        first: whether the text is the beginning of a longer one, rather than a part after it.
        """

    def decode(self, ids: Iterable[int], unknown_words: Iterable[str] = ()) -> str:
        """The text of ``ids``; bytes that are not UTF-8 become U+FFFD."""
        data = b"".join([self.token(number) for number in ids])
        return self.begun(data).decode("utf-8", "replace")

    def begun(self, data: bytes) -> bytes:
        """The bytes of a text, without those that only ``encode`` puts before it."""
        return data

    def stream(self, ids: Iterable[int], unknown_words: Iterable[str] = ()) -> Iterator[str]:
        """The text of ``ids`` in pieces; a character is held back until it is complete."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        begun = False
        for number in ids:
            data = self.token(number) if begun else self.begun(self.token(number))
            begun = True
            if piece := decoder.decode(data):
                yield piece
        if piece := decoder.decode(b"", final=True):
            yield piece

    def split(self, text: str) -> list[str]:
        """The tokens of ``text``, as ``show`` writes them: they may be parts of characters."""
        return [self.show(number) for number in self.encode(text)]

    def show(self, number: int) -> str:
        """A token as a label of a plot; bytes of a part of a character as ``\\xe2``."""
        return visible(self.token(number).decode("utf-8", "backslashreplace"))
