"""Exercises of chapter 1: counting."""

from collections import Counter
from itertools import pairwise

import numpy as np

from minillm import metrics
from minillm.compression.range_coder import Encoder
from minillm.exercises.declaration import Bug, exercise, find_the_bug
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


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _fair_comparison(nats, tokens, characters, words):
    text = nats * tokens
    return text / np.log(2) / characters, np.exp(text / words)


def _texts_in_tokens(rng):
    yield "", (1.2, 500, 500, 90)
    yield "", (5.6, 1000, 5700, 1000)
    for _ in range(3):
        words, tokens, characters = np.sort(rng.integers(50, 900, 3)).tolist()
        yield "", (float(rng.uniform(0.5, 3)), tokens, characters, words)


@exercise(
    "one unit for models with different tokens",
    level=1,
    minutes=15,
    reference=_fair_comparison,
    solution="minillm/exercises/chapter01.py: _fair_comparison",
    cases=_texts_in_tokens,
    outputs=("bits", "perplexity"),
    hints={
        "bits": (
            "The probability of the whole text does not depend on the tokens that we divide it "
            "into.  How many nats does the whole text cost, and how many bits?",
            "The text costs nats * tokens.  Divide by its characters, and by np.log(2) nats per "
            "bit.",
        ),
        "perplexity": (
            "A perplexity per word is the exponential of a loss per word, in nats.",
            "np.exp(nats * tokens / words): the whole text, divided among its words.",
        ),
    },
)
def fair_comparison(nats, tokens, characters, words):
    """Express the loss of a model in units that do not depend on its tokens.

    nats: the mean loss per token, of a text with ``tokens`` tokens, ``characters`` characters and
    ``words`` words -> the bits per character, and the perplexity per word.
    """
    bits = ...
    perplexity = ...
    return bits, perplexity


def _entropy_rate(P):
    V = len(P)
    equations = np.vstack([P.T - np.eye(V), np.ones(V)])
    share = np.linalg.lstsq(equations, np.append(np.zeros(V), 1), rcond=None)[0]
    return share, -(share[:, None] * P * np.log2(np.where(P > 0, P, 1))).sum()


def _chains(rng):
    yield "", (np.array([[0.9, 0.1], [0.5, 0.5]]),)
    yield "", (rng.dirichlet(np.ones(4), 4),)
    P = rng.dirichlet(np.ones(3), 3)
    P[1] = 0.5, 0, 0.5
    yield "a pair that never occurs", (P,)
    yield "a periodic chain", (np.array([[0, 1, 0], [0.5, 0, 0.5], [0, 1, 0]]),)


@exercise(
    "the loss that no model can beat",
    level=2,
    minutes=30,
    reference=_entropy_rate,
    solution="minillm/exercises/chapter01.py: _entropy_rate",
    cases=_chains,
    outputs=("share", "bits"),
    tolerance=1e-5,
    hints={
        "share": (
            "A symbol comes after some other symbol: its share is the sum over a of the share of a "
            "times P(w | a).  The shares sum to 1.",
            "Start with any shares and repeat share = (share + share @ P) / 2, some hundred times.",
        ),
        "bits": (
            "After the symbol a, the best model predicts P[a], and its loss is the mean of -log2 "
            "under P[a] itself.  How often does each a count?",
            "-(share[:, None] * P * np.log2(P)).sum().",
        ),
        "a pair that never occurs": (
            "What has the probability 0 never occurs and costs nothing, but NumPy computes 0 times "
            "minus infinity as nan.",
            "Take np.log2(np.where(P > 0, P, 1)).",
        ),
        "a periodic chain": (
            "Here every second symbol is 1: share @ P exchanges the shares of even and of odd "
            "positions for ever.  Which shares does a step leave unchanged?",
            "Take the mean of both, share = (share + share @ P) / 2, or solve share = share @ P "
            "with np.linalg.lstsq; the shares sum to 1.",
        ),
    },
)
def entropy_rate(P):
    """Find how often each symbol occurs in an endless text, and the loss of the best model of it.

    P (V, V): the text is written by a bigram model, P[a, w] = P(w | a).  Some entries may be 0, but
    from each symbol the text comes to every other one -> share (V,) of each symbol in the text, and
    the smallest mean loss that a model of any order can have on it, in bits per symbol.
    """
    V = len(P)
    # as many lines as you need
    share = ...
    bits = ...
    return share, bits


# --- compression ----------------------------------------------------------------------


def _range_encoder(starts, ends, total):
    encoder = Encoder()
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        encoder.encode(start, end, total)
    low = int.from_bytes(encoder.written) << 32
    return encoder.range, np.frombuffer(
        (low + encoder.low).to_bytes(len(encoder.written) + 4), "u1"
    )


def _symbols(rng):
    for V, T in ((2, 3), (5, 30), (300, 100)):
        counts = rng.integers(1, 50, V)
        ends = np.cumsum(counts)
        symbols = rng.integers(0, V, T)
        yield "", (ends[symbols] - counts[symbols], ends[symbols], int(ends[-1]))
    third = np.full(40, 1)
    yield "an interval around a half", (third, third + 1, 3)


