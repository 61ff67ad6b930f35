"""Exercises of chapter 6: word2vec."""

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
            "f is the word's fraction of the text: the sum of all f is 1.  A word with "
            "f = 4 threshold stays with the probability (2 + 1) / 4.",
            "keep = (sqrt(f / threshold) + 1) * threshold / f, where this is below 1.",
        ),
        "keep:shape": (
            "keep has an entry for each word: min compares two numbers, np.minimum each entry.",
            "np.minimum(1, ...).",
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
    solution="minillm/exercises/chapter06.py: _ppmi",
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


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _glove(v, u, b, c, counts):
    seen = counts > 0
    weights = np.where(seen, np.minimum(1, (counts / 10) ** 0.75), 0)
    error = v @ u.T + b[:, None] + c - np.log(np.where(seen, counts, 1))

    def backward(dloss):
        ds = dloss * 2 * weights * error
        return ds @ u, ds.T @ v, ds.sum(axis=1), ds.sum(axis=0)

    return (weights * error**2).sum(), backward


def _tables_of_pairs(rng):
    for label, V, low, high in (("", 3, 10, 40), ("rare pairs", 3, 1, 9), ("new pairs", 4, 0, 3)):
        counts = rng.integers(low, high, (V, V))
        yield label, (*draw(rng, (V, 2), (V, 2), V, V), counts)


@exercise(
    "GloVe: the logarithm of a table of counts",
    level=2,
    minutes=30,
    reference=_glove,
    solution="minillm/exercises/chapter06.py: _glove",
    cases=_tables_of_pairs,
    outputs=("loss",),
    gradients=("dv", "du", "db", "dc"),
    hints={
        "loss": (
            "Each pair has the error v_w . u_c + b_w + c_c - ln of its count.",
            "(weights * error**2).sum() with error = v @ u.T + b[:, None] + c - np.log(counts).",
        ),
        "rare pairs": (
            "The weight of a pair is (count / 10)^0.75, and 1 at most.",
            "weights = np.minimum(1, (counts / 10) ** 0.75).",
        ),
        "new pairs": (
            "A pair that was never seen has no logarithm, and takes no part.",
            "np.log(np.where(counts > 0, counts, 1)), and the weight 0: 0 ** 0.75 is 0.",
        ),
        "dv": (
            "v_w is in the errors of its row, with the slopes u_c.  A square has the slope 2, and "
            "the weight of a pair stays a factor.",
            "ds @ u with ds = dloss * 2 * weights * error.",
        ),
        "du": (
            "u_c is in the errors of its column, with the slopes v_w.",
            "ds.T @ v.",
        ),
        "db": (
            "b_w is added to every error of its row.  Uses add up.",
            "ds.sum(axis=1).",
        ),
        "dc": (
            "c_c is added to every error of its column.  Uses add up.",
            "ds.sum(axis=0).",
        ),
    },
)
def glove(v, u, b, c, counts):
    """Fit the logarithms of the counts of pairs by products of vectors.

    The loss is the sum over all pairs that were seen of f (v_w . u_c + b_w + c_c - ln count)^2,
    where f = (count / 10)^0.75, but 1 at most.  v, u (V, D), b, c (V,), counts (V, V): how often
    word w (row) has the neighbour c (column) -> loss, an array without axes.
    ``backward(dloss)`` -> dv, du, db, dc.
    """
    # as many lines as you need
    loss = ...

    def backward(dloss):
        dv, du, db, dc = ...
        return dv, du, db, dc

    return loss, backward


def _subwords(E, U, grams, ids, labels):
    h = E[grams].mean(axis=0)
    signs = 2 * np.array(labels) - 1
    scores = signs * (U[ids] @ h)

    def backward(dloss):
        ds = -dloss * signs * sigmoid(-scores)
        dE, dU = np.zeros_like(E), np.zeros_like(U)
        np.add.at(dE, grams, ds @ U[ids] / len(grams))
        np.add.at(dU, ids, ds[:, None] * h)
        return dE, dU

    return np.logaddexp(0, -scores).sum(), backward


def _words_of_parts(rng):
    for grams, ids in (([3, 0, 4], [1, 2]), ([2, 2, 0, 1], [0, 2, 1]), ([1, 4], [2, 0, 0])):
        labels = [1] + [0] * (len(ids) - 1)
        yield "", (*draw(rng, (5, 3), (3, 3)), grams, ids, labels)


@exercise(
    "fastText: a word is the mean of its parts",
    level=2,
    minutes=25,
    reference=_subwords,
    solution="minillm/exercises/chapter06.py: _subwords",
    cases=_words_of_parts,
    imports=SIGMOID,
    outputs=("loss",),
    gradients=("dE", "dU"),
    hints={
        "loss": (
            "h is the mean of the vectors of the parts; then it is negative sampling: -ln "
            "sigmoid(score) for the label 1, -ln sigmoid(-score) for 0.",
            "signs = 2 * np.array(labels) - 1; -np.log(sigmoid(signs * (U[ids] @ h))).sum().",
        ),
        "dE": (
            "Each part has the share 1 / G of h, where G is the number of parts.  Two parts may be "
            "the same row of E, and dE[grams] += ... adds once only.",
            "dh = dloss * (sigmoid(scores) - labels) @ U[ids], and each row of grams receives "
            "dh / len(grams): np.add.at(dE, grams, dh / len(grams)).",
        ),
        "dU": (
            "The slope of a score with respect to U[id] is h.  A word may be drawn twice as noise.",
            "np.add.at(dU, ids, ds[:, None] * h) with ds = dloss * (sigmoid(U[ids] @ h) - labels).",
        ),
    },
)
def subwords(E, U, grams, ids, labels):
    """Compute the loss of negative sampling for a word whose vector is the mean of its parts.

    E (B, D): vectors of the parts of words; grams: a list of the G rows of E of the parts of this
    word; U (V, D), ids: a list of a neighbour and noise words, labels: a 1 or 0 for each of them
    -> loss, an array without axes.  ``backward(dloss)`` -> dE, dU.
    """
    # as many lines as you need
    loss = ...

    def backward(dloss):
        dE, dU = ...
        return dE, dU

    return loss, backward


# --- find the bug -------------------------------------------------------------------


def _pair_and_noise(rng):
    yield "", (*draw(rng, (5, 3), (5, 3)), 2, np.array([1, 3, 3, 0]), np.array([1, 0, 0, 0]))
    yield "", (*draw(rng, (4, 4), (4, 4)), 1, np.array([2, 1, 2]), np.array([1, 0, 0]))


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
