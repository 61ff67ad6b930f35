"""Exercises of chapter 21: proof."""

import numpy as np

from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug


def _functions(rng):
    yield "", (np.sin, 1.0, 1e-4)
    yield "", (np.exp, -0.7, 1e-3)
    yield "", (lambda x: x**3 - x, 2.0, 0.5)


def _central(L, x, h):
    return (L(x + h) - L(x - h)) / (2 * h)


def _richardson(L, x, h):
    return (4 * _central(L, x, h / 2) - _central(L, x, h)) / 3


@exercise(
    "Richardson's combination",
    level=2,
    minutes=10,
    reference=_richardson,
    solution="minillm/exercises/chapter21.py: _richardson",
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


def _along(L, gradient, x, u, h):
    u = u / np.linalg.norm(u)
    return (L(x + h * u) - L(x - h * u)) / (2 * h), np.sum(u * gradient)


def _losses(rng):
    for L, slope, shape in (
        (lambda x: np.sum(x**3), lambda x: 3 * x**2, 3),
        (lambda x: np.sum(np.sin(x)), np.cos, (2, 3)),
    ):
        x, u = draw(rng, shape, shape)
        yield "", (L, slope(x), x, u, 1e-4)
    x, u = draw(rng, 4, 4)
    yield "a wrong gradient", (lambda x: np.sum(x**2), x, x, u, 1e-3)


@exercise(
    "measure a slope along a random direction",
    level=1,
    minutes=15,
    reference=_along,
    solution="minillm/exercises/chapter21.py: _along",
    cases=_losses,
    outputs=("measured", "claimed"),
    hints={
        "measured": (
            "All coordinates move at once, along a direction of the length 1.  How far apart are "
            "the two points?",
            "(L(x + h * u) - L(x - h * u)) / (2 * h), after u = u / np.linalg.norm(u).",
        ),
        "claimed": (
            "By the chain rule, the slope along u is the sum of u times the gradient, with the "
            "same u as in the measurement.",
            "np.sum(u * gradient), after u was divided by its length.",
        ),
        "a wrong gradient": (
            "The claim comes from the given gradient alone, and the measurement from L alone: here "
            "they differ.",
            "Do not correct one by the other.",
        ),
    },
)
def along_direction(L, gradient, x, u, h):
    """Compare a gradient with the function along one direction.

    L: a function of an array; gradient: its claimed gradient at x; u: a direction, of any length;
    both of the shape of x; h: the step -> measured: the slope along u, scaled to the length 1, by a
    central difference of step h; claimed: the same slope by the gradient.
    """
    u = ...
    measured = ...
    claimed = ...
    return measured, claimed


# --- transfer: the answer stands nowhere in the text ----------------------------------


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
    solution="minillm/exercises/chapter21.py: _forward_step",
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


def _wrong_coordinate(slopes, claimed):
    n = len(claimed)
    directions = (np.arange(n) >> np.arange((n - 1).bit_length())[:, None]) & 1
    wrong = ~np.isclose(slopes(directions.astype(float)), directions @ claimed)
    return int(sum(1 << bit for bit in np.flatnonzero(wrong)))


def _claims(rng):
    def measured(g, limit):
        def slopes(directions):
            if len(directions) > limit:
                raise ValueError(f"expected at most {limit} directions, found {len(directions)}")
            return np.asarray(directions) @ g

        return slopes

    for n, index in ((2, 0), (4, 3), (16, 9), (13, 12), (32, 0)):
        (g,) = draw(rng, n)
        claimed = g.copy()
        claimed[index] += 0.5
        yield "", (measured(g, (n - 1).bit_length()), claimed)


@exercise(
    "which coordinate is wrong?  A few directions tell",
    level=3,
    minutes=30,
    reference=_wrong_coordinate,
    solution="minillm/exercises/chapter21.py: _wrong_coordinate",
    cases=_claims,
    outputs=("index",),
    hints={
        "index": (
            "A direction of zeros and ones tells whether the wrong coordinate is one of those "
            "with a 1.  Each answer is one bit of its number.",
            "Direction b has a 1 at all coordinates whose number has the bit b: (np.arange(n) >> "
            "b) & 1.  Where slope and claim differ, the bit b of the index is 1.",
        ),
    },
)
def wrong_coordinate(slopes, claimed):
    """Find the one coordinate at which a gradient is wrong.

    claimed (n,): a gradient that is wrong at exactly one coordinate, by a lot.
    ``slopes(directions)`` measures the true slopes (m,) along the rows of directions (m, n), which
    need not have the length 1.  It is expensive: call it once, with at most as many directions as
    n - 1 has binary digits, (n - 1).bit_length() -> index (int).
    """
    # as many lines as you need
    index = ...
    return index


# --- find the bug -------------------------------------------------------------------


def _functions_of_arrays(rng):
    yield "", (np.sin, *draw(rng, 3, 3), 1e-4)
    yield "", (lambda x: x @ x.T, *draw(rng, (2, 3), (2, 2)), 1e-4)
    yield "", (lambda x: np.cumsum(x, axis=0) ** 2, *draw(rng, (3, 2), (3, 2)), 1e-4)


@find_the_bug(
    "find the bug: a gradient checker",
    level=2,
    minutes=20,
    cases=_functions_of_arrays,
    outputs=("dx",),
    tolerance=1e-5,
    bugs=(
        Bug(
            "factor",
            "above = np.sum(dy * f(x))",
            "above = np.sum(f(x))",
            "Both values must be of the same function L.",
            lead="Let f be the identity: dx should be dy.  Which of the two values depends on dy?",
        ),
        Bug(
            "factor",
            "/ (2 * h)",
            "/ h",
            "The two points are 2 h apart.",
            lead="Keep both points.  Let f be the identity and dy be 1: is the slope, 1, returned?",
        ),
        Bug(
            "sign",
            "(above - below)",
            "(below - above)",
            "A slope is positive if L grows with x.",
            lead="Let f be the identity and dy be 1: what is the sign of the result?",
        ),
        Bug(
            "value",
            "x[index] = centre - h",
            "x[index] = centre",
            "The second point is as far below the centre as the first is above it.",
            lead="Let f be the identity and dy be 1: at which two points is f called?",
        ),
    ),
)
def find_checker(f, x, dy, h):
    """Measure the gradient of L = sum of dy f(x) with respect to x by central differences.

    f: a function of an array; x, of any shape; dy, of the shape of f(x); h: the step -> dx, of the
    shape of x.
    """
    x, dx = x.copy(), np.zeros_like(x)
    for index in np.ndindex(x.shape):
        centre = x[index]
        x[index] = centre + h
        above = np.sum(dy * f(x))
        x[index] = centre - h
        below = np.sum(dy * f(x))
        x[index] = centre
        dx[index] = (above - below) / (2 * h)
    return dx
