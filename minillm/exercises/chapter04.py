"""Exercises of chapter 4: learning to predict."""

import numpy as np

from minillm import ops
from minillm.decoding import sampling
from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug
from minillm.ops.softmax import softmax_forward as softmax_of_the_package


def _logits(rng):
    yield "", (rng.standard_normal((3, 4)),)
    yield "more axes", (rng.standard_normal((2, 3, 5)),)
    rows = np.array([[0.0], [5000.0]])  # one maximum does not serve both
    yield "large logits", (1000 * rng.standard_normal((2, 4)) + rows,)


@exercise(
    "softmax of logits of any size",
    level=1,
    minutes=10,
    reference=softmax_of_the_package,
    solution="minillm/ops/softmax.py: softmax_forward",
    cases=_logits,
    hints={
        "y": (
            "Each row is divided by its own sum, so the sum must keep its last axis.",
            "exp / exp.sum(axis=-1, keepdims=True)",
        ),
        "large logits": (
            "exp overflows above 709, and is 0 below -745.  What can be subtracted from a row "
            "without a change of y?",
            "Subtract the largest of each row first: x - x.max(axis=-1, keepdims=True).",
        ),
    },
)
def softmax_forward(x):
    """Softmax over the last axis: x (..., V) of any size -> y (..., V)."""
    exp = ...
    y = ...
    return y


@exercise(
    "the backward pass of softmax",
    level=2,
    minutes=20,
    reference=ops.softmax,
    solution="minillm/ops/softmax.py: softmax_backward",
    cases=lambda rng: list(_logits(rng))[:2],
    gradients=("dx",),
    hints={
        "dx": (
            "Each x reaches all y of its row: through itself with y_j, and through the sum with "
            "- y_i y_j.  Each path counts with its own dy_i.",
            "dx_j = y_j (dy_j - sum over i of dy_i y_i), the sum over the last axis, kept as an "
            "axis of length 1.",
        ),
    },
)
def softmax(x):
    """Softmax over the last axis.  x (..., V) -> y (..., V).  ``backward(dy)`` -> dx."""
    exp = np.exp(x - x.max(axis=-1, keepdims=True))
    y = exp / exp.sum(axis=-1, keepdims=True)

    def backward(dy):
        dx = ...
        return dx

    return y, backward


def _predictions(rng):
    yield "", (rng.standard_normal((1, 5)), np.array([2]))
    yield "", (rng.standard_normal((4, 3)), np.array([0, 2, 2, 1]))


