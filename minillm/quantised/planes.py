"""Codes of 2 to 8 bits as planes of bits, which a kernel takes apart with shifts and masks.

A model that writes is as fast as its weights are read, so codes of 5 bits should not take a byte
each.  Codes that cross the borders of bytes, however, are slow to take apart.  A *plane* has p = 1,
2, 4 or 8 bits of every code, which do fill bytes, and a few planes make any width:

    bits of a code       2     3       4     5       6       8
    bits of its planes   2     2 + 1   4     4 + 1   4 + 2   8       the lowest bits first

A block of 32 codes is eight *words* of 4 codes.  A plane of p bits has p lines of 4 bytes, and

    the p bits of code i of word w are in byte i of line w mod p, from bit p (w div p) on.

So one shift and one mask take the p bits of a word out of a line, for all bytes of a register at
once.  A block of codes of n bits has n lines.  The lines of 8 bits are the codes themselves, and
those of 4 bits have the first half of a block in their lower halves, as the blocks of llama.cpp do.
"""

import numpy as np
from numpy.typing import NDArray

PLANES = {2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 8: (8,)}  # by the bits of a code
CODES = 32  # of a block
WORDS = 8  # of a block


def to_planes(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """The lines of codes of so many bits: (..., 32) -> (..., 4 bits)."""
    lines, lowest = [], 0
    for p in PLANES[bits]:
        part: NDArray = codes >> lowest & (1 << p) - 1
        lines.append(plane_of(part, p))
        lowest += p
    return np.concatenate(lines, axis=-1)


def plane_of(part: NDArray[np.uint8], p: int) -> NDArray[np.uint8]:
    """One plane of numbers of p bits: (..., 32) -> (..., 4 p)."""
    words = part.reshape(*part.shape[:-1], WORDS // p, 4 * p)
    plane: NDArray = words[..., 0, :].copy()
    for j in range(1, WORDS // p):
        plane |= words[..., j, :] << p * j
    return plane


def from_planes(lines: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The codes of lines: (..., 4 bits) -> (..., 32)."""
    codes: NDArray = np.zeros((*lines.shape[:-1], CODES), np.uint8)
    first = lowest = 0
    for p in PLANES[lines.shape[-1] // 4]:
        plane = lines[..., None, first : first + 4 * p]
        shifts = np.arange(0, 8, p, dtype=np.uint8)[:, None]
        part = plane >> shifts & (1 << p) - 1  # (..., 8 / p, 4 p)
        codes |= part.reshape(codes.shape) << lowest
        first, lowest = first + 4 * p, lowest + p
    return codes
