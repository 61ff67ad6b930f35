"""Exercises of chapter 0: derivatives."""

import numpy as np

from minillm import ops
from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug


def _squares(rng):
    yield "", (rng.standard_normal((3, 4)),)


def _square(x):
    def backward(dy):
        return 2 * x * dy

    return x**2, backward


@exercise(
    "the backward pass of a square",
    level=1,
    minutes=5,
    reference=_square,
    solution="minillm/exercises/chapter00.py: _square",
    cases=_squares,
    gradients=("dx",),
    hints={
        "dx": (
            "An elementwise function multiplies the upstream gradient by its slope.",
            "The slope of x**2 is 2 x.  Do not forget the factor dy.",
        ),
    },
)
def square(x):
    """Square each number.  x of any shape -> y.  ``backward(dy)`` -> dx."""
    y = x**2

    def backward(dy):
        dx = ...
        return dx

    return y, backward


def _rows(rng):
    for n, I, O in ((4, 3, 2), (1, 3, 3), (5, 1, 4)):
        yield (
            "",
            (
                rng.standard_normal((n, I)),
                rng.standard_normal((I, O)),
                rng.standard_normal(O),
            ),
        )


@exercise(
    "the three gradients of a linear layer",
    level=1,
    minutes=15,
    reference=ops.linear,
    solution="minillm/ops/linear.py: linear",
    cases=_rows,
    gradients=("dx", "dW", "db"),
    hints={
        "dx": (
            "Each x[k, i] reaches all outputs of its row, with the slopes W[i, :].",
            "dx must be (n, I): multiply dy (n, O) by W transposed.",
        ),
        "dW": (
            "W[i, o] is used once in each row k, where x[k, i] is its slope.  Uses add up.",
            "dW must be (I, O): multiply x transposed (I, n) by dy (n, O).",
        ),
        "db": (
            "The bias is added in every row, and uses add up.  A mean is not a sum.",
            "Sum dy over the rows, axis 0.",
        ),
        "db:shape": (
            "db has the shape of b, (O,): the sum over the rows drops their axis.",
            "dy.sum(axis=0), without keepdims.",
        ),
    },
)
def linear(x, W, b):
    """Compute y = x W + b.

    x (n, I), W (I, O), b (O,) -> y (n, O).  ``backward(dy)`` -> dx, dW, db.
    """
    y = x @ W + b

    def backward(dy):
        dx = ...
        dW = ...
        db = ...
        return dx, dW, db

    return y, backward


def _mean(x):
    def backward(dy):
        return np.repeat(dy[..., None], x.shape[-1], axis=-1) / x.shape[-1]

    return x.mean(axis=-1), backward


def _matrices(rng):
    yield "", (rng.standard_normal((3, 5)),)
    yield "", (rng.standard_normal((2, 3, 4)),)


@exercise(
    "the backward pass of a mean over the last axis",
    level=1,
    minutes=10,
    reference=_mean,
    solution="minillm/exercises/chapter00.py: _mean",
    cases=_matrices,
    gradients=("dx",),
    hints={
        "dx": (
            "Each x[..., i] reaches one y only.  With which slope?",
            "The slope is 1 / n for each of the n numbers of a row: dy[..., None] / n, "
            "repeated to the shape of x, for example by a factor np.ones_like(x).",
        ),
    },
)
def mean(x):
    """Compute the mean over the last axis.  x (..., n) -> y (...).  ``backward(dy)`` -> dx."""
    y = x.mean(axis=-1)

    def backward(dy):
        dx = ...
        return dx

    return y, backward


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _distances(x, z):
    difference = x[:, None] - z

    def backward(dd):
        each = 2 * dd[..., None] * difference
        return each.sum(axis=1), -each.sum(axis=0)

    return (difference**2).sum(axis=-1), backward


def _two_sets(rng):
    for n, m, D in ((1, 1, 3), (4, 2, 3), (3, 3, 3)):
        yield "", draw(rng, (n, D), (m, D))


