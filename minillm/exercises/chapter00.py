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

    x (n, I), W (I, H), b (H,), U (H, O) -> y (n, O).  ``backward(dy)`` -> dx, dW, db, dU.
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
