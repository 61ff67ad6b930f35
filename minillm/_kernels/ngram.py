"""Counting and looking up n-grams in sorted arrays: the NumPy original.

An n-gram is a context, the n-gram that is one word shorter, and a last word.
The n-grams of one length are numbered in sorted order, so that one integer
stands for context and word together, exactly, whatever the length:

    key = number of the context * V + word

``models.ngram`` counts the keys of one length, which numbers the n-grams of
that length, and so goes from each length to the next.
"""

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.int64]
Numbers = NDArray[np.int32]


def count_keys(keys: Keys) -> tuple[Keys, Numbers, Keys]:
    """Count equal keys: keys (T,), none negative -> distinct, places, counts.

    distinct (M,) holds each key once, in ascending order, counts (M,) how often
    it stood, places (T,) where in distinct each key is.
    """
    distinct, places, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return distinct, places.astype(np.int32), counts


def find_children(first: Numbers, words: Numbers, contexts: Numbers, last: Numbers) -> Numbers:
    """Look n-grams up: contexts (T,), last words (T,) -> numbers (T,), -1 where there is none.

    The n-grams whose context is number c are number first[c] to first[c + 1] - 1,
    in the order of their last words, words (M,).  Context -1 has none.
    """
    exists = contexts >= 0
    low = np.where(exists, first[contexts], 0)
    end = np.where(exists, first[contexts + 1], 0)
    high = end
    while True:  # binary search, all places at once
        searching = low < high
        if not searching.any():
            break
        middle = (low + high) // 2
        below = searching.copy()
        below[searching] = words[middle[searching]] < last[searching]
        low = np.where(below, middle + 1, low)
        high = np.where(searching & ~below, middle, high)
    found = low < end
    found[found] = words[low[found]] == last[found]
    return np.where(found, low, -1).astype(np.int32)
