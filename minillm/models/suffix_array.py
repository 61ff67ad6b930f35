"""The suffix array, and the n-gram model without a bound on n.

A *suffix array* is the list of all positions of a text, sorted by the text that begins there:

    text             b a n a n a        position   5 3 1 0 4 2
    position         0 1 2 3 4 5        suffix     a ana anana banana na nana

Equal beginnings are neighbours in this order.  So all occurrences of a pattern are one range of the
array, and two binary searches find its ends, for a pattern of any length.  Their difference is the
count of the pattern in the text.  No n-gram is stored.

Prefix doubling.  Sorting compares suffixes, which are long.  But if every position has a rank by
its first k tokens, then the pair (rank at i, rank at i + k) ranks position i by its first 2 k
tokens.  Sorting such pairs log2(longest repetition) times sorts the suffixes.

The unbounded n-gram.  To predict a token from all tokens before it, take the longest suffix of this
context that occurs in the text, and count what follows its occurrences:

    P(w | context) = count(suffix w) / count(suffix)        n = 1 + length of the suffix

n, the *effective order*, differs from token to token.  It depends on the context alone, so P sums
to 1 without any discounting.  A token that never followed the suffix has the probability 0, and the
loss of the model alone would be infinite.  So it is used as a part of a mixture.

Two deviations from Liu et al.: for them, the longest suffix that occurs may end with the text,
where nothing follows it; here, a token has to follow it, and count(suffix) counts the occurrences
that one follows.  They call an estimate *sparse* if one token has the probability 1, and mix with
one weight for sparse estimates and another one for the rest; here, the weights depend on the length
of the suffix (:mod:`minillm.models.mixture`), which was better by 0.02 nats per character on the
built-in text.

Legend: N tokens of the text, T tokens of another text that is read.

Sources: Manber and Myers (1993), "Suffix arrays: a new method for on-line string searches", with
prefix doubling in section 3; Liu, Min, Zettlemoyer, Choi and Hajishirzi (2024), "Infini-gram:
scaling unbounded n-gram language models to a trillion tokens", section 2 for P, section 3 for
counting with a suffix array, section 5 for the mixture.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minillm.layers.types import Ids

Positions = NDArray[np.int32]


def sorted_suffixes(text: Ids) -> Positions:
    """The suffix array of a text (N,), by its definition: for short texts."""
    suffixes = [(text[at:].tolist(), at) for at in range(len(text))]
    return np.array([at for _, at in sorted(suffixes)], np.int32)


def suffix_array(text: Ids) -> Positions:
    """The suffix array of a text (N,), by prefix doubling."""
    N = len(text)
    order = np.argsort(text, kind="stable")
    rank, distinct = ranks_of(order, text)
    k = 1
    while distinct < N:  # rank is by the first k tokens
        after = np.zeros(N, np.int64)  # past the end: before every rank
        after[: N - k] = rank[k:] + 1
        pairs = rank * (N + 1) + after
        order = np.argsort(pairs, kind="stable")
        rank, distinct = ranks_of(order, pairs)
        k *= 2
    return order.astype(np.int32)


def ranks_of(order: NDArray[np.integer], keys: NDArray[np.integer]) -> tuple[NDArray, int]:
    """The rank of each key among the distinct keys, and how many these are."""
    ordered = keys[order]
    rank = np.zeros(len(keys), np.int64)
    rank[order[1:]] = np.cumsum(ordered[1:] != ordered[:-1])
    return rank, int(rank.max(initial=-1)) + 1


@dataclass(frozen=True)
class Matches:
    """For each token of a text that is read: the longest suffix before it that occurs elsewhere.

    ``length`` (T,) of the suffix; ``count`` (T,), how often a token follows it; ``followed`` (T,),
    how often this token does; ``position`` (T,) of one of the tokens that follow it.
    """

    length: NDArray[np.int64]
    count: NDArray[np.int64]
    followed: NDArray[np.int64]
    position: NDArray[np.int64]


@dataclass(frozen=True)
class Passage:
    """A part of one text, ``ids[start:end]``, that occurs in another."""

    start: int
    end: int
    position: int  # of an occurrence
    count: int  # of all of them


class UnboundedNGram:
    """The counts of all n-grams of a text, for every n."""

    def __init__(self, text: Ids):
        """Sort the suffixes of a text (N,).  ValueError for an empty one, or an id below 0."""
        if not len(text) or np.min(text) < 0:
            found = str(np.min(text)) if len(text) else "none"
            raise ValueError(f"text: expected one id or more from 0 on, found {found}")
        self.text = np.append(text, -1)  # the end comes before every token
        self.order = suffix_array(text)

    def count(self, pattern: Ids) -> int:
        """The number of occurrences of a pattern (n,) in the text."""
        first, end = self.search(pattern)
        return end - first

    def search(self, pattern: Ids) -> tuple[int, int]:
        """first and end: the suffixes order[first] to order[end - 1] begin with a pattern (n,)."""
        first, end = np.array([0]), np.array([len(self.order)])
        for length, token in enumerate(pattern):
            first, end = self.narrowed(first, end, length, np.array([token]))
        return int(first[0]), int(end[0])

    def narrowed(self, first: Ids, end: Ids, length: int, tokens: Ids) -> tuple[Ids, Ids]:
        """The ranges of the suffixes that continue with a token, by two binary searches.

        The suffixes order[first] to order[end - 1] agree in their first ``length`` tokens.  They
        are sorted by the next one.  first, end, tokens (B,) -> first, end (B,).
        """
        return (
            self._search(first, end, length, tokens),
            self._search(first, end, length, tokens + 1),
        )

    def _search(self, low: Ids, high: Ids, length: int, tokens: Ids) -> Ids:
        """The first suffix in each range whose next token is ``tokens`` or more; or its end."""
        low, high = low.copy(), high.copy()
        searching = np.flatnonzero(low < high)
        while len(searching):  # binary search, in all ranges at once
            middle = (low[searching] + high[searching]) // 2
            below = self.text[self.order[middle] + length] < tokens[searching]
            low[searching[below]] = middle[below] + 1
            high[searching[~below]] = middle[~below]
            searching = searching[low[searching] < high[searching]]
        return low

    def distribution(self, context: Ids, vocabulary: int) -> tuple[NDArray[np.float64], int]:
        """P(w | context) for every token w (V,), and the effective order n."""
        for start in range(len(context) + 1):  # the longest suffix first
            length = len(context) - start
            first, end = self.search(context[start:])
            followers = self.text[self.order[first:end] + length]
            counts = np.bincount(followers[followers >= 0], minlength=vocabulary)
            if counts.any():
                break
        return counts / counts.sum(), 1 + length

    def read(self, ids: Ids) -> Matches:
        """The longest suffixes before each token of another text (T,).

        A match is read from every position of the text at once, token by token, until it ends.  If
        two matches that end at one position have equal counts, then they have the same
        occurrences, and only the longer one is read on.  So a copied passage costs no more than
        any other text.
        """
        T = len(ids)
        length, followed, position = np.zeros((3, T), np.int64)
        count = np.full(T, -1)
        owner = np.arange(T)  # the position where the longest match so far begins
        alone = np.ones(T, bool)  # whether no longer match has the same occurrences
        begins: Ids = np.arange(T)
        first: Ids = np.zeros(T, np.int64)
        end: Ids = np.full(T, len(self.order))
        n = 0
        while len(begins):
            at = begins + n  # the token after each match
            first += self.text[self.order[first] + n] < 0  # at the end of the text, nothing follows
            found = end > first
            begins, at, first, end = begins[found], at[found], first[found], end[found]
            same = count[at] == end - first
            alone[owner[at[same]]] = False
            length[at], count[at], owner[at] = n, end - first, begins
            position[at] = self.order[first] + n
            first, end = self.narrowed(first, end, n, ids[at])
            followed[at] = end - first
            n += 1
            on = (first < end) & alone[begins] & (begins + n < T)
            begins, first, end = begins[on], first[on], end[on]
        return Matches(length, count, followed, position)

    def passages(self, ids: Ids, most: int) -> list[Passage]:
        """The longest passages of another text (T,) that occur in this one, without overlaps.

        At most ``most``, the longest first.
        """
        ends = np.arange(1, len(ids) + 1)
        length = self.read(np.append(ids, 0)).length  # the last token is not looked at
        longest = ends[(-length[1:]).argsort(kind="stable")]
        free = np.ones(len(ids), bool)
        found: list[Passage] = []
        for end in longest.tolist():
            part = slice(end - length[end], end)
            if len(found) < most and free[part].all() and length[end]:
                free[part] = False
                first, last = self.search(ids[part])
                found.append(Passage(part.start, end, int(self.order[first]), last - first))
        return found
