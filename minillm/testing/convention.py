"""The convention, apart from slopes: dtypes, arrays that may not change, a second call, None."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import describe_error
from minillm.testing.calls import GradientError, as_tuple, copies, equal
from minillm.testing.point import Point, magnitude

FEW = 2  # numbers of float32: a single one may be what a cancellation left


def check_convention(
    point: Point, returned: Any, given: Sequence[NDArray], claims: Sequence[NDArray]
) -> None:
    """Raise GradientError for the first breach of the convention, of an op whose slopes are right.

    ``returned`` is what the backward returned for the upstream gradients ``given``, and
    ``claims`` are copies of its gradients.
    """
    for breach in (_kinds, _precision, _changes, _second_call, _absent):
        if text := breach(point, returned, given, claims):
            raise GradientError(f"every gradient is right, but {text}")


def _kinds(point: Point, returned: Any, given: Any, claims: Sequence[NDArray]) -> str:
    if isinstance(returned, list):
        return "the backward returned them in a list, expected a tuple"
    for k, gradient in zip(point.checked, as_tuple(returned), strict=True):
        is_scalar = isinstance(gradient, np.floating) and point.args[k].ndim == 0
        name = f"the gradient with respect to {point.names[k]}"
        if not (isinstance(gradient, np.ndarray) or is_scalar):  # NumPy makes scalars of 0-d arrays
            return f"{name} is no array: {type(gradient).__name__}"
        if gradient.dtype != np.float64:
            return f"{name} is {gradient.dtype}, expected float64"
    return ""


@np.errstate(over="ignore")
def _precision(point: Point, returned: Any, given: Any, claims: Sequence[NDArray]) -> str:
    """Find gradients of float64 that were rounded to float32, an error that the tolerance accepts.

    A right gradient is a linear function of the random upstream gradient, so that a number of it
    is one of float32 with a probability of 2^-29.  Zeros are, and so may be small differences of
    equal numbers: neither counts.
    """
    names, count = [], 0
    for k, claim in zip(point.checked, claims, strict=True):
        numbers = claim[np.abs(claim) * magnitude(point.args[k]) > point.limits[k]]
        if numbers.size and np.array_equal(numbers, numbers.astype(np.float32)):
            names.append(point.names[k])
            count += numbers.size
    if count < FEW:
        return ""
    return (
        f"all numbers of the gradient with respect to {' and '.join(names)} are rounded to "
        "float32: expected a backward that computes in float64 (does it cast, or fill an array "
        "of float32?)"
    )


def _changes(point: Point, returned: Any, given: Any, claims: Sequence[NDArray]) -> str:
    for name, was, now in zip(point.upstream_names, point.upstream, given, strict=True):
        if not equal(was, now):
            return f"the backward changed its upstream gradient {name}"
    for name, was, now in zip(point.names, point.args, point.held, strict=True):
        if isinstance(was, np.ndarray) and not equal(was, now):
            return f"the op or its backward changed its argument {name}"
    for number, (was, now) in enumerate(zip(point.outputs, as_tuple(point.result), strict=True)):
        if not equal(was, np.asarray(now)):
            return f"the backward changed output {number}"
    return ""


def _second_call(point: Point, returned: Any, given: Any, claims: Sequence[NDArray]) -> str:
    again = point.gradients(point.upstream, "every gradient is right, but a second call")
    if not _same(claims, again):
        return "a second call of the backward gave other gradients"
    opposite = point.gradients([np.asarray(-dy) for dy in point.upstream])
    if not _same(claims, returned):
        return "a later call of the backward changed them: it returned a buffer that it uses again"
    others = as_tuple(opposite)
    if len(others) != len(claims) or not all(
        _is_opposite(point, k, claim, other)
        for k, claim, other in zip(point.checked, claims, others, strict=True)
    ):
        return "for -dy the backward gave other gradients than minus the gradients for dy"
    return ""


def _is_opposite(point: Point, k: int, claim: NDArray, other: Any) -> bool:
    """Whether -dy gives argument k the opposite of the claimed gradient, up to rounding."""
    if np.shape(other) != claim.shape:
        return False
    rounding = (point.floor + 1e-9 * point.limits[k]) / magnitude(point.args[k])
    allowed = point.tolerance * np.abs(claim) + rounding
    return bool(np.all(np.abs(claim + other) <= allowed))


def _absent(point: Point, returned: Any, given: Any, claims: Sequence[NDArray]) -> str:
    if len(point.upstream) == 1:
        return ""
    for k in range(len(point.upstream)):
        nothing = [np.zeros_like(dy) if j == k else dy for j, dy in enumerate(point.upstream)]
        absent = [None if j == k else dy for j, dy in enumerate(point.upstream)]
        try:
            gradients = point.backward(*copies(absent))
        except Exception as error:
            raise GradientError(
                "every gradient is right, but the backward does not take None for the gradient of "
                f"output {k}: {describe_error(error)}"
            ) from error
        if not _same(point.gradients(nothing), gradients):
            return f"None in place of a zero gradient of output {k} gave other gradients"
    return ""


def _same(one: Any, other: Any) -> bool:
    one, other = tuple(one) if isinstance(one, list) else as_tuple(one), as_tuple(other)
    return len(one) == len(other) and all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True)
    )
