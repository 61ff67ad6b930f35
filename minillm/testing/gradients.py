"""Checks that a hand-written backward is the derivative of its forward.

With y = op(x) and a random dy, the backward claims dx = (dy/dx)^T dy.  If that is
true, the scalar L(x) = sum of dy y(x) has the slope dx_i at every coordinate i.
``slopes.py`` measures it, and says how much of a difference is rounding.

Faults are reported in this order: a wrong number or shape of the gradients, without which
slopes cannot be compared; a wrong slope, with a guess of its cause (``diagnosis.py``); a
breach of the convention (``convention.py``).
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from minillm.testing.calls import (
    GradientError,
    call_backward,
    copies,
    faulty,
    is_numeric,
    kind,
    widened,
)
from minillm.testing.convention import check_convention
from minillm.testing.diagnosis import guess, guess_of_order, guess_of_shape
from minillm.testing.point import Compared, Point
from minillm.testing.precision import check_precision, format_of
from minillm.testing.slopes import WRONG, check_options


def check_gradients(
    op: Callable[..., tuple[Any, Callable]],
    *args: Any,
    rng: np.random.Generator,
    tolerance: float = 1e-6,
    step: float | None = None,
    kinks: str = "refuse",
    dtype: DTypeLike | None = None,
    locate: bool | None = None,
) -> float:
    """Check the backward of ``op(*args)`` at every coordinate of every float array argument.

    ``op(*args)`` returns ``output, backward`` or ``(output, ...), backward``;
    ``backward(*upstream)`` returns one gradient for each float array among the
    arguments, in their order; a single gradient is not in a tuple.  All other arguments
    (ids, lengths, masks, numbers) are passed unchanged.  The op must depend only on
    its arguments: if it draws random numbers, make a fresh generator inside it.

    The upstream gradient is random, never ones, and has a stream of its own, which ``rng`` spawns.
    If all slopes are right, the convention is checked: the dtypes of the gradients; neither a
    gradient nor dy is rounded to float32 on its way; a second call of the backward gives the same
    bits, -dy the opposite gradients, and 2**40 dy this multiple of them; a dy that is not
    contiguous is read rightly, or refused; nothing changes an argument, an output, an upstream
    gradient, or a gradient that was returned before; with several outputs, None stands for zero.
    Outputs may be infinite where no coordinate changes them, and a
    coordinate that is infinite or NaN must have no gradient.

    Each coordinate is moved by steps in proportion to its size, and narrower ones where
    they disagree.  ``step`` is one distance to use instead, for example where the op is
    defined in a narrow range only.

    At a kink, such as ReLU at 0, the slopes of the two sides differ, and no derivative exists.
    ``kinks="between"`` accepts every gradient between the two there, as the subgradients of a
    convex function are; by default such a point is an error.  Each coordinate is compared alone:
    at a tie of max(a, b), the gradients (1, 1) pass as well as (1, 0).

    With a ``dtype``, "float32", "float16" or "bfloat16", the op is also called with arrays of this
    format.  Its outputs and gradients must be as near to those in float64 as the format allows
    (``precision.py``): a loss of digits, an overflow and an underflow are found.  NumPy has no
    bfloat16: the name stands for arrays of float32 that the op rounds itself, as ops of this
    package do within ``use_precision("bfloat16")``, the dtype of ml_dtypes for arrays of its own.

    Returns the worst relative error.  Raises GradientError, which names the worst coordinate
    of a wrong gradient, its analytic and numeric values, a kink if there is one, and
    a cause that fits, if one does.  Its text ends with the wrong line of the backward, with the
    evidence (``lines.py``).  It is looked for when the text is asked for: with ``locate=None``
    unless that takes more than a second or so, with True in any case, with False not at all.
    An exception of the backward is its ``__cause__``.  Raises
    TypeError for float arrays that are not float64, because float32 has too few digits
    to tell a wrong gradient from rounding, and for float arrays inside lists or
    dictionaries, because they would go unchecked.

    >>> def square(x):
    ...     return x**2, lambda dy: 2 * x * dy
    >>> worst = check_gradients(square, np.array([1.0, -2.0]), rng=np.random.default_rng(0))
    >>> bool(worst < 1e-9)
    True
    """
    check_options(tolerance, step, kinks)
    if dtype is not None:
        format_of(dtype)
        args = tuple(widened(args))
    try:
        compared = check_point(Point(op, args, rng, tolerance, step, kinks))
    except GradientError as error:
        error.locate = locate
        raise
    if dtype is not None:
        check_precision(op, args, rng, dtype)
    return max(gradient.worst.error for gradient in compared)


def check_point(point: Point) -> list[Compared]:
    """The gradient of each argument, which is right.  GradientError if one is wrong."""
    try:
        return _check(point)
    except GradientError as error:
        if (fault := error.fault) is not None:
            explained(error, lambda: fault)
        raise


def explained(error: GradientError, fault: Callable[[], Any]) -> None:
    """Let the text of an error name the wrong line of what ``fault`` makes."""

    def explain(thorough: bool, fixes: bool) -> str:
        from minillm.testing.lines import locate  # 10 ms, and only where a gradient is wrong

        return locate(*fault(), thorough=thorough, fixes=fixes).text

    error.explain = explain


def _check(point: Point) -> list[Compared]:
    given = copies(point.upstream)
    returned = call_backward(point.backward, given, point.arguments())
    claims = claimed_gradients(point, returned)
    compared = point.compare(claims)
    if any(gradient.message for gradient in compared):
        message = _verdict(point, compared)
        if any(g.message and (g.kink or g.worst.verdict != WRONG) for g in compared):
            raise GradientError(message)  # the point is at fault, and no line
        raise faulty(message, point, compared, "values")
    check_convention(point, returned, given, claims, compared)
    return compared


def claimed_gradients(point: Point, returned: Any) -> list[NDArray]:
    """Copies of the claimed gradients.  Raises GradientError for a wrong number or shape."""
    gradients = tuple(returned) if isinstance(returned, (tuple, list)) else (returned,)
    names = [point.names[k] for k in point.checked]
    if len(gradients) != len(names):
        found = [str(np.shape(g)) if isinstance(g, np.ndarray) else kind(g) for g in gradients]
        others = [name for name in point.names if name not in names]
        raise faulty(
            f"the backward returned {len(gradients)} gradients, expected {len(names)}: "
            f"{', '.join(names)} (found {', '.join(found)}"
            + (f"; none for {', '.join(others)})" if others else ")"),
            point,
            _unclaimed(point, []),
            "_kinds",
        )
    for name, gradient in zip(names, gradients, strict=True):
        if not is_numeric(gradient):
            what = kind(gradient)
            message = f"the gradient with respect to {name} is no array: {what}"
            raise faulty(message, point, _unclaimed(point, []), "_kinds")
    claims = [np.array(gradient) for gradient in gradients]
    if any(g.shape != point.args[k].shape for k, g in zip(point.checked, claims, strict=True)):
        compared = _unclaimed(point, claims)
        raise faulty(_wrong_shapes(point, compared, claims), point, compared, "shapes")
    return claims


def _unclaimed(point: Point, claims: list[NDArray]) -> list[Compared]:
    """Measured gradients, beside each claim that has the right shape."""
    shapes = [point.args[k].shape for k in point.checked]
    fit = [
        g if g is not None and g.shape == shape else np.full(shape, np.nan)
        for g, shape in itertools.zip_longest(claims, shapes)
    ]
    return point.compare(fit)


def _wrong_shapes(point: Point, compared: list[Compared], claims: list[NDArray]) -> str:
    """Say which gradients have the wrong shape, and whether their values are right."""
    shapes = [point.args[k].shape for k in point.checked]
    compared = [
        gradient._replace(analytic=claim) for gradient, claim in zip(compared, claims, strict=True)
    ]
    lines = []
    for gradient, shape in zip(compared, shapes, strict=True):
        if gradient.analytic.shape != shape:
            found = gradient.analytic.shape
            line = f"the gradient with respect to {gradient.name} has shape {found}, "
            line += f"expected {shape}"
            fit = guess_of_shape(gradient, point.tolerance)
            lines.append(line + (f": this fits {fit}" if fit else ""))
    if fit := guess_of_order(compared, point.tolerance):
        lines.append(f"this fits {fit}")
    return "\n".join(lines)


def _verdict(point: Point, compared: list[Compared]) -> str:
    """Say which gradients are wrong, and the class of error that fits.

    An error usually spoils several gradients.  The one with the fewest wrong coordinates is
    nearest to it, and reported first.
    """
    wrong = [gradient for gradient in compared if gradient.message]
    wrong.sort(key=lambda gradient: (-gradient.worst.verdict, gradient.wrong.mean()))
    first, *others = wrong
    lines = [first.message + first.kink]
    if not first.kink and first.worst.verdict == WRONG and (fit := guess(point, compared, wrong)):
        lines.append(f"this fits {fit}")
    if others:
        counts = (f"{g.name} ({g.wrong.sum()} of {g.wrong.size})" for g in others)
        lines.append(f"also wrong: {', '.join(counts)}")
    return "\n".join(lines)
