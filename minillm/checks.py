"""Checks of arrays and numbers: types, dtypes, shapes and ranges.

The kernels trust their arguments.  The checks here run before them, on the arguments of
a forward and on the upstream gradients of a backward.  Each message names the caller, the
argument, what was expected and what was found:

    lstm: W_h: expected shape (H = 5, 4H = 20), found (5, 19)
"""

import functools
import math
import numbers
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Order = Literal["C", "K"]
Op = TypeVar("Op", bound=Callable[..., tuple[Any, Callable]])

_Array = np.ndarray
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))  # in this machine's byte order
_MOST_BYTES = 2**40
_ARRAYS = (np.ndarray, np.memmap)  # not matrices or masked arrays: their * and @ differ


def floats(op: str, **arguments: tuple[NDArray | None, str]) -> dict[str, int]:
    """Check float arrays against their expected shapes.

    A shape is written as in the docstrings, ``"B T I"`` or ``"I 4H"``, with
    ``"..."`` in front for any leading axes.  The first use of a letter gives it
    its size; the sizes are returned, in a dictionary that must not be changed.
    An argument whose shape ends with ``"?"`` may be None.

    >>> floats("linear", x=(np.ones((2, 3)), "... I"), W=(np.ones((3, 5)), "I O"))
    {'I': 3, 'O': 5}

    Raises TypeError for anything but float32 or float64 arrays of one dtype, ValueError
    for a shape that does not fit, and MemoryError for an array of more than 1 TiB.
    """
    described = []
    for name, (array, axes) in arguments.items():
        if array is None and axes.endswith("?"):
            continue
        if type(array) not in _ARRAYS:
            require_array(op, name, array)
        assert array is not None  # the line above has refused it
        described.append((name, axes.removesuffix("?"), array.dtype, array.shape))
    return _sizes(op, *described)


@functools.lru_cache(1024)  # every training step checks the same shapes
def _sizes(op: str, *arguments: tuple[str, str, np.dtype, tuple[int, ...]]) -> dict[str, int]:
    """The size of each letter; an argument is its name, axes, dtype and shape."""
    sizes: dict[str, int] = {}
    first_name, _, first_dtype, _ = arguments[0]
    for name, axes, dtype, shape in arguments:
        if dtype not in _FLOATS:
            raise TypeError(f"{op}: {name}: expected float32 or float64, found {dtype}")
        if dtype != first_dtype:
            raise TypeError(
                f"{op}: {name}: expected {first_dtype}, the dtype of {first_name}, found {dtype}"
            )
        # Only a view that repeats its numbers is larger: work on it would not end, and the sizes
        # that a kernel computes could exceed 64 bits.
        if (size := math.prod(shape) * dtype.itemsize) > _MOST_BYTES:
            raise MemoryError(
                f"{op}: {name}: expected at most {_MOST_BYTES} bytes, found {size}, shape {shape}"
            )
        _fit(op, name, shape, axes, sizes)
    return sizes


def require_array(op: str, name: str, value: Any) -> None:
    """Raise TypeError unless the value is a plain NumPy array."""
    if type(value) not in _ARRAYS:
        raise TypeError(f"{op}: {name}: expected a NumPy array, found {type(value).__name__}")


@functools.cache  # an op's axes never change, and a step of generation takes only microseconds
def _letters(axes: str) -> tuple[bool, tuple[tuple[str, int], ...]]:
    """Whether there are leading axes, and the letter and factor of each other axis."""
    letters = axes.split()
    leading = letters[0] == "..."
    return leading, tuple((a[-1], int(a[:-1] or 1)) for a in letters[leading:])  # "4H": H, 4


