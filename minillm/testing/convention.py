"""The convention, apart from slopes: dtypes, arrays that may not change, a second call, None."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import describe_error
from minillm.testing.calls import as_tuple, copies, equal, faulty
from minillm.testing.point import Compared, Point, magnitude

FEW = 2  # numbers of float32: a single one may be what a cancellation left
POWER = 40  # of 2: such a factor of dy changes no digit of a product


def check_convention(
    point: Point,
    returned: Any,
    given: Sequence[NDArray],
    claims: Sequence[NDArray],
    compared: Sequence[Compared],
) -> None:
    """Raise GradientError for the first breach of the convention, of an op whose slopes are right.

    ``returned`` is what the backward returned for the upstream gradients ``given``, and
    ``claims`` are copies of its gradients.
    """
    breaches = (_kinds, _precision, _changes, _second_call, _large, _rounds, _layouts, _absent)
    for breach in breaches:
        if text := breach(point, returned, given, claims):
            message = f"every gradient is right, but {text}"
            raise faulty(message, point, compared, breach.__name__)


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
    if not _are_close(point, claims, [-g for g in _arrays(opposite)]):
        return "for -dy the backward gave other gradients than minus the gradients for dy"
    return ""


def _large(point: Point, returned: Any, given: Any, claims: Sequence[NDArray]) -> str:
    """A backward is linear in dy: a large multiple of dy has this multiple of the gradients.

    A dy near zero is not tried.  The sums of some right backwards begin with a number that is
    larger than such gradients, and only its rounding would be left.
    """
    multiple = point.gradients([np.asarray(2.0**POWER * dy) for dy in point.upstream])
    if not _are_close(point, claims, [g / 2.0**POWER for g in _arrays(multiple)]):
        return (
            f"for 2**{POWER} dy the backward gave other gradients than 2**{POWER} times the "
            "gradients for dy (does it clip dy, or drop a part of it?)"
        )
    return ""


def _rounds(point: Point, returned: Any, given: Any, claims: Sequence[NDArray]) -> str:
    """Find a backward that rounds dy to float32.

    It gives the same gradients, to the bit, for a dy that is rounded here before.  A right backward
    gives others, which differ by some 1e-8 of themselves.
    """
    for k, dy in enumerate(point.upstream):
        rounded = dy.astype(np.float32).astype(np.float64)
        after, opposite = (
            _arrays(point.gradients([new if j == k else d for j, d in enumerate(point.upstream)]))
            for new in (rounded, np.asarray(-dy))
        )
        for j, claim, other, minus in zip(point.checked, claims, after, opposite, strict=True):
            has_digits = max(point.limits[j], 1e5 * point.floor)  # not the rest of a cancellation
            matters = np.abs(claim) * magnitude(point.args[j]) > has_digits
            depends = matters & (np.abs(claim - minus) > 0.01 * np.abs(claim))
            if (depends & (claim == other)).sum() >= FEW:
                return (
                    f"the gradient with respect to {point.names[j]} is the same if "
                    f"{point.upstream_names[k]} is rounded to float32 before: expected a backward "
                    "that uses all of its digits (does it cast it?)"
                )
    return ""


def _layouts(point: Point, returned: Any, given: Any, claims: Sequence[NDArray]) -> str:
    """An upstream gradient need not be contiguous; a backward may refuse it, but not misread it."""
    try:
        others = point.backward(*map(spread_out, point.upstream))
    except Exception:  # it refuses such an array, and misreads none
        return ""
    if _are_close(point, claims, _arrays(others)):
        return ""
    return "a dy that is not contiguous, with the same numbers, gave other gradients"


def spread_out(dy: NDArray) -> NDArray:
    """The same numbers with the axes in the opposite order in memory, and gaps between them."""
    gaps = np.zeros((*dy.shape[::-1], 2))
    gaps[..., 0] = dy.T
    return gaps[..., 0].T


def _arrays(gradients: Any) -> list[NDArray]:
    return [np.asarray(gradient) for gradient in as_tuple(gradients)]


def _are_close(point: Point, claims: Sequence[NDArray], others: Sequence[NDArray]) -> bool:
    """Whether other gradients are the claimed ones, up to rounding."""
    if [other.shape for other in others] != [claim.shape for claim in claims]:
        return False
    for k, claim, other in zip(point.checked, claims, others, strict=True):
        rounding = (point.floor + 1e-9 * point.limits[k]) / magnitude(point.args[k])
        if not np.all(np.abs(claim - other) <= point.tolerance * np.abs(claim) + rounding):
            return False
    return True


def _absent(point: Point, returned: Any, given: Any, claims: Sequence[NDArray]) -> str:
    if len(point.upstream) == 1:
        return ""
    for k in range(len(point.upstream)):
        nothing = [np.zeros_like(dy) if j == k else dy for j, dy in enumerate(point.upstream)]
        absent = [None if j == k else dy for j, dy in enumerate(point.upstream)]
        try:
            gradients = point.backward(*copies(absent))
        except Exception as error:
            return (
                f"the backward does not take None for the gradient of output {k}: "
                f"{describe_error(error)}"
            )
        if not _same(point.gradients(nothing), gradients):
            return f"None in place of a zero gradient of output {k} gave other gradients"
    return ""


def _same(one: Any, other: Any) -> bool:
    one, other = tuple(one) if isinstance(one, list) else as_tuple(one), as_tuple(other)
    return len(one) == len(other) and all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True)
    )
