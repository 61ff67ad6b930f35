"""Checks that a hand-written backward is the derivative of its forward.

With y = op(x) and a random dy, the backward claims dx = (dy/dx)^T dy.  If that is
true, the scalar L(x) = sum of dy y(x) has the slope dx_i at every coordinate i.
The slope is measured by central differences with two steps, h and h / 2.  Their
errors are multiples of h^2, which cancel in a combination (Richardson 1911):

    D(h) = (L(x + h e_i) - L(x - h e_i)) / 2h        slope = (4 D(h / 2) - D(h)) / 3

The remaining error is of order h^4, plus rounding of about 1e-13 in float64.

**Which step.**  A wide step has little rounding, and a narrow one stays clear of kinks and
poles.  The widest is 2e-3 of max(1, |x_i|), and usually decides.  If its slope differs
from the backward's, narrower steps follow, down to a small part of |x_i| itself.  They end
when a slope agrees with the backward, or when two agree with each other: then the slope is
known, and the backward is wrong.

**What rounding excuses.**  All errors are relative: a gradient of 1e-7 that should be
2e-7 is an error, although an "absolute or relative" tolerance of 1e-6 would accept it.
The only absolute error allowed is the rounding of the measured slope.  It is bounded from
the sizes of the outputs.  A constant output does not count, however large: a logit that is
masked by -1e9 must not hide what the others say.  Moreover, rounding excuses at most a
thousandth of the slope itself or, at the widest step, of the largest slope by the same
argument.  An error of 1 % of that largest slope is therefore always found.  Where the
bound is above this limit and the two slopes differ by less than the bound, the verdict is
"cannot be decided", which is an error too.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Relative to x.  Were the ratio a whole number, both steps could hold whole periods of a sine.
STEPS = tuple(2e-3 * 7.3**-k for k in range(7))
EPSILON, TINY = float(np.finfo(np.float64).eps), float(np.finfo(np.float64).tiny)
ROUNDING = 16 * EPSILON  # of an output that changed, relative to the largest one
SHARE = 1e-3  # the most that rounding excuses, as a part of a slope
VANISHING = 1e-13  # as a part of the outputs: a slope that no step can tell from zero


class GradientError(AssertionError):
    """A backward is not the derivative of its forward, or breaks the convention."""


def check_gradients(
    op: Callable[..., tuple[Any, Callable]],
    *args: Any,
    rng: np.random.Generator,
    tolerance: float = 1e-6,
    step: float | None = None,
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
    upstream gradient.  With several outputs, None must stand for zero.  Outputs may be
    infinite where no coordinate changes them, and a coordinate that is infinite or NaN
    must have no gradient.

    Each coordinate is moved by steps in proportion to its size, and narrower ones where
    they disagree.  ``step`` is one distance to use instead, for example where the op is
    defined in a narrow range only.

    Returns the worst relative error.  Raises GradientError, which names the worst
    coordinate, its analytic and numeric values, and a kink if there is one.  Raises
    TypeError for float arrays that are not float64, because float32 has too few digits
    to tell a wrong gradient from rounding, and for float arrays inside lists or
    dictionaries, because they would go unchecked.

    >>> def square(x):
    ...     return x**2, lambda dy: 2 * x * dy
    >>> worst = check_gradients(square, np.array([1.0, -2.0]), rng=np.random.default_rng(0))
    >>> bool(worst < 1e-9)
    True
    """
    _check_options(tolerance, step)
    names = _argument_names(op, len(args))
    args = tuple(a.copy() if isinstance(a, np.ndarray) else a for a in args)
    checked = [k for k, a in enumerate(args) if _is_inexact(a)]
    for k, argument in enumerate(args):
        if k in checked and argument.dtype != np.float64:
            raise TypeError(f"{names[k]} is {argument.dtype}: gradients are checked in float64")
        if _contains_inexact(argument):
            raise TypeError(
                f"{names[k]}: expected each float array as an argument of its own, "
                f"found some in a {type(argument).__name__}, where they would go unchecked"
            )
    if not checked:
        raise TypeError("no argument is a float array: there is no gradient to check")

    before = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    result, backward = op(*args)
    outputs = [np.array(y) for y in _tuple(result)]  # copies: the backward must not change them
    for number, y in enumerate(outputs):
        if np.isnan(y).any():
            index = np.argwhere(np.isnan(y))[0].tolist()
            raise GradientError(f"output {number} is NaN at {index}: it has no slope to compare")
    upstream = tuple(rng.standard_normal(y.shape) for y in outputs)
    gradients = _checked_backward(backward, upstream, [(names[k], args[k]) for k in checked])
    for name, was, now in zip(names, before, args, strict=True):
        if isinstance(was, np.ndarray) and not _equal(was, now):
            raise GradientError(f"the op or its backward changed its argument {name}")
    for number, (was, now) in enumerate(zip(outputs, _tuple(result), strict=True)):
        if not _equal(was, now):
            raise GradientError(f"the backward changed output {number}")

    dy = _flat(upstream)

    def outputs_now() -> NDArray[np.float64]:
        return _flat(_tuple(op(*args)[0]))

    def line_through(array: NDArray, index: tuple[int, ...], sizes: NDArray) -> _Line:
        centre = array[index]

        def move(distance: float) -> tuple[float, NDArray]:
            array[index] = centre + distance
            moved = float(array[index]), outputs_now()
            array[index] = centre
            return moved

        return _Line(move, dy, sizes)

    scales = [np.where(np.isfinite(args[k]), np.maximum(1, np.abs(args[k])), 1) for k in checked]
    largest = [
        float(np.max(np.abs(gradient * scale), initial=0, where=np.isfinite(gradient * scale)))
        for gradient, scale in zip(gradients, scales, strict=True)
    ]
    limits, floor = _limits(largest, dy, _flat(outputs))
    worst = 0.0
    for k, gradient, scale, limit in zip(checked, gradients, scales, limits, strict=True):
        array = args[k]
        if step is not None and np.any((array + step == array) & np.isfinite(array)):
            raise ValueError(f"step: expected one that moves {names[k]}, found {step}")
        widest = STEPS[0] * scale if step is None else step
        sizes = _sizes(array, widest, outputs_now)
        mean = float(np.mean(np.abs(array), where=np.isfinite(array))) if array.size else 1.0
        slopes = {}
        for index in np.ndindex(array.shape):
            slopes[index] = _slope(
                line_through(array, index, sizes),
                analytic=float(gradient[index]),
                steps=_steps(array[index], mean) if step is None else [step],
                limit=float(limit / scale[index]),
                floor=float(floor / scale[index]),
                tolerance=tolerance,
            )
        if not slopes:
            continue
        index, slope = max(slopes.items(), key=lambda entry: (entry[1].verdict, entry[1].error))
        if slope.verdict > ACCEPTED:
            wrong = sum(other.verdict > ACCEPTED for other in slopes.values())
            kink = _kink(line_through(array, index, sizes), abs(array[index]) or mean or 1.0)
            raise GradientError(
                f"the gradient by {names[k]} {slope.describe(f'at {list(index)}', tolerance)}; "
                f"{wrong} of {len(slopes)} of its coordinates are wrong{kink}"
            )
        worst = max(worst, slope.error)
    return worst


