"""Exercises of chapter 12: the mixture of a pointer-generator, coverage, TextRank."""

from collections import Counter

import numpy as np

from minillm import ops
from minillm.decoding.pointer import log_mixture
from minillm.exercises.declaration import Bug, exercise, find_the_bug
from minillm.models.extractive import rank


def _mixture(p, weights, g, source):
    logits, z = np.log(p)[None, None], np.log(g / (1 - g)).reshape(1, 1)
    return np.exp(log_mixture(logits, z, weights[None, None], source[None]))[0, 0]


def _distribution(rng, size):
    return rng.dirichlet(np.ones(size))


def _sources(rng):
    for label, source in (
        ("known words", [2, 0, 3]),
        ("a word that occurs twice", [2, 0, 2, 3]),
        ("new words", [1, 5, 6, 5]),
    ):
        ids = np.array(source)
        yield label, (_distribution(rng, 5), _distribution(rng, len(ids)), rng.random(), ids)


@exercise(
    "the probability of each word, written or copied",
    level=2,
    minutes=15,
    reference=_mixture,
    solution="minillm/decoding/pointer.py: log_mixture",
    cases=_sources,
    outputs=("P",),
    hints={
        "known words": (
            "With probability g, the word comes from the vocabulary, otherwise from the source.  "
            "Is the sum of P one?",
            "g times the probabilities of the vocabulary, plus (1 - g) times copied.",
        ),
        "a word that occurs twice": (
            "A word that occurs twice can be copied from either position: its weights add up.",
            "An assignment copied[source] = weights keeps the last weight of each word.  "
            "np.bincount(source, weights, W) adds.",
        ),
        "new words": (
            "The vocabulary has V words.  A new word has the probability 0 there, and can only be "
            "copied.",
            "np.pad(p, (0, W - len(p))) appends zeros.",
        ),
    },
)
def mixture(p, weights, g, source):
    """Compute the probability of each word, if it is written with probability g, or else copied.

    p (V,): the probability of each word of the vocabulary; weights (S,): the attention weight of
    each position of the source; source (S,): the ids of its words, of which new words have ids
    from V up -> P (W,), with W = V, or more if the source has new words.
    """
    W = max(len(p), source.max() + 1)
    # (W,): the probability of each word if a word is copied
    copied = ...
    P = ...
    return P


def _pointer_loss(logits, z, m, targets):
    loss, backward = ops.pointer_cross_entropy(logits, z, m, targets)
    return np.asarray(loss), lambda dloss: backward(float(dloss))


def _predictions(rng):
    for label, targets in (("", [1]), ("", [3, 0, 2]), ("copied only", [2, 4, 7])):
        n = len(targets)
        logits, z = rng.standard_normal((n, 4)), rng.standard_normal(n)
        yield label, (logits, z, rng.uniform(0.1, 0.9, n), np.array(targets))


@exercise(
    "the loss of the mixture, forward and backward",
    level=3,
    minutes=35,
    reference=_pointer_loss,
    solution="minillm/ops/pointer.py: pointer_cross_entropy",
    cases=_predictions,
    outputs=("loss",),
    gradients=("dlogits", "dz", "dm"),
    hints={
        "loss": (
            "P is the probability of the target from either model.",
            "P = g * p_y + (1 - g) * m; then the loss is the mean of -ln P.",
        ),
        "dlogits": (
            "It is the gradient of cross-entropy, (p - y) / n, times a share of the "
            "responsibility.  Which part of P came from the vocabulary?",
            "r = g * p_y / P; dlogits = r[:, None] * (p - y) / n * dloss",
        ),
        "dz": (
            "The gate is a logistic regression with the label r: probability minus label.",
            "(g - r) / n * dloss",
        ),
        "dm": (
            "dP/dm = 1 - g, and -ln P has the slope -1/P.  The loss is a mean.",
            "-(1 - g) / P / n * dloss",
        ),
    },
)
def pointer_loss(logits, z, m, targets):
    """Compute the mean of -ln P, where P = g p[target] + (1 - g) m is the target's probability.

    g = sigmoid(z), p = softmax(logits); logits (n, V), z (n,), m (n,): the probability of the
    target if it is copied, targets (n,); p[target] is 0 for a target from V up -> loss, an array
    without axes.  ``backward(dloss)`` -> dlogits, dz, dm.
    """
    n, V = logits.shape
    y = targets[:, None] == np.arange(V)  # (n, V): no entry is True for a target from V up
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = exp / exp.sum(axis=1, keepdims=True)
    p_y = (p * y).sum(axis=1)  # (n,)
    g = 1 / (1 + np.exp(-z))
    P = ...
    loss = -np.log(P).mean()

    def backward(dloss):
        # the probability that the target came from the vocabulary
        r = ...
        dlogits = ...
        dz = ...
        dm = ...
        return dlogits, dz, dm

    return loss, backward


