"""Exercises of chapter 17: small data."""

import math
from itertools import product

import numpy as np

from minillm import metrics, ops
from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug
from minillm.training.minibatches import balanced_weights


def _macro_f1(predicted, actual, classes):
    return metrics.macro_f1(metrics.confusion_matrix(predicted, actual, classes))


def _predictions(rng):
    yield "", (np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0]), 2)
    yield "", (rng.integers(0, 4, 40), rng.integers(0, 4, 40), 4)
    yield "rare", (np.zeros(10, int), np.arange(10) // 9, 2)
    yield "absent", (np.array([0, 2, 2]), np.array([0, 2, 0]), 4)


@exercise(
    "macro-F1: a mean over classes, so that rare ones count",
    level=1,
    minutes=15,
    reference=_macro_f1,
    solution="minillm/metrics.py: macro_f1",
    cases=_predictions,
    outputs=("score",),
    name="macro-f1",
    hints={
        "score": (
            "F1 of a class is 2 correct / (how often it was predicted + how often it is there).",
            "correct is np.sum((predicted == c) & (actual == c)).  The score is the mean of F1.",
        ),
        "rare": (
            "A class that is never predicted has the F1 0, and it counts like any other.",
            "Take the mean over classes; do not weight them by their number of texts.",
        ),
        "absent": (
            "A class that neither occurs nor is predicted has no F1: 0 / 0.",
            "Leave out the classes for which predicted + actual is 0.",
        ),
    },
)
def macro_f1(predicted, actual, classes):
    """Compute the mean F1 of the classes that occur or are predicted.

    predicted, actual (N,): classes from 0 to classes - 1 -> a number.
    """
    scores = []
    for c in range(classes):
        correct = np.sum((predicted == c) & (actual == c))
        total = ...
        if total > 0:
            F1 = ...
            scores.append(F1)
    score = ...
    return score


def _balanced_loss(logits, labels):
    weights = balanced_weights(labels, logits.shape[1])
    return ops.cross_entropy(logits, labels, class_weights=weights)


def _unequal_labels(rng):
    for labels in ([0, 0, 0, 1], [2, 0, 0, 1, 0, 0, 1], [1, 1, 1]):
        yield "", (rng.standard_normal((len(labels), 3)), np.array(labels))


@exercise(
    "balanced class weights in the loss",
    level=2,
    minutes=15,
    reference=_balanced_loss,
    solution="minillm/training/minibatches.py: balanced_weights",
    cases=_unequal_labels,
    outputs=("loss",),
    gradients=("dlogits",),
    hints={
        "loss": (
            "All classes that occur get the same total weight, and all weights add up to N.",
            "A class with n of the N texts, one of C classes that occur, has the weight N / (C n).",
        ),
        "dlogits": (
            "Each text's p - y is multiplied by the weight of its class, and divided by N.",
            "weights[labels][:, None] * (p - y) / N: each row has the weight of its own label.",
        ),
    },
)
def balanced_loss(logits, labels):
    """Compute the mean of w[label] times -log p[label].

    logits (N, V), labels (N,); the weights are such that all classes that occur count
    equally -> loss.  ``backward(dloss=1.0)`` -> dlogits.
    """
    N, V = logits.shape
    n = np.bincount(labels, minlength=V)  # texts of each class
    C = np.sum(n > 0)
    n = np.maximum(n, 1)  # a class without texts is not divided by
    weights = ...
    z = logits - logits.max(axis=1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    loss = -np.mean(weights[labels] * np.log(p[np.arange(N), labels]))

    def backward(dloss=1.0):
        y = np.eye(V)[labels]  # one-hot
        dlogits = ...
        return dlogits

    return loss, backward


def _mcnemar(right_a, right_b):
    only_a, only_b = np.sum(right_a & ~right_b), np.sum(right_b & ~right_a)
    n, few = int(only_a + only_b), int(min(only_a, only_b))
    tail = sum(math.comb(n, k) for k in range(few + 1)) / 2**n
    return int(only_a), int(only_b), min(1.0, 2 * tail)


def _two_models(rng):
    def agreeing(both, only_a, only_b):
        a = np.repeat([True, True, False], [both, only_a, only_b])
        order = rng.permutation(len(a))
        return a[order], np.repeat([True, False, True], [both, only_a, only_b])[order]

    yield "", agreeing(20, 1, 8)
    yield "", agreeing(400, 12, 5)
    yield "as many", agreeing(10, 3, 3)
    yield "no difference", agreeing(10, 0, 0)


@exercise(
    "have two models been told apart?  McNemar's exact test",
    level=2,
    minutes=20,
    reference=_mcnemar,
    solution="minillm/exercises/chapter17.py: _mcnemar",
    cases=_two_models,
    imports="from math import comb",
    outputs=("only_a", "only_b", "p"),
    hints={
        "only_a": (
            "Only texts on which the models differ say anything: those that A has right and B not.",
            "np.sum(right_a & ~right_b).",
        ),
        "only_b": ("The texts that B has right and A has not.", "np.sum(right_b & ~right_a)."),
        "p": (
            "If both are equally good, each text on which they differ is a fair coin.  How "
            "probable is a result at least as unequal, to either side?",
            "With n = only_a + only_b and k from 0 to the smaller one: twice the sum of "
            "comb(n, k) / 2**n.",
        ),
        "as many": (
            "Twice the tail can be more than 1 where both sides have the middle in them.",
            "min(1, ...).",
        ),
        "no difference": (
            "Without a text on which they differ, nothing tells them apart: p is 1.",
            "comb(0, 0) / 2**0 is 1, and twice that is more than 1: min(1, ...).",
        ),
    },
)
def mcnemar(right_a, right_b):
    """Test whether two models that were measured on the same texts differ.

    right_a, right_b (n,): True where the model is right -> only_a, only_b: on how many texts only A
    or only B is right; p: the probability of a split at least as unequal, to either side, if each
    of these texts were a fair coin, at most 1.
    """
    only_a = ...
    only_b = ...
    # as many lines as you need
    p = ...
    return only_a, only_b, p


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _calibration_error(confidence, right, bins):
    of = np.minimum((confidence * bins).astype(int), bins - 1)
    error = 0.0
    for m in range(bins):
        if np.any(of == m):
            error += abs(np.sum(confidence[of == m]) - np.sum(right[of == m])) / len(right)
    return error


def _confidences(rng):
    yield "one bin", (np.array([0.9, 0.7, 0.8]), np.array([True, False, True]), 1)
    for n, bins in ((40, 5), (30, 10)):
        confidence = rng.uniform(0.3, 1, n)
        yield "", (confidence, rng.random(n) < confidence**2, bins)
    yield "certain", (np.array([1.0, 1.0, 0.55]), np.array([True, False, True]), 4)


@exercise(
    "calibration: is a classifier as often right as it says?",
    level=2,
    minutes=20,
    reference=_calibration_error,
    solution="minillm/exercises/chapter17.py: _calibration_error",
    cases=_confidences,
    outputs=("error",),
    hints={
        "one bin": (
            "With one bin, this is the distance between the mean confidence and the accuracy.",
            "abs(confidence.mean() - right.mean()) of the bin.",
        ),
        "error": (
            "Each bin has its own mean confidence and accuracy, and counts by its share of the "
            "texts; a bin without texts does not count.",
            "The sum over the bins of len(bin) / n * abs(confidence.mean() - right.mean()), not "
            "the mean over the bins.",
        ),
        "certain": (
            "A confidence of 1 belongs to the last bin.",
            "np.minimum((confidence * bins).astype(int), bins - 1) is the number of the bin.",
        ),
    },
)
def calibration_error(confidence, right, bins):
    """Compute the mean distance between confidence and accuracy.

    confidence (n,): the probability of the predicted class of each text; right (n,), True where it
    is the label.  Bin m contains the confidences from m / bins to below (m + 1) / bins, and the
    last one 1, too.  Compare the mean confidence of each bin with its share of right answers
    -> error, the mean of the absolute differences, in which every text counts the same.
    """
    # as many lines as you need
    error = ...
    return error


def _paired_test(a, b):
    difference = a - b
    signs = np.array(list(product((1, -1), repeat=len(a))))
    return np.mean(np.abs(signs @ difference) >= abs(difference.sum()))


def _runs(rng):
    yield "always better", (np.array([70, 72, 75]), np.array([68, 71, 70]))
    yield "", (rng.integers(60, 80, 5), rng.integers(55, 75, 5))
    yield "", (rng.integers(60, 70, 7), rng.integers(60, 70, 7))
    yield "equal", (np.array([5, 6, 7, 8]), np.array([6, 5, 8, 7]))


@exercise(
    "two methods over several seeds: an exact test",
    level=2,
    minutes=25,
    reference=_paired_test,
    solution="minillm/exercises/chapter17.py: _paired_test",
    cases=_runs,
    imports="from itertools import product",
    outputs=("p",),
    hints={
        "p": (
            "If the names of the two methods mean nothing, each seed's difference could as well "
            "have the other sign.  In how many of the 2^n cases is the sum as far from 0?",
            "The mean over signs in product((1, -1), repeat=n) of "
            "abs(signs @ (a - b)) >= abs((a - b).sum()).",
        ),
        "always better": (
            "Three differences of one sign: 2 of the 8 cases are as far from 0, all plus and all "
            "minus.",
            "Both sides count, and what happened is one of the cases: p is never 0.",
        ),
        "equal": (
            "A sum of 0 is as near to 0 as can be: every case is at least as far.",
            "Use >=, not >: p is 1 here.",
        ),
    },
)
def paired_test(a, b):
    """Test whether two methods differ, by the results of both with the same n seeds.

    a, b (n,) whole numbers: right answers of each run -> p: the probability that the sum of the
    differences a - b is at least as far from 0, if the sign of each of them is a fair coin.
    """
    # as many lines as you need
    p = ...
    return p


# --- find the bug -------------------------------------------------------------------


def _smoothed(rng):
    for N, V in ((4, 3), (3, 5)):
        yield "", (*draw(rng, (N, V)), rng.integers(0, V, N), rng.uniform(0.5, 2, V), 0.2)


@find_the_bug(
    "find the bug: label smoothing with weights",
    level=2,
    minutes=15,
    cases=_smoothed,
    outputs=("loss",),
    gradients=("dlogits", "dweights"),
    bugs=(
        Bug(
            "value",
            "(p - q) *",
            "(p - one_hot) *",
            "The target of the loss is q, the smoothed label.",
        ),
        Bug(
            "sign",
            "(p - q) *",
            "(q - p) *",
            "Of cross-entropy, the gradient is p minus the target.",
        ),
        Bug(
            "factor",
            "weights[labels][:, None] / N",
            "1 / N",
            "Each row's loss has the weight of its label.",
        ),
        Bug(
            "path",
            "np.add.at(dweights, labels, dloss * nats / N)",
            "dweights[labels] = dloss * nats / N",
            "A weight is used in every row of its class.  Uses add up.",
        ),
    ),
)
def find_smoothing(logits, labels, weights, e):
    """Compute the mean of weights[label] times the cross-entropy with smoothed labels q.

    logits (N, V), labels (N,), weights (V,); q is 1 - e at the label, plus e / V everywhere
    -> loss.  ``backward(dloss)`` -> dlogits, dweights.
    """
    N, V = logits.shape
    one_hot = np.eye(V)[labels]
    q = (1 - e) * one_hot + e / V
    z = logits - logits.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    p, nats = np.exp(log_p), -(q * log_p).sum(axis=1)
    loss = (weights[labels] * nats).mean()

    def backward(dloss):
        dlogits = dloss * (p - q) * weights[labels][:, None] / N
        dweights = np.zeros(V)
        np.add.at(dweights, labels, dloss * nats / N)
        return dlogits, dweights

    return loss, backward