def check_projections(
    loss: Callable[[], tuple[Any, Callable[[], dict[str, NDArray]]]],
    params: dict[str, NDArray],
    *,
    rng: np.random.Generator,
    directions: int = 2,
    tolerance: float = 1e-6,
    step: float | None = None,
) -> float:
    """Check a whole model's gradient along random directions, one array at a time.

    ``loss()`` returns ``loss, backward``, computed from the arrays in ``params``.
    These are changed in place and restored, after an error and after Ctrl-C, too.
    ``backward()`` returns a gradient for each, under the same keys.  The slope of the
    loss along a random direction u of an array, of length 1, must be the sum of u times
    its gradient.  ``step`` is a distance along u, instead of the steps in proportion to
    the array's length.

    Returns the worst relative error.  Raises GradientError that names the array.
    """
    _check_options(tolerance, step)
    if directions < 1:
        raise ValueError(f"directions: expected at least 1, found {directions}")
    value, backward = loss()
    if not np.isfinite(value):
        raise GradientError(f"the loss is {value}: it has no slope to compare")
    gradients = backward()
    if set(gradients) != set(params):
        differing = sorted(set(gradients) ^ set(params))
        raise GradientError(f"the gradient's keys differ from the parameters': {differing}")
    for name, array in params.items():
        if array.dtype != np.float64:
            raise TypeError(f"{name} is {array.dtype}: gradients are checked in float64")
        if gradients[name].shape != array.shape:
            raise GradientError(
                f"the gradient by {name} has shape {gradients[name].shape}, expected {array.shape}"
            )

    def line_along(array: NDArray, u: NDArray) -> _Line:
        start = array.copy()

        def move(distance: float) -> tuple[float, NDArray]:
            try:
                array[...] = start + distance * u
                return distance, np.array([float(loss()[0])])
            finally:
                array[...] = start

        return _Line(move, np.ones(1), np.array([abs(value)]))

    lengths = {name: float(np.linalg.norm(array)) for name, array in params.items()}
    largest = [  # what a random direction has on average of the gradient
        float(np.linalg.norm(gradients[name])) / max(array.size, 1) ** 0.5 * max(1, lengths[name])
        for name, array in params.items()
    ]
    limits, floor = _limits(largest, np.ones(1), np.array([value]))
    worst = 0.0
    for (name, array), limit in zip(params.items(), limits, strict=True):
        for _ in range(directions):
            u = rng.standard_normal(array.shape)
            u /= np.linalg.norm(u)
            slope = _slope(
                line_along(array, u),
                analytic=float(np.sum(u * gradients[name])),
                steps=_steps(lengths[name], 1.0) if step is None else [step],
                limit=limit / max(1, lengths[name]),
                floor=floor / max(1, lengths[name]),
                tolerance=tolerance,
            )
            if slope.verdict > ACCEPTED:
                description = slope.describe("along a random direction", tolerance)
                raise GradientError(f"the gradient by {name} {description}")
            worst = max(worst, slope.error)
    return worst


