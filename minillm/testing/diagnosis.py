"""A guess of what is wrong in a backward, from where and how its gradients differ.

A guess must explain every coordinate within the tolerance, with so many of them that chance does
not.  Otherwise there is none: a wrong hint costs more time than no hint.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.testing.calls import GradientError, as_tuple, is_numeric
from minillm.testing.point import Compared, Point
from minillm.testing.slopes import SHARE

ENOUGH = 3  # coordinates that a factor or a term must explain: one would fit many
CHANCE = 50  # as many subsets of this size at least, or a part of an array says nothing


def guess(point: Point, compared: Sequence[Compared], wrong: Sequence[Compared]) -> str:
    """The class of error that fits the wrong gradients, or an empty text."""
    return next(filter(None, _guesses(point, compared, wrong)), "")


def _guesses(
    point: Point, compared: Sequence[Compared], wrong: Sequence[Compared]
) -> Iterator[str]:
    yield _single_forward(point)
    yield guess_of_order(compared, point.tolerance)
    for find, gradient in itertools.product((_exchanged_axes, _factor, _array), wrong):
        yield find(point, gradient)
    yield _upstream(point, compared, wrong[0])
    for find, gradient in itertools.product((_zero, _part), wrong):
        yield find(point, gradient)


@np.errstate(over="ignore")
def _single_forward(point: Point) -> str:
    """Outputs that are numbers of float32, of arguments that are not."""

    def is_single(arrays: Sequence[NDArray]) -> bool:
        return all(np.array_equal(a, a.astype(np.float32), equal_nan=True) for a in arrays)

    outputs = [y for y in point.outputs if y.dtype.kind == "f" and y.any()]
    if not outputs or not is_single(outputs) or is_single([point.args[k] for k in point.checked]):
        return ""
    return "a forward that rounds to float32: all outputs are numbers of float32"


# --- what fits -----------------------------------------------------------------------------


@np.errstate(all="ignore")
def _fit(candidate: NDArray, gradient: Compared, tolerance: float) -> NDArray[np.bool_]:
    """A mask: where a candidate, of the same shape, agrees with the measured slopes."""
    numeric = gradient.numeric
    size = np.maximum(np.abs(candidate), np.abs(numeric))
    return np.abs(candidate - numeric) <= tolerance * size + gradient.rounding


def _telling(gradient: Compared) -> NDArray[np.bool_]:
    """A mask: where a slope exceeds its rounding so far that it tells causes apart."""
    size = np.maximum(np.abs(gradient.analytic), np.abs(gradient.numeric))
    return np.isfinite(size) & (size > 0) & (gradient.rounding <= SHARE * size)


def _explains(candidate: NDArray, point: Point, gradient: Compared, enough: int = ENOUGH) -> bool:
    """Whether a candidate is the measured gradient, and enough wrong coordinates show it."""
    shown = int(np.count_nonzero(gradient.wrong & _telling(gradient)))
    return shown >= enough and bool(_fit(candidate, gradient, point.tolerance).all())


# --- the gradient of another argument, or in another shape ----------------------------------


def guess_of_order(compared: Sequence[Compared], tolerance: float) -> str:
    """A text if the wrong gradients, whatever their shapes, are each other's."""
    wrong = [gradient for gradient in compared if gradient.wrong.any()]
    left, places, shown = {gradient.name: gradient.analytic for gradient in wrong}, [], 0
    for gradient in wrong:
        fits = [
            name
            for name, claim in left.items()
            if name != gradient.name and claim.shape == gradient.numeric.shape
            if _fit(claim, gradient, tolerance).all()
        ]
        if not fits:
            return ""
        del left[fits[0]]
        places.append(f"the gradient with respect to {gradient.name} is returned for {fits[0]}")
        shown += int(np.count_nonzero(gradient.rounding < SHARE * np.abs(gradient.numeric)))
    return f"gradients in another order: {', '.join(places)}" if shown >= ENOUGH else ""


