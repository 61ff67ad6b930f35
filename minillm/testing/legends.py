"""Random arguments of an op, drawn from a legend of their shapes.

A legend has a part for each argument, as the door of an op has (``minillm/checks.py``):

    B T I             floats of shape (B, T, I), from a standard normal
    I 4H              floats of shape (I, 4H)
    ids: B T < V      integers from 0 to V - 1, of shape (B, T)
    lengths: B <= T   integers from 1 to T, of shape (B,)
    mask: B T bool    booleans of shape (B, T), at least one of them true in each row

Commas separate the parts, names may be missing, and equal letters are equal sizes: the legend of an
affine map is "B T I, I O, O".  Sizes and values follow from a seed, and ``repr`` of a case is the
call that draws it again.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.checks import AXIS, Argument, Sizes, shape_of
from minillm.errors import InputError, short
from minillm.testing.adapters import as_op, name_of
from minillm.testing.calls import GradientError, is_float
from minillm.testing.gradients import check_gradients

Limits = int | tuple[int, int]

LIMITS = {"T": (3, 5)}  # time: a recurrence that forgets a step is right at 1 and 2
OTHER_LIMITS = (1, 4)
KINK_DISTANCE = 0.05  # much more than the checker's widest step

SEVERAL = 6  # integers without a limit are below it, so that some are equal


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
    values = [draw(part, drawn | {"": 1}, of_values, shortest=1) for part in parts]
    case = OpCase(away_from(x, *np.atleast_1d(kinks)) if is_float(x) else x for x in values)
    case.legend, case.sizes, case.seed = " ".join(legend.split()), drawn, int(seed)
    case.options = f", kinks={kinks!r}" if np.size(kinks) else ""
    return case


def limits_of(legend: str, sizes: dict[str, Limits]) -> dict[str, tuple[int, int]]:
    """The least and the greatest size of each letter of the legend."""
    axes = [axis for part in _parse(legend) for axis in AXIS.findall(_every_axis(part))]
    letters = dict.fromkeys(letter for _, letter, _ in axes if letter)
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
        found = GradientError(*error.args)
        found.explain, found.locate = error.explain, error.locate
    if isinstance(args, OpCase):
        found.ending = f"to repeat: {args.call(op, **options)}"
    raise found


def draw(argument: Argument, sizes: Sizes, rng: np.random.Generator, shortest: int = 0) -> NDArray:
    """A random array of the first kind that is declared: see the top of this page.

    ``shortest`` is the least of the integers that may be as large as a size, such as lengths.
    """
    kind, axes = next(iter(argument.axes.items()))
    shape = shape_of(axes, sizes)
    if kind == "f":
        return rng.standard_normal(shape)
    if kind == "b":
        mask = rng.random(shape) < 0.7
        mask[..., 0] |= ~mask.any(axis=-1)
        return mask
    letter, more = argument.below
    below = SEVERAL if letter == "0" else shape_of(letter, sizes)[0] + more
    return rng.integers(shortest if more else 0, below, shape)


def away_from(x: NDArray, *kinks: float) -> NDArray:
    """The floats, none of them nearer to a kink than 0.05."""
    for kink in kinks:
        near = np.abs(x - kink) < KINK_DISTANCE
        x = np.where(near, kink + np.copysign(KINK_DISTANCE, x - kink), x)
    return x


def _parse(legend: str) -> list[Argument]:
    if not isinstance(legend, str):
        raise InputError(f'arrays: expected a legend such as "B T I, I O", found {short(legend)}')
    parts = [Argument(text) for text in legend.split(",")]
    for part, text in zip(parts, legend.split(","), strict=True):
        axes = _every_axis(part).split()
        if not any(part.axes.values()) or not all(map(AXIS.fullmatch, axes)):
            raise InputError(
                'arrays: expected parts such as "B T I", "ids: B T < V", "lengths: B <= T" or '
                f'"mask: B T bool" in the legend, found {short(text.strip())}'
            )
    return parts


def _every_axis(part: Argument) -> str:
    """The axes of an argument, and the limit of its integers."""
    return f"{' '.join(part.axes.values())} {part.below[0]}"