def _check_options(tolerance: float, step: float | None) -> None:
    if not 0 < tolerance < 1:  # 1 would accept a gradient of zeros
        raise ValueError(f"tolerance: expected a number above 0 and below 1, found {tolerance}")
    if step is not None and not 0 < step < np.inf:
        raise ValueError(f"step: expected a finite number above 0, found {step}")


def _is_inexact(value: Any) -> bool:
    """Whether a value is an array that has gradients: of floats, complex numbers or objects."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "fcO"


def _contains_inexact(value: Any) -> bool:
    """Whether a list, tuple or dictionary contains such an array, at any depth."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if not isinstance(value, (list, tuple)):
        return False
    return any(_is_inexact(part) or _contains_inexact(part) for part in value)


class _Line(NamedTuple):
    """The scalar L = sum of dy y on a line through x."""

    move: Callable[[float], tuple[float, NDArray]]  # distance -> x as rounded, outputs y there
    dy: NDArray
    sizes: NDArray  # of the outputs, for bounds on their rounding


ACCEPTED, UNDECIDED, WRONG = range(3)


class _Slope(NamedTuple):
    """A slope, claimed and measured, and how they compare."""

    analytic: float
    numeric: float
    rounding: float  # a bound on that of the numeric one
    error: float = 0.0  # at most the tolerance iff accepted
    verdict: int = ACCEPTED

    def describe(self, where: str, tolerance: float) -> str:
        """Say what is wrong."""
        claims = f"{where}: analytic {self.analytic:.10g}, numeric {self.numeric:.10g}"
        if self.verdict == UNDECIDED:
            return (
                f"cannot be decided {claims}, but the rounding of the outputs hides "
                f"differences up to {self.rounding:.3g} (are some outputs very large?)"
            )
        gap = abs(self.analytic - self.numeric) / max(abs(self.analytic), abs(self.numeric))
        return f"is wrong {claims}, relative error {gap:.3g} (tolerance {tolerance:g})"


@np.errstate(all="ignore")
def _sizes(array: NDArray, widest: NDArray | float, outputs_now: Callable[[], NDArray]) -> NDArray:
    """The sizes of the outputs that the array changes.  Of a constant, at most 1 counts.

    Nothing tells a constant from an output that changes by less than its last bit: a weight of
    1 in a softmax does, a logit masked by -1e15 does not.
    """
    here, centre = outputs_now(), array.copy()
    array += widest * np.random.default_rng(0).uniform(-1, 1, array.shape)
    changed = outputs_now() != here
    array[...] = centre
    sizes = np.where(np.isfinite(here), np.abs(here), 0)
    return np.where(changed, sizes, np.minimum(sizes, 1))


def _limits(largest: Sequence[float], dy: NDArray, outputs: NDArray) -> tuple[list[float], float]:
    """The most that rounding excuses by each argument, from the largest slope by each.

    An argument whose gradient is nothing but rounding has no scale of its own, and takes that
    of the op.  Such is the bias of an attention's keys, and a softmax with a weight of 1.

    Also returns what rounding excuses by any argument.  No output counts as more than 1 here,
    because a huge one must not hide the others.
    """
    output = float(np.abs(dy) @ np.minimum(np.abs(outputs), 1))
    top = max(*largest, output)
    zero = max(4 * ROUNDING * top, VANISHING * output)
    return [SHARE * (size if size > zero else top) for size in largest], 10 * VANISHING * output


def _steps(x: float, mean: float) -> list[float]:
    """The distances to try at x, from the widest to the narrowest; x = 0 takes its array's mean."""
    wide = [step * max(1.0, abs(x)) for step in STEPS]
    near = [step * (abs(x) or mean) for step in STEPS]
    return wide + [step for step in near if step < wide[-1]]