def guess_of_shape(gradient: Compared, tolerance: float) -> str:
    """The mistake that explains a gradient of a wrong shape, or an empty text."""
    claim, shape = gradient.analytic, gradient.numeric.shape

    def right(candidate: NDArray) -> bool:
        return candidate.shape == shape and bool(_fit(candidate, gradient, tolerance).all())

    if not np.any(gradient.rounding < SHARE * np.abs(gradient.numeric)):
        return ""
    axes = range(claim.ndim)
    for order in itertools.permutations(axes) if claim.ndim <= 4 else ():
        if right(claim.transpose(order)):
            return f"a transposed gradient: it is right with its axes in the order {order}"
    if claim.size == math.prod(shape) and right(claim.reshape(shape)):
        return "a right gradient in a wrong shape: reshape it"
    for count in axes:
        for some in itertools.combinations(axes, count + 1):
            if any(right(claim.sum(axis=some, keepdims=keep)) for keep in (False, True)):
                word = "axis" if len(some) == 1 else "axes"
                return f"a missing sum over {word} {', '.join(map(str, some))}"
    return ""


def _exchanged_axes(point: Point, gradient: Compared) -> str:
    claim = gradient.analytic
    for i, j in itertools.combinations(range(claim.ndim), 2):
        if claim.shape[i] == claim.shape[j] and _explains(
            claim.swapaxes(i, j), point, gradient, enough=2
        ):
            return (
                f"a transposed gradient with respect to {gradient.name}: "
                f"exchange its axes {i} and {j}"
            )
    return ""


# --- factors and terms ----------------------------------------------------------------------


def _ratio(point: Point, gradient: Compared) -> float | None:
    """Analytic / numeric if it is the same wherever the gradient is wrong."""
    at = gradient.wrong & _telling(gradient)
    analytic, numeric = gradient.analytic[at], gradient.numeric[at]
    # Of equal slopes, every error is a factor.
    if len(numeric) < ENOUGH or np.ptp(np.abs(numeric)) <= SHARE * np.max(np.abs(numeric)):
        return None
    ratio = float(analytic @ numeric / (numeric @ numeric))
    size, rounding = np.maximum(np.abs(analytic), np.abs(ratio * numeric)), gradient.rounding[at]
    allowed = point.tolerance * size + abs(ratio) * rounding
    return ratio if np.all(np.abs(analytic - ratio * numeric) <= allowed) else None


def _factor(point: Point, gradient: Compared) -> str:
    """A constant factor, by the name of what it may be."""
    ratio = _ratio(point, gradient)
    if not ratio or np.any(_telling(gradient) & ~gradient.wrong):
        return ""
    found = f"the gradient with respect to {gradient.name} is {ratio:.6g} times the numeric one"
    if math.isclose(ratio, -1, rel_tol=point.tolerance):
        return f"a wrong sign: {found}"
    for value, sources in _known_numbers(point).items():
        name = f"{value:.6g}" + (f" ({' or '.join(sources[:3])})" if sources else "")
        if math.isclose(ratio * value, 1, rel_tol=point.tolerance):
            return f"a missing factor {name}: {found}"
        if math.isclose(ratio, value, rel_tol=point.tolerance):
            return f"a factor {name} too many: {found}"
    return f"a wrong factor: {found}"


def _known_numbers(point: Point) -> dict[float, list[str]]:
    """Numbers that are often a factor, each with the arguments or outputs that have them."""
    arguments = point.arguments()
    arrays = {name: a for name, a in arguments.items() if isinstance(a, np.ndarray)}
    arrays |= _outputs(point)
    scalars = [
        (float(a), f"the argument {name}")
        for name, a in arguments.items()
        if isinstance(a, (int, float)) and not isinstance(a, bool)
    ]
    lengths = [
        (float(length), f"the length of axis {axis} of {name}")
        for name, a in arrays.items()
        for axis, length in enumerate(a.shape)
    ]
    sizes = [(float(a.size), f"the size of {name}") for name, a in arrays.items() if a.ndim > 1]
    roots = [(math.sqrt(length), f"the root of {source}") for length, source in lengths]
    numbers: dict[float, list[str]] = {2.0: []}
    for value, source in scalars + lengths + sizes + roots:
        if math.isfinite(value) and value not in (0, 1, -1):
            numbers.setdefault(value, []).append(source)
    return numbers


def _outputs(point: Point) -> dict[str, NDArray]:
    if len(point.outputs) == 1:
        return {"the output": point.outputs[0]}
    return {f"output {k}": y for k, y in enumerate(point.outputs)}