def _coverage(weights):
    loss, backward = ops.coverage(weights)
    return np.asarray(loss), lambda dloss: backward(float(dloss))


def _attention(rng):
    for B, T, S in ((1, 2, 2), (1, 5, 3), (2, 4, 3)):
        yield "", (rng.dirichlet(np.ones(S), (B, T)),)


@exercise(
    "the coverage loss, forward and backward",
    level=3,
    minutes=35,
    reference=_coverage,
    solution="minillm/ops/pointer.py: coverage",
    cases=_attention,
    outputs=("loss",),
    gradients=("dweights",),
    time={"dweights": 1},
    hints={
        "loss": (
            "The coverage before step t does not contain the weights of step t.",
            "np.cumsum(weights, axis=1) - weights",
        ),
        "dweights:earlier": (
            "Only the last step is right: it is in the coverage of no other step.  Each earlier "
            "one is in the coverage of all steps after it, and uses add up.",
            "dc = share * (weights >= c), and later is its sum from the end, without its own: "
            "np.cumsum(dc[:, ::-1], axis=1)[:, ::-1] - dc",
        ),
        "dweights": (
            "min(w, c) has the gradient of the smaller of the two: where c is not the smaller, w "
            "is.  The loss is a mean over B T steps.",
            "dc = share * (weights >= c), and dweights = share * (weights < c) + later",
        ),
    },
)
def coverage(weights):
    """Compute the mean over steps of the attention to positions that had attention before.

    weights (B, T, S), with the coverage c_t = w_1 + ... + w_{t-1} -> loss, the mean over B T steps
    of the sum over S of min(w_t, c_t), an array without axes.  ``backward(dloss)`` -> dweights.
    """
    B, T, S = weights.shape
    # (B, T, S): the coverage before each step
    c = ...
    loss = np.minimum(weights, c).sum() / (B * T)

    def backward(dloss):
        share = dloss / (B * T)
        # (B, T, S): not zero where c is the smaller one
        dc = ...
        # (B, T, S): the sum of dc over all later steps
        later = ...
        dweights = ...
        return dweights

    return loss, backward


def _graphs(rng):
    def graph(n):
        S = rng.random((n, n))
        S = S + S.T
        np.fill_diagonal(S, 0)
        return S

    yield "", (graph(4), 0.85)
    yield "", (graph(5), 0.5)
    lonely = graph(4)
    lonely[2] = lonely[:, 2] = 0
    yield "a sentence without edges", (lonely, 0.85)


