"""Exercises of chapter 19: overlap with references, minimal pairs and judges."""

from collections import Counter

import numpy as np

from minillm.exercises.declaration import Bug, exercise, find_the_bug
from minillm.metrics import measure_minimal_pairs


def _counted(tokens, n):
    return Counter(zip(*(tokens[k:] for k in range(n)), strict=False))


def _bleu(outputs, references):
    logs = []
    for n in (1, 2, 3, 4):
        common = total = 0
        for output, reference in zip(outputs, references, strict=True):
            counted = _counted(output, n)
            common += (counted & _counted(reference, n)).total()
            total += counted.total()
        logs.append(np.log(common / total))
    c, r = (sum(map(len, texts)) for texts in (outputs, references))
    return np.exp(min(0, 1 - r / c) + np.mean(logs))


def _translations(rng):
    for label, cut, twice in (("", 0, 0), ("short", 4, 0), ("repeated", 0, 3)):
        references = [rng.integers(0, 30, 14).tolist() for _ in range(3)]
        outputs = [text[: len(text) - cut] for text in references]
        for output in outputs:
            output[3] = 30
            output.extend(output[-1:] * twice)
        yield label, (outputs, references)


@exercise(
    "BLEU: clipped precisions and a penalty for brevity",
    level=2,
    minutes=25,
    reference=_bleu,
    solution="minillm/exercises/chapter19.py: _bleu",
    cases=_translations,
    outputs=("score",),
    hints={
        "score": (
            "Add up the clipped counts of all texts before you divide, once for each n from 1 to "
            "4; the score is a geometric mean, the exponential of the mean of ln p_n.",
            "Clipped: min(count in the output, count in the reference), which is what the operator "
            "& of two Counters computes.",
        ),
        "short": (
            "The outputs are shorter than the references: a factor is missing, or has its lengths "
            "exchanged.",
            "exp(1 - r / c) if all outputs together (c tokens) are shorter than the references "
            "(r), otherwise 1.",
        ),
        "repeated": (
            "A token that the output repeats counts at most as often as the reference has it.",
            "(counted & known).total() with two Counters of n-grams.  Longer outputs have no "
            "penalty.",
        ),
    },
)
def bleu(outputs, references):
    """Compute the BLEU of a corpus, from 0 to 1, with n-grams of 1 to 4 tokens.

    outputs and references: lists of texts, a text is a list of tokens (numbers); each output has
    one reference -> score.  Each p_n is above 0.
    """
    # as many lines as you need
    score = ...
    return score


def _share(good, bad):
    measured = measure_minimal_pairs(good, bad)
    return measured["accuracy"], measured["low"], measured["high"]


def _pairs(rng):
    yield "", tuple(rng.standard_normal((2, 40)))
    yield "all", (np.zeros(12), -1 - rng.random(12))
    bad = rng.standard_normal(12)
    yield "ties", (np.append(bad[:6], bad[6:] + 1), bad)


@exercise(
    "the share of minimal pairs, and its interval",
    level=1,
    minutes=15,
    reference=_share,
    solution="minillm/metrics.py: measure_minimal_pairs",
    cases=_pairs,
    outputs=("accuracy", "low", "high"),
    hints={
        "accuracy": (
            "Count the pairs in which the good sentence has the higher log-probability.",
            "(good > bad).mean(), plus what ties are worth.",
        ),
        "ties": (
            "Where both log-probabilities are equal, the model has not decided.",
            "A tie counts one half: (good > bad).mean() + (good == bad).mean() / 2.",
        ),
        "all": (
            "All pairs are right, and still the probability need not be 1: the lower bound is "
            "below 1 here.",
            "Solve (share - p)^2 = z^2 p (1 - p) / n for p.",
        ),
        "low": (
            "It is the smaller solution of (share - p)^2 = z^2 p (1 - p) / n, with z = 1.96.",
            "(share + a - root) / (1 + 2 a), with a = z^2 / (2 n) and "
            "root = sqrt(z^2 share (1 - share) / n + a^2).",
        ),
        "high": (
            "It is the larger solution of the same equation.",
            "(share + a + root) / (1 + 2 a): see low.",
        ),
    },
)
def pairs_accuracy(good, bad):
    """Compute the share of pairs whose good sentence is more probable, and its 95% interval.

    good and bad (n,): the log-probabilities of the two sentences of each pair; a tie counts one
    half -> accuracy; low and high: the p at which accuracy is just 1.96 standard deviations
    sqrt(p (1 - p) / n) off.
    """
    accuracy = ...
    low = ...
    high = ...
    return accuracy, low, high


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _chrf(output, reference, N, beta):
    output, reference = output.replace(" ", ""), reference.replace(" ", "")
    precisions, recalls = [], []
    for n in range(1, N + 1):
        one, other = _counted(output, n), _counted(reference, n)
        common = (one & other).total()
        precisions.append(common / one.total())
        recalls.append(common / other.total())
    P, R = np.mean(precisions), np.mean(recalls)
    return (1 + beta**2) * P * R / (beta**2 * P + R)


def _endings(rng):
    yield "one", ("the cat sleeps", "the cats slept", 1, 1.0)
    yield "", ("the cat sleeps", "the cats are sleeping", 4, 2.0)
    yield "", ("a model that counts letters", "models that count the letters", 6, 2.0)