@np.errstate(all="ignore")
def _array(point: Point, gradient: Compared) -> str:
    """An array that is missing, or too many, as a factor or as a term."""
    for candidate, mistake in _corrected(point, gradient.analytic):
        if _explains(candidate, point, gradient):
            return f"{mistake} in the gradient with respect to {gradient.name}"
    return ""


def _corrected(point: Point, claim: NDArray) -> Iterator[tuple[NDArray, str]]:
    """The claim without a mistake that is often made, and the mistake."""
    outputs = _outputs(point)
    floats = {name: y for name, y in outputs.items() if y.dtype.kind == "f"}
    upstream = dict(zip(point.upstream_names, point.upstream, strict=True))
    factors = {name: a for name, a in point.arguments().items() if is_numeric(a)}
    factors |= upstream | outputs | {f"1 - {name}": 1 - y for name, y in floats.items()}
    factors |= {f"1 - {name}**2": 1 - y**2 for name, y in floats.items()}
    for name, factor in factors.items():
        try:
            spread = np.broadcast_to(factor, claim.shape)
        except ValueError:
            continue
        if spread.size and np.any(spread != spread.flat[0]):  # a constant: see _factor
            yield claim * spread, f"a missing factor {name}"
            yield claim / spread, f"a factor {name} too many"
    for name, dy in upstream.items():  # as next to a residual connection
        if dy.shape == claim.shape:
            yield claim + dy, f"a missing term {name}"
            yield claim - dy, f"a term {name} too many"


# --- upstream gradients ---------------------------------------------------------------------


def _upstream(point: Point, compared: Sequence[Compared], gradient: Compared) -> str:
    """Two upstream gradients that are exchanged, or a part of them that is not used."""
    place = next(k for k, other in enumerate(compared) if other.name == gradient.name)
    names, upstream = point.upstream_names, point.upstream

    def answer(changed: Sequence[NDArray]) -> list[NDArray] | None:
        """The gradients of another upstream gradient, if the backward takes it."""
        try:
            found = [np.asarray(g, np.float64) for g in as_tuple(point.gradients(changed))]
        except (GradientError, TypeError, ValueError):
            return None
        shapes = [other.numeric.shape for other in compared]
        return found if [g.shape for g in found] == shapes else None

    for i, j in itertools.combinations(range(len(upstream)), 2):
        if upstream[i].shape == upstream[j].shape:
            swapped = list(upstream)
            swapped[i], swapped[j] = swapped[j], swapped[i]
            found = answer(swapped) or ()
            if _explains_all(point, compared, found):
                return f"upstream gradients in another order: {names[i]} and {names[j]}"

    for changed, text in _parts_of_upstream(names, upstream):
        found = answer(changed) or ()
        if not found or not np.array_equal(found[place], gradient.analytic, equal_nan=True):
            continue
        if not gradient.analytic[gradient.wrong].any():  # zeros are a part that is missing
            continue
        unused = not any(dy.any() for dy in changed)
        k = point.checked[place]
        if unused or not point.compare_one(k, gradient.analytic, changed).wrong.any():
            return text
    return ""


def _explains_all(point: Point, compared: Sequence[Compared], found: Sequence[NDArray]) -> bool:
    return bool(found) and all(
        _explains(g, point, other) if other.wrong.any() else _fit(g, other, point.tolerance).all()
        for g, other in zip(found, compared, strict=True)
    )


def _parts_of_upstream(
    names: Sequence[str], upstream: Sequence[NDArray]
) -> Iterator[tuple[list[NDArray], str]]:
    """Upstream gradients with a part set to zero, and what is wrong if that changes nothing."""
    nothing = [np.zeros_like(dy) for dy in upstream]
    yield nothing, f"a backward that does not use its upstream gradient {', '.join(names)}"
    for k, (name, dy) in enumerate(zip(names, upstream, strict=True)):
        if len(upstream) > 1:
            changed = [*upstream[:k], nothing[k], *upstream[k + 1 :]]
            yield changed, f"an upstream gradient that is not used: {name}"
        for axis, length in enumerate(dy.shape):
            for index in (0, length - 1) if length > 1 else ():
                part = np.zeros_like(dy)
                at = (slice(None),) * axis + (index,)
                part[at] = dy[at]
                yield (
                    [*upstream[:k], part, *upstream[k + 1 :]],
                    f"a missing sum over axis {axis} of {name}: only index {index} counts",
                )


