"""Exercises of chapter 15: proof."""

import numpy as np

from minillm.exercises.declaration import exercise


def _functions(rng):
    yield "", (np.sin, 1.0, 1e-4)
    yield "", (np.exp, -0.7, 1e-3)
    yield "", (lambda x: x**3 - x, 2.0, 0.5)


def _central(L, x, h):
    return (L(x + h) - L(x - h)) / (2 * h)


@exercise(
    "the central difference",
    level=1,
    minutes=5,
    reference=_central,
    solution="minillm/exercises/chapter15.py: _central",
    cases=_functions,
    outputs=("slope",),
    tolerance=1e-9,
    hints={
        "slope": (
            "Take the loss on both sides of x, at equal distances: the even terms of the Taylor "
            "series cancel.",
            "The two points are 2 h apart: divide L(x + h) - L(x - h) by that.",
        ),
    },
)
def central_difference(L, x, h):
    """Measure the slope of the function L at x, with the points at the distance h from it."""
    slope = ...
    return slope


def _richardson(L, x, h):
    return (4 * _central(L, x, h / 2) - _central(L, x, h)) / 3


@exercise(
    "Richardson's combination",
    level=2,
    minutes=10,
    reference=_richardson,
    solution="minillm/exercises/chapter15.py: _richardson",
    cases=_functions,
    outputs=("slope",),
    tolerance=1e-9,
    hints={
        "slope": (
            "D(h) = L' + a h^2 and D(h / 2) = L' + a h^2 / 4, up to higher terms: remove a, and "
            "keep one times L'.",
            "4 D(h / 2) - D(h) = 3 L', so the slope is (4 D(h / 2) - D(h)) / 3.",
        ),
    },
)
def richardson(L, x, h):
    """Measure the slope of the function L at x, with an error of order h^4.

    Combine the central differences with the steps h and h / 2, so that the terms in h^2 cancel and
    the slope itself counts once.
    """

    def D(h):
        return (L(x + h) - L(x - h)) / (2 * h)

    slope = ...
    return slope
