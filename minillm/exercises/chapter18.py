"""Exercises of chapter 18: proof."""

import numpy as np

from minillm.exercises.declaration import exercise


def _functions(rng):
    yield "", (np.sin, 1.0, 1e-4)
    yield "", (np.exp, -0.7, 1e-3)
    yield "", (lambda x: x**3 - x, 2.0, 0.5)


def _central(L, x, h):
    return (L(x + h) - L(x - h)) / (2 * h)


def _forward_step(L, curvature, eps):
    return 2 * np.sqrt(eps * L / curvature), 2 * np.sqrt(eps * L * curvature)


def _sizes(rng):
    for eps in (2.2e-16, 1.2e-7):
        yield "", (rng.uniform(0.5, 5), rng.uniform(0.1, 3), eps)


@exercise(
    "the best step of a difference to one side",
    level=2,
    minutes=20,
    reference=_forward_step,
    solution="minillm/exercises/chapter18.py: _forward_step",
    cases=_sizes,
    outputs=("h", "error"),
    hints={
        "h": (
            "L(x + h) = L + h L' + h^2 L'' / 2: what is left after the division by h?  And two "
            "values that are wrong by eps L each are divided by h.",
            "The error is h curvature / 2 + 2 eps L / h.  Its derivative by h is zero at "
            "h^2 = 4 eps L / curvature.",
        ),
        "error": (
            "Put the best h into the sum of the two errors.",
            "h * curvature / 2 + 2 * eps * L / h: both terms are equal there.",
        ),
    },
)
def forward_step(L, curvature, eps):
    """Choose the step h of the difference (L(x + h) - L(x)) / h.

    L and curvature: the sizes of the function and of its second derivative near x, both above 0;
    each value of the function is wrong by up to eps L -> h, which makes the largest error, of
    truncation and rounding together, as small as possible; and this error.
    """
    h = ...
    error = ...
    return h, error


def _richardson(L, x, h):
    return (4 * _central(L, x, h / 2) - _central(L, x, h)) / 3


@exercise(
    "Richardson's combination",
    level=2,
    minutes=10,
    reference=_richardson,
    solution="minillm/exercises/chapter18.py: _richardson",
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
