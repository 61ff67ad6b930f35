"""Checks on request: memory layouts and empty arrays.

``check_gradients`` passes float64 arrays that are contiguous, in row order.  These functions check
an op with other arrays.  They are separate because not every op must take such arrays.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.testing.calls import (
    GradientError,
    call_op,
    copies,
    largest,
    normals_like,
    parameter_names,
    results_of,
)
from minillm.testing.gradients import check_gradients

Results = tuple[tuple[NDArray, ...], tuple[NDArray, ...]]  # outputs and gradients


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
        return results_of(op, given[: len(args)], given[len(args) :], label)

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