@exercise(
    "cross-entropy and its gradient",
    level=2,
    minutes=15,
    reference=ops.cross_entropy,
    solution="minillm/ops/cross_entropy.py: cross_entropy",
    cases=_predictions,
    outputs=("loss",),
    gradients=("dlogits",),
    hints={
        "loss": (
            "The loss is the mean over the rows of minus the logarithm of the target's p.",
            "-log_p[rows, targets].mean(): one entry of each row.",
        ),
        "dlogits": (
            "One prediction has the gradient p - y, where y is 1 at the target.  How much of it "
            "does each row get, if the loss is the mean over n rows?",
            "p is np.exp(log_p), y is np.eye(V)[targets].  Divide by n.",
        ),
    },
)
def cross_entropy(logits, targets):
    """Mean cross-entropy in nats: logits (n, V), targets (n,) -> loss.

    ``backward(dloss=1.0)`` -> dlogits.
    """
    n, V = logits.shape
    rows = np.arange(n)
    z = logits - logits.max(axis=-1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    loss = ...

    def backward(dloss=1.0):
        dlogits = ...
        return dloss * dlogits

    return loss, backward


def _lookups(rng):
    yield "", (np.array([2, 0, 1]), rng.standard_normal((4, 2)))
    yield "", (np.array([1, 3, 1, 1, 0]), rng.standard_normal((5, 3)))


@exercise(
    "the gradient of a table of embeddings",
    level=2,
    minutes=10,
    reference=ops.embedding,
    solution="minillm/ops/embedding.py: embedding_backward",
    cases=_lookups,
    gradients=("dE",),
    hints={
        "dE": (
            "Row v of E is used at all positions where ids == v, with the slope 1.  Uses add up.",
            "Begin with np.zeros_like(E), and add each dy[k] to row ids[k].  dE[ids] += dy keeps "
            "only the last of equal ids; np.add.at(dE, ids, dy) adds all.",
        ),
    },
)
def embedding(ids, E):
    """Look up rows: y = E[ids].  ids (n,), E (V, D) -> y (n, D).  ``backward(dy)`` -> dE (V, D)."""
    y = E[ids]

    def backward(dy):
        dE = ...
        return dE

    return y, backward


def _draws(rng):
    yield "", (rng.standard_normal(6), 1.0, 6)
    yield "a temperature", (2 * rng.standard_normal(6), 0.5, 6)
    yield "k of 6", (rng.standard_normal(6), 0.8, 3)
    yield "k = 1", (rng.standard_normal(6), 1.5, 1)


@exercise(
    "probabilities to draw from: temperature and top-k",
    level=2,
    minutes=15,
    reference=lambda logits, temperature, k: sampling.next_probabilities(
        logits, temperature, top_k=k
    ),
    solution="minillm/decoding/sampling.py: next_probabilities",
    cases=_draws,
    imports="from minillm.ops.softmax import softmax_forward as softmax",
    outputs=("p",),
    hints={
        "p": (
            "At temperature 1 and with k = V, p is the softmax of the logits.  Are all kept then?",
            "np.sort(z)[-k] is the smallest that is kept, and p is the softmax of what is kept.",
        ),
        "a temperature": (
            "The logits are divided by the temperature, so that a low one makes them differ more.",
            "z = logits / temperature, before the softmax.",
        ),
        "k of 6": (
            "Exactly k tokens are kept, all others get 0, and the kept ones sum to 1.",
            "np.sort(z)[-k] is the smallest that is kept.  With -np.inf in place of the others, "
            "softmax gives them 0 and divides by the sum of the rest.",
        ),
        "k = 1": (
            "With k = 1 only the most probable token is left, with p = 1.",
            "np.sort(z)[-k] is the smallest that is kept, so z >= that is True for k of them.",
        ),
    },
)
def next_probabilities(logits, temperature, k):
    """Turn logits (V,), all different, into p (V,): divided by the temperature, only the k best."""
    z = ...
    kept = ...
    p = ...
    return p


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _two_levels(h, W, U, classes, targets):
    n, V = len(h), len(classes)
    class_loss, class_backward = ops.cross_entropy(h @ W, classes[targets])
    scores = np.where(classes == classes[targets][:, None], h @ U, -np.inf)
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p = p / p.sum(axis=1, keepdims=True)
    word_loss = -np.log(p[np.arange(n), targets]).mean()

    def backward(dloss):
        da = class_backward(float(dloss))
        ds = dloss * (p - np.eye(V)[targets]) / n
        return da @ W.T + ds @ U.T, h.T @ da, h.T @ ds

    return np.asarray(class_loss + word_loss), backward


def _words_in_classes(rng):
    for label, classes, n in (
        ("one word per class", [1, 0, 2], 4),
        ("one class", [0, 0, 0, 0], 3),
        ("", [0, 1, 0, 2, 1, 1], 5),
    ):
        C, V = max(classes) + 1, len(classes)
        arrays = draw(rng, (n, 3), (3, C), (3, V))
        yield label, (*arrays, np.array(classes), rng.integers(0, V, n))


@exercise(
    "an output layer of two levels",
    level=3,
    minutes=40,
    name="two-levels",
    reference=_two_levels,
    solution="minillm/exercises/chapter04.py: _two_levels",
    cases=_words_in_classes,
    outputs=("loss",),
    gradients=("dh", "dW", "dU"),
    hints={
        "loss": (
            "P(word) = P(class) P(word | class).  Which words compete in the second factor?",
            "A softmax of h W over the classes, at classes[targets]; and a softmax of h U over the "
            "words of this class only, np.where(classes == classes[targets][:, None], h @ U, "
            "-np.inf), at the target.  The loss is the mean of minus the sum of both logarithms.",
        ),
        "one word per class": (
            "A class of one word has P(word | class) = 1: the loss is that of the class alone, and "
            "U has no gradient.",
            "The cross-entropy of h @ W with the targets classes[targets].",
        ),
        "one class": (
            "If all words have one class, P(class) = 1, and the rest is a softmax over all words.",
            "The cross-entropy of h @ U with the targets.",
        ),
        "dh": (
            "h has two uses, in the scores of the classes and in those of the words.  Uses add up.",
            "da @ W.T + ds @ U.T, where da and ds are p minus one-hot, over n, of the two "
            "softmaxes.",
        ),
        "dW": (
            "A linear layer h W below a cross-entropy whose targets are classes.",
            "h.T @ da with da = dloss (p - one-hot of classes[targets]) / n.",
        ),
        "dU": (
            "p minus one-hot again, but a word of another class has no part in this softmax, and "
            "no gradient.",
            "h.T @ ds with ds = dloss (p - one-hot of targets) / n, and p is 0 outside of the "
            "target's class.",
        ),
    },
)
def two_level_loss(h, W, U, classes, targets):
    """Compute the mean of -ln P(target), where a word is predicted by its class, then within it.

    P(w) = P(class of w) P(w | its class): a softmax of h W over the classes, and one of h U over
    the words of that class only.  h (n, D), W (D, C), U (D, V), classes (V,): the class of each
    word, targets (n,) -> loss, an array without axes.  ``backward(dloss)`` -> dh, dW, dU.
    """
    # as many lines as you need
    loss = ...

    def backward(dloss):
        dh, dW, dU = ...
        return dh, dW, dU

    return loss, backward


def _direct(ids, targets, E, W, U, S):
    x, E_backward = ops.embedding(ids, E)
    x = x.reshape(len(ids), -1)
    a, W_backward = ops.linear(x, W)
    h = np.tanh(a)
    from_hidden, U_backward = ops.linear(h, U)
    from_x, S_backward = ops.linear(x, S)
    loss, loss_backward = ops.cross_entropy(from_hidden + from_x, targets)

    def backward(dloss):
        dlogits = loss_backward(float(dloss))
        dh, dU = U_backward(dlogits)
        dx, dW = W_backward(dh * (1 - h**2))
        dx_direct, dS = S_backward(dlogits)
        return E_backward((dx + dx_direct).reshape(*ids.shape, -1)), dW, dU, dS

    return np.asarray(loss), backward


def _contexts(rng):
    for n, K, V, D, H in ((1, 1, 3, 2, 2), (3, 2, 5, 2, 3)):
        ids = rng.integers(0, V, (n, K))
        ids[-1] = ids[0, 0]  # a token that occurs twice
        arrays = draw(rng, (V, D), (K * D, H), (H, V), (K * D, V))
        yield "", (ids, rng.integers(0, V, n), *arrays)


@exercise(
    "a neural n-gram with direct connections",
    level=3,
    minutes=45,
    name="direct-connections",
    reference=_direct,
    solution="minillm/exercises/chapter04.py: _direct",
    cases=_contexts,
    outputs=("loss",),
    gradients=("dE", "dW", "dU", "dS"),
    hints={
        "loss": (
            "The logits are a sum of two products: the hidden units times U, and x itself times S.",
            "x = E[ids].reshape(n, K * D); logits = np.tanh(x @ W) @ U + x @ S; then the mean "
            "cross-entropy.",
        ),
        "dE": (
            "x has two uses, in x W and in x S, and a token may occur at several positions.  Uses "
            "add up.  If dW is wrong as well, begin with the slope of the tanh.",
            "dx = da @ W.T + dlogits @ S.T, reshaped to (n, K, D); then np.add.at(dE, ids, dx).",
        ),
        "dW": (
            "W is used before the tanh: which slope is between a = x W and h?",
            "x.T @ da with da = (dlogits @ U.T) * (1 - h**2).",
        ),
        "dU": ("U multiplies the hidden units.", "h.T @ dlogits."),
        "dS": (
            "A sum hands its gradient to both terms unchanged, and S multiplies x.",
            "x.T @ dlogits.",
        ),
    },
)
def direct_connections(ids, targets, E, W, U, S):
    """Compute the loss of a neural n-gram in which each vector also reaches the output directly.

    The logits are tanh(x W) U + x S, and x (n, K D) has the K vectors E[ids] of a context side by
    side.  ids (n, K), targets (n,), E (V, D), W (K D, H), U (H, V), S (K D, V) -> the mean
    cross-entropy, an array without axes.  ``backward(dloss)`` -> dE, dW, dU, dS.
    """
    # as many lines as you need
    loss = ...

    def backward(dloss):
        dE, dW, dU, dS = ...
        return dE, dW, dU, dS

    return loss, backward


# --- find the bug -------------------------------------------------------------------


def _classified(rng):
    for n in (3, 4):
        yield "", (*draw(rng, (5, n), (n, n)), rng.integers(0, n, 5))


@find_the_bug(
    "find the bug: a classifier",
    level=1,
    minutes=15,
    cases=_classified,
    outputs=("loss",),
    gradients=("dx", "dW"),
    bugs=(
        Bug(
            "sign",
            "targets] -= 1",
            "targets] += 1",
            "The gradient with respect to the logits is p - y.",
        ),
        Bug("factor", "dloss * dlogits / n", "dloss * dlogits", "The loss is a mean over n rows."),
        Bug("order", "dlogits @ W.T", "dlogits @ W", "logits = x W: dx = dlogits W^T."),
        Bug(
            "factor",
            "dloss * dlogits / n",
            "dlogits / n",
            "Every gradient has the upstream gradient in it.",
        ),
    ),
)
def find_classifier(x, W, targets):
    """Compute the mean cross-entropy of the logits x W.

    x (n, D), W (D, V), targets (n,) -> loss.  ``backward(dloss)`` -> dx, dW.
    """
    n = len(x)
    rows = np.arange(n)
    logits = x @ W
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = p / p.sum(axis=1, keepdims=True)
    loss = -np.log(p[rows, targets]).mean()

    def backward(dloss):
        dlogits = p.copy()
        dlogits[rows, targets] -= 1
        dlogits = dloss * dlogits / n
        dW = x.T @ dlogits
        dx = dlogits @ W.T
        return dx, dW

    return loss, backward
