"""Exercises of chapter 5: gradient descent."""

import numpy as np

from minillm import ops
from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug
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
    solution="minillm/training/optimisers.py: adam_update",
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


def _schedule(k, steps, warm_up, rate):
    if k < warm_up:
        return rate * (k + 1) / warm_up
    return rate * (1 + np.cos(np.pi * (k - warm_up) / (steps - warm_up))) / 2


def _moments(rng):
    for label, k in (("warm-up", 0), ("warm-up", 9), ("", 10), ("", 37), ("", 99)):
        yield label, (k, 100, 10, 0.03)


@exercise(
    "a learning rate with warm-up and half a cosine",
    level=1,
    minutes=10,
    reference=_schedule,
    solution="minillm/exercises/chapter05.py: _schedule",
    cases=_moments,
    outputs=("eta",),
    hints={
        "warm-up": (
            "The rate grows by equal amounts.  The first step has one of them, and the last step "
            "of the warm-up the whole rate.",
            "rate * (k + 1) / warm_up for k < warm_up, because k counts from 0.",
        ),
        "eta": (
            "After the warm-up, x runs from 0 to 1 over the steps that remain.",
            "rate * (1 + np.cos(np.pi * x)) / 2 with x = (k - warm_up) / (steps - warm_up).",
        ),
    },
)
def schedule(k, steps, warm_up, rate):
    """Compute the learning rate of step k, where 0 is the first of ``steps``.

    It grows evenly over the first ``warm_up`` steps, of which the last has ``rate``; then it falls
    as half a cosine, from ``rate`` at step ``warm_up`` towards 0 at step ``steps`` -> eta.
    """
    if k < warm_up:
        eta = ...
    else:
        # the part of the rest that is over
        x = ...
        eta = ...
    return eta


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
    solution="minillm/exercises/chapter05.py: _training_loop",
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


def _factored_step(W, g, rows, columns, beta, rate):
    rows = beta * rows + (1 - beta) * (g**2).mean(axis=1)
    columns = beta * columns + (1 - beta) * (g**2).mean(axis=0)
    v = rows[:, None] * columns / rows.mean()
    return rows, columns, W - rate * g / np.sqrt(v)


def _tables_of_weights(rng):
    for label, I, O, beta in (("one row", 1, 3, 0.5), ("", 3, 2, 0.9), ("", 2, 4, 0.99)):
        v = rng.uniform(0.1, 2, (I, O))
        averages = v.mean(axis=1), v.mean(axis=0)
        yield label, (*draw(rng, (I, O), (I, O)), *averages, beta, 0.01)


@exercise(
    "an Adam with a small memory",
    level=3,
    minutes=30,
    reference=_factored_step,
    solution="minillm/exercises/chapter05.py: _factored_step",
    cases=_tables_of_weights,
    outputs=("rows", "columns", "W"),
    hints={
        "rows": (
            "An average of the old means and of the new ones, as Adam's v.",
            "beta * rows + (1 - beta) * (g**2).mean(axis=1).",
        ),
        "columns": (
            "As for the rows, with the mean over the other axis.",
            "beta * columns + (1 - beta) * (g**2).mean(axis=0).",
        ),
        "W": (
            "A table of rank 1 is v[i, o] = r[i] c[o].  Its row means must be rows, and its column "
            "means columns: which number is missing from rows[i] columns[o]?",
            "The mean of rows[i] columns[o] over o is rows[i] times the mean of columns, so "
            "v = rows[:, None] * columns / rows.mean(); then W - rate * g / np.sqrt(v).",
        ),
    },
)
def factored_step(W, g, rows, columns, beta, rate):
    """Take a step by g / sqrt(v), where only the row means and the column means of v are kept.

    W, g (I, O): weights and their gradient.  rows (I,), columns (O,): moving averages of the row
    means and of the column means of g^2, which are updated by ``beta`` as in Adam, without a
    correction.  v (I, O) is the table of rank 1 that has the new averages as its row means and its
    column means -> rows, columns, and W after the step with the learning rate ``rate``.
    """
    rows = ...
    columns = ...
    W = ...
    return rows, columns, W


# --- find the bug -------------------------------------------------------------------


def _trajectories(rng):
    for n, T, maximum in ((2, 1, 9.0), (3, 5, 1.0)):
        yield "", (*draw(rng, n, (T, n)), 0.1, 3, 0.2, maximum)


@find_the_bug(
    "find the bug: AdamW with warm-up and clipping",
    level=2,
    minutes=20,
    cases=_trajectories,
    outputs=("p",),
    bugs=(
        Bug(
            "value",
            "maximum / np.linalg.norm(g)",
            "maximum / np.linalg.norm(p)",
            "Clipping asks for the length of the gradient.",
            lead="Make p ten times as long and keep the gradients: should their scaling change?",
        ),
        Bug(
            "range",
            "min(1, t / warm_up)",
            "min(1, (t - 1) / warm_up)",
            "The first step must not be zero.",
            lead="Take one step with a warm-up of 4: how far does p move?",
        ),
        Bug(
            "value",
            "0.01 * g**2",
            "0.01 * m**2",
            "v is an average of squared gradients, not of squared averages.",
            lead="At the first step, m_hat / sqrt(v_hat) should be 1 or -1.  Is it?",
        ),
        Bug(
            "factor",
            "m / (1 - 0.9**t)",
            "m / (1 - 0.9)",
            "What do the weights of t gradients sum to?",
            lead="If all gradients are equal, m_hat should be g at each t.  Is it at the second?",
        ),
        Bug(
            "factor",
            "(1 - eta * decay)",
            "(1 - decay)",
            "In AdamW, the rate of the step scales the decay too.",
            lead="Set the rate to zero: may a step change p?",
        ),
        Bug(
            "sign",
            "p - eta * m_hat",
            "p + eta * m_hat",
            "A step goes against the gradient.",
            lead="Take one step with a positive gradient and no decay: does p fall?",
        ),
    ),
)
def find_adamw(p, gradients, rate, warm_up, decay, maximum):
    """Take a step of AdamW for each gradient, with beta1 = 0.9 and beta2 = 0.99.

    p (n,), gradients (T, n), each scaled to a norm of at most ``maximum``; the rate grows evenly
    over ``warm_up`` steps, of which the last has all of ``rate``; decay, the weight decay -> p (n,)
    after T steps.
    """
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(gradients, 1):
        g = g * min(1, maximum / np.linalg.norm(g))
        eta = rate * min(1, t / warm_up)
        m = 0.9 * m + 0.1 * g
        v = 0.99 * v + 0.01 * g**2
        m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.99**t)
        p = (1 - eta * decay) * p
        p = p - eta * m_hat / (np.sqrt(v_hat) + 1e-8)
    return p