@exercise(
    "the scores of TextRank by power iteration",
    level=2,
    minutes=20,
    reference=rank,
    solution="minillm/models/extractive.py: rank",
    cases=_graphs,
    outputs=("x",),
    tolerance=1e-4,
    hints={
        "x": (
            "A reader at sentence i steps to j with the probability S_ij by the sum of row i.  "
            "The score of j is 1 - d, plus d times what arrives there.  Are all of your scores "
            "equal?  Then the sum is over the wrong index.",
            "steps = S / S.sum(axis=1, keepdims=True); x = (1 - d) + d * (x @ steps)",
        ),
        "a sentence without edges": (
            "A sentence that shares no word with another has a row of zeros, and 0/0 is no number.",
            "Divide by 1 where the sum of the row is 0: np.where(totals > 0, totals, 1).",
        ),
    },
)
def textrank(S, d):
    """Compute the score of each sentence: x_j = 1 - d + d sum over i of x_i S_ij / sum_k S_ik.

    S (n, n), from 0 up: how similar two sentences are; d: the probability of following an edge
    -> x (n,).  A sentence without edges passes nothing on, and has the score 1 - d.
    """
    totals = S.sum(axis=1, keepdims=True)  # (n, 1)
    # (n, n): the probability of a step from i to j
    steps = ...
    x = np.ones(len(S))
    for _ in range(200):
        x = ...
    return x


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _f1(one, other):
    common = (Counter(one) & Counter(other)).total()
    return 2 * common / (len(one) + len(other)) if one else 0.0


def _oracle(sentences, summary, limit):
    chosen, best = [], 0.0
    while len(chosen) < limit:
        scores = []
        for k in range(len(sentences)):
            words = [word for j in [*chosen, k] for word in sentences[j]]
            scores.append(-1.0 if k in chosen else _f1(words, summary))
        if max(scores) <= best:
            break
        best = max(scores)
        chosen.append(scores.index(best))
    return sorted(chosen), best


def _texts_with_summaries(rng):
    def split(*texts):
        return [text.split() for text in texts]

    yield (
        "one sentence",
        (
            split("it rains in the town", "the meeting moved to friday", "see you"),
            ["meeting", "moved", "to", "friday"],
            1,
        ),
    )
    yield (
        "no gain",
        (split("a b c", "a b", "x y z", "d x y z w v"), ["a", "b", "c", "d"], 3),
    )
    yield (
        "together",
        (split("c d e", "a b f", "a b c", "g h"), ["a", "b", "c", "d", "e"], 3),
    )
    vocabulary = list("abcdefgh")
    for _ in range(3):
        texts = [rng.choice(vocabulary, rng.integers(2, 6)).tolist() for _ in range(5)]
        yield "", (texts, rng.choice(vocabulary, 7).tolist(), 3)


@exercise(
    "the best extract, sentence by sentence",
    level=2,
    minutes=30,
    reference=_oracle,
    solution="minillm/exercises/chapter12.py: _oracle",
    cases=_texts_with_summaries,
    imports="from collections import Counter",
    outputs=("chosen", "score"),
    hints={
        "one sentence": (
            "ROUGE-1 F1 divides twice the common words by the words of both texts.",
            "2 * (Counter(one) & Counter(other)).total() / (len(one) + len(other)).",
        ),
        "no gain": (
            "A further sentence can lower F1: its other words count too.  Then the extract is "
            "complete.",
            "Stop if the best score with one more sentence is not above the score without it.",
        ),
        "together": (
            "A sentence is worth what it adds to those that were chosen before, not what it is "
            "worth alone.",
            "Score the words of all chosen sentences and the candidate together.",
        ),
        "chosen": (
            "In each round, every sentence that is not chosen is tried together with the chosen "
            "ones; of equally good ones, the first is taken.  The result is in the order of the "
            "text.",
            "Keep the best of the candidates, append it, and return sorted(chosen).",
        ),
        "score": (
            "The F1 of the whole extract, not of its last sentence.  A word counts twice if it "
            "occurs twice in both texts.",
            "The score of the round in which the last sentence was added, with (Counter(one) & "
            "Counter(other)).total() common words.",
        ),
    },
)
def oracle_extract(sentences, summary, limit):
    """Choose sentences of a text whose words have a high ROUGE-1 F1 with a summary.

    sentences: a list of lists of words (str); summary: a list of words.  Start with none, and add
    in each round the sentence that makes F1 of all chosen words largest, of equal ones the first;
    stop when no sentence raises F1, or at ``limit`` sentences -> chosen: their numbers, in the
    order of the text; score: their F1.
    """
    # as many lines as you need
    chosen, score = ...
    return chosen, score


