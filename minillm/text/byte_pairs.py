"""Byte pairs as a vocabulary, learned from large texts: :mod:`minillm.text.bpe` with less work.

Training: a merge changes only a few words, so an index lists the words of each pair, and a heap
keeps the most frequent pair on top.  Encoding: tokens are numbers, a pair is merged wherever it
occurs in a word, and each different word is merged once.

>>> from minillm.text import bpe
>>> words = {b"she": 1, b" sells": 1, b" sea": 1, b" shells": 1}
>>> learn_merges(words, 5) == bpe.learn_merges(words, 5)
True
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.errors import short
from minillm.text.bpe import BYTES, LONGEST, Pair, cut_words, join
from minillm.text.byte_tokens import MASK, ByteTokens
from minillm.text.vocabulary import SpecialTokens, check_texts
from minillm.unicode import check_encodable

END_OF_TEXT = "<|endoftext|>"
_NONE = np.zeros(0, np.int32)

# --- words ---------------------------------------------------------------------------------------


@twinned
def word_ends(text: str) -> NDArray[np.int64]:
    """The ends of the words of a text, (W,), counted in bytes of UTF-8; the words cover the text.

    >>> word_ends("Don't  say été!")
    array([ 3,  5,  6, 10, 16, 17])
    """
    return np.cumsum([len(word.encode()) for word in cut_words(text)], dtype=np.int64)


# --- training ------------------------------------------------------------------------------------


@twinned
def learn_merges(words: Mapping[bytes, int], number: int) -> list[Pair]:
    """The first ``number`` merges of words with their counts; fewer if no pair occurs twice.

    The counts are corrected in the words of the merged pair only.  A count in the heap may be out
    of date, but only too large: it is compared with the current one when it comes up.
    """
    pieces = [[BYTES[value] for value in word] for word in words]
    weights = list(words.values())
    counts: Counter[Pair] = Counter()
    where: dict[Pair, set[int]] = {}  # the words that contain a pair, or once did

    def count(at: int, sign: int) -> None:
        for pair in pairwise(pieces[at]):
            counts[pair] += sign * weights[at]
            where.setdefault(pair, set()).add(at)

    for at in range(len(pieces)):
        count(at, +1)
    heap = [(-counts[pair], pair) for pair in counts]
    heapq.heapify(heap)
    tokens, merges = set(BYTES), list[Pair]()
    while heap and len(merges) < number:
        negative, best = heapq.heappop(heap)
        token = best[0] + best[1]
        if -negative != counts[best]:
            heapq.heappush(heap, (-counts[best], best))
        elif counts[best] < 2:
            break
        elif len(token) <= LONGEST and token not in tokens:
            new = set()
            for at in where.pop(best):
                count(at, -1)
                pieces[at] = join(pieces[at], best, token)
                count(at, +1)
                new |= {pair for pair in pairwise(pieces[at]) if token in pair}
            for pair in new:
                heapq.heappush(heap, (-counts[pair], pair))
            merges.append(best)
            tokens.add(token)
    return merges


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
                data, ends = part.encode(), [0, *word_ends(part).tolist()]
                words.update(data[start:end] for start, end in pairwise(ends))
    return BytePairs(learn_merges(words, size - least), specials)


# --- encoding ------------------------------------------------------------------------------------


class MergeTable:
    """Merges as numbers of tokens: the 256 bytes, then the token that each merge makes.

    ``tokens`` are bytes, by number.  pairs (M, 2) and result (M,) are in the order of ranks.

    ``by_pair`` maps a pair to its rank.  The twin uses sorted arrays: the pairs with left token n
    are first[n] to first[n + 1]; right (M,) and rank (M,) are in this order.
    """

    def __init__(self, merges: Sequence[Pair]):
        """ValueError unless each merge makes a new token of those that merges before it made."""
        numbers, pairs = {token: n for n, token in enumerate(BYTES)}, list[tuple[int, int]]()
        for rank, (left, right) in enumerate(merges, start=1):
            for token in (left, right):
                if token not in numbers:
                    expected = f"merge {rank}: expected tokens of the merges before it"
                    raise ValueError(f"{expected}, found {short(token)}")
            token = left + right
            if token in numbers or len(token) > LONGEST:
                expected = f"merge {rank}: expected a new token of at most {LONGEST} bytes"
                raise ValueError(f"{expected}, found {short(token)}, of {len(token)}")
            pairs.append((numbers[left], numbers[right]))
            numbers[token] = len(numbers)
        self.tokens, self.by_pair = [*numbers], {pair: rank for rank, pair in enumerate(pairs)}
        self.pairs = np.array(pairs, np.int32).reshape(-1, 2)
        self.result = np.arange(len(BYTES), len(numbers), dtype=np.int32)
        order = np.lexsort(self.pairs.T[::-1])  # by the left token, then by the right one
        lefts, self.right = self.pairs[order].T.copy()
        self.rank, places = order.astype(np.int32), np.arange(len(numbers) + 1)
        self.first = np.searchsorted(lefts, places).astype(np.int32)

    def numbers_of(self, word: bytes) -> list[int]:
        """The numbers of a word's tokens: the pair of the lowest rank is always merged next.

        It is merged wherever it occurs: a merge before it cannot take the token that it makes.
        """
        numbers = list(word)
        while ranks := [self.by_pair[p] for p in pairwise(numbers) if p in self.by_pair]:
            a, b = self.pairs[min(ranks)].tolist()
            numbers = join(numbers, (a, b), len(BYTES) + min(ranks))
        return numbers


@twinned
def encode_words(data: bytes, ends: NDArray[np.int64], table: MergeTable) -> NDArray[np.int32]:
    """The numbers of the tokens of words, (T,): word w is data[ends[w - 1] : ends[w]].

    Each different word is merged once.
    """
    merged = dict[bytes, list[int]]()
    numbers: list[int] = []
    for start, end in pairwise([0, *ends.tolist()]):
        word = data[start:end]
        if word not in merged:
            merged[word] = table.numbers_of(word)
        numbers += merged[word]
    return np.array(numbers, np.int32)


# --- the vocabulary ------------------------------------------------------------------------------


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
        """The ids of each of several texts, without BOS."""
        special, found = self.special.ids, []
        for text, name in zip(texts, names, strict=True):
            check_encodable(text, name)
            pieces = [
                np.array([special[part]], np.int32) if part in special
                else self.encode_ordinary(part)
                for part in self.special.cut(text)
            ]  # fmt: skip
            found.append(np.concatenate([_NONE, *pieces]))
        return found

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
