"""The convention beside the slopes: dtypes, what may not change, a second call, None."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import told
from minillm.testing.calls import GradientError, as_tuple, copies, equal
from minillm.testing.case import Case


def check_convention(
    case: Case, returned: Any, given: Sequence[NDArray], claims: Sequence[NDArray]
) -> None:
    """Raise GradientError for the first breach of the convention, of an op whose slopes are right.

    ``returned`` is what the backward returned for the upstream gradients ``given``, and
    ``claims`` are copies of its gradients.
    """
    for breach in (_kinds, _changes, _second_call, _absent):
        if text := breach(case, returned, given, claims):
            raise GradientError(f"every gradient is right, but {text}")


def _kinds(case: Case, returned: Any, given: Any, claims: Sequence[NDArray]) -> str:
    if isinstance(returned, list):
        return "the backward returned them in a list, expected a tuple"
    for k, gradient in zip(case.checked, as_tuple(returned), strict=True):
        if not isinstance(gradient, np.ndarray):
            return f"that by {case.names[k]} is no array: {type(gradient).__name__}"
        if gradient.dtype != np.float64:
            return f"that by {case.names[k]} is {gradient.dtype}, expected float64"
    return ""


def _changes(case: Case, returned: Any, given: Any, claims: Sequence[NDArray]) -> str:
    for name, was, now in zip(case.upstream_names, case.upstream, given, strict=True):
        if not equal(was, now):
            return f"the backward changed its upstream gradient {name}"
    for name, was, now in zip(case.names, case.args, case.held, strict=True):
        if isinstance(was, np.ndarray) and not equal(was, now):
            return f"the op or its backward changed its argument {name}"
    for number, (was, now) in enumerate(zip(case.outputs, as_tuple(case.result), strict=True)):
        if not equal(was, np.asarray(now)):
            return f"the backward changed output {number}"
    return ""


def _second_call(case: Case, returned: Any, given: Any, claims: Sequence[NDArray]) -> str:
    again = case.gradients(case.upstream, "every gradient is right, but a second call")
    if not _same(claims, again):
        return "a second call of the backward gave other gradients"
    case.gradients([np.asarray(-dy) for dy in case.upstream])
    if not _same(claims, returned):
        return "a later call of the backward changed them: it returned a buffer that it uses again"
    return ""


def _absent(case: Case, returned: Any, given: Any, claims: Sequence[NDArray]) -> str:
    if len(case.upstream) == 1:
        return ""
    for k in range(len(case.upstream)):
        nothing = [np.zeros_like(dy) if j == k else dy for j, dy in enumerate(case.upstream)]
        absent = [None if j == k else dy for j, dy in enumerate(case.upstream)]
        try:
            gradients = case.backward(*copies(absent))
        except Exception as error:
            raise GradientError(
                "every gradient is right, but the backward does not take None for the gradient of "
                f"output {k}: {told(error)}"
            ) from error
        if not _same(case.gradients(nothing), gradients):
            return f"None in place of a zero gradient of output {k} gave other gradients"
    return ""


def _same(one: Any, other: Any) -> bool:
    one, other = tuple(one) if isinstance(one, list) else as_tuple(one), as_tuple(other)
    return len(one) == len(other) and all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True)
    )
