"""An op at a point: its arguments, its outputs, and its gradients, claimed and measured."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm.testing.calls import (
    GradientError,
    as_tuple,
    call_backward,
    call_op,
    copies,
    flat,
    is_float,
    largest,
    normals_like,
    parameter_names,
)
from minillm.testing.slopes import (
    ACCEPTED,
    SHARE,
    STEPS,
    Kink,
    Line,
    Slope,
    between,
    compare,
    kink_at,
    output_sizes,
    scales,
    steps_at,
)


class Compared(NamedTuple):
    """The gradient of one argument, claimed and measured.  All arrays have its shape."""

    name: str
    argument: NDArray
    analytic: NDArray
    numeric: NDArray
    rounding: NDArray  # bounds on the rounding of the numeric gradients
    wrong: NDArray[np.bool_]
    worst: Slope  # of all coordinates
    message: str  # what is wrong at the worst coordinate; empty if nothing is
    kink: str  # a remark, if the worst coordinate lies on one


class Point:
    """An op at a point, with a random upstream gradient.

    Every call of the op takes copies of the arguments.  So an op that changes them is measured
    all the same.
    """

    def __init__(
        self,
        op: Callable,
        args: Sequence[Any],
        rng: np.random.Generator,
        tolerance: float = 1e-6,
        step: float | None = None,
        kinks: str = "refuse",
    ) -> None:
        self.op, self.tolerance, self.step, self.kinks = op, tolerance, step, kinks
        self.names = parameter_names(op, len(args))
        self.checked = checked_arguments(self.names, args)
        self.args = copies(args)  # are moved
        self.held = copies(args)  # are kept by the op
        self.result, self.outputs, self.backward = call_op(op, self.held)
        _check_outputs(self.outputs)
        self.upstream = normals_like(self.outputs, rng)
        self.upstream_names = parameter_names(self.backward, len(self.outputs), "dy")
        self._check_determinism()

    def arguments(self) -> dict[str, Any]:
        """The arguments by their names."""
        return dict(zip(self.names, self.args, strict=True))

    def gradients(self, upstream: Sequence[NDArray | None], call: str = "the backward") -> Any:
        """The result of the backward for a copy of an upstream gradient."""
        return call_backward(self.backward, copies(upstream), self.arguments(), call)

    def compare(self, claims: Sequence[NDArray]) -> list[Compared]:
        """Compare the claimed gradients with measured ones, at every coordinate."""
        absolute, relative = [], []
        for k, claim in zip(self.checked, claims, strict=True):
            x = self.args[k]
            absolute.append(largest(claim * magnitude(x)))
            size = np.where(np.isfinite(x) & (x != 0), np.abs(x), mean_size(x))
            relative.append(largest(claim * size))
        sizes, self.floor = scales(absolute, relative, flat(self.upstream), flat(self.outputs))
        self.limits = {k: SHARE * size for k, size in zip(self.checked, sizes, strict=True)}
        return [self.compare_one(k, c) for k, c in zip(self.checked, claims, strict=True)]

    def compare_one(
        self, k: int, claim: NDArray, upstream: Sequence[NDArray] | None = None
    ) -> Compared:
        """Compare the claimed gradient of argument k, after ``compare`` has seen all of them."""
        array, name = self.args[k], self.names[k]
        if self.step is not None and np.any((array + self.step == array) & np.isfinite(array)):
            raise ValueError(f"step: expected one that moves {name}, found {self.step}")
        dy = flat(self.upstream if upstream is None else upstream)
        widest = STEPS[0] * magnitude(array) if self.step is None else self.step
        sizes = output_sizes(array, widest, self.outputs_now)
        mean = mean_size(array)
        lines = {i: self._line(array, i, dy, sizes) for i in np.ndindex(array.shape)}
        slopes = {i: self._slope(k, i, line, float(claim[i]), mean) for i, line in lines.items()}

        def shaped(values: list) -> NDArray:
            return np.array(values, np.float64).reshape(array.shape)

        numeric = shaped([slope.numeric for slope in slopes.values()])
        wrong = np.array([s.verdict > ACCEPTED for s in slopes.values()], bool).reshape(array.shape)
        if claim.dtype.kind == "f" and claim.dtype != np.float64:  # reported if all else is right
            coarse = 64 * np.finfo(claim.dtype).eps * np.max(np.abs(numeric), initial=0)
            wrong &= ~(np.abs(claim - numeric) <= coarse)
        none = Slope(0.0, 0.0, 0.0)  # of an array without coordinates
        worst = max(slopes.values(), key=lambda slope: (slope.verdict, slope.error), default=none)
        message = remark = ""
        if wrong.any():
            index = next(i for i, slope in slopes.items() if slope is worst)
            where = f" at {list(index)}" if index else ""
            message = (
                f"the gradient with respect to {name} {worst.describe(where, self.tolerance)}; "
                f"{wrong.sum()} of {wrong.size} of its coordinates are wrong"
            )
            if found := self._kink(lines[index], array[index], mean):
                remark = found.describe(self.kinks)
        return Compared(
            name=name,
            argument=array,
            analytic=np.array(claim, np.float64),
            numeric=numeric,
            rounding=shaped([slope.rounding for slope in slopes.values()]),
            wrong=wrong,
            worst=worst,
            message=message,
            kink=remark,
        )

    def on_kinks(self, k: int) -> NDArray[np.bool_]:
        """Whether each coordinate of argument k lies on a kink."""
        array, dy = self.args[k], flat(self.upstream)
        sizes = output_sizes(array, STEPS[0] * magnitude(array), self.outputs_now)
        mean = mean_size(array)
        found = np.zeros(array.shape, bool)
        for i in np.ndindex(array.shape):
            found[i] = self._kink(self._line(array, i, dy, sizes), array[i], mean) is not None
        return found

    def _slope(
        self, k: int, index: tuple[int, ...], line: Line, claim: float, mean: float
    ) -> Slope:
        """Compare the slope at one coordinate."""
        x = self.args[k][index]
        size = float(magnitude(x))
        steps = steps_at(x, mean) if self.step is None else [self.step]
        limit, floor = self.limits[k] / size, self.floor / size
        slope = compare(line, claim, steps, limit, floor, self.tolerance)
        if slope.verdict == ACCEPTED or self.kinks != "between":
            return slope
        found = self._kink(line, x, mean)
        return between(found, slope, self.tolerance) if found else slope

    def _kink(self, line: Line, x: float, mean: float) -> Kink | None:
        steps = steps_at(x, mean) if self.step is None else [self.step, self.step / 7.3]
        return kink_at(line, steps, self.tolerance)

    def _line(self, array: NDArray, index: tuple[int, ...], dy: NDArray, sizes: NDArray) -> Line:
        centre = array[index]

        def move(distance: float) -> tuple[float, NDArray]:
            array[index] = centre + distance
            moved = float(array[index]), self.outputs_now()
            array[index] = centre
            return moved

        return Line(move, dy, sizes)

    def outputs_now(self) -> NDArray[np.float64]:
        """All outputs in one vector, for the arguments as they are now."""
        return flat(as_tuple(self.op(*copies(self.args))[0]))

    def _check_determinism(self) -> None:
        again = as_tuple(self.op(*copies(self.args))[0])
        for number, (one, other) in enumerate(zip(self.outputs, again, strict=False)):
            shape, atol = np.shape(other), 1e-12 * largest(one)
            if one.shape != shape or not np.allclose(one, other, rtol=1e-9, atol=atol):
                raise GradientError(
                    f"a second call of the op gave another output {number}: expected one of its "
                    "arguments alone (if it is random, make a generator with a fixed seed in it)"
                )


def checked_arguments(names: Sequence[str], args: Sequence[Any]) -> list[int]:
    """The places of the float arrays among the arguments.  TypeError for what goes unchecked."""
    checked = [k for k, a in enumerate(args) if _is_inexact(a)]
    for k, argument in enumerate(args):
        if k in checked and argument.dtype != np.float64:
            raise TypeError(
                f"{names[k]}: expected float64, in which gradients are checked, found "
                f'{argument.dtype}; dtype="{argument.dtype}" checks results in this format, too'
            )
        if _contains_inexact(argument):
            raise TypeError(
                f"{names[k]}: expected each float array as an argument of its own, "
                f"found some in a {type(argument).__name__}, where they would go unchecked"
            )
    if not checked:
        raise TypeError("no argument is a float array: there is no gradient to check")
    return checked


def _check_outputs(outputs: Sequence[NDArray]) -> None:
    for number, y in enumerate(outputs):
        if y.dtype.kind == "f" and y.dtype != np.float64:
            raise GradientError(
                f"output {number} is {y.dtype}: expected float64, as the arguments are"
            )
        if np.isnan(y).any():
            index = np.argwhere(np.isnan(y))[0].tolist()
            raise GradientError(f"output {number} is NaN at {index}: it has no slope to compare")


def magnitude(x: NDArray) -> NDArray:
    """The larger of 1 and abs(x); 1 for an infinity or a NaN, which nothing moves."""
    return np.where(np.isfinite(x), np.maximum(1, np.abs(x)), 1)


def mean_size(x: NDArray) -> float:
    """The mean of |x| over finite numbers; 1 if it is 0, or if there are none."""
    finite = np.isfinite(x)
    return float(np.mean(np.abs(x), where=finite)) or 1.0 if finite.any() else 1.0


def _is_inexact(value: Any) -> bool:
    """Whether a value is an array that has gradients: of floats, complex numbers or objects."""
    return is_float(value) or (isinstance(value, np.ndarray) and value.dtype.kind in "cO")


def _contains_inexact(value: Any) -> bool:
    """Whether a list, tuple or dictionary contains such an array, at any depth."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if not isinstance(value, (list, tuple)):
        return False
    return any(_is_inexact(part) or _contains_inexact(part) for part in value)
