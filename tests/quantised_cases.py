"""Random quantised matrices, of each format that a file may have."""

import numpy as np
from hypothesis import strategies as st

from minillm.ops.quantised import pack

BLOCKS = st.integers(1, 3)
OUTPUTS = st.one_of(st.integers(1, 20), st.sampled_from([31, 32, 33, 64, 100]))
FORMATS = {  # bits, block, dtype of the scales, zero, whether there are offsets
    "q8_0": (8, 32, np.float16, 128, False),
    "q4_0": (4, 32, np.float16, 8, False),
    "q4_1": (4, 32, np.float16, 0, True),
    "q4_k": (4, 32, np.float32, 0, True),
    "q6_k": (6, 16, np.float32, 32, False),
}


def drawn(rng, format, I, O):
    """Random codes (O, I), scales and offsets (O, I / block), and zero and bits."""
    bits, block, dtype, zero, has_offset = FORMATS[format]
    codes = rng.integers(0, 2**bits, (O, I)).astype(np.uint8)
    scale = rng.normal(size=(O, I // block)).astype(dtype)
    offset = rng.normal(size=(O, I // block)).astype(dtype) if has_offset else None
    return codes, scale, offset, zero, bits


def packed(rng, format, I, O):
    codes, scale, offset, zero, bits = drawn(rng, format, I, O)
    return pack(codes, scale, offset, zero=zero, bits=bits)
