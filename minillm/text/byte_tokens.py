"""The interface of vocabularies whose tokens are bytes, with special tokens between them."""

import codecs
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import short
from minillm.text.vocabulary import SpecialTokens, Vocabulary, check_texts, visible
from minillm.unicode import check_encodable

MASK = "<mask>"
_NONE = np.zeros(0, np.int32)


class ByteTokens(Vocabulary):
    """A vocabulary of bytes, or of texts as bytes, and of special tokens.

    ``tokens`` are bytes, by id.  In ``encode``, the text of a special token becomes that token.
    ``hidden`` has the ids of the special tokens that are no part of an answer's text.
    """

    tokens: Sequence[bytes]
    specials: list[str]
    shown: list[str]
    lstrip: list[str]
    rstrip: list[str]
    add_eos: bool
    special: SpecialTokens
    hidden: frozenset[int]

    def _set_specials(
        self,
        ids: dict[str, int],
        shown: Sequence[str],
        lstrip: Sequence[str],
        rstrip: Sequence[str],
        bos: str,
        eos: str,
        add_bos: bool,
        add_eos: bool,
    ) -> None:
        """Note the special tokens and their ids; ValueError if these do not fit."""
        given = (("shown", shown), ("lstrip", lstrip), ("rstrip", rstrip))
        self.shown, self.lstrip, self.rstrip = (check_texts(list(t), name) for name, t in given)
        for name, texts in given:
            for text in texts:
                if text not in ids:
                    raise ValueError(f"{name}: expected special tokens, found {short(text)}")
        self.special = SpecialTokens(ids, self.lstrip, self.rstrip)
        self.hidden = frozenset(ids[text] for text in ids if text not in self.shown)
        self.bos, self.eos = ids.get(bos), ids.get(eos)
        for name, adds, text, number in (
            ("add_bos", add_bos, bos, self.bos),
            ("add_eos", add_eos, eos, self.eos),
        ):
            if adds and number is None:
                raise ValueError(f"{name}: expected {short(text)} among the specials, found none")
        self.add_bos, self.add_eos = add_bos, add_eos

    @property
    def special_ids(self) -> list[int]:
        """The ids of special tokens, whose text always becomes them."""
        return list(self.special.ids.values())

    def encode(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """The ids of the tokens of ``text``, (T,); EOS is the last if ``add_eos``.

        InputError, with ``name``, line and column, for a lone surrogate, which UTF-8 cannot hold.
        """
        ids = self.opened(self.encode_known(text, name))
        return np.concatenate([ids, np.array([self.eos], np.int32)]) if self.add_eos else ids

    def encode_known(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """Like :meth:`encode`, without BOS and EOS."""
        return self.encode_each([text], [name])[0]

    def encode_ordinary(self, text: str, first: bool = True) -> NDArray[np.int32]:
        """Like :meth:`encode_known`, but the text of a special token is split like any other.

        first: whether the text is the beginning of a longer one, rather than a part after it.
        """
        check_encodable(text, "text")
        return self._encode([text], [first])[0]

    def encode_each(self, texts: Sequence[str], names: Sequence[str]) -> list[NDArray[np.int32]]:
        """The ids of each of several texts, without BOS; a word in several is encoded once."""
        special, places = self.special.ids, [self.special.places(text) for text in texts]
        ordinary = [
            (part, start == 0) for each in places for part, start, _ in each if part not in special
        ]
        try:
            encoded = iter(self._encode([part for part, _ in ordinary], [f for _, f in ordinary]))
        except UnicodeEncodeError:
            for text, name in zip(texts, names, strict=True):
                check_encodable(text, name)
            raise
        ids = []
        for each in places:
            pieces = [
                np.array([special[part]], np.int32) if part in special else next(encoded)
                for part, _, _ in each
            ]
            ids.append(pieces[0] if len(pieces) == 1 else np.concatenate([_NONE, *pieces]))
        return ids

    @abstractmethod
    def _encode(self, texts: list[str], first: list[bool]) -> list[NDArray[np.int32]]:
        """The ids of each of several texts without special tokens.

        first: whether nothing precedes each of them.  UnicodeEncodeError for a lone surrogate.
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


def check_options(values: Any, defaults: dict[str, Any]) -> dict[str, Any]:
    """The options in a JSON object, as far as it has them.

    ValueError for one whose type is not the type of its default.
    """
    options = {name: values[name] for name in defaults if name in values}
    for name, value in options.items():
        if isinstance(defaults[name], tuple):
            check_texts(value, name)
        elif type(value) is not type(defaults[name]):
            kind = "true or false" if type(defaults[name]) is bool else "a text"
            raise ValueError(f'expected "{name}": {kind}, found {short(value)}')
    return options
