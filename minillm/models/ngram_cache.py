"""The cache model: an n-gram model of the text that it has read so far.

A text repeats itself: its names, its topics, its phrases.  A model of the training text does not
know them.  A *cache* counts the n-grams of the text that is being predicted.  Each token is counted
only after it has been predicted.  Counts of a short text are small, so the smoothing is important:
here, absolute discounting with the original counts,

    p(w | a b) = max(c(a b w) - D, 0) / c(a b) + D t(a b) / c(a b) p(w | b)        D = 1/2

where c counts occurrences so far, and t(a b) is the number of different tokens seen after a b.  A
context that was not seen leaves everything to the shorter one.  The last one is uniform.

`NGramCache` is the definition: dictionaries that change with each token.  `read` computes the same
probabilities for all tokens of a text at once.  The count of an n-gram before a position of the
text is its rank among the equal n-grams, in the order of the text, and t is the number of first
occurrences among the n-grams with the same context.

Legend: V tokens that can be predicted, T tokens of a text.

Sources: Kuhn and De Mori (1990), "A cache-based natural language model for speech recognition";
Jelinek, Merialdo, Roukos and Strauss (1991), "A dynamic language model for speech recognition", for
n-grams; Howard (1993), "The design and analysis of efficient lossless data compression systems",
for D = 1/2 in text compression (PPM, method D).
"""

from collections import Counter, defaultdict

import numpy as np
from numpy.typing import NDArray

from minillm.layers.types import Ids
from minillm.models.ngram import count_keys

D = 0.5


class NGramCache:
    """The n-grams of a text so far, for n up to ``order``."""

    def __init__(self, order: int, vocabulary: int):
        self.order, self.vocabulary = order, vocabulary
        self.text: list[int] = []
        self.following: defaultdict[tuple[int, ...], Counter] = defaultdict(Counter)

    def distribution(self) -> tuple[NDArray[np.float64], int]:
        """p of the next token (V,), and the length of the longest context that was seen."""
        p, length = np.full(self.vocabulary, 1 / self.vocabulary), 0
        for context in self._contexts():
            counts = self.following[context]
            if not counts:
                break
            total = counts.total()
            p = D * len(counts) / total * p
            for word, count in counts.items():
                p[word] += (count - D) / total
            length = len(context)
        return p, length

    def add(self, token: int) -> None:
        """Count the next token."""
        for context in self._contexts():
            self.following[context][token] += 1
        self.text.append(token)

    def _contexts(self) -> list[tuple[int, ...]]:
        """The contexts of the next token, the shortest first."""
        T = len(self.text)
        return [tuple(self.text[T - n :]) for n in range(min(self.order, T + 1))]


def read(ids: Ids, order: int, vocabulary: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """p of each token of a text after those before it, and the length of the context: both (T,)."""
    T = len(ids)
    p, length = np.full(T, 1 / vocabulary), np.zeros(T, np.int64)
    context = np.zeros(T, np.int64)  # the number of the n - 1 tokens before each position
    for n in range(1, order + 1):
        _, ngram, _ = count_keys(context * vocabulary + ids)
        count = sum_before(ngram, np.ones(T, np.int64))
        total = sum_before(context, np.ones(T, np.int64))
        types = sum_before(context, count == 0)
        seen = total > 0
        share = np.maximum(count - D, 0) + D * types * p
        p[seen] = share[seen] / total[seen]
        length[seen] = n - 1
        context = np.append(0, 1 + ngram.astype(np.int64))[:T]  # 0: the start of the text
    return p, length


def sum_before(groups: NDArray, values: NDArray) -> NDArray[np.int64]:
    """The sum of the values before each position that belong to its group: (T,)."""
    order = np.argsort(groups, kind="stable")  # group by group, each in the order of the text
    sums = np.cumsum(values[order]) - values[order]
    opens = np.append(True, groups[order][1:] != groups[order][:-1])[: len(groups)]
    sums -= np.maximum.accumulate(np.where(opens, sums, 0))  # sums never fall
    result = np.empty(len(groups), np.int64)
    result[order] = sums
    return result
