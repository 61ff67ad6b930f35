"""A check of a whole model's gradient, along random directions.

Let g be the true gradient with respect to an array of n numbers, and e the error of the claimed
one.  Along a random direction u of length 1, the slope is u g, and the claim is wrong by u e.  The
error passes if |u e| <= a: the tolerance times the slope, plus the allowance for rounding.  One
coordinate of a random direction has a density of at most sqrt(n / 2 pi) around zero, and so has
the part of u along e.  The interval from -a / |e| to a / |e| therefore has a probability of

    P(missed) <= sqrt(2 n / pi) a / |e| .

The error that we promise to find is one coordinate, wrong by the root mean square of the gradient:
|e| = |g| / sqrt(n).  With a = tolerance |u g|, the bound is (2 / pi) tolerance sqrt(n) on
average.  Of a million numbers and a tolerance of 1e-6, one direction misses the error with a
probability of 6e-4.  Independent directions follow until the product of their bounds is
as small as asked for.  If m coordinates are wrong, each by f times the root mean square, then e is
f sqrt(m) times as long, and each direction misses it that many times less often.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.testing.calls import GradientError, call_backward, is_numeric, kind
from minillm.testing.gradients import explained
from minillm.testing.point import Point
from minillm.testing.slopes import (
    ACCEPTED,
    SHARE,
    check_options,
    compare,
    line_along,
    scales,
    steps_at,
)

SMALL = 1000  # numbers of a model whose wrong line is looked for without being asked
MOST = 100  # directions of one array


def check_projections(
    loss: Callable[[], tuple[Any, Callable[[], dict[str, NDArray]]]],
    params: dict[str, NDArray],
    *,
    rng: np.random.Generator,
    miss: float = 1e-6,
    tolerance: float = 1e-6,
    step: float | None = None,
    locate: bool | None = None,
) -> float:
    """Check a whole model's gradient along random directions, one array at a time.

    ``loss()`` returns ``loss, backward``, computed from the arrays in ``params``.
    These are changed in place and restored, after an error and after Ctrl-C, too.
    ``backward()`` returns a gradient for each, under the same keys.  The slope of the
    loss along a random direction u of an array, of length 1, must be the sum of u times
    its gradient.  ``step`` is a distance along u, instead of the steps in proportion to
    the array's length.

    ``miss`` is a bound on the probability that an array passes although one coordinate of its
    gradient is wrong by the root mean square of all.  Directions follow until it is reached: one or
    two up to a million numbers by default.  Each costs four calls of ``loss``.

    Returns the worst relative error.  Raises GradientError that names the array.  Of a small model
    it names the wrong line, too, as ``check_gradients`` does: every coordinate is moved for it.
    ``locate=True`` moves them in a large model as well, and False in none.
    """
    check_options(tolerance, step)
    if not 0 < miss < 1:
        raise ValueError(f"miss: expected a probability above 0 and below 1, found {miss}")
    value, backward = loss()
    if not np.isfinite(value):
        raise GradientError(f"the loss is {value}: it has no slope to compare")
    gradients = call_backward(backward, ())
    _check_gradients_of(params, gradients)
    again = loss()[0]
    if not math.isclose(value, again, rel_tol=1e-9):
        raise GradientError(
            f"a second call gave another loss, {again:.10g} after {value:.10g}: expected one of "
            "the parameters alone (if it is random, make a generator with a fixed seed in it)"
        )

    def loss_now() -> NDArray:
        return np.array([float(loss()[0])])

    lengths = {name: float(np.linalg.norm(array)) for name, array in params.items()}
    largest = [  # what a random direction has on average of the gradient
        float(np.linalg.norm(gradients[name])) / max(array.size, 1) ** 0.5 * max(1, lengths[name])
        for name, array in params.items()
    ]
    reaches = [min(1, length or 1) for length in lengths.values()]
    relative = [size * reach for size, reach in zip(largest, reaches, strict=True)]
    sizes, floor = scales(largest, relative, np.ones(1), np.array([value]))
    directions = rng.spawn(1)[0]  # else equal to parameters from another generator of the same seed
    worst = 0.0
    for (name, array), size in zip(params.items(), sizes, strict=True):
        usual, missed, count = size / max(1, lengths[name]), 1.0, 0
        while missed > miss and array.size:
            if count == MOST:
                raise GradientError(
                    f"the gradient with respect to {name} cannot be decided: after {MOST} "
                    f"directions, rounding hides a wrong coordinate with a probability of "
                    f"{missed:.3g}, above {miss:g}"
                )
            u = directions.standard_normal(array.shape)
            u /= np.linalg.norm(u)
            slope = compare(
                line_along(array, u, loss_now, np.ones(1), np.array([abs(value)])),
                analytic=float(np.sum(u * gradients[name])),
                steps=steps_at(lengths[name], 1.0) if step is None else [step],
                limit=SHARE * usual,
                floor=floor / max(1, lengths[name]),
                tolerance=tolerance,
            )
            if slope.verdict > ACCEPTED:
                description = slope.describe(" along a random direction", tolerance)
                found = GradientError(f"the gradient with respect to {name} {description}")
                if locate or sum(a.size for a in params.values()) <= SMALL:
                    explained(found, _fault(loss, params))
                    found.locate = locate
                raise found
            worst, count = max(worst, slope.error), count + 1
            hidden = slope.allowed / usual if usual else 0.0
            missed *= min(1, math.sqrt(2 * array.size / math.pi) * hidden)
    return worst


def _fault(loss: Callable, params: dict[str, NDArray]) -> Callable[[], tuple[Any, Any, str]]:
    """The gradients of the parameters, each an argument of an op, when they are asked for."""

    def op(*arrays: NDArray) -> tuple[Any, Callable]:
        start = [array.copy() for array in params.values()]
        try:
            for own, array in zip(params.values(), arrays, strict=True):
                own[...] = array
            value, backward = loss()
        finally:
            for own, array in zip(params.values(), start, strict=True):
                own[...] = array

        def of_arrays(dy: NDArray) -> tuple[NDArray, ...]:
            gradients = backward()
            return tuple(dy * gradients[name] for name in params)

        return np.float64(value), of_arrays

    def compared() -> tuple[Any, Any, str]:
        point = Point(op, [a.copy() for a in params.values()], np.random.default_rng(0))
        gradients = point.gradients(point.upstream)
        return point, point.compare(gradients), "values"

    return compared


def _check_gradients_of(params: dict[str, NDArray], gradients: dict[str, NDArray]) -> None:
    """Raise TypeError or GradientError unless each parameter has a gradient of its shape."""
    if not isinstance(gradients, dict):
        raise GradientError(
            f"the backward: expected a dictionary of gradients, found {kind(gradients)}"
        )
    if set(gradients) != set(params):
        differing = sorted(set(gradients) ^ set(params))
        raise GradientError(f"the gradient's keys differ from the parameters': {differing}")
    for name, array in params.items():
        if array.dtype != np.float64:
            raise TypeError(f"{name}: expected float64, found {array.dtype}")
        if not is_numeric(gradients[name]):
            found = kind(gradients[name])
            raise GradientError(f"the gradient with respect to {name} is no array: {found}")
        if np.shape(gradients[name]) != array.shape:
            raise GradientError(
                f"the gradient with respect to {name} has shape {np.shape(gradients[name])}, "
                f"expected {array.shape}"
            )
