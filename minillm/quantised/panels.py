"""The kernel's layout of quantised weights: panels of 16 outputs.

The kernel multiplies the codes of 4 inputs of 16 outputs at a time, which are 64 bytes side by
side, and reads on in one stream.  :mod:`minillm.quantised.codes` has the same weights in plain
order, and their equations.

A panel has 16 outputs; the last one may be filled up with zeros.  It has the codes of 4 inputs, a
word, for each of its outputs, then the next word of each.  With 4 bits, a byte has the code of an
input in its lower half, and the code of the 16th input after it in its upper half.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from minillm.quantised.codes import Coded
from minillm.quantised.large_pages import WEIGHTS

PANEL = 16  # outputs whose codes lie side by side


@dataclass(frozen=True, eq=False)
class Panels:
    """The codes, scales and offsets of O outputs as the kernel reads them; none can be changed."""

    codes: NDArray[np.uint8]  # (panels, I / 32, 8 words or with 4 bits 4, 16 outputs, 4 inputs)
    scale: NDArray  # (panels, B, 16 outputs), float16 or float32
    offset: NDArray | None  # of scale's shape and dtype
    zero: int
    outputs: int  # O

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays."""
        arrays = (self.codes, self.scale, self.offset)
        return sum(array.nbytes for array in arrays if array is not None)

    def coded(self, outputs: NDArray[np.integer] | None = None) -> Coded:
        """Some outputs (n,), or all of them, in plain order."""
        panel, place = np.divmod(np.arange(self.outputs) if outputs is None else outputs, PANEL)
        codes = self.codes[panel, :, :, place]  # (n, I / 32, words, 4)
        scale = self.scale[panel, :, place]  # (n, B)
        offset = None if self.offset is None else self.offset[panel, :, place]
        _, blocks, words, four = codes.shape
        stored = codes.reshape(*scale.shape, blocks * words * four // scale.shape[1])
        return Coded(stored, scale, offset, self.zero, bits=words)  # a block has as many


def pack(O: int, pieces: Iterable[Coded]) -> Panels:
    """The panels of O outputs, which come some at a time, as they are read from a file.

    A piece has a multiple of 16 outputs unless it is the last.  I is a multiple of 32.
    """
    arrays: list[NDArray] = []
    first = 0
    for piece in pieces:
        rows = [_words(piece), piece.scale, *([] if piece.offset is None else [piece.offset])]
        arrays = arrays or [_room_for(O, array) for array in rows]
        for array, some in zip(arrays, rows, strict=True):
            panels = _in_panels(some)
            array[first // PANEL :][: len(panels)] = panels
        first += len(piece.scale)
    for array in arrays:  # a kernel keeps its address
        array.flags.writeable = False
    words, scale, *offset = arrays
    codes = words.view(np.uint8).reshape(len(words), -1, 4 if piece.bits == 4 else 8, PANEL, 4)
    return Panels(codes, scale, offset[0] if offset else None, piece.zero, O)


def _words(piece: Coded) -> NDArray[np.uint32]:
    """The stored codes, 4 bytes each: (O, I / 4), or with 4 bits (O, I / 8)."""
    # The bytes of a block are copied as one item, which takes a tenth of the time.
    blocks = piece.stored.view(f"V{piece.stored.shape[-1]}")
    return np.ascontiguousarray(blocks).reshape(len(blocks), -1).view(np.uint32)


def _in_panels(rows: NDArray) -> NDArray:
    """(O, n) -> (panels, n, 16), filled up with zeros."""
    if len(rows) % PANEL:
        rows = np.pad(rows, ((0, -len(rows) % PANEL), (0, 0)))
    return rows.reshape(-1, PANEL, rows.shape[1]).swapaxes(1, 2)


def _room_for(O: int, rows: NDArray) -> NDArray:
    """Memory for the panels of O outputs such as these rows."""
    shape = -(-O // PANEL), rows.shape[1], PANEL
    return WEIGHTS.take(prod(shape) * rows.itemsize).view(rows.dtype).reshape(shape)
