"""What every op checks before it computes: types, dtypes, shapes and ranges.

The kernels below trust their arguments, so that a wrong shape has to stop here,
with a message that names the argument.
"""

import functools

import numpy as np
from numpy.typing import NDArray

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


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
    sizes: dict[str, int] = {}
    first = None
    for name, (array, axes) in arguments.items():
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{op}: {name} must be a NumPy array, found {type(array).__name__}")
        if array.dtype not in _FLOATS:
            raise TypeError(f"{op}: {name} must be float32 or float64, found {array.dtype}")
        first = first or (name, array.dtype)
        if array.dtype != first[1]:
            raise TypeError(
                f"{op}: {name} is {array.dtype} but {first[0]} is {first[1]}; use one dtype"
            )
        _fit(op, name, array.shape, axes, sizes)
    return sizes


@functools.cache  # an op's axes never change, and one step of a generator is some 50 microseconds
def _letters(axes: str) -> tuple[bool, tuple[tuple[str, int], ...]]:
    """Whether there are leading axes, and each axis's letter and how many times it is meant."""
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


def ids(op: str, name: str, array: NDArray, below: int, shape: tuple[int, ...] | None = None):
    """Check an integer array: its dtype, its range, and its shape where one is given."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu":
        found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{op}: {name} must be an integer NumPy array, found {found}")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{op}: {name} has shape {array.shape}, expected {shape}")
    if array.size and (array.min() < 0 or array.max() >= below):
        raise ValueError(
            f"{op}: {name} must lie in 0..{below - 1}, found {array.min()}..{array.max()}"
        )


def sequence_lengths(op: str, lengths: NDArray | None, B: int, T: int) -> NDArray[np.int64]:
    """Lengths (B,) as int64, all T where None is given."""
    if lengths is None:
        return np.full(B, T, np.int64)
    ids(op, "lengths", lengths, T + 1, (B,))
    return lengths.astype(np.int64)
