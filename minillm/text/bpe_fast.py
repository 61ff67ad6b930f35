"""Byte-pair encoding of large texts: the functions of :mod:`minillm.text.bpe` with less work.

Training: a merge changes only a few words, so an index lists the words of each pair, and a heap
keeps the most frequent pair on top.  Encoding: tokens are numbers, a heap has the pairs that a long
word can merge, and each different word is merged once.

>>> from minillm.text import bpe
>>> words = {b"she": 1, b" sells": 1, b" sea": 1, b" shells": 1}
>>> learn_merges(words, 5) == bpe.learn_merges(words, 5)
True
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.errors import short
from minillm.text.bpe import BYTES, LONGEST, Pair, cut_words, join
from minillm.unicode import check_encodable

# --- words ---------------------------------------------------------------------------------------


@twinned
def word_ends(text: str) -> NDArray[np.int64]:
    """The ends of the words of a text, (W,), counted in bytes of UTF-8; the words cover the text.

    >>> word_ends("Don't  say été!")
    array([ 3,  5,  6, 10, 16, 17])
    """
    return np.cumsum([len(word.encode()) for word in cut_words(text)], dtype=np.int64)


def split_words(text: str) -> list[bytes]:
    """The words of a text by GPT-2's pattern, each as its bytes.

    InputError for a lone surrogate.
    """
    check_encodable(text, "text")
    data, ends = text.encode(), word_ends(text)
    return [data[start:end] for start, end in pairwise([0, *ends.tolist()])]


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


# --- encoding ------------------------------------------------------------------------------------


class MergeTable:
    """Merges as numbers of tokens: the 256 bytes, then the tokens that are made.

    ``tokens`` are bytes, by number.  pairs (M, 2) and result (M,) are in the order of ranks.

    ``by_pair`` maps a pair to its rank and its result.  The twin uses sorted arrays: the pairs with
    left token n are first[n] to first[n + 1]; right (M,) and rank (M,) are in this order.
    """

    def __init__(self, tokens: list[bytes], pairs: Iterable[Sequence[int]], results: Sequence[int]):
        """ValueError if two of the pairs are the same."""
        self.tokens = tokens
        self.pairs = np.fromiter(chain.from_iterable(pairs), np.int32).reshape(-1, 2)
        self.result = np.array(results, np.int32)
        keys = self.pairs[:, 0].astype(np.int64) * len(tokens) + self.pairs[:, 1]
        order = np.argsort(keys, kind="stable")
        self.right, self.rank = self.pairs[order, 1], order.astype(np.int32)
        firsts = np.arange(len(tokens) + 1, dtype=np.int64) * len(tokens)
        self.first = np.searchsorted(keys[order], firsts).astype(np.int32)
        again = order[1:][np.diff(keys[order]) == 0]
        if len(again):
            rank = int(again.min())
            a, b = (short(tokens[number]) for number in self.pairs[rank])
            raise ValueError(f"merge {rank + 1}: {a} and {b} are merged already")

    def numbers_of(self, word: bytes) -> list[int]:
        """The numbers of the tokens of a long word, which the twin leaves to this."""
        return encode_word(word, self)

    @cached_property
    def by_pair(self) -> dict[tuple[int, int], tuple[int, int]]:
        """The rank and the result of each pair; the twin has its own for short words."""
        merges = zip(self.pairs.tolist(), self.result.tolist(), strict=True)
        return {(a, b): (rank, c) for rank, ((a, b), c) in enumerate(merges)}


def encode_word(word: bytes, table: MergeTable) -> list[int]:
    """The numbers of a word's tokens: the pair of the lowest rank is always merged next.

    It takes n log n steps.  A heap has the places where a pair can be merged, and each place knows
    its neighbours.  Heap entries that a merge has made invalid are skipped.
    """
    numbers: list[int | None] = list(word)
    before, after = list(range(-1, len(word) - 1)), list(range(1, len(word) + 1))
    heap: list[tuple[int, int]] = []

    def pair_at(at: int) -> tuple[int, int] | None:
        """The rank and the result of the pair that begins at a place."""
        if at < 0 or after[at] >= len(word):
            return None
        return table.by_pair.get((numbers[at], numbers[after[at]]))  # type: ignore[arg-type]

    def push(at: int) -> None:
        if (pair := pair_at(at)) is not None:
            heapq.heappush(heap, (pair[0], at))

    for at in range(len(word)):
        push(at)
    while heap:
        rank, at = heapq.heappop(heap)
        if numbers[at] is None:
            continue
        pair = pair_at(at)
        if pair is None or pair[0] != rank:
            continue
        gone = after[at]
        numbers[at], numbers[gone] = pair[1], None
        after[at] = after[gone]
        if after[at] < len(word):
            before[after[at]] = at
        push(before[at])
        push(at)
    return [number for number in numbers if number is not None]


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
            merged[word] = encode_word(word, table)
        numbers += merged[word]
    return np.array(numbers, np.int32)
