"""Codes of 2 to 8 bits as planes of bits, which a kernel takes apart with shifts and masks.

A model that writes is as fast as its weights are read, so codes of 5 bits should not take a byte
each.  Codes that cross the borders of bytes, however, are slow to take apart.  A *plane* has p = 1,
2, 4 or 8 bits of every code, which do fill bytes, and a few planes make any width:

    bits of a code      1    2    3        4    5        6        8
    bits of its planes  1    2    2 and 1  4    4 and 1  4 and 2  8      the lowest bits first

A block of 32 codes is eight *words* of 4 codes.  A plane of p bits has p lines of 4 bytes, and

    the p bits of code i of word w are in byte i of line w mod p, from bit p (w div p) on.

So one shift and one mask take the p bits of a word out of a line, for all bytes of a register at
once.  A block of codes of n bits has n lines.  Lines of 8 bits are the codes themselves.  Lines of
4 bits contain the first half of a block in their lower halves, as the blocks of llama.cpp do.
"""

import numpy as np
from numpy.typing import NDArray

# The bits of each plane, by the bits of a code.
PLANES = {1: (1,), 2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 8: (8,)}
WORDS = 8  # of a block


def to_plane(bits: int, part: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The lines of one plane, of 1, 2, 4 or 8 bits of each code: (..., 32) -> (..., 4 bits).

    The shifts move no bit into another byte, so a word is one number of 32 bits.
    """
    words = np.ascontiguousarray(part).view(np.uint32)
    lines = np.zeros((*words.shape[:-1], bits), np.uint32)
    for w in range(WORDS):
        lines[..., w % bits] |= words[..., w] << np.uint32(bits * (w // bits))
    return lines.view(np.uint8)


def from_planes(stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The codes of lines: (..., 4 bits) -> (..., 32)."""
    lines = np.ascontiguousarray(stored).view(np.uint32)
    words = np.zeros((*lines.shape[:-1], WORDS), np.uint32)
    first = 0  # the planes before this one have as many lines as bits of a code
    for p in PLANES[lines.shape[-1]]:
        mask = np.uint32(0x01010101 * ((1 << p) - 1))
        for w in range(WORDS):
            part = lines[..., first + w % p] >> np.uint32(p * (w // p)) & mask
            words[..., w] |= part << np.uint32(first)
        first += p
    return words.view(np.uint8)
