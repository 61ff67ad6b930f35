"""Exercises of chapter 1: counting."""

from collections import Counter

import numpy as np

from minillm import metrics
from minillm.exercises.declaration import exercise
from minillm.models.ngram import (
    Length,
    NGramConfig,
    add_k,
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
