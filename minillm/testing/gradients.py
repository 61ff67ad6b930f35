"""Checks that a hand-written backward is the derivative of its forward.

With y = op(x) and a random dy, the backward claims dx = (dy/dx)^T dy.  If that is
true, the scalar L(x) = sum of dy y(x) has the slope dx_i at every coordinate i.
The slope is measured by central differences with two steps, h and h / 2.  Their
errors are multiples of h^2, which cancel in a combination (Richardson 1911):

    D(h) = (L(x + h e_i) - L(x - h e_i)) / 2h        slope = (4 D(h / 2) - D(h)) / 3

The remaining error is of order h^4, plus rounding of about 1e-13 in float64.  A bound
on the rounding is computed for each slope, and no more absolute error is allowed.
All other errors are relative: a gradient of 1e-7 that should be 2e-7 is an error,
although an "absolute or relative" tolerance of 1e-6 would accept it.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

STEPS = (2e-3, 2e-4, 2e-5)  # a smaller one only if the larger disagrees: a kink may be near
ROUNDING = 16 * np.finfo(np.float64).eps  # per value that goes into a slope


class GradientError(AssertionError):
    """A backward is not the derivative of its forward, or breaks the convention."""


def check_gradients(
    op: Callable[..., tuple[Any, Callable]],
    *args: Any,
    rng: np.random.Generator,
    tolerance: float = 1e-6,
) -> float:
    """Check the backward of ``op(*args)`` at every coordinate of every float array argument.

    ``op(*args)`` returns ``output, backward`` or ``(output, ...), backward``;
    ``backward(*upstream)`` returns one gradient for each float array among the
    arguments, in their order; a single gradient is not in a tuple.  All other arguments
    (ids, lengths, masks, numbers) are passed unchanged.  The op must depend only on
    its arguments: if it draws random numbers, make a fresh generator inside it.

    The upstream gradient is random (drawn from rng), never ones.  The check also
    covers the number, shapes and dtypes of the gradients.  A second call of the
    backward must give the same bits.  Nothing may change an argument, an output or an
    upstream gradient.  With several outputs, None must stand for zero.

    Returns the worst relative error.  Raises GradientError, which names the worst
    coordinate, its analytic and numeric values, and a kink if there is one.  Raises
    TypeError for float arrays that are not float64, because float32 has too few digits
    to tell a wrong gradient from rounding.

    >>> def square(x):
    ...     return x**2, lambda dy: 2 * x * dy
    >>> worst = check_gradients(square, np.array([1.0, -2.0]), rng=np.random.default_rng(0))
    >>> bool(worst < 1e-9)
    True
    """
    names = _argument_names(op, len(args))
    args = tuple(a.copy() if isinstance(a, np.ndarray) else a for a in args)
    checked = [k for k, a in enumerate(args) if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
    for k in checked:
        if args[k].dtype != np.float64:
            raise TypeError(f"{names[k]} is {args[k].dtype}: gradients are checked in float64")
    if not checked:
        raise TypeError("no argument is a float array: there is no gradient to check")

    before = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    result, backward = op(*args)
    outputs = [np.array(y) for y in _tuple(result)]  # copies: the backward must not change them
    upstream = tuple(rng.standard_normal(y.shape) for y in outputs)
    gradients = _checked_backward(backward, upstream, [(names[k], args[k]) for k in checked])
    for name, was, now in zip(names, before, args, strict=True):
        if isinstance(was, np.ndarray) and not np.array_equal(was, now):
            raise GradientError(f"the op or its backward changed its argument {name}")
    for number, (was, now) in enumerate(zip(outputs, _tuple(result), strict=True)):
        if not np.array_equal(was, now):
            raise GradientError(f"the backward changed output {number}")

    def outputs_at() -> tuple[NDArray, ...]:
        return tuple(np.array(y) for y in _tuple(op(*args)[0]))  # copies: y may be an argument

    worst = 0.0
    for k, gradient in zip(checked, gradients, strict=True):
        errors = []
        for index in np.ndindex(args[k].shape):
            slope = _slope(outputs_at, upstream, args[k], index, float(gradient[index]), tolerance)
            errors.append((slope.error, index, slope))
        if not errors:
            continue
        error, index, slope = max(errors, key=lambda entry: entry[0])
        if error > tolerance:
            wrong = sum(e > tolerance for e, _, _ in errors)
            kink = _kink(outputs_at, upstream, args[k], index)
            raise GradientError(
                f"the gradient by {names[k]} is wrong at {list(index)}: "
                f"analytic {gradient[index]:.10g}, numeric {slope.numeric:.10g}, "
                f"relative error {error:.3g} (tolerance {tolerance:g}); "
                f"{wrong} of {len(errors)} of its coordinates are wrong{kink}"
            )
        worst = max(worst, error)
    return worst


def check_projections(
    loss: Callable[[], tuple[Any, Callable[[], dict[str, NDArray]]]],
    params: dict[str, NDArray],
    *,
    rng: np.random.Generator,
    directions: int = 2,
    tolerance: float = 1e-6,
) -> float:
    """Check a whole model's gradient along random directions, one array at a time.

    ``loss()`` returns ``loss, backward``, computed from the arrays in ``params``.
    These are changed in place and restored.  ``backward()`` returns a gradient for
    each, under the same keys.  The slope of the loss along a random direction u of
    an array must be the sum of u times its gradient.

    Returns the worst relative error.  Raises GradientError that names the array.
    """
    gradients = loss()[1]()
    if set(gradients) != set(params):
        differing = sorted(set(gradients) ^ set(params))
        raise GradientError(f"the gradient's keys differ from the parameters': {differing}")
    worst = 0.0
    for name, array in params.items():
        if array.dtype != np.float64:
            raise TypeError(f"{name} is {array.dtype}: gradients are checked in float64")
        if gradients[name].shape != array.shape:
            raise GradientError(
                f"the gradient by {name} has shape {gradients[name].shape}, expected {array.shape}"
            )
        for _ in range(directions):
            u = rng.standard_normal(array.shape)
            u /= np.linalg.norm(u)
            start, along = array.copy(), np.zeros(1)

            def outputs_at(array=array, start=start, along=along, u=u):
                array[...] = start + along[0] * u
                return (np.asarray(loss()[0]),)

            analytic = float(np.sum(u * gradients[name]))
            slope = _slope(outputs_at, (np.ones(()),), along, (0,), analytic, tolerance)
            array[...] = start
            if slope.error > tolerance:
                raise GradientError(
                    f"the gradient by {name} is wrong along a random direction: "
                    f"analytic {analytic:.10g}, numeric {slope.numeric:.10g}, "
                    f"relative error {slope.error:.3g} (tolerance {tolerance:g})"
                )
            worst = max(worst, slope.error)
    return worst


class _Slope(NamedTuple):
    """A measured slope, and the relative error of the analytic one."""

    numeric: float
    error: float


def _compared(numeric: float, rounding: float, analytic: float, tolerance: float) -> _Slope:
    """Compare: error <= tolerance iff |analytic - numeric| <= tolerance * size + rounding."""
    size = max(abs(analytic), abs(numeric)) + rounding / tolerance
    difference = abs(analytic - numeric)
    # A NaN or an infinity on either side is an error, never a pass.
    error = difference / size if size > 0 else difference
    return _Slope(numeric, error if np.isfinite(error) else float("inf"))


def _slope(
    outputs_at: Callable[[], tuple[NDArray, ...]],
    upstream: tuple[NDArray, ...],
    array: NDArray,
    index: tuple[int, ...],
    analytic: float,
    tolerance: float,
) -> _Slope:
    """Measure the slope of L at one coordinate, with smaller steps if a larger one disagrees."""
    attempts: Iterator[_Slope] = (
        _compared(*_difference(outputs_at, upstream, array, index, step), analytic, tolerance)
        for step in STEPS
    )
    best = next(attempts)
    for attempt in attempts:
        if best.error <= tolerance:
            break
        best = min(best, attempt, key=lambda slope: slope.error)
    return best


def _difference(
    outputs_at: Callable[[], tuple[NDArray, ...]],
    upstream: tuple[NDArray, ...],
    array: NDArray,
    index: tuple[int, ...],
    step: float,
) -> tuple[float, float]:
    """Return (4 D(h / 2) - D(h)) / 3, and a bound on its rounding error."""
    centre = array[index]
    h = step * max(1.0, abs(float(centre)))
    slopes, rounding = [], 0.0
    for half_width in (h, h / 2):
        array[index] = centre + half_width
        right = array[index]
        above = outputs_at()
        array[index] = centre - half_width
        width = right - array[index]  # the real distance, after rounding
        below = outputs_at()
        array[index] = centre
        # Difference first, sum after: outputs that do not depend on this
        # coordinate then cancel exactly, and add no rounding either.
        slope = 0.0
        for dy, up, down in zip(upstream, above, below, strict=True):
            slope += float(np.sum(dy * (up - down))) / width
            # A small output may be a difference of terms as large as the largest
            # output, so the rounding of the largest one counts.
            size = float(np.max(np.abs(up), initial=0))
            rounding += ROUNDING * size * float(np.sum(np.abs(dy) * (up != down))) / width
        slopes.append(slope)
    return (4 * slopes[1] - slopes[0]) / 3, rounding


def _kink(
    outputs_at: Callable[[], tuple[NDArray, ...]],
    upstream: tuple[NDArray, ...],
    array: NDArray,
    index: tuple[int, ...],
) -> str:
    """Return a remark if the slopes from the left and from the right differ."""
    centre, h = array[index], 1e-6
    values = []
    for offset in (-h, 0.0, h):
        array[index] = centre + offset
        values.append(
            sum(float(np.sum(dy * y)) for dy, y in zip(upstream, outputs_at(), strict=True))
        )
    array[index] = centre
    left, right = (values[1] - values[0]) / h, (values[2] - values[1]) / h
    if abs(right - left) <= 1e-3 * max(abs(left), abs(right)):
        return ""
    return (
        f"; this point lies on a kink (slope {left:.4g} from the left, {right:.4g} from the "
        "right), where no derivative exists: move it away"
    )


def _checked_backward(
    backward: Callable, upstream: tuple[NDArray, ...], arguments: list[tuple[str, NDArray]]
) -> tuple[NDArray, ...]:
    """Return the gradients of the backward, after checking the convention."""
    before = tuple(dy.copy() for dy in upstream)
    gradients = _tuple(backward(*upstream))
    if len(gradients) != len(arguments):
        names = ", ".join(name for name, _ in arguments)
        raise GradientError(
            f"the backward returned {len(gradients)} gradients, expected {len(arguments)}: {names}"
        )
    for (name, argument), gradient in zip(arguments, gradients, strict=True):
        if not isinstance(gradient, np.ndarray):
            raise GradientError(f"the gradient by {name} is no array: {type(gradient).__name__}")
        if gradient.shape != argument.shape or gradient.dtype != argument.dtype:
            raise GradientError(
                f"the gradient by {name} is {gradient.dtype} of shape {gradient.shape}, "
                f"expected {argument.dtype} of shape {argument.shape}"
            )
    first = tuple(gradient.copy() for gradient in gradients)
    _same(first, _tuple(backward(*upstream)), "a second call of the backward")
    if not all(np.array_equal(was, now) for was, now in zip(before, upstream, strict=True)):
        raise GradientError("the backward changed an upstream gradient")
    if len(upstream) > 1:
        for k in range(len(upstream)):
            nothing = [np.zeros_like(dy) if j == k else dy for j, dy in enumerate(upstream)]
            absent = [None if j == k else dy for j, dy in enumerate(upstream)]
            try:
                gradients = _tuple(backward(*absent))
            except (TypeError, AttributeError) as error:
                raise GradientError(
                    f"the backward does not take None for the gradient of output {k}: {error}"
                ) from error
            expected = _tuple(backward(*nothing))
            _same(expected, gradients, f"None in place of a zero gradient of output {k}")
    return first


def _same(one: tuple[NDArray, ...], other: tuple[NDArray, ...], call: str) -> None:
    if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True)):
        raise GradientError(f"{call} gave other gradients")


def _tuple(result: Any) -> tuple:
    return result if isinstance(result, tuple) else (result,)


def _argument_names(op: Callable, count: int) -> list[str]:
    """Return the parameter names of the op if it has them, else "argument 0", ..."""
    try:
        parameters = list(inspect.signature(op).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL][:count]
    return names + [f"argument {k}" for k in range(len(names), count)]