def _slope(
    line: _Line,
    analytic: float,
    steps: list[float],
    limit: float,
    floor: float,
    tolerance: float,
) -> _Slope:
    """Compare a claimed slope with measured ones, the widest step first."""
    attempts: list[_Slope] = []
    for step in steps:
        numeric, rounding, own_rounding = _difference(line, step)
        gap, size = abs(analytic - numeric), max(abs(analytic), abs(numeric))
        excuse = max(min(rounding, max(SHARE * size, min(floor, limit))), min(own_rounding, limit))
        # error <= tolerance iff gap <= tolerance * size + excuse
        error = gap / (size + excuse / tolerance) if size > 0 else gap
        # A NaN or an infinity on either side is an error, never a pass.
        error = error if np.isfinite(error) else float("inf")
        attempts.append(_Slope(analytic, numeric, rounding, error))
        if error <= tolerance:
            return attempts[-1]
        if len(attempts) > 1 and _agree(attempts[-2], attempts[-1], tolerance):
            break
    claim = _Slope(analytic, analytic, rounding=0.0)
    measured = [slope for slope in attempts if np.isfinite(slope.numeric)]
    undecided = measured and all(_agree(claim, slope, tolerance) for slope in measured)
    closest = min(attempts, key=lambda slope: slope.error)
    return closest._replace(verdict=UNDECIDED if undecided else WRONG)


def _agree(one: _Slope, other: _Slope, tolerance: float) -> bool:
    """Whether two numeric slopes are the same, within the tolerance and all their rounding."""
    size = max(abs(one.numeric), abs(other.numeric))
    bound = tolerance * size + one.rounding + other.rounding
    return bool(abs(one.numeric - other.numeric) <= bound < np.inf)


@np.errstate(all="ignore")  # a wide step may leave the domain: log(-1) is NaN, a narrower follows
def _difference(line: _Line, h: float) -> tuple[float, float, float]:
    """Return (4 D(h / 2) - D(h)) / 3, and two bounds on its rounding error.

    An output may be a difference of terms as large as another output.  The first bound takes
    the largest output as the size of all terms, the second the largest that has changed.
    """
    slopes, rounding, own_rounding = [], 0.0, 0.0
    weights = np.abs(line.dy)
    for half_width in (h, h / 2):
        (right, above), (left, below) = line.move(half_width), line.move(-half_width)
        width = right - left  # the real distance, after rounding
        if np.isnan(width):  # nothing moves an infinity or a NaN
            return 0.0, 0.0, 0.0
        if width == 0:
            return float("nan"), 0.0, 0.0
        # Difference first, sum after: outputs that do not depend on this coordinate then
        # cancel exactly, infinities too, and add little rounding: less than their last bit.
        changed = above != below
        difference = np.subtract(above, below, out=np.zeros_like(weights), where=changed)
        slopes.append(float(line.dy @ difference) / width)
        own = float(np.max(np.abs(above), initial=TINY, where=changed))
        largest = max(own, float(np.max(line.sizes, initial=0)))
        moved, still = float(weights @ changed), np.where(changed, 0, weights)
        rounding += (ROUNDING * largest * moved + EPSILON * (still @ line.sizes)) / width
        own_sizes = np.minimum(line.sizes, max(own, 1))
        own_rounding += (ROUNDING * own * moved + EPSILON * (still @ own_sizes)) / width
    return (4 * slopes[1] - slopes[0]) / 3, rounding, own_rounding


@np.errstate(all="ignore")
def _kink(line: _Line, scale: float) -> str:
    """Return a remark if the slopes from the left and from the right differ, at any distance."""
    remark = ""
    for h in (1e-8 * scale, 1e-6 * scale):
        (left, below), (centre, here), (right, above) = map(line.move, (-h, 0.0, h))
        from_left = line.dy @ np.where(here == below, 0, here - below) / (centre - left)
        from_right = line.dy @ np.where(above == here, 0, above - here) / (right - centre)
        if not abs(from_right - from_left) > 1e-3 * max(abs(from_left), abs(from_right)):
            return ""
        remark = (
            f"; this point lies on a kink (slope {from_left:.4g} from the left, {from_right:.4g} "
            "from the right), where no derivative exists: move it away"
        )
    return remark


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


def _equal(one: NDArray, other: NDArray) -> bool:
    """Whether two arrays are equal, where NaN equals NaN."""
    return np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")


def _flat(arrays: Sequence[NDArray]) -> NDArray[np.float64]:
    """Return a copy of all values in one row."""
    return np.concatenate([np.ravel(array) for array in arrays], dtype=np.float64)


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