# --- find the bug -------------------------------------------------------------------


@find_the_bug(
    "find the bug: coverage",
    level=3,
    minutes=20,
    cases=_attention,
    outputs=("loss",),
    gradients=("dweights",),
    bugs=(
        Bug(
            "path",
            "later = later + dc[:, t]",
            "later = dc[:, t]",
            "The weights of a step are in the coverage of all later steps, not of the next only.",
        ),
        Bug(
            "order",
            "dw, dc = share * (weights < c), share * (weights >= c)",
            "dw, dc = share * (weights >= c), share * (weights < c)",
            "The minimum has the slope 1 with respect to the smaller of the two.",
        ),
        Bug("sign", "+= later", "-= later", "Both uses of w_t raise the loss: add."),
        Bug(
            "factor",
            "share = dloss / (B * T)",
            "share = dloss / B",
            "The loss is a mean over B T steps.",
        ),
    ),
)
def find_coverage(weights):
    """Compute the mean over B T steps of the sum of min(w_t, c_t), c_t = w_1 + ... + w_{t-1}.

    weights (B, T, S) -> loss, an array without axes.  ``backward(dloss)`` -> dweights.
    """
    B, T, S = weights.shape
    c = np.cumsum(weights, axis=1) - weights
    loss = np.asarray(np.minimum(weights, c).sum() / (B * T))

    def backward(dloss):
        share = dloss / (B * T)
        dw, dc = share * (weights < c), share * (weights >= c)
        dweights, later = dw, np.zeros((B, S))
        for t in reversed(range(T)):
            dweights[:, t] += later
            later = later + dc[:, t]
        return dweights

    return loss, backward


def _completing(ids, n):
    end = tuple(ids[len(ids) - n + 1 :])
    starts = range(len(ids) - n + 1)
    return np.unique([ids[i + n - 1] for i in starts if tuple(ids[i : i + n - 1]) == end])


def _outputs_so_far(rng):
    yield "", ([3, 4, 5, 6, 3, 4], 3)
    yield "nothing yet", ([3, 4], 3)
    yield "overlapping", ([7, 7, 7], 3)
    yield "twice before", ([1, 2, 3, 1, 2, 3, 1, 2], 3)
    yield "", (rng.integers(0, 3, 30).tolist(), 3)
    yield "pairs", (rng.integers(0, 4, 12).tolist(), 2)


@exercise(
    "which tokens would repeat an n-gram",
    level=1,
    minutes=15,
    reference=_completing,
    solution="minillm/exercises/chapter12.py: _completing",
    cases=_outputs_so_far,
    outputs=("blocked",),
    hints={
        "nothing yet": (
            "No n-gram has been written yet, so no token repeats one.",
            "The last n - 1 ids do not count as an earlier start: an n-gram has n ids.",
        ),
        "overlapping": (
            "Occurrences may overlap: 7 7 7 contains 7 7 twice.",
            "Let the start i run to len(ids) - n, the last n-gram included.",
        ),
        "twice before": (
            "The output repeats itself already: a token that followed twice is named once.",
            "np.unique sorts, and keeps each once.",
        ),
        "blocked": (
            "What followed the earlier occurrences of the last n - 1 ids?",
            "ids[i + n - 1] for each i from 0 to len(ids) - n whose n - 1 ids equal the last "
            "n - 1; each once, sorted.",
        ),
    },
)
def completing(ids, n):
    """Find the tokens that may not come next if no n-gram may occur twice.

    ids: a list of the tokens so far, n - 1 at least; n: 2 or more -> blocked: the ids that would
    complete an n-gram that ids already contains, each once, in ascending order.
    """
    # as many lines as you need
    blocked = ...
    return blocked
