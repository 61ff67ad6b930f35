"""Byte-pair encoding of large texts: the functions of :mod:`minillm.text.bpe` with less work.

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
from collections.abc import Mapping, Sequence
from itertools import pairwise

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
        left, right = self.pairs.T
        order = np.lexsort((right, left))
        self.right, self.rank = right[order], order.astype(np.int32)
        self.first = np.searchsorted(left[order], np.arange(len(numbers) + 1)).astype(np.int32)

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
