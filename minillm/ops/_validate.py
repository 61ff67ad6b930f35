"""What every op checks before it computes: types, dtypes, shapes and ranges.

The kernels trust their arguments, so that a wrong one has to stop here, with a
message that names it: the arguments of a forward, and the upstream gradients of
a backward.
"""

import functools
import numbers
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Order = Literal["C", "K"]

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))  # in this machine's byte order
_ARRAYS = (np.ndarray, np.memmap)  # not matrices or masked arrays: their * and @ differ


def floats(op: str, **arguments: tuple[NDArray, str]) -> dict[str, int]:
    """Check float arrays against the shapes that they should have.

    A shape is written as in the docstrings, ``"B T I"`` or ``"I 4H"``, with
    ``"..."`` in front for any leading axes.  The first use of a letter gives it
    its size; the sizes are returned.

    >>> floats("linear", x=(np.ones((2, 3)), "... I"), W=(np.ones((3, 5)), "I O"))
    {'I': 3, 'O': 5}

    Raises TypeError for what is not a float32 or float64 array or differs in
    dtype from the first argument, ValueError for a shape that does not fit.
    """
    found = []
    for name, (array, axes) in arguments.items():
        if type(array) not in _ARRAYS:
            raise _no_array(op, name, array)
        found.append((name, axes, array.dtype, array.shape))
    return _sizes(op, *found).copy()


@functools.lru_cache(1024)  # of a training step they are the same each time
def _sizes(op: str, *arguments: tuple[str, str, np.dtype, tuple[int, ...]]) -> dict[str, int]:
    """The sizes of the letters, of arguments of this name, these axes, this dtype and shape."""
    sizes: dict[str, int] = {}
    first = None
    for name, axes, dtype, shape in arguments:
        if dtype not in _FLOATS:
            raise TypeError(f"{op}: {name} must be float32 or float64, found {dtype}")
        first = first or (name, dtype)
        if dtype != first[1]:
            raise TypeError(f"{op}: {name} is {dtype} but {first[0]} is {first[1]}; use one dtype")
        _fit(op, name, shape, axes, sizes)
    return sizes


def _no_array(op: str, name: str, found: Any) -> TypeError:
    return TypeError(f"{op}: {name} must be a NumPy array, found {type(found).__name__}")


@functools.cache  # an op's axes never change, and a step of generation takes only microseconds
def _letters(axes: str) -> tuple[bool, tuple[tuple[str, int], ...]]:
    """Whether there are leading axes; the letter and the factor of each other axis."""
    letters = axes.split()
    leading = letters[0] == "..."
    return leading, tuple((a[-1], int(a[:-1] or 1)) for a in letters[leading:])  # "4H": H, 4


def _fit(op: str, name: str, shape: tuple[int, ...], axes: str, sizes: dict[str, int]) -> None:
    leading, letters = _letters(axes)
    tail = shape[len(shape) - len(letters) :] if leading else shape
    fits = len(tail) == len(letters)
    for size, (letter, count) in zip(tail, letters, strict=False):
        known = sizes.setdefault(letter, size // count)
        fits = fits and size == count * known and size > 0
    if not fits:
        # Letters that this very argument introduced have no size to name yet.
        expected = ", ".join(
            f"{written} = {count * sizes[letter]}" if letter in sizes else written
            for written, (letter, count) in zip(axes.split()[leading:], letters, strict=True)
        )
        dots = "..., " if leading else ""
        raise ValueError(f"{op}: {name} has shape {shape}, expected ({dots}{expected})")


def ids(
    op: str, name: str, array: NDArray, below: int, shape: tuple[int, ...] | None = None
) -> NDArray[np.int64]:
    """Integers in 0..below-1, of the given shape if there is one: a copy of them as int64.

    A copy, because a backward indexes with what its forward has checked: what the
    caller writes into the array in between must not matter.
    """
    if type(array) not in _ARRAYS:
        raise _no_array(op, name, array)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{op}: {name} must be an integer NumPy array, found {array.dtype}")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{op}: {name} has shape {array.shape}, expected {shape}")
    checked = np.array(array, np.int64, order="C", copy=True, subok=False)
    # An unsigned integer that is too large for int64 has become a negative one.
    if checked.size and (checked.min() < 0 or checked.max() >= below):
        raise ValueError(
            f"{op}: {name} must lie in 0..{below - 1}, found {array.min()}..{array.max()}"
        )
    return checked