# --- a part of the coordinates --------------------------------------------------------------


def _zero(point: Point, gradient: Compared) -> str:
    if not gradient.analytic.any() and np.any(gradient.wrong & _telling(gradient)):
        return (
            f"a gradient that is never computed: the gradient with respect to {gradient.name} "
            "is zero everywhere"
        )
    return ""


def _part(point: Point, gradient: Compared) -> str:
    """An error in a part of the array, whose other coordinates are right."""
    telling = _telling(gradient)
    wrong, count = gradient.wrong[telling], int(np.count_nonzero(telling))
    few = int(np.count_nonzero(wrong))
    if few in (0, count):
        return ""
    ratio = _ratio(point, gradient)
    there = "" if ratio is None else f"; there it is {ratio:.6g} times the numeric one"
    name = gradient.name
    if math.comb(count, few) >= CHANCE:
        for mask, place in _places(point, gradient):
            if np.array_equal(np.broadcast_to(mask, telling.shape)[telling], wrong):
                return f"an error in the gradient with respect to {name} {place} only{there}"
    if few == 1 and count > ENOUGH:
        return f"an error in the gradient with respect to {name} at one coordinate only"
    if ratio is not None:
        return f"a wrong factor in a part of the gradient with respect to {name}{there}"
    return ""


def _places(point: Point, gradient: Compared) -> Iterator[tuple[NDArray, str]]:
    """Parts of an array in which errors are usual: masks that broadcast to it, and their names."""
    shape = gradient.numeric.shape
    grid: Any = np.indices(shape, sparse=True)
    for axis, length in enumerate(shape):
        last = length - 1
        yield grid[axis] == last, f"at the last index of axis {axis} (t = T - 1, if it is time)"
        yield grid[axis] == 0, f"at index 0 of axis {axis} (t = 0, if it is time)"
        yield grid[axis] > 0, f"at index > 0 of axis {axis} (t > 0, if it is time)"
        yield grid[axis] < last, f"before the last index of axis {axis} (t < T - 1, if it is time)"
        for k in range(1, last):
            yield grid[axis] == k, f"at index {k} of axis {axis}"
    yield np.less(gradient.argument, 0), f"where {gradient.name} is negative"
    yield np.greater(gradient.argument, 0), f"where {gradient.name} is positive"
    for name, other in point.arguments().items():
        if not isinstance(other, np.ndarray):
            continue
        if other.dtype.kind == "b" and other.ndim <= len(shape):
            mask = other.reshape(other.shape + (1,) * (len(shape) - other.ndim))
            if all(m in (1, n) for m, n in zip(mask.shape, shape, strict=False)):
                yield mask, f"where {name} is true"
                yield np.logical_not(mask), f"where {name} is false"
        if other.dtype.kind in "iu" and other.size:
            yield from _places_of_integers(name, other, shape, grid)


def _places_of_integers(
    name: str, other: NDArray, shape: tuple[int, ...], grid: Any
) -> Iterator[tuple[NDArray, str]]:
    """Parts given by lengths, for each row, and by ids, which choose rows."""
    for axis, rows in enumerate(shape):
        if other.shape == (rows,):  # lengths (B,)
            lengths = other[grid[axis]]
            yield lengths < other.max(), f"in rows that {name} says are shorter than the longest"
            for time in range(len(shape)):
                if time != axis and other.max() <= shape[time]:
                    yield grid[time] >= lengths, f"beyond {name} along axis {time}"
                    yield grid[time] < lengths, f"within {name} along axis {time}"
                    yield grid[time] == lengths - 1, f"at the last step of {name} along axis {time}"
    if shape and 0 <= other.min() <= other.max() < shape[0]:  # ids of rows
        times = np.bincount(other.ravel().astype(np.int64), minlength=shape[0])[grid[0]]
        yield times > 1, f"in rows that {name} names more than once (a sum over repeated ids)"
        yield times > 0, f"in rows that {name} names"