@exercise(
    "a range encoder",
    level=2,
    minutes=30,
    reference=_range_encoder,
    solution="minillm/compression/range_coder.py: Encoder",
    cases=_symbols,
    outputs=("size", "file"),
    hints={
        "size": (
            "Where does the part of the next symbol begin, too?  The parts of two neighbours must "
            "not overlap, nor leave a gap.",
            "size * end // total - first, where first is size * start // total.  Below 2**24, "
            "multiply by 256.",
        ),
        "file": (
            "low grows by what lies before the part.  When size is multiplied by 256, so is low.",
            "low += first; low *= 256.  Python's integers have any number of digits, so there is "
            "no carry to program.",
        ),
    },
)
def range_encoder(starts, ends, total):
    """Encode symbols: each owns the part from start to end of the total.

    starts (T,), ends (T,), total -> the size of the last interval, at least 2**24, and the bytes of
    its first number, (n,).  The first interval begins at 0 and has the size 2**32.  While the size
    is below 2**24, the interval is multiplied by 256.
    """
    low, size, digits = 0, 2**32, 4
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        first = size * start // total
        # the new size
        size = ...
        # the first number of the part
        low = ...
        while size < 2**24:
            # the next digit, of base 256
            low, size, digits = ...
    return size, np.frombuffer(low.to_bytes(digits), np.uint8)


def _integer_counts(p, total):
    V = len(p)
    counts = 1 + np.floor(p * (total - V)).astype(int)
    counts[p.argmax()] += total - counts.sum()
    return counts, (p * np.log2(p * total / counts)).sum(), np.log2(total / (total - V))


def _distributions(rng):
    yield "", (np.array([0.7, 0.2, 0.1]), 16)
    yield "", (rng.dirichlet(np.ones(50)), 1 << 12)
    yield "", (rng.dirichlet(np.full(300, 0.1)) * 0.999 + 0.001 / 300, 1 << 10)


@exercise(
    "the price of integers",
    level=2,
    minutes=20,
    name="integer-counts",
    reference=_integer_counts,
    solution="minillm/exercises/chapter01.py: _integer_counts",
    cases=_distributions,
    outputs=("counts", "lost", "bound"),
    hints={
        "counts": (
            "Each symbol gets 1, and V symbols take V of the total.  How much is left to share?",
            "1 + np.floor(p * (total - V)).astype(int)",
        ),
        "lost": (
            "A symbol costs -log2(counts / total) bits instead of -log2(p).  How often is it paid?",
            "(p * np.log2(p * total / counts)).sum(), a Kullback-Leibler divergence.",
        ),
        "bound": (
            "Each count is at least p * (total - V).  Put this into the loss of a symbol.",
            "log2(p * total / counts) <= log2(total / (total - V)), for every symbol.",
        ),
    },
)
def integer_counts(p, total):
    """Round probabilities p (V,) to counts (V,) >= 1, whose sum is the total, for a range coder.

    Each symbol gets 1, and a share of the rest, rounded down; what the rounding leaves goes to the
    most probable one -> the counts, the bits per symbol that are lost if symbols are drawn from p,
    and the bound on these bits that holds for any p.
    """
    V = len(p)
    counts = ...
    counts[p.argmax()] += total - counts.sum()
    lost = ...
    bound = ...
    return counts, lost, bound


# --- find the bug -------------------------------------------------------------------


def _split_texts(rng):
    yield "", ("abracadabra", "cadabra", 0.5)
    yield "", ("the cat sat on the mat", "the dog sat", 0.1)
    yield "", ("banana", "ananas", 1.0)


@find_the_bug(
    "find the bug: a bigram model on new text",
    level=1,
    minutes=15,
    cases=_split_texts,
    imports="from collections import Counter\nfrom itertools import pairwise",
    outputs=("bits",),
    bugs=(
        Bug(
            "order",
            "pairs[a, w] + k",
            "pairs[w, a] + k",
            "The context comes first, in the count too.",
            lead='Let both texts be "ab": which pair has a count, and which is looked up?',
        ),
        Bug(
            "value",
            "Counter(text[:-1])",
            "Counter(held_out[:-1])",
            "A model may count the training text only.",
            lead="Change held_out and keep its characters: may the model's probabilities change?",
        ),
        Bug(
            "factor",
            "+ k * V)",
            "+ k)",
            "k was added to the count of each of V words, so the probabilities sum to more than 1.",
            lead="Sum p over all characters w after one context.  What should the sum be?",
        ),
        Bug(
            "sign",
            "bits -= np.log2(p)",
            "bits += np.log2(p)",
            "A loss is minus a logarithm.",
            lead="Can a loss be negative?  How many bits does p = 1/2 cost, and how many p = 1/4?",
        ),
        Bug(
            "factor",
            "bits -= np.log2(p)",
            "bits -= np.log(p)",
            "The natural logarithm gives nats.",
            lead='With the text "a", held_out "ab" has p = 1/2.  How many bits is that?',
        ),
        Bug(
            "range",
            "(len(held_out) - 1)",
            "len(held_out)",
            "The first character is not predicted, so the mean has one term less.",
            lead="Try held_out of two characters: how many predictions are there?",
        ),
    ),
)
def find_bigram(text, held_out, k):
    """Compute the bits per character that an add-k bigram model of ``text`` has on ``held_out``.

    text, held_out (str), k -> bits: the mean of -log2 P(w | a) over all characters of ``held_out``
    but the first.  The vocabulary has the characters of both texts.
    """
    V = len(set(text + held_out))
    pairs = Counter(pairwise(text))
    contexts = Counter(text[:-1])
    bits = 0.0
    for a, w in pairwise(held_out):
        p = (pairs[a, w] + k) / (contexts[a] + k * V)
        bits -= np.log2(p)
    return bits / (len(held_out) - 1)
