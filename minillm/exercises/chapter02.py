"""Exercises of chapter 2: learning to predict."""

import numpy as np

from minillm import ops
from minillm.decoding import sampling
from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug
from minillm.ops.softmax import softmax_forward as softmax_of_the_package
from minillm.training.optimisers import Adam


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


def _adam(p, g, m, v, t, learning_rate, beta1, beta2, eps):
    params = {"p": p}
    optimiser = Adam(params, beta1, beta2, eps)
    optimiser.restore({"m.p": m, "v.p": v}, {"t": t - 1})
    optimiser.step({"p": g}, learning_rate)
    return optimiser.m["p"], optimiser.v["p"], p


def _steps(rng):
    p, g, m = rng.standard_normal((3, 5))
    yield "a late step", (p, g, m, m**2 + rng.uniform(size=5), 100_000, 0.01, 0.9, 0.999, 1e-8)
    yield "the first step", (p, g, np.zeros(5), np.zeros(5), 1, 0.01, 0.9, 0.999, 1e-8)
    yield "step 7", (p, g, m, m**2 + rng.uniform(size=5), 7, 0.1, 0.8, 0.95, 1e-8)
    yield "a large eps", (p, g, m, m**2 + 1, 3, 0.1, 0.9, 0.999, 0.5)


@exercise(
    "one step of Adam",
    level=2,
    minutes=20,
    reference=_adam,
    solution="minillm/training/optimisers.py: _adam_update",
    cases=_steps,
    outputs=("m", "v", "p"),
    hints={
        "m": (
            "m is an average: what the old one loses, 1 - beta1, is the weight of the new one.",
            "beta1 * m + (1 - beta1) * g",
        ),
        "v": (
            "v is the average of the squares of the gradients, with beta2.",
            "beta2 * v + (1 - beta2) * g**2",
        ),
        "p": (
            "m and v began at 0 and are too small.  Divide each by what the weights of t steps "
            "sum to, then divide the one by the root of the other.",
            "m_hat = m / (1 - beta1**t), v_hat = v / (1 - beta2**t), and p minus learning_rate "
            "m_hat / (sqrt(v_hat) + eps).",
        ),
        "a late step:p": (
            "So late, nothing has to be corrected.  The step goes against the gradient, and its "
            "size is the average gradient over the root of the average square.",
            "p minus learning_rate * m_hat / (np.sqrt(v_hat) + eps), with the new m and v.",
        ),
        "a large eps": (
            "eps is added to the root, not under it.",
            "learning_rate * m_hat / (np.sqrt(v_hat) + eps)",
        ),
    },
)
def adam(p, g, m, v, t, learning_rate, beta1, beta2, eps):
    """Take step t (1 is the first) of Adam: parameters p and gradient g -> m, v, p, all (n,).

    m and v are the averages before the step.  Those returned are not corrected.
    """
    m = ...
    v = ...
    p = ...
    return m, v, p


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


def _training_loop(x, targets, V, rate, momentum, batch, epochs):
    W = np.zeros((x.shape[1], V))
    u, losses = np.zeros_like(W), []
    for _ in range(epochs):
        for start in range(0, len(x), batch):
            rows, ids = x[start : start + batch], targets[start : start + batch]
            logits, linear_backward = ops.linear(rows, W)
            _, loss_backward = ops.cross_entropy(logits, ids)
            u = momentum * u + linear_backward(loss_backward(1.0))[1]
            W = W - rate * u
        losses.append(float(ops.cross_entropy(x @ W, targets)[0]))
    return W, np.array(losses)


def _trainings(rng):
    for label, n, momentum, batch, epochs in (
        ("one step", 6, 0.9, 6, 1),
        ("without momentum", 6, 0.0, 3, 2),
        ("momentum", 6, 0.9, 3, 3),
        ("a smaller last batch", 7, 0.5, 3, 2),
    ):
        yield label, (*draw(rng, (n, 3)), rng.integers(0, 4, n), 4, 0.3, momentum, batch, epochs)


@exercise(
    "a whole training loop",
    level=3,
    minutes=40,
    reference=_training_loop,
    solution="minillm/exercises/chapter02.py: _training_loop",
    cases=_trainings,
    outputs=("W", "losses"),
    hints={
        "one step": (
            "There is one step from W = 0, where p = 1 / V: the gradient is x^T (p - y) over the "
            "number of rows, and W goes against it.  The loss is measured after the step.",
            "dlogits = (p - np.eye(V)[ids]) / len(ids), u = momentum * u + rows.T @ dlogits, "
            "W = W - rate * u; then -np.log(p[np.arange(n), targets]).mean() with a new p.",
        ),
        "without momentum": (
            "Each batch is a step, with the p of the new W and a mean over the rows of the batch.",
            "for start in range(0, n, batch): rows = x[start : start + batch], and p is computed "
            "again for these rows.",
        ),
        "momentum": (
            "The velocity is kept from step to step, and from epoch to epoch.",
            "u begins at zero once, before all loops: u = momentum * u + gradient.",
        ),
        "a smaller last batch": (
            "The last batch has fewer rows, and the mean is over these.  No row is left out.",
            "Divide by len(ids) of the batch, not by batch.",
        ),
    },
)
def training_loop(x, targets, V, rate, momentum, batch, epochs):
    """Train the layer logits = x W by gradient descent with momentum.

    x (n, D), targets (n,) of V classes.  W (D, V) and the velocity u begin at zero.  An epoch takes
    the rows in their order, ``batch`` at a time; the last batch may be smaller.  After each batch,
    u becomes momentum u + the gradient of the batch's mean cross-entropy, and W becomes W - rate u
    -> W, losses (epochs,): the mean loss of all rows after each epoch.
    """
    # as many lines as you need
    W, losses = ...
    return W, losses


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
