"""Hypothesis strategies for property tests of ops: sizes, lengths, arrays.

Hypothesis draws and shrinks shapes, lengths and seeds.  The values come from a
seeded normal, because shrinking them one by one finds zeros, kinks and overflows
rather than wrong gradients.
"""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy
from numpy.typing import NDArray


def generators() -> st.SearchStrategy[np.random.Generator]:
    """Random generators, each from a drawn seed."""
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def sizes(**bounds: tuple[int, int]) -> st.SearchStrategy[dict[str, int]]:
    """Named sizes within inclusive bounds: ``sizes(B=(1, 4), T=(3, 6))`` -> {"B": 2, "T": 5}."""
    return st.fixed_dictionaries({name: st.integers(*bound) for name, bound in bounds.items()})


def lengths(B: int, T: int, shortest: int = 0) -> st.SearchStrategy[NDArray[np.int64]]:
    """Lengths (B,) of sequences in a batch of T steps, each in shortest..T."""
    return hypothesis_numpy.arrays(np.int64, B, elements=st.integers(shortest, T))


def arrays(*shape: int, dtype: type = np.float64) -> st.SearchStrategy[NDArray]:
    """Arrays of the shape with standard normal values, from a drawn seed."""
    return generators().map(lambda rng: rng.standard_normal(shape).astype(dtype))
