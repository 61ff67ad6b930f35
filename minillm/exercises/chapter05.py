"""Exercises of chapter 5: word2vec."""

import numpy as np

from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug
from minillm.models import word2vec

SIGMOID = """

def sigmoid(s):
    return 1 / (1 + np.exp(-s))"""


def _prediction(h, U, labels):
    loss, package_backward = word2vec._logistic_loss(h, U, labels.astype(h.dtype))

    def backward(dloss):
        dh, dU = package_backward()
        return dloss * dh, dloss * dU

    return loss, backward


def _predictions(rng):
    for M, D in ((1, 2), (4, 3)):
        labels = (np.arange(M) == 0).astype(int)
        yield "", (rng.standard_normal(D), rng.standard_normal((M, D)), labels)
    yield "", (rng.standard_normal(3), rng.standard_normal((3, 3)), np.array([1, 0, 1]))


@exercise(
    "the loss of negative sampling and its gradients",
    level=2,
    minutes=20,
    reference=_prediction,
    solution="minillm/models/word2vec.py: _logistic_loss",
    cases=_predictions,
    imports=SIGMOID,
    outputs=("loss",),
    gradients=("dh", "dU"),
    hints={
        "loss": (
            "Each row is a question.  The model's probability of the right answer is sigmoid(s) "
            "where the label is 1, and sigmoid(-s) where it is 0.",
            "loss = -np.log(sigmoid(np.where(labels == 1, s, -s))).sum()",
        ),
        "all": (
            "Both gradients are made of ds.  For each score it is probability minus label, times "
            "the upstream gradient dloss.",
            "ds = (sigmoid(s) - labels) * dloss.",
        ),
        "dh": (
            "s = U h: h is used in every row.  Uses add up.",
            "dh = ds @ U: a sum over the rows, no mean.",
        ),
        "dU": (
            "The score of row m is s_m = u_m . h: only this row reaches it.",
            "dU = np.outer(ds, h).",
        ),
    },
)
def negative_sampling(h, U, labels):
    """Compute the loss of one prediction.

    h (D,) is the input; U (M, D) has a row for each question, and labels (M,) the answers, 1 or 0.
    -> loss, a number.  ``backward(dloss)`` -> dh, dU.
    """
    s = U @ h  # (M,)
    loss = ...

    def backward(dloss):
        ds = ...
        dh = ...
        dU = ...
        return dh, dU

    return loss, backward


def _mean_input(X, U, labels):
    loss, package_backward = word2vec._logistic_loss(X.mean(axis=0), U, labels.astype(X.dtype))

    def backward(dloss):
        dh, dU = package_backward()
        return dloss * np.tile(dh / len(X), (len(X), 1)), dloss * dU

    return loss, backward


def _windows(rng):
    labels = np.array([1, 0, 0])
    yield "", (rng.standard_normal((4, 2)), rng.standard_normal((3, 2)), labels)
    yield "", (rng.standard_normal((3, 3)), rng.standard_normal((3, 3)), labels)


@exercise(
    "CBOW: the gradient with respect to each vector of a mean",
    level=2,
    minutes=10,
    reference=_mean_input,
    solution="minillm/models/word2vec.py: _train_sentences",
    cases=_windows,
    imports=SIGMOID,
    outputs=("loss",),
    gradients=("dX", "dU"),
    hints={
        "dX": (
            "h is the mean of the K rows of X: with which slope does each row reach it?",
            "Each row gets dh / K.  dX must be (K, D), with K equal rows.",
        ),
        "dU": ("Each row of U meets the mean h.", "dU = np.outer(ds, h)."),
    },
)
def cbow(X, U, labels):
    """Compute the loss of a word that its neighbours predict.

    X (K, D) are the neighbours' vectors, U (M, D) and labels (M,) as in negative sampling
    -> loss.  ``backward(dloss)`` -> dX, dU.
    """
    h = X.mean(axis=0)  # (D,)
    s = U @ h
    loss = -np.log(sigmoid(np.where(labels == 1, s, -s))).sum()

    def backward(dloss):
        ds = (sigmoid(s) - labels) * dloss
        dh = ds @ U
        dX = ...
        dU = ...
        return dX, dU

    return loss, backward


def sigmoid(s):
    """The function that the reader's files get as ``SIGMOID``."""
    return 1 / (1 + np.exp(-s))


def _counts(rng):
    yield "", (np.array([5000, 900, 70, 20, 9, 3]), 1e-5)
    yield "rare words", (np.array([5000, 900, 70, 20, 9, 1]), 1e-3)


@exercise(
    "the probability that a word stays",
    level=1,
    minutes=10,
    reference=lambda counts, threshold: word2vec.keep_table(counts, threshold) / 2**32,
    solution="minillm/models/word2vec.py: keep_table",
    cases=_counts,
    outputs=("keep",),
    hints={
        "keep": (
            "f is the word's fraction of the text, not its count.",
            "keep = (sqrt(f / threshold) + 1) * threshold / f, where this is below 1.",
        ),
        "rare words": (
            "It is a probability: for a rare word the formula gives more than 1.",
            "np.minimum(1, ...).",
        ),
    },
)
def subsampling(counts, threshold):
    """The probability that each word stays in the text: counts (V,) -> keep (V,)."""
    f = ...
    keep = ...
    return keep


def _noise(counts, power):
    """The probabilities that the package's alias table draws."""
    share, alias = word2vec.alias_table((counts / counts.max()) ** power)
    part = share / 2**32
    return (part + np.bincount(alias, 1 - part, len(counts))) / len(counts)


