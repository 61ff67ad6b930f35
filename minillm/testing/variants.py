"""Checks on request: memory layouts, empty arrays, and float32.

``check_gradients`` passes float64 arrays that are contiguous, in row order.  These functions check
an op with other arrays.  They are separate because not every op must take such arrays.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import describe_error
from minillm.testing.calls import (
    GradientError,
    as_tuple,
    call_backward,
    call_op,
    copies,
    is_float,
    largest,
    normals_like,
    parameter_names,
)
from minillm.testing.gradients import check_gradients

Results = tuple[tuple[NDArray, ...], tuple[NDArray, ...]]  # outputs and gradients

DRAWS = 4  # changes of the inputs by their last bit
NOISE = 1e-9  # a gradient below this part of the largest one is nothing but rounding


# --- memory layouts -------------------------------------------------------------------------


def check_layouts(
    op: Callable[..., tuple[Any, Callable]], *args: Any, rng: np.random.Generator
) -> None:
    """Check that the op does not depend on how its arrays lie in memory.

    Each array among the arguments and the upstream gradients is given strided (every second entry
    of a larger array), reversed (negative strides), in column order, read-only, and
    broadcast (strides of zero).  Outputs and gradients must equal the results of plain copies, up
    to rounding.  Then every axis of one length, such as the batch, is made empty: the op may refuse
    that, but if it does not, its gradients must be right as well.

    Raises GradientError that names the array and the layout.
    """
    outputs = call_op(op, copies(args))[1]
    drawn = zip(normals_like(outputs, rng), outputs, strict=True)
    values = [*args, *(dy.astype(y.dtype) for dy, y in drawn)]
    names = parameter_names(op, len(args))
    names += [f"the gradient of output {k}" for k in range(len(outputs))]

    def run_with(k: int, array: Any, label: str) -> Results:
        given = copies(values)
        given[k] = array
        return _run(op, given[: len(args)], given[len(args) :], label)

    run_with(0, copies(values)[0], "plain arrays")  # otherwise no layout is to blame
    for k, name in enumerate(names):
        for layout, plain, laid_out in _layouts(values[k]):
            try:
                expected = run_with(k, plain, "plain arrays")
            except GradientError:  # the op refuses rows that are all the same
                continue
            label = f"{name} {layout}"
            _compare(expected, run_with(k, laid_out, label), label)
    for length in sorted({n for a in args if isinstance(a, np.ndarray) for n in a.shape if n}):
        empty = [_emptied(a, length) for a in args]
        try:
            outputs = call_op(op, copies(empty))[1]
        except Exception:  # the op may have reasons to refuse
            continue
        if any(np.isnan(y).any() for y in outputs):  # such as the mean of nothing
            continue
        try:
            check_gradients(op, *empty, rng=rng)
        except GradientError as error:
            raise GradientError(f"with axes of length {length} made empty: {error}") from error


def _layouts(array: Any) -> Iterator[tuple[str, NDArray, NDArray]]:
    """Pairs of a plain array and the same values in another layout, with its name."""
    if not isinstance(array, np.ndarray):
        return
    locked = array.copy()
    locked.flags.writeable = False
    yield "read-only", array.copy(), locked
    if array.ndim == 0 or array.size == 0:
        return
    wide = np.empty((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[...] = np.nan if array.dtype.kind == "f" else np.array(-77).astype(array.dtype)
    wide[..., ::2] = array
    yield "strided", array.copy(), wide[..., ::2]
    backwards = array[..., ::-1].copy()
    yield "reversed", array.copy(), backwards[..., ::-1]
    if array.ndim > 1:
        yield "in column order", array.copy(), np.asfortranarray(array)
    for axis, length in enumerate(array.shape):
        if length > 1:
            row = np.broadcast_to(np.take(array, [0], axis), array.shape)
            yield f"broadcast along axis {axis}", row.copy(), row


def _emptied(value: Any, length: int) -> Any:
    """An array without entries along all axes of a length."""
    if not isinstance(value, np.ndarray):
        return value
    part = value[tuple(slice(0) if n == length else slice(None) for n in value.shape)].copy()
    return part.astype(np.float64) if value.dtype.kind == "f" else part


def _run(op: Callable, args: Sequence[Any], upstream: Sequence[NDArray], label: str) -> Results:
    """The outputs and the gradients; GradientError, with the label, for an exception."""
    try:
        _, outputs, backward = call_op(op, args)
    except GradientError:
        raise
    except Exception as error:
        raise GradientError(f"{label}: the op raised {describe_error(error)}") from error
    gradients = call_backward(backward, upstream, call=f"{label}: the backward")
    return outputs, tuple(np.array(g) for g in as_tuple(gradients))


def _compare(expected: Results, found: Results, label: str) -> None:
    """Raise GradientError if outputs or gradients are not the expected ones, up to rounding."""
    for kind, plain, other in zip(("output", "gradient"), expected, found, strict=True):
        for number, (one, two) in enumerate(zip(plain, other, strict=True)):
            coarse = np.sqrt(np.finfo(one.dtype).eps) if one.dtype.kind == "f" else 0
            atol = coarse * largest(one)
            if one.shape != two.shape or not np.allclose(one, two, 0, atol, equal_nan=True):
                raise GradientError(
                    f"{label}: {kind} {number} differs from the {kind} of a plain copy"
                )


# --- float32 --------------------------------------------------------------------------------


def check_float32(
    op: Callable[..., tuple[Any, Callable]],
    *args: Any,
    rng: np.random.Generator,
    ulps: float = 128.0,
) -> float:
    """Check the op in float32 against itself in float64, at the same values.

    An error is measured in units that are derived for each output and gradient: one unit in the
    last place of its largest value, plus the most that it changes, in float64, if each entry of the
    inputs and of the upstream gradient changes by half a unit in its last place (the largest of a
    few random changes).  So an error that float32 inputs imply is accepted, whereas a
    cancellation inside the op, a sum in half precision or an overflow is not.  A gradient that
    is nothing but rounding takes the size of the largest one.  The ops of this package stay below 3
    in most cases, and below 70 where a gradient is a sum that cancels.

    Returns the largest error in these units.  Raises GradientError above ``ulps``, and for
    results that are not float32.
    """
    floats = [k for k, a in enumerate(args) if is_float(a)]
    single = [a.astype(np.float32) if k in floats else a for k, a in enumerate(copies(args))]
    double = [a.astype(np.float64) if k in floats else a for k, a in enumerate(copies(single))]
    outputs = call_op(op, copies(double))[1]
    upstream = [dy.astype(np.float32) for dy in normals_like(outputs, rng)]
    wide = [dy.astype(np.float64) for dy in upstream]
    expected = _run(op, copies(double), wide, "float64")
    found = _run(op, single, upstream, "float32")
    changed = []
    for _ in range(DRAWS):
        near = [_changed(a, rng) if k in floats else a for k, a in enumerate(copies(double))]
        changed.append(_run(op, near, [_changed(dy, rng) for dy in wide], "float64"))
    if len(found[1]) != len(floats):
        raise GradientError(
            f"the backward returned {len(found[1])} gradients, expected {len(floats)}"
        )
    names = parameter_names(op, len(args))
    labels = (
        [f"output {k}" for k in range(len(outputs))],
        [f"the gradient with respect to {names[k]}" for k in floats],
    )
    worst = 0.0
    for of_kind in zip(labels, expected, found, *changed, strict=True):  # outputs, then gradients
        top = max(map(largest, of_kind[1]))
        for label, exact, result, *near_by in zip(*of_kind, strict=True):
            if exact.dtype.kind != "f":
                continue
            if result.dtype != np.float32:
                raise GradientError(f"{label} is {result.dtype}, expected float32")
            size = largest(exact) if largest(exact) > NOISE * top else top
            unit = float(np.spacing(np.float32(size)))
            unit += max(_gap(exact, other) for other in near_by)
            error = _gap(exact, result) / unit
            if not error <= ulps:
                raise GradientError(
                    f"{label} in float32 is wrong by {error:.3g} units of {unit:.3g}, "
                    f"expected at most {ulps:g}"
                )
            worst = max(worst, error)
    return worst


def _changed(array: NDArray, rng: np.random.Generator) -> NDArray:
    """The array with each entry changed by half a unit in the last place of float32."""
    half = np.float64(np.finfo(np.float32).eps) / 2
    return np.asarray(array * (1 + half * rng.choice([-1.0, 1.0], array.shape)))


@np.errstate(all="ignore")
def _gap(one: NDArray, other: NDArray) -> float:
    """The largest difference; infinite, if one is infinite or NaN where the other is not."""
    if one.shape != other.shape:
        return float("inf")
    other = np.asarray(other, np.float64)
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    gap = np.where(same, 0, np.abs(one - other))
    return float(np.max(np.where(np.isnan(gap), np.inf, gap), initial=0))
