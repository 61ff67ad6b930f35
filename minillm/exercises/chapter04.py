"""Exercises of chapter 4: gradient descent."""

import numpy as np

from minillm import ops
from minillm.exercises.declaration import draw, exercise
from minillm.training.optimisers import Adam


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
    solution="minillm/exercises/chapter04.py: _training_loop",
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
