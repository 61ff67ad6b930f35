"""Random arguments of an op, drawn from a legend of their shapes.

A legend has a part for each argument:

    B T I             floats of shape (B, T, I), from a standard normal
    I 4H              floats of shape (I, 4H)
    ids B T < V       whole numbers from 0 to V - 1, of shape (B, T)
    lengths B <= T    whole numbers from 1 to T, of shape (B,)
    mask B T          booleans of shape (B, T), at least one of them true in each row

Commas separate the parts, and equal letters are equal sizes: "B T I, I O, O" is an affine
map's.  Sizes and values follow from a seed, and ``repr`` of a case is the call that draws
it again.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from minillm.errors import InputError, short
from minillm.testing.adapters import as_op, name_of
from minillm.testing.calls import GradientError
from minillm.testing.gradients import check_gradients

Limits = int | tuple[int, int]

LIMITS = {"T": (3, 5)}  # time: a recurrence that forgets a step is right at 1 and 2
OTHER_LIMITS = (1, 4)
KINK_DISTANCE = 0.05  # much more than the checker's widest step

_SIGNS = {"ids": "<", "lengths": "<=", "mask": ""}  # what stands before the limit of the numbers
_AXIS = re.compile(r"([1-9]\d*)?([A-Za-z]\w*)?")


class OpCase(tuple):
    """The arguments of one call of an op; they know how they were drawn."""

    legend: str
    sizes: dict[str, int]
    seed: int
    options: str  # the other arguments of the call of arrays

    def __repr__(self) -> str:
        """The call that draws the same case."""
        sizes = "".join(f", {letter}={size}" for letter, size in self.sizes.items())
        return f'arrays("{self.legend}"{sizes}, seed={self.seed}{self.options})'

    @property
    def rng(self) -> np.random.Generator:
        """A fresh generator, for the upstream gradient."""
        return np.random.default_rng(self.seed)

    def check(self, op: Any, **options: Any) -> float:
        """Check the gradients of ``op``, anything that :func:`as_op` takes, on this case."""
        __tracebackhide__ = True
        return check_op(op, self, rng=self.rng, **options)

    def call(self, op: Any, **options: Any) -> str:
        """The call that repeats a check, to paste."""
        name = name_of(op) if as_op(op) is op else f"as_op({name_of(op)})"
        given = "".join(f", {option}={value!r}" for option, value in options.items())
        return f"check_gradients({name}, *{self!r}, rng=np.random.default_rng({self.seed}){given})"


def arrays(
    legend: str,
    *,
    seed: int = 0,
    dtype: DTypeLike = np.float64,
    kinks: float | Sequence[float] = (),
    **sizes: Limits,
) -> OpCase:
    """Draw an argument for each part of the legend: see the top of this page.

    ``sizes`` fixes letters (``T=3``), or limits them (``T=(3, 5)``).  Other sizes are drawn from
    1 to 4, and T, time, from 3 to 5; they differ if they can.  No float is nearer to one of the
    ``kinks`` than 0.05, because a function such as ReLU, whose kink is at 0, has no derivative
    there.

    InputError for a legend that cannot be read, and for sizes that do not fit it.

    >>> x, W = arrays("B T I, I O", B=1, T=3, I=2, O=2, seed=0)
    >>> x.shape, W.shape
    ((1, 3, 2), (2, 2))
    """
    parts = _parse(legend)
    # Streams of their own: the upstream gradient comes from default_rng(seed).  If it were equal to
    # an argument, a backward that confuses the two would pass.
    of_sizes, of_values = (np.random.default_rng([seed, stream]) for stream in (1, 2))
    drawn: dict[str, int] = {}
    for letter, (least, most) in limits_of(legend, sizes).items():
        possible = range(least, most + 1)
        others = set(possible) - set(drawn.values())  # equal sizes would hide a wrong axis
        drawn[letter] = int(of_sizes.choice(sorted(others) or possible))
    case = OpCase(_draw(part, drawn, of_values, dtype, np.atleast_1d(kinks)) for part in parts)
    case.legend, case.sizes, case.seed = " ".join(legend.split()), drawn, int(seed)
    case.options = "" if np.dtype(dtype) == np.float64 else f", dtype=np.{np.dtype(dtype).name}"
    case.options += f", kinks={kinks!r}" if np.size(kinks) else ""
    return case


def limits_of(legend: str, sizes: dict[str, Limits]) -> dict[str, tuple[int, int]]:
    """The least and the greatest size of each letter of the legend."""
    letters = dict.fromkeys(
        letter for part in _parse(legend) for _, letter in part.every_axis if letter
    )
    for name in sizes:
        if name not in letters:
            raise InputError(
                f'arrays: expected sizes of {", ".join(letters)}, the letters of "{legend}", '
                f"found {name}"
            )
    limits = {}
    for letter in letters:
        given = sizes.get(letter, LIMITS.get(letter, OTHER_LIMITS))
        pair = given if isinstance(given, tuple) else (given, given)
        whole = len(pair) == 2 and all(isinstance(size, int | np.integer) for size in pair)
        if not whole or not 1 <= pair[0] <= pair[1]:
            raise InputError(
                f"arrays: {letter}: expected a size of at least 1, or the least and the greatest "
                f"one, such as (3, 5); found {short(given)}"
            )
        limits[letter] = pair
    return limits


def check_op(op: Any, args: Sequence[Any], *, rng: np.random.Generator, **options: Any) -> float:
    """Check the gradients of anything that :func:`as_op` takes; return the worst relative error.

    ``check_gradients`` takes the ``options``.  Its GradientError is raised anew, so that a
    test's report shows none of the checker's own lines.  For an :class:`OpCase`, the message ends
    with the call to paste.
    """
    __tracebackhide__ = True
    function = as_op(op)
    try:
        return check_gradients(function, *args, rng=rng, **options)
    except GradientError as error:
        message = str(error)
    if isinstance(args, OpCase):
        message += f"\nto repeat: {args.call(op, **options)}"
    raise GradientError(message)


# --- the parts of a legend --------------------------------------------------------------


class _Part(NamedTuple):
    """One argument: "ids B T < V" has the axes B and T, and the limit V."""

    kind: str
    axes: tuple[tuple[int, str], ...]  # a factor and a letter each: "4H", "H" and "4"
    limit: tuple[tuple[int, str], ...]  # one at most

    @property
    def every_axis(self) -> tuple[tuple[int, str], ...]:
        return self.axes + self.limit


def _parse(legend: str) -> list[_Part]:
    if not isinstance(legend, str):
        raise InputError(f'arrays: expected a legend such as "B T I, I O", found {short(legend)}')
    return [_parse_part(text) for text in legend.split(",")]


def _parse_part(text: str) -> _Part:
    words = re.sub("(<=?)", r" \1 ", text).split()
    kind = words.pop(0) if words and words[0] in _SIGNS else "floats"
    sign, limit = _SIGNS.get(kind, ""), []
    if sign and len(words) >= 2 and words[-2] == sign:
        limit = [words[-1]]
        words = words[:-2]
    matches = [_AXIS.fullmatch(word) for word in words + limit]
    if not words or len(limit) != bool(sign) or not all(matches):
        raise InputError(
            'arrays: expected parts such as "B T I", "ids B T < V", "lengths B <= T" or "mask B T" '
            f"in the legend, found {short(text.strip())}"
        )
    axes = tuple((int(match[1] or 1), match[2] or "") for match in matches if match)
    return _Part(kind, axes[: len(words)], axes[len(words) :])


def _draw(
    part: _Part,
    sizes: dict[str, int],
    rng: np.random.Generator,
    dtype: DTypeLike,
    kinks: NDArray,
) -> NDArray:
    shape, limit = (
        tuple(factor * sizes.get(letter, 1) for factor, letter in axes)
        for axes in (part.axes, part.limit)
    )
    if part.kind == "ids":
        return rng.integers(0, limit[0], shape)
    if part.kind == "lengths":
        return rng.integers(1, limit[0] + 1, shape)
    if part.kind == "mask":
        mask = rng.random(shape) < 0.7
        mask[..., 0] |= ~mask.any(axis=-1)
        return mask
    x = rng.standard_normal(shape)
    for kink in kinks:
        near = np.abs(x - kink) < KINK_DISTANCE
        x = np.where(near, kink + np.copysign(KINK_DISTANCE, x - kink), x)
    return x.astype(dtype)
