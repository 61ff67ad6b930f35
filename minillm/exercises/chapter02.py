"""Exercises of chapter 2: smoothing."""

import numpy as np

from minillm.exercises.declaration import Bug, exercise, find_the_bug
from minillm.models.ngram import Counts, adjusted_counts, discounted, kneser_ney_discounts


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
    solution="minillm/exercises/chapter02.py: _interpolation",
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


def _mixture_weights(p, steps):
    weights = np.full(len(p), 1 / len(p))
    for _ in range(steps):
        joint = weights[:, None] * p
        weights = (joint / joint.sum(axis=0)).mean(axis=1)
    return weights, -np.log2(weights @ p).mean()


def _models_on_held_out_text(rng):
    for label, M, T, steps in (("no step", 2, 4, 0), ("one step", 3, 5, 1), ("", 3, 8, 4)):
        yield label, (rng.uniform(0.01, 0.6, (M, T)), steps)


@exercise(
    "the weights of a mixture, learned on held-out text",
    level=2,
    minutes=25,
    reference=_mixture_weights,
    solution="minillm/exercises/chapter02.py: _mixture_weights",
    cases=_models_on_held_out_text,
    outputs=("weights", "bits"),
    hints={
        "weights": (
            "Each step starts from the weights of the last one: a model that seems better than the "
            "others is also more probably the source of the next token.",
            "joint = weights[:, None] * p, with the present weights, in each step.",
        ),
        "one step": (
            "Bayes' rule: that model m wrote a token, and wrote this one, has the probability "
            "weights[m] p[m, t]; divide by the sum over the models, for each token.",
            "joint = weights[:, None] * p; weights = (joint / joint.sum(axis=0)).mean(axis=1).",
        ),
        "bits": (
            "The mixture gives a token the weighted mean of the probabilities, and the loss is the "
            "logarithm of this mean.",
            "-np.log2(weights @ p).mean(), with the last weights.",
        ),
        "no step:bits": (
            "The mixture gives a token the weighted mean of the probabilities, and the loss is the "
            "logarithm of this mean, in bits.",
            "-np.log2(weights @ p).mean().",
        ),
    },
)
def mixture_weights(p, steps):
    """Learn the weights of M models that are mixed, from the probabilities on held-out text.

    p (M, T): p[m, t] is the probability that model m gave to token t.  Suppose that each token was
    written by one model, drawn with the weights, which are equal at first.  Each of ``steps`` steps
    computes, for each token, the probability that each model wrote it; the mean of this over the
    tokens is the new weight of the model -> weights (M,), and the mean loss of the mixture, in bits
    per token.
    """
    weights = np.full(len(p), 1 / len(p))
    for _ in range(steps):
        weights = ...
    bits = ...
    return weights, bits


# --- find the bug -------------------------------------------------------------------


def _dense_pairs(rng):
    yield "", (np.array([[0, 9, 1], [2, 0, 1], [0, 0, 3]]), 0.5)
    yield "", (rng.integers(0, 4, (5, 5)) + np.eye(5, dtype=int), 0.75)


@find_the_bug(
    "find the bug: Kneser-Ney for pairs",
    level=2,
    minutes=20,
    cases=_dense_pairs,
    outputs=("p",),
    bugs=(
        Bug(
            "mask",
            "np.maximum(pairs - D, 0)",
            "(pairs - D)",
            "From a pair that was never seen nothing can be taken.",
            lead="Look for a negative probability.  Which pairs have one?",
        ),
        Bug(
            "axis",
            "(pairs > 0).sum(axis=1, keepdims=True)",
            "(pairs > 0).sum(axis=0, keepdims=True)",
            "What a context leaves over depends on how many words follow it.",
            lead="Sum each row of p.  What must have one number for each context, and has not?",
        ),
        Bug(
            "factor",
            "D * followers / total",
            "D / total",
            "The discount was taken from each follower.",
            lead="Sum each row of p: a context gives back as much as was taken from all its pairs.",
        ),
        Bug(
            "value",
            "continuation = (pairs > 0).sum(axis=0)",
            "continuation = pairs.sum(axis=0)",
            "The shorter context counts different words before w, not occurrences.",
            lead="Make one pair 100 times as frequent: may its word get likelier after others?",
        ),
        Bug(
            "axis",
            "continuation = (pairs > 0).sum(axis=0)",
            "continuation = (pairs > 0).sum(axis=1)",
            "A continuation count has the words before w, not those after it.",
            lead="One word follows many words, one precedes many: which is likelier after others?",
        ),
        Bug(
            "value",
            "continuation / continuation.sum()",
            "continuation / pairs.sum()",
            "Sum each row of p: continuation counts have a total of their own.",
            lead="The shorter context counts the words before w.  Do its probabilities sum to 1?",
        ),
    ),
)
def find_kneser_ney(pairs, D):
    """Smooth pairs of words by Kneser-Ney, with one discount D.

    pairs (V, V): pairs[a, w] is how often w followed a; each word was seen as a context, and after
    one -> p (V, V), p[a, w] = P(w | a).
    """
    total = pairs.sum(axis=1, keepdims=True)
    followers = (pairs > 0).sum(axis=1, keepdims=True)
    share = np.maximum(pairs - D, 0) / total
    leftover = D * followers / total
    continuation = (pairs > 0).sum(axis=0)
    return share + leftover * continuation / continuation.sum()