def floats_or_ids(
    op: str, x: NDArray, axes: str, **arguments: tuple[NDArray, str]
) -> tuple[NDArray, dict[str, int]]:
    """x with the given axes, or ids in place of its last axis; and all sizes.

    The other arguments are checked as by :func:`floats`.  Ids come back as by
    :func:`ids`, floats as they are.
    """
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "iu":
        return x, floats(op, x=(x, axes), **arguments)
    sizes = floats(op, **arguments)
    *letters, width = axes.split()
    expected = [sizes.get(letter) for letter in letters]
    fits = x.ndim == len(letters) and x.size > 0
    if not fits or any(n not in (None, size) for n, size in zip(expected, x.shape, strict=True)):
        shape = ", ".join(
            letter if size is None else f"{letter} = {size}"
            for letter, size in zip(letters, expected, strict=True)
        )
        raise ValueError(f"{op}: x has shape {x.shape}, expected ({shape})")
    return ids(op, "x", x, sizes[width]), dict(zip(letters, x.shape, strict=True)) | sizes


def mask(op: str, name: str, array: NDArray, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Booleans of the given shape: a copy of them."""
    if type(array) not in _ARRAYS:
        raise _no_array(op, name, array)
    if array.dtype != bool:
        raise TypeError(f"{op}: {name} must be a bool NumPy array, found {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{op}: {name} has shape {array.shape}, expected {shape}")
    return np.array(array, order="C", copy=True, subok=False)


def sequence_lengths(op: str, lengths: NDArray | None, B: int, T: int) -> NDArray[np.int64]:
    """Lengths (B,) as int64, all T where None is given."""
    if lengths is None:
        return np.full(B, T, np.int64)
    return ids(op, "lengths", lengths, T + 1, (B,))


def number(op: str, name: str, value: Any) -> float:
    """A real number as a float, for a NumPy scalar would change the dtype of what it meets."""
    if not isinstance(value, numbers.Real):
        raise TypeError(f"{op}: {name} must be a number, found {type(value).__name__}")
    return float(value)


def flag(op: str, name: str, value: Any) -> bool:
    """True or False, NumPy's too, and not whatever else has a truth value."""
    if not isinstance(value, bool) and (
        not isinstance(value, (np.ndarray, np.bool_)) or value.shape != () or value.dtype != bool
    ):
        raise TypeError(f"{op}: {name} must be True or False, found {type(value).__name__}")
    return bool(value)


def contiguous(*arrays: NDArray) -> tuple[NDArray, ...]:
    """The arrays in C order, copied only where they are not.

    Each is an array object of its own: if the caller sets the ``shape`` of an argument
    afterwards, these keep theirs.
    """
    return tuple([a.view() if a.flags.c_contiguous else a.copy("C") for a in arrays])


def upstream(op: str, order: Order = "C", /, **outputs: NDArray) -> Callable[..., Any]:
    """The check of the upstream gradients that a backward starts with.

    Called in the forward with the outputs, each under the name of its gradient and in
    the order of the backward's arguments:

        upstream = _validate.upstream("lstm", dhs=hs, dh_last=h_last, dc_last=c_last)

    The function returned takes those gradients and returns them in C order (or "K": as they
    lie in memory): a tuple of them, or the one if there is one output.  It remembers
    shapes and dtypes, and so keeps no output alive.  Where there are several outputs, None
    means a gradient of zero.

    It raises TypeError for what is not an array of the output's dtype (a Python number
    will do for a scalar), ValueError for an array of another shape.
    """
    expected = [(op, name, order, y.shape, y.dtype) for name, y in outputs.items()]
    if len(expected) == 1:
        return functools.partial(_gradient, *expected[0])

    def check(*gradients: NDArray | None) -> tuple[NDArray, ...]:
        return tuple(
            np.zeros(*output[3:]) if gradient is None else _gradient(*output, gradient)
            for gradient, output in zip(gradients, expected, strict=True)
        )

    return check


def _gradient(
    op: str, name: str, order: Order, shape: tuple[int, ...], dtype: np.dtype, gradient: NDArray
) -> NDArray:
    """One upstream gradient, if it has the shape and the dtype of its output."""
    if shape == () and type(gradient) in (int, float):
        return np.asarray(gradient, dtype)
    # Of arrays without axes, NumPy makes scalars.
    if type(gradient) not in _ARRAYS and not isinstance(gradient, np.generic):
        raise _no_array(op, name, gradient)
    if gradient.dtype != dtype:
        raise TypeError(f"{op}: {name} is {gradient.dtype}, expected {dtype}")
    if gradient.shape != shape:
        raise ValueError(f"{op}: {name} has shape {gradient.shape}, expected {shape}")
    return np.asarray(gradient, order=order)
