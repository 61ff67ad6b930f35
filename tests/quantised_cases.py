"""Random quantised matrices, of each format that a file may have."""

import numpy as np
from hypothesis import strategies as st

from minillm.quantised import Quantised
from minillm.quantised.codes import LEVELS, Coded
from minillm.quantised.panels import pack
from minillm.quantised.planes import PLANES, to_plane

BLOCKS = st.integers(1, 3)
OUTPUTS = st.one_of(st.integers(1, 20), st.sampled_from([31, 32, 33, 64, 100]))
FORMATS = {  # bits, K, whether scales are integers, zero, whether there are offsets, and levels
    "q8_0": (8, 32, False, 128, False, False),
    "q5_0": (5, 32, False, 16, False, False),
    "q5_1": (5, 32, False, 0, True, False),
    "q4_0": (4, 32, False, 8, False, False),
    "q4_1": (4, 32, False, 0, True, False),
    "iq4_nl": (4, 32, False, 128, False, True),
    "q6_k": (6, 16, True, 32, False, False),
    "q5_k": (5, 32, True, 0, True, False),
    "q4_k": (4, 32, True, 0, True, False),
    "iq4_xs": (4, 32, True, 128, False, True),
    "q3_k": (3, 16, True, 4, False, False),
    "q2_k": (2, 16, True, 0, True, False),
}


def beside(*matrices):
    """One matrix of several, side by side."""
    return Quantised(tuple(part for matrix in matrices for part in matrix.parts))


def inputs(formats, B):
    """The number of inputs of about B blocks, which all these formats can have."""
    return 256 * -(-B // 2) if any(FORMATS[format][2] for format in formats) else 32 * B


def parts_of(codes, bits):
    """The bits of codes for each plane."""
    firsts = np.cumsum([0, *PLANES[bits]]).tolist()
    return [codes >> f & (1 << p) - 1 for f, p in zip(firsts, PLANES[bits], strict=False)]


def planes_of(codes, bits):
    """The lines of codes (..., 32) -> (..., 4 bits)."""
    parts = zip(PLANES[bits], parts_of(codes, bits), strict=True)
    return np.concatenate([to_plane(p, part) for p, part in parts], axis=-1)


def drawn(rng, format, I, O):
    """The random weights of O outputs, as codes (O, I / 32, 32), scales and offsets."""
    bits, K, integers, zero, has_offset, has_levels = FORMATS[format]
    codes = rng.integers(0, 2**bits, (O, I // 32, 32)).astype(np.uint8)
    numbers, factors = [], []
    for wanted in (True, has_offset):
        s = rng.integers(-128, 128, (O, I // K)).astype(np.int8)
        d = rng.normal(size=(O, I // 256)) / 64
        numbers.append(s if integers else rng.normal(size=s.shape).astype(np.float16))
        factors.append(d.astype(np.float16) if integers else None)
        if not wanted:
            numbers[-1] = factors[-1] = None
    levels = LEVELS if has_levels else None
    stored = planes_of(codes, bits)
    return Coded(stored, *numbers, zero, *factors, levels)


def matrix(coded):
    """The matrix (I, O) of these weights."""
    return Quantised((pack(len(coded.scale), [coded]),))


def packed(rng, format, I, O):
    """A random matrix (I, O)."""
    return matrix(drawn(rng, format, I, O))
