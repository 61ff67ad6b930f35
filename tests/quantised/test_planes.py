"""Codes as planes of bits: by the definition, there and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from quantised_cases import planes_of

from minillm.quantised.planes import PLANES, from_planes


@pytest.mark.parametrize("bits", PLANES)
@given(hnp.arrays(np.uint8, (2, 3, 32), elements=st.integers(0, 255)))
def test_there_and_back(bits, numbers):
    codes = numbers & (1 << bits) - 1
    lines = planes_of(codes, bits)
    assert lines.shape == (2, 3, 4 * bits)
    np.testing.assert_array_equal(from_planes(lines), codes)


@pytest.mark.parametrize("bits", PLANES)
def test_each_bit_is_where_the_definition_says(bits):
    """Code i of word w has its p bits of a plane in byte i of line w mod p."""
    codes = np.random.default_rng(bits).integers(0, 1 << bits, 32).astype(np.uint8)
    lines, first = planes_of(codes, bits).reshape(bits, 4), 0
    for p in PLANES[bits]:
        for w in range(8):
            for i in range(4):
                found = lines[first + w % p, i] >> p * (w // p) & (1 << p) - 1
                assert found == codes[4 * w + i] >> first & (1 << p) - 1
        first += p