def _noise_cases(rng):
    yield "", (np.array([1000, 100, 10, 1]), 0.75)
    yield "", (rng.integers(1, 1000, 7), 0.5)


@exercise(
    "the distribution of the negative samples",
    level=1,
    minutes=5,
    reference=_noise,
    solution="minillm/models/word2vec.py: alias_table",
    cases=_noise_cases,
    outputs=("p",),
    hints={
        "p": (
            "The power makes rare words more frequent.  Then the numbers must sum to 1.",
            "weights = counts**power; p = weights / weights.sum().  The power comes first.",
        ),
    },
    tolerance=1e-5,
)
def noise(counts, power):
    """The probability of each word as a negative sample: counts (V,) -> p (V,)."""
    p = ...
    return p


def _word_probability(h, U, turns):
    loss, _ = word2vec._logistic_loss(h, U, turns.astype(h.dtype))
    return np.exp(-loss)


@exercise(
    "hierarchical softmax: the probability of a word",
    level=1,
    minutes=5,
    reference=_word_probability,
    solution="minillm/models/word2vec.py: _logistic_loss",
    cases=_predictions,
    imports=SIGMOID,
    outputs=("p",),
    hints={
        "p": (
            "The word is reached if every turn on its path is taken.  The probabilities of "
            "independent turns multiply.",
            "The product over the nodes of sigmoid(s) where the turn is 1, sigmoid(-s) where 0.",
        ),
    },
)
def path_probability(h, U, turns):
    """The probability of a word in hierarchical softmax.

    h (D,); U (M, D) has a row for each inner node on the word's path; turns (M,) says which way
    the path goes there, 1 or 0 -> p, a number.
    """
    s = U @ h
    p = ...
    return p


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _ppmi(counts):
    total = counts.sum()
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / total
    seen = np.where(counts > 0, counts, 1)
    return np.where(counts > 0, np.maximum(0, np.log(seen / np.maximum(expected, 1e-9))), 0.0)


def _cooccurrences(rng):
    yield "", (rng.integers(1, 20, (3, 4)),)
    yield "pairs that never occur", (np.array([[9, 0, 1], [1, 5, 0], [0, 2, 7]]),)
    yield "pairs that never occur", (np.array([[4, 0], [0, 0], [1, 3]]),)


@exercise(
    "positive pointwise mutual information of a table",
    level=2,
    minutes=15,
    reference=_ppmi,
    solution="minillm/exercises/chapter05.py: _ppmi",
    cases=_cooccurrences,
    outputs=("ppmi",),
    hints={
        "ppmi": (
            "PMI compares P(a, b) with P(a) P(b).  Each is a share of all pairs; what is below 0 "
            "counts as 0.",
            "ln(counts * total / (row sums * column sums)), the row sums with keepdims=True, then "
            "np.maximum(0, ...).",
        ),
        "pairs that never occur": (
            "The logarithm of 0 is minus infinity, and 0/0 is no number: both become 0.",
            "np.where(counts > 0, ..., 0).",
        ),
    },
)
def ppmi(counts):
    """Compute max(0, ln(P(a, b) / (P(a) P(b)))) for a table of pairs; 0 for a pair without counts.

    counts (V, C): how often the word a occurred with the context b -> ppmi (V, C).
    """
    table = ...
    return table


# --- find the bug -------------------------------------------------------------------


def _pair_and_noise(rng):
    yield "", (*draw(rng, (5, 3), (5, 3)), 2, np.array([1, 4, 4, 0]), np.array([1, 0, 0, 0]))
    yield "", (*draw(rng, (4, 4), (4, 4)), 1, np.array([3, 1, 3]), np.array([1, 0, 0]))


@find_the_bug(
    "find the bug: skip-gram with its two tables",
    level=2,
    minutes=15,
    cases=_pair_and_noise,
    imports=SIGMOID,
    outputs=("loss",),
    gradients=("dE", "dU"),
    bugs=(
        Bug(
            "path",
            "np.add.at(dU, ids, np.outer(ds, h))",
            "dU[ids] = np.outer(ds, h)",
            "An id may be drawn twice.  Uses add up, and an assignment keeps only the last.",
        ),
        Bug(
            "sign",
            "sigmoid(s) - labels",
            "labels - sigmoid(s)",
            "The gradient with respect to a score is probability minus label.",
        ),
        Bug(
            "value",
            "ds @ U[ids]",
            "ds @ E[ids]",
            "s = U[ids] h: the slope with respect to h is U[ids].",
        ),
        Bug(
            "value",
            "np.outer(ds, h)",
            "np.outer(s, h)",
            "Row m of U has the slope h, times the gradient with respect to its score.",
        ),
    ),
)
def find_skip_gram(E, U, center, ids, labels):
    """Compute the loss of a word with a neighbour and some noise words.

    E and U (V, D) are the tables; center is the word's id, ids (M,) those of the neighbour and the
    noise, which may be equal; labels (M,), 1 or 0 -> loss.  ``backward(dloss)`` -> dE, dU.
    """
    h = E[center]
    s = U[ids] @ h
    loss = -np.log(sigmoid(np.where(labels == 1, s, -s))).sum()

    def backward(dloss):
        ds = dloss * (sigmoid(s) - labels)
        dh = ds @ U[ids]
        dE, dU = np.zeros_like(E), np.zeros_like(U)
        dE[center] = dh
        np.add.at(dU, ids, np.outer(ds, h))
        return dE, dU

    return loss, backward
