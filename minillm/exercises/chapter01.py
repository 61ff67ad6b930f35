"""Exercises of chapter 1: counting."""

from collections import Counter

import numpy as np

from minillm import metrics
from minillm.exercises.declaration import exercise
from minillm.models.ngram import (
    Counts,
    Length,
    NGramConfig,
    add_k,
    adjusted_counts,
    discounted,
    kneser_ney_discounts,
)


def _count_ngrams(text, n):
    return dict(Counter(text[k : k + n] for k in range(len(text) - n + 1)))


def _texts(rng):
    yield "", ("abracadabra", 2)
    yield "", ("abracadabra", 4)
    yield "n = 1", ("banana", 1)
    yield "", ("the cat sat on the mat", 3)


@exercise(
    "count the n-grams of a text",
    level=1,
    minutes=10,
    reference=_count_ngrams,
    solution="minillm/exercises/chapter01.py: _count_ngrams",
    cases=_texts,
    outputs=("counts",),
    hints={
        "counts": (
            "An n-gram starts wherever n characters are left, the last such position included.",
            "A text of T characters has T - n + 1 of them: text[k : k + n] for k in "
            "range(len(text) - n + 1).  A new n-gram begins with the count 0.",
        ),
    },
)
def count_ngrams(text, n):
    """Count the n-grams of a text: text (str), n -> a dictionary from n-grams (str) to counts."""
    counts = {}
    # all positions at which an n-gram begins
    starts = ...
    for start in starts:
        ngram = text[start : start + n]
        # how often it has been seen, this time included
        count = ...
        counts[ngram] = count
    return counts


def _three_units(p):
    nats = -np.log(p).mean()
    return nats, metrics.bits(nats), metrics.perplexity(nats)


def _predictions(rng):
    yield "", (np.array([0.5, 0.125, 0.25, 0.125]),)
    yield "", (np.full(7, 1 / 65),)
    yield "", (rng.uniform(0.01, 1, 20),)


@exercise(
    "nats, bits and perplexity",
    level=1,
    minutes=10,
    name="perplexity",
    reference=_three_units,
    solution="minillm/metrics.py: perplexity",
    cases=_predictions,
    outputs=("nats", "bits", "perplexity"),
    hints={
        "nats": (
            "The loss is the mean over the tokens of minus the natural logarithm of p.",
            "-np.log(p).mean(): the logarithm of each p first, then the mean.",
        ),
        "bits": (
            "A bit is a nat with the logarithm to base 2, and log2(x) = ln(x) / ln(2).",
            "nats / np.log(2)",
        ),
        "perplexity": (
            "A choice among k equally probable tokens costs ln k nats, and its perplexity is k.",
            "The inverse of the natural logarithm is exp: np.exp(nats).",
        ),
    },
)
def three_units(p):
    """Measure a model.

    p (T,), the probability that it gave to each token -> nats, bits, perplexity PP.
    """
    nats = ...
    bits = ...
    PP = ...
    return nats, bits, PP


def _add_k(counts, k):
    C, V = counts.shape
    context = np.repeat(np.arange(C, dtype=np.int32), V)
    length = Length(1, NGramConfig(vocabulary=V, order=1, k=k), np.zeros(5, np.int64))
    share, leftover = add_k(counts.ravel().astype(float), context, C, length)
    return share.reshape(C, V) + leftover[:, None] / V


def _tables(rng):
    yield "", (rng.integers(0, 9, (3, 5)), 1.0)
    yield "", (rng.integers(0, 9, (4, 3)), 0.1)
    yield "a context that was never seen", (np.array([[0, 0, 0, 0], [1, 2, 0, 1]]), 0.5)


@exercise(
    "smooth a table of counts by add-k",
    level=1,
    minutes=10,
    name="add-k",
    reference=_add_k,
    solution="minillm/models/ngram.py: add_k",
    cases=_tables,
    outputs=("p",),
    hints={
        "p": (
            "Every word counts k more, so the total of a context grows by k for each of V words.",
            "Divide counts + k by counts.sum(axis=1, keepdims=True) + k * V, a total for each row.",
        ),
    },
)
def add_k_smoothing(counts, k):
    """Smooth the counts of words after contexts: counts (C, V), k -> p (C, V).

    Row a holds how often each word was seen after context a.
    """
    C, V = counts.shape
    p = ...
    return p


def _absolute(count, p_shorter, D):
    context = np.zeros(len(count), np.int32)
    share, leftover = discounted(count.astype(float), context, 1, np.array([0, D, D, D]))
    return share, leftover[0], share + leftover[0] * p_shorter


def _one_context(rng):
    for count in ([2, 1, 0, 1], [0, 0, 7], [5, 0, 2, 1, 0, 0]):
        p = rng.uniform(size=len(count))
        yield "", (np.array(count), p / p.sum(), rng.uniform(0.3, 0.9))


