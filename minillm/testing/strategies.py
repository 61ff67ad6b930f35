"""Hypothesis strategies for property tests of ops: cases, sizes, lengths.

Hypothesis draws and shrinks sizes, lengths and seeds.  The values come from a
seeded normal, because shrinking them one by one finds zeros, kinks and overflows
rather than wrong gradients.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.testing.legends import Limits, OpCase, arrays, limits_of

try:
    from hypothesis import given
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hypothesis_numpy
except ImportError as error:
    raise ImportError("minillm.testing.strategies needs the package hypothesis") from error

_SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def op_cases(
    draw: st.DrawFn,
    legend: str,
    *,
    kinks: float | Sequence[float] = (),
    **sizes: Limits,
) -> OpCase:
    """Cases of the legend; the arguments are the same as in :func:`minillm.testing.arrays`.

    A failing case is shrunk to the least sizes and to the seed 0, if it fails there, too.
    """
    limits = limits_of(legend, sizes)
    drawn: dict[str, Limits] = {
        letter: draw(st.integers(*bounds)) for letter, bounds in limits.items()
    }
    return arrays(legend, seed=draw(_SEEDS), kinks=kinks, **drawn)


def given_op_cases(legend: str, **options: Any) -> Callable:
    """Run a test, ``test(case)``, on the cases that :func:`op_cases` draws:

    @given_op_cases("B T I, I O, O")
    def test_affine(case):
        case.check(affine)
    """
    return given(case=op_cases(legend, **options))


def generators() -> st.SearchStrategy[np.random.Generator]:
    """Random generators, each from a drawn seed."""
    return _SEEDS.map(np.random.default_rng)


def sizes(**bounds: tuple[int, int]) -> st.SearchStrategy[dict[str, int]]:
    """Named sizes within inclusive bounds: ``sizes(B=(1, 4), T=(3, 6))`` -> {"B": 2, "T": 5}."""
    return st.fixed_dictionaries({name: st.integers(*bound) for name, bound in bounds.items()})


def lengths(B: int, T: int, shortest: int = 0) -> st.SearchStrategy[NDArray[np.int64]]:
    """Lengths (B,) of sequences in a batch of T steps, each in shortest..T."""
    return hypothesis_numpy.arrays(np.int64, B, elements=st.integers(shortest, T))