def _fit(op: str, name: str, shape: tuple[int, ...], axes: str, sizes: dict[str, int]) -> None:
    """Check one shape, and note the sizes of letters that are new."""
    leading, letters = _letters(axes)
    tail = shape[len(shape) - len(letters) :] if leading else shape
    fits = len(tail) == len(letters)
    for size, (letter, count) in zip(tail, letters, strict=False):
        known = sizes.setdefault(letter, size // count)
        fits = fits and size == count * known and size > 0
    if not fits:
        # A letter that first occurs in this argument has no size yet, and no size may be 0.
        texts = {
            f"{count}{letter}": f" = {count * sizes[letter]}" if sizes[letter] else " > 0"
            for letter, count in letters
            if letter in sizes
        }
        expected = ", ".join(
            written + texts.get(f"{count}{letter}", "")
            for written, (letter, count) in zip(axes.split()[leading:], letters, strict=True)
        )
        dots = "..., " if leading else ""
        raise ValueError(f"{op}: {name}: expected shape ({dots}{expected}), found {shape}")


def ids(
    op: str, name: str, array: NDArray, below: int, shape: tuple[int, ...] | None = None
) -> NDArray[np.int64]:
    """An int64 copy of integers in 0..below-1, of the given shape if there is one.

    It is a copy because a backward indexes with what its forward has checked: later writes
    into the caller's array must not reach it.
    """
    require_array(op, name, array)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{op}: {name}: expected integers, found {array.dtype}")
    _check_shape(op, name, array, shape)
    checked = np.array(array, np.int64, order="C", copy=True, subok=False)
    # An unsigned integer that is too large for int64 has become a negative one.
    if checked.size == 1:  # as in each step of generation, where NumPy's min and max take longer
        fits = 0 <= checked.item() < below
    else:
        fits = checked.size == 0 or (checked.min() >= 0 and checked.max() < below)
    if not fits:
        raise ValueError(
            f"{op}: {name}: expected 0..{below - 1}, found {array.min()}..{array.max()}"
        )
    return checked


def _check_shape(op: str, name: str, array: NDArray, shape: tuple[int, ...] | None) -> None:
    if shape is not None and array.shape != shape:
        raise ValueError(f"{op}: {name}: expected shape {shape}, found {array.shape}")


def floats_or_ids(
    op: str, x: NDArray, axes: str, **arguments: tuple[NDArray, str]
) -> tuple[NDArray, dict[str, int]]:
    """Check x, which may be ids in place of its last axis; return it with all sizes.

    :func:`floats` checks the other arguments, :func:`ids` copies ids.
    """
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "iu":
        return x, floats(op, x=(x, axes), **arguments)
    sizes = floats(op, **arguments).copy()
    leading, width = axes.rsplit(maxsplit=1)
    _fit(op, "x", x.shape, leading, sizes)
    return ids(op, "x", x, sizes[width]), sizes


def mask(op: str, name: str, array: NDArray, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A copy of booleans of the given shape."""
    require_array(op, name, array)
    if array.dtype != bool:
        raise TypeError(f"{op}: {name}: expected booleans, found {array.dtype}")
    _check_shape(op, name, array, shape)
    return np.array(array, order="C", copy=True, subok=False)


def sequence_lengths(op: str, lengths: NDArray | None, B: int, T: int) -> NDArray[np.int64]:
    """Lengths (B,) as int64; where they are None, every length is T."""
    if lengths is None:
        return np.full(B, T, np.int64)
    return ids(op, "lengths", lengths, T + 1, (B,))


def fits_context(tokens: int, context: int) -> None:
    """ValueError for more tokens than fit the context."""
    if tokens > context:
        raise ValueError(f"expected at most {context} tokens, found {tokens}")


def number(op: str, name: str, value: Any) -> float:
    """A real number as a float: a NumPy scalar would change the dtype of a product."""
    if not isinstance(value, numbers.Real):
        raise TypeError(f"{op}: {name}: expected a number, found {type(value).__name__}")
    return float(value)


def count(op: str, name: str, value: Any) -> int:
    """A whole number from 1 up as an int."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"{op}: {name}: expected a whole number, found {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{op}: {name}: expected 1 or more, found {value}")
    return int(value)


def positive(op: str, name: str, value: Any) -> float:
    """A number above 0 as a float."""
    checked = number(op, name, value)
    if not 0 < checked < math.inf:
        raise ValueError(f"{op}: {name}: expected above 0 and finite, found {value}")
    return checked


def below_one(op: str, name: str, value: Any) -> float:
    """A number in [0, 1) as a float."""
    checked = number(op, name, value)
    if not 0 <= checked < 1:
        raise ValueError(f"{op}: {name}: expected at least 0 and below 1, found {value}")
    return checked


def flag(op: str, name: str, value: Any) -> bool:
    """True or False; anything else is an error, even if it has a truth value."""
    if not isinstance(value, bool) and (
        not isinstance(value, (np.ndarray, np.bool_)) or value.shape != () or value.dtype != bool
    ):
        raise TypeError(f"{op}: {name}: expected True or False, found {type(value).__name__}")
    return bool(value)


def contiguous(*arrays: NDArray | None) -> tuple[Any, ...]:
    """The arrays in C order, and None for None; only arrays in another order are copied."""
    return tuple([a if a is None or a.flags.c_contiguous else a.copy("C") for a in arrays])


def strided(x: NDArray) -> NDArray:
    """x with its strides; it is copied only if its last axis is not contiguous."""
    contiguous = x.strides[-1] == x.itemsize or x.shape[-1] == 1
    return x if contiguous else np.ascontiguousarray(x)


# --- the door of an op -------------------------------------------------------------------
#
# An op keeps arrays for its backward, and kernels trust their shapes.  So no array object is shared
# with the caller, who may set its ``shape`` between the two passes: the op gets views of its
# arguments, and the caller views of its outputs.  The pages need not think of it.


def op(function: Op) -> Op:
    """Mark an op.  Its backward gets gradients in C order, and zeros in place of None."""
    return _with_door(function, "C")


def op_of_strides(function: Op) -> Op:
    """Mark an op that takes arrays and upstream gradients with any strides."""
    return _with_door(function, "K")


def _with_door(function: Any, order: Order) -> Any:
    name = function.__name__

    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> tuple[Any, Callable]:
        own = [a.view() if isinstance(a, _Array) else a for a in args]
        if named:
            named = {key: a.view() if isinstance(a, _Array) else a for key, a in named.items()}
        outputs, backward = function(*own, **named)
        backward = guarded(name, outputs, backward, order)
        if type(outputs) is tuple:
            return tuple([y.view() for y in outputs]), backward
        return outputs.view(), backward

    return call


def guarded(name: str, outputs: Any, backward: Any, order: Order = "C") -> Callable:
    """A backward that checks its upstream gradients; a page's own takes one for each output.

    With several outputs, None stands for zeros, and so does a gradient that is left out.  The
    gradient of a scalar is 1 by default, and may be a Python number.

    The check raises TypeError for anything but an array of the output's dtype, and ValueError for
    an array of another shape; the message has the name of the backward's parameter.
    """
    if type(outputs) is tuple:
        return _Guarded(_with_several, backward, name, order, [(y.shape, y.dtype) for y in outputs])
    return _Guarded(_with_one, backward, name, order, outputs.shape, outputs.dtype)


class _Guarded(functools.partial):
    """A partial call, which takes a microsecond less to make than a closure with an attribute."""

    @property
    def __wrapped__(self) -> Callable:
        """The page's own backward, for its signature."""
        return self.args[0]


def _with_several(backward: Any, name: str, order: Order, outputs: list, *dys: Any) -> Any:
    defaults = backward.__defaults__ or ()
    if 0 < (left_out := len(outputs) - len(dys)) <= len(defaults):
        dys += defaults[-left_out:]
    if len(dys) != len(outputs):
        raise TypeError(f"{name}: expected {len(outputs)} gradients, found {len(dys)}")
    given = [
        np.zeros(shape, dtype) if dy is None else _given(name, backward, k, dy, shape, dtype, order)
        for k, (dy, (shape, dtype)) in enumerate(zip(dys, outputs, strict=True))
    ]
    return backward(*given)


def _with_one(
    backward: Any, name: str, order: Order, shape: tuple[int, ...], dtype: np.dtype, *dys: Any
) -> Any:
    dys = dys or backward.__defaults__ or (None,)
    if len(dys) != 1:
        raise TypeError(f"{name}: expected 1 gradient, found {len(dys)}")
    return backward(_given(name, backward, 0, dys[0], shape, dtype, order))


def _given(
    name: str,
    backward: Any,
    number: int,
    dy: Any,
    shape: tuple[int, ...],
    dtype: np.dtype,
    order: Order,
) -> NDArray:
    """An upstream gradient, checked; a number for a scalar becomes an array."""
    if type(dy) is not _Array or dy.dtype != dtype or dy.shape != shape:
        if shape == () and type(dy) in (int, float):
            return np.asarray(dy, dtype)
        parameter = backward.__code__.co_varnames[number]
        if not isinstance(dy, np.generic):  # NumPy's scalars are what arrays without axes become
            require_array(name, parameter, dy)
        if dy.dtype != dtype:
            raise TypeError(f"{name}: {parameter}: expected {dtype}, found {dy.dtype}")
        _check_shape(name, parameter, dy, shape)
    return np.asarray(dy, order=order)