@exercise(
    "absolute discounting after one context",
    level=2,
    minutes=15,
    reference=_absolute,
    solution="minillm/models/ngram.py: discounted",
    cases=_one_context,
    outputs=("share", "leftover", "p"),
    hints={
        "share": (
            "D is taken from each word that was seen.  From a count of 0 nothing can be taken.",
            "np.where(count > 0, count - D, 0) divided by the total, count.sum().",
        ),
        "leftover": (
            "The shares and the leftover sum to 1: D was taken once for each different word.",
            "1 - share.sum(), or D times the number of words seen, divided by the total.",
        ),
        "p": (
            "What is left over is divided as the shorter context says, among all words.",
            "share + leftover * p_shorter, also for the words that were seen.",
        ),
    },
)
def absolute_discounting(count, p_shorter, D):
    """Smooth the counts after one context.

    count (V,), how often each word was seen after it; p_shorter (V,), the probabilities after
    the shorter context; the discount D, between 0 and 1 -> share (V,), leftover, p (V,).
    """
    share = ...
    leftover = ...
    p = ...
    return share, leftover, p


def _counts_of_counts(rng):
    yield "", (np.array([0, 100, 40, 20, 12]),)
    yield "", (np.array([0, 19043, 7578, 3420, 2079]),)
    yield "", (np.array([3, 9553, 3155, 1029, 592]),)


@exercise(
    "the three discounts of Kneser-Ney",
    level=1,
    minutes=10,
    name="kneser-ney-discounts",
    reference=kneser_ney_discounts,
    solution="minillm/models/ngram.py: kneser_ney_discounts",
    cases=_counts_of_counts,
    outputs=("D",),
    hints={
        "D": (
            "D_r = r - (r + 1) Y n_(r+1) / n_r, where Y is the single discount.",
            "Y = n1 / (n1 + 2 n2).  n[r + 1] is above the line, n[r] below it.",
        ),
    },
)
def discounts(n):
    """Compute the discounts of counts of 1, of 2, and of 3 and more.

    n (5,): n[r] n-grams have the count r; n[1] to n[4] are above 0 -> D (4,); D[0] is 0.
    """
    D = np.zeros(4)
    Y = ...
    for r in (1, 2, 3):
        D[r] = ...
    return D


def _continuation_counts(pairs):
    before, word = np.nonzero(pairs)
    V = pairs.shape[1]
    no, ids = np.zeros(V, bool), np.arange(V, dtype=np.int32)
    words = Counts(ids, ids, ids, pairs.sum(axis=0), no)
    longer = Counts(before, word, word.astype(np.int32), pairs[before, word], no)
    count = adjusted_counts(words, longer)
    return count, count / count.sum()


def _pairs(rng):
    yield "", (np.array([[0, 9, 1], [2, 0, 1], [0, 0, 3]]),)
    yield "", (rng.integers(0, 3, (5, 5)) + np.eye(5, dtype=int),)
    yield "", (rng.integers(0, 2, (4, 4)) + np.eye(4, dtype=int),)


@exercise(
    "continuation counts",
    level=2,
    minutes=15,
    reference=_continuation_counts,
    solution="minillm/models/ngram.py: adjusted_counts",
    cases=_pairs,
    outputs=("count", "p"),
    hints={
        "count": (
            "Count different words before w, not occurrences, and not the words after it.",
            "pairs > 0 is True for each different pair; sum it over the words before, axis 0.",
        ),
        "p": (
            "The probabilities sum to 1: what is the total of the continuation counts?",
            "count / count.sum()",
        ),
    },
)
def continuation_counts(pairs):
    """Compute the continuation count of each word, and its probability without a context.

    pairs (V, V): pairs[a, w] is how often word w was seen after word a -> count (V,), p (V,).
    """
    count = ...
    p = ...
    return count, p


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _interpolation(counts, weight, floor):
    V = len(counts)
    unigram = (1 - floor) * counts.sum(axis=0) / counts.sum() + floor / V
    totals = counts.sum(axis=1, keepdims=True)
    bigram = counts / np.maximum(totals, 1)
    return np.where(totals > 0, weight * bigram + (1 - weight) * unigram, unigram)


def _word_pairs(rng):
    yield "", (rng.integers(1, 9, (4, 4)), 0.7, 0.1)
    yield "", (rng.integers(1, 9, (3, 3)), 0.2, 0.5)
    yield "a context that was never seen", (np.array([[2, 1, 0], [0, 0, 0], [3, 0, 1]]), 0.7, 0.1)


@exercise(
    "interpolation of three models",
    level=2,
    minutes=15,
    reference=_interpolation,
    solution="minillm/exercises/chapter01.py: _interpolation",
    cases=_word_pairs,
    outputs=("p",),
    hints={
        "p": (
            "The unigram counts of w are the pairs that end in w, over all pairs.  Its mixture "
            "with 1 / V is what each context is mixed with.",
            "unigram = (1 - floor) * counts.sum(axis=0) / counts.sum() + floor / V; a row is "
            "weight * counts / its total + (1 - weight) * unigram.",
        ),
        "a context that was never seen": (
            "A row of zeros has no bigram estimate, and its probabilities must sum to 1 too.",
            "Give such a row the unigram mixture alone: np.where(totals > 0, ..., unigram).",
        ),
    },
)
def interpolation(counts, weight, floor):
    """Mix the relative frequencies of pairs with those of words, and these with 1 / V.

    counts (V, V): counts[a, w] is how often w followed a.  weight is the share of the pairs, where
    a was seen at all; in the rest, floor is the share of 1 / V -> p (V, V), p[a, w] = P(w | a).
    """
    V = len(counts)
    p = ...
    return p
