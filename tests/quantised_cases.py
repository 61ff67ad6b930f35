"""Random quantised matrices, of each format that a file may have."""

import numpy as np
from hypothesis import strategies as st

from minillm.quantised import Quantised
from minillm.quantised.codes import Coded, two_in_a_byte
from minillm.quantised.panels import pack

BLOCKS = st.integers(1, 3)
OUTPUTS = st.one_of(st.integers(1, 20), st.sampled_from([31, 32, 33, 64, 100]))
FORMATS = {  # bits, K, dtype of the scales, zero, whether there are offsets
    "q8_0": (8, 32, np.float16, 128, False),
    "q4_0": (4, 32, np.float16, 8, False),
    "q4_1": (4, 32, np.float16, 0, True),
    "q4_k": (4, 32, np.float32, 0, True),
    "q6_k": (6, 16, np.float32, 32, False),
}


def drawn(rng, format, I, O):
    """The random weights of O outputs, as codes (O, I / K, K), scales and offsets."""
    bits, K, dtype, zero, has_offset = FORMATS[format]
    codes = rng.integers(0, 2**bits, (O, I // K, K)).astype(np.uint8)
    scale = rng.normal(size=codes.shape[:2]).astype(dtype)
    offset = rng.normal(size=codes.shape[:2]).astype(dtype) if has_offset else None
    return Coded(two_in_a_byte(codes) if bits == 4 else codes, scale, offset, zero, bits)


def matrix(coded):
    """The matrix (I, O) of these weights."""
    return Quantised((pack(len(coded.scale), [coded]),))


def packed(rng, format, I, O):
    """A random matrix (I, O)."""
    return matrix(drawn(rng, format, I, O))