@exercise(
    "chrF: an overlap that sees the endings of words",
    level=2,
    minutes=20,
    reference=_chrf,
    solution="minillm/exercises/chapter19.py: _chrf",
    cases=_endings,
    outputs=("score",),
    hints={
        "one": (
            "With N = 1 and beta = 1, this is the F1 of single characters, without the spaces.",
            "2 P R / (P + R), with P = common / characters of the output and R = common / "
            "characters of the reference; a character counts as often as it is in both.",
        ),
        "score": (
            "First the means of precision and recall over n = 1 to N, then one F of the two means.",
            "(1 + beta^2) P R / (beta^2 P + R).  An n-gram may begin in one word and end in the "
            "next, because the spaces are removed first.",
        ),
    },
)
def chrf(output, reference, N, beta):
    """Compare the character n-grams of two texts.

    output and reference: texts, whose spaces are removed; n-grams of 1 to N characters; beta says
    how many times as much recall counts as precision -> score, from 0 to 1: F_beta of the mean
    precision and the mean recall over n.
    """
    # as many lines as you need
    score = ...
    return score


def _judge_model(theta, first, longer, preferred):
    s, features = np.array(preferred), np.stack([np.ones(len(first)), first, longer], axis=1)
    z = features @ theta

    def backward(dloss):
        return -dloss * (s / (1 + np.exp(s * z))) @ features / len(s)

    return np.log1p(np.exp(-s * z)).mean(), backward


def _verdicts(rng):
    for n in (4, 30):
        first, preferred = rng.choice([-1.0, 1.0], (2, n)).tolist()
        yield "", (rng.standard_normal(3), first, rng.standard_normal(n).tolist(), preferred)


@exercise(
    "a judge with two biases, as a logistic regression",
    level=3,
    minutes=30,
    reference=_judge_model,
    solution="minillm/exercises/chapter19.py: _judge_model",
    cases=_verdicts,
    outputs=("loss",),
    gradients=("dtheta",),
    hints={
        "loss": (
            "P(A is preferred) = sigmoid(z) with z = d + b first + g longer, and sigmoid(-z) if B "
            "is preferred: both are sigmoid(preferred z).",
            "np.log1p(np.exp(-preferred * z)).mean()",
        ),
        "dtheta": (
            "The slope of ln(1 + exp(-s z)) with respect to z is -s sigmoid(-s z); z has the "
            "slopes 1, first and longer with respect to d, b and g.",
            "The mean over the verdicts of -s sigmoid(-s z) times (1, first, longer), times dloss.",
        ),
    },
)
def judge_model(theta, first, longer, preferred):
    """Compute the mean of -ln P(verdict) of n verdicts about the answers of A and B.

    theta (3,): d, by how much A is better; b, the bias for the first answer; g, the bias for the
    longer one.  Lists of n: first is 1 where A was shown first, -1 where B was; longer: by how much
    A's answer is longer; preferred is 1 for A, -1 for B.  A verdict for A has the probability
    sigmoid(d + b first + g longer) -> loss, an array without axes.  ``backward(dloss)`` -> dtheta.
    """
    # as many lines as you need
    loss = ...

    def backward(dloss):
        dtheta = ...
        return dtheta

    return loss, backward


# --- find the bug -------------------------------------------------------------------


def _both_orders(rng):
    for n in (8, 20):
        yield "", tuple((rng.random((2, n)) < np.array([[0.8], [0.4]])).astype(float))


@find_the_bug(
    "find the bug: a judge asked in both orders",
    level=2,
    minutes=15,
    cases=_both_orders,
    outputs=("rate", "bias", "error"),
    bugs=(
        Bug(
            "path",
            "each = (a_first + b_first) / 2",
            "each = a_first",
            "A is judged twice on each question, and both verdicts count.",
            "Which verdicts does the rate use?",
        ),
        Bug(
            "factor",
            "/ n)",
            "/ (2 * n))",
            "The two verdicts about a question are not independent: there are n questions.",
            "How many independent measurements are there?",
        ),
        Bug(
            "sign",
            "(a_first.mean() - b_first.mean()) / 2",
            "(a_first.mean() + b_first.mean()) / 2",
            "A judge that always prefers the first answer says 1 and 0; one without a bias says "
            "the same twice.",
            "What is the bias of a judge that always prefers the first answer?",
        ),
        Bug(
            "value",
            "((each - rate) ** 2)",
            "((each - 0.5) ** 2)",
            "The variance is the mean squared distance from the mean, whatever the mean is.",
            "What is the error if A always wins?",
        ),
    ),
)
def find_judge(a_first, b_first):
    """Compute the rate at which A wins against B, the judge's bias, and the rate's error.

    On n questions, a judge compared the answers of A and B in both orders: a_first (n,) is 1 where
    A was preferred when A's answer stood first, otherwise 0; b_first (n,) is 1 where A was
    preferred when B's stood first -> rate; bias: how much more often than in half of the cases the
    first answer is preferred; error: the standard deviation of the rate.
    """
    n = len(a_first)
    each = (a_first + b_first) / 2
    rate = each.mean()
    bias = (a_first.mean() - b_first.mean()) / 2
    error = np.sqrt(((each - rate) ** 2).mean() / n)
    return rate, bias, error
