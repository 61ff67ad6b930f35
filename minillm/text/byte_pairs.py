"""Byte pairs as a vocabulary: the merges, the special tokens, and their JSON."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from minillm.errors import short
from minillm.text.bpe import BYTES, Pair
from minillm.text.bpe_fast import (
    MergeTable,
    encode_words,
    learn_merges,
    split_words,
    word_ends,
)
from minillm.text.byte_tokens import MASK, ByteTokens
from minillm.text.vocabulary import SpecialTokens, check_texts
from minillm.unicode import check_encodable

END_OF_TEXT = "<|endoftext|>"
_NONE = np.zeros(0, np.int32)


def train(texts: Iterable[str], size: int, specials: Sequence[str] = (END_OF_TEXT,)) -> "BytePairs":
    """Learn a tokenizer of ``size`` tokens from texts, which are read once.

    Its tokens are the 256 bytes, then the merged pairs, then the specials, which are ignored in the
    texts.  There are fewer tokens if no pair occurs twice any more.  ValueError if the size is
    below the number of bytes and specials, InputError for a lone surrogate.
    """
    least = len(BYTES) + len(specials)
    if size < least:
        raise ValueError(f"size: expected at least {least}, found {size}")
    words: Counter[bytes] = Counter()
    special = SpecialTokens(dict.fromkeys(specials, 0))
    for text in texts:
        check_encodable(text, "text")
        for part in special.cut(text):
            if part not in special.ids:
                words.update(split_words(part))
    return BytePairs(learn_merges(words, size - least), specials)


class BytePairs(ByteTokens):
    """A vocabulary of bytes, of merged pairs, and of special tokens.

    >>> tokenizer = train(["she sells sea shells"], 262)
    >>> ids = tokenizer.encode("she shells<|endoftext|>")
    >>> ids
    array([115, 258, 256, 258, 260, 261], dtype=int32)
    >>> tokenizer.decode(ids)
    'she shells<|endoftext|>'

    ``tokens`` are bytes, by id.  In ``encode``, the text of a special token becomes that token.
    """

    unit = "bpe"

    def __init__(self, merges: Sequence[Pair], specials: Sequence[str] = (END_OF_TEXT,)):
        """``merges`` in the order of their ranks; each takes what merges before it have made.

        ValueError if these do not fit together.
        """
        self.specials = check_texts(list(specials), "specials")
        self._table = MergeTable(merges)
        self.tokens = [*self._table.tokens, *(special.encode() for special in self.specials)]
        self._numbers = {token: number for number, token in enumerate(self.tokens)}
        if len(self._numbers) < len(self.tokens) or "" in self.specials:
            raise ValueError(
                f"specials: expected distinct new tokens, found {short(self.specials)}"
            )
        self._lengths = np.fromiter(map(len, self.tokens), np.int64)
        ids = {special: self.id_of(special.encode()) for special in self.specials}
        self.special, self.hidden = SpecialTokens(ids), frozenset(ids.values())
        self.bos = self.eos = ids.get(END_OF_TEXT)
        self.mask, self.line_end = ids.get(MASK), self.id_of(b"\n")

    @property
    def merges(self) -> list[Pair]:
        """The merges in the order of their ranks."""
        tokens = self._table.tokens
        return [(tokens[left], tokens[right]) for left, right in self._table.pairs.tolist()]

    def id_of(self, token: bytes) -> int:
        """The id of a token; KeyError if there is no such token."""
        return self._numbers[token]

    def encode_ordinary(self, text: str, first: bool = True) -> NDArray[np.int32]:
        """Like ``encode``, but the text of a special token is split like any other."""
        check_encodable(text, "text")
        return encode_words(text.encode(), word_ends(text), self._table)

    def encode_each(self, texts: Sequence[str], names: Sequence[str]) -> list[NDArray[np.int32]]:
        """The ids of each of several texts; a word in several is encoded once."""
        parts, special = list(map(self.special.cut, texts)), self.special.ids
        ordinary = [part for each in parts for part in each if part not in special]
        try:
            encoded = iter(self._encode(ordinary))
        except UnicodeEncodeError:
            for text, name in zip(texts, names, strict=True):
                check_encodable(text, name)
            raise
        ids = []
        for each in parts:
            pieces = [
                np.array([special[part]], np.int32) if part in special else next(encoded)
                for part in each
            ]
            ids.append(np.concatenate([_NONE, *pieces]))
        return ids

    def _encode(self, texts: list[str]) -> list[NDArray[np.int32]]:
        """The ids of each of several texts without special tokens."""
        data, ends = [text.encode() for text in texts], list(map(word_ends, texts))
        starts = np.cumsum([0, *map(len, data)])
        shifted = [each + start for each, start in zip(ends, starts, strict=False)]
        joined = np.concatenate([np.zeros(0, np.int64), *shifted])
        ids = encode_words(b"".join(data), joined, self._table)
        reached = np.cumsum(self._lengths[ids])  # in bytes; no token reaches across a text's end
        cuts = np.searchsorted(reached, starts, side="right")
        return [ids[start:end] for start, end in pairwise(cuts.tolist())]

    def to_dict(self) -> dict:
        """The JSON form: a character of U+0000 to U+00FF for each byte of a merge."""
        merges = [[left.decode("latin-1"), right.decode("latin-1")] for left, right in self.merges]
        return {"unit": self.unit, "merges": merges, "specials": self.specials}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BytePairs":
        """The tokenizer that ``to_dict`` described; ValueError if it is damaged."""
        try:
            pairs = msgspec.convert(values.get("merges"), list[tuple[str, str]])
            merges = [(left.encode("latin-1"), right.encode("latin-1")) for left, right in pairs]
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            raise ValueError(f'expected "merges": pairs of bytes as texts, found {error}') from None
        return cls(merges, check_texts(values.get("specials"), "specials"))