@exercise(
    "the squared distances between two sets of points",
    level=2,
    minutes=20,
    reference=_distances,
    solution="minillm/exercises/chapter00.py: _distances",
    cases=_two_sets,
    outputs=("d",),
    gradients=("dx", "dz"),
    hints={
        "d": (
            "One entry for each pair of an x and a z: a sum over the D coordinates.",
            "((x[:, None] - z) ** 2).sum(axis=-1): x[:, None] - z has the shape (n, m, D).",
        ),
        "dx": (
            "x[i] is used in its distances to all m points z, each time with the slope "
            "2 (x[i] - z[j]).  Uses add up.",
            "2 * dd[..., None] * (x[:, None] - z), of shape (n, m, D), summed over axis 1.",
        ),
        "dz": (
            "z[j] is used in its distances to all n points x.  By which sign does the slope differ "
            "from that of x?",
            "-2 * dd[..., None] * (x[:, None] - z), summed over axis 0.",
        ),
    },
)
def distances(x, z):
    """Compute the squared distance of each point x to each point z.

    x (n, D), z (m, D) -> d (n, m): d[i, j] is the sum of (x[i] - z[j])^2 over the D coordinates.
    ``backward(dd)`` -> dx, dz.
    """
    d = ...

    def backward(dd):
        dx = ...
        dz = ...
        return dx, dz

    return d, backward


def _running_mean(x):
    count = np.arange(1, len(x) + 1)[:, None]

    def backward(dy):
        return np.cumsum((dy / count)[::-1], axis=0)[::-1]

    return np.cumsum(x, axis=0) / count, backward


def _steps(rng):
    for T, D in ((1, 2), (2, 1), (5, 3)):
        yield "", draw(rng, (T, D))


@exercise(
    "a running mean",
    level=2,
    minutes=20,
    reference=_running_mean,
    solution="minillm/exercises/chapter00.py: _running_mean",
    cases=_steps,
    gradients=("dx",),
    time={"dx": 0},
    hints={
        "y": (
            "The first row is x[0] itself, the second one the mean of two rows.",
            "np.cumsum(x, axis=0) / np.arange(1, T + 1)[:, None].",
        ),
        "dx": (
            "Which means contain x[s], and with which slope?  Start with the last row, which only "
            "the last mean contains.",
            "y[t] has the slope 1 / (t + 1) with respect to each x[s] up to s = t.",
        ),
        "dx:earlier": (
            "The last row is right: one mean contains it.  An earlier row is contained in its own "
            "mean and in all later ones.  Paths add up.",
            "With share = dy / np.arange(1, T + 1)[:, None], dx[s] is the sum of share[s:]: "
            "np.cumsum(share[::-1], axis=0)[::-1].",
        ),
    },
)
def running_mean(x):
    """Compute the mean of all rows so far: y[t] = (x[0] + ... + x[t]) / (t + 1).

    x (T, D) -> y (T, D).  ``backward(dy)`` -> dx.
    """
    T = len(x)
    y = ...

    def backward(dy):
        dx = ...
        return dx

    return y, backward


# --- find the bug -------------------------------------------------------------------


def _two_layers(rng):
    for n in (3, 4):  # square, so that a product with a wrong transpose has the same shape
        yield "", draw(rng, (n, n), (n, n), n, (n, n))


@find_the_bug(
    "find the bug: two layers",
    level=1,
    minutes=15,
    cases=_two_layers,
    gradients=("dx", "dW", "db", "dU"),
    bugs=(
        Bug("order", "dy @ U.T", "dy @ U", "h is the input of the layer y = h U: dh = dy U^T."),
        Bug(
            "factor",
            "(1 - h**2)",
            "(1 - h)",
            "The slope of h = tanh(a), written with h, is 1 - h^2.",
        ),
        Bug("value", "dU = h.T @ dy", "dU = x.T @ dy", "y = h U: U meets h, not x."),
        Bug("axis", "da.sum(axis=0)", "da.sum(axis=1)", "b is added in every row: sum over these."),
        Bug("factor", "x.T @ da", "x.T @ da / len(x)", "Uses add up; a mean is not a sum."),
    ),
)
def find_two_layers(x, W, b, U):
    """Compute y = tanh(x W + b) U.

    x (n, I), W (I, H), b (H,), U (H, O) -> y (n, O).  ``backward(dy)`` -> dx, dW, db, dU.  The
    cases have n = I = H = O, so a wrong product or sum may have the right shape: write the letters.
    """
    h = np.tanh(x @ W + b)
    y = h @ U

    def backward(dy):
        dU = h.T @ dy
        dh = dy @ U.T
        da = dh * (1 - h**2)
        dx = da @ W.T
        dW = x.T @ da
        db = da.sum(axis=0)
        return dx, dW, db, dU

    return y, backward
