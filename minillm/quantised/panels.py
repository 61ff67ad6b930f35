"""The kernel's layout of quantised weights: panels of 16 outputs.

The kernel multiplies the codes of 4 inputs of 16 outputs at a time, which are 64 bytes side by
side, and reads on in one stream.  :mod:`minillm.quantised.codes` has the same weights in plain
order, and their equations.

A panel has 16 outputs; the last one may be filled up with zeros.  A block of 32 codes of n bits is
n lines of 4 bytes (:mod:`minillm.quantised.planes`).  A panel has the first line of the first block
for each of its outputs, then the next line for each of them, and so on.  So a line of a panel is a
line of the cache, and a shift and a mask take 4 inputs of 16 outputs out of it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from minillm.quantised.codes import Coded

PANEL = 16  # outputs whose codes lie side by side
PIECE = 1 << 25  # bytes of memory, for the panels of several matrices
LINE = 64  # bytes of a line of the cache


@dataclass(frozen=True, eq=False)
class Panels:
    """The codes, scales and offsets of O outputs as the kernel reads them; none can be changed."""

    codes: NDArray[np.uint8]  # (panels, I / 32, bits lines, 16 outputs, 4 bytes)
    scale: NDArray  # (panels, B, 16 outputs), float16 or int8
    offset: NDArray | None  # of scale's shape and dtype
    zero: int
    outputs: int  # O
    d: NDArray[np.float16] | None = None  # (panels, I / 256, 16 outputs)
    e: NDArray[np.float16] | None = None
    levels: NDArray[np.uint8] | None = None  # (16,)

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays."""
        arrays = (self.codes, self.scale, self.offset, self.d, self.e)
        return sum(array.nbytes for array in arrays if array is not None)

    def coded(self, outputs: NDArray[np.integer] | None = None) -> Coded:
        """Some outputs (n,), or all of them, in plain order."""
        panel, place = np.divmod(np.arange(self.outputs) if outputs is None else outputs, PANEL)
        lines = self.codes[panel, :, :, place]  # (n, I / 32, bits, 4)
        offset, d, e = (
            None if array is None else array[panel, :, place]
            for array in (self.offset, self.d, self.e)
        )
        stored = lines.reshape(*lines.shape[:2], 4 * lines.shape[2])
        scale = self.scale[panel, :, place]  # (n, B)
        return Coded(stored, scale, offset, self.zero, d, e, self.levels)


def pack(O: int, pieces: Iterable[Coded]) -> Panels:
    """The panels of O outputs, which come some at a time, as they are read from a file.

    A piece has a multiple of 16 outputs unless it is the last.  I is a multiple of 32.
    """
    arrays: dict[str, NDArray] = {}
    first = 0
    for piece in pieces:
        names = [name for name in ("scale", "offset", "d", "e") if getattr(piece, name) is not None]
        rows = {name: getattr(piece, name) for name in names} | {"words": _words(piece.stored)}
        arrays = arrays or {name: _room_for(O, some) for name, some in rows.items()}
        for name, some in rows.items():
            panels = _in_panels(some)
            arrays[name][first // PANEL :][: len(panels)] = panels
        first += len(piece.scale)
    for array in arrays.values():  # a kernel keeps its address
        array.flags.writeable = False
    words, scale = arrays["words"], arrays["scale"]
    offset, d, e = (arrays.get(name) for name in ("offset", "d", "e"))
    codes = words.view(np.uint8).reshape(len(words), -1, piece.stored.shape[-1] // 4, PANEL, 4)
    return Panels(codes, scale, offset, piece.zero, O, d, e, piece.levels)


def _words(stored: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The lines of codes, 4 bytes each: (O, I / 32 bits)."""
    # The bytes of a block are copied as one item, which takes a tenth of the time.
    blocks = stored.view(f"V{stored.shape[-1]}")
    return np.ascontiguousarray(blocks).reshape(len(blocks), -1).view(np.uint32)


def _in_panels(rows: NDArray) -> NDArray:
    """(O, n) -> (panels, n, 16), filled up with zeros."""
    if len(rows) % PANEL:
        rows = np.pad(rows, ((0, -len(rows) % PANEL), (0, 0)))
    return rows.reshape(-1, PANEL, rows.shape[1]).swapaxes(1, 2)


class _LargePages:
    """Memory for the weights that every token reads, side by side in large pieces.

    For a piece of a few MB, NumPy asks the system for pages of 2 MB; the processor keeps all their
    addresses at hand.  With the usual pages of 4 kB, it looks up thousands of them per token.
    """

    def __init__(self) -> None:
        self._lock, self._free = threading.Lock(), np.empty(0, np.uint8)

    def take(self, size: int) -> NDArray[np.uint8]:
        """Memory of ``size`` bytes, which begins on a line of the cache."""
        with self._lock:
            if size > len(self._free):
                piece = np.empty(max(size, PIECE) + LINE, np.uint8)
                self._free = piece[-piece.ctypes.data % LINE :]
            taken, self._free = self._free[:size], self._free[-(-size // LINE) * LINE :]
        return taken


_PAGES = _LargePages()


def _room_for(O: int, rows: NDArray) -> NDArray:
    """Memory for the panels of O outputs such as these rows."""
    shape = -(-O // PANEL), rows.shape[1], PANEL
    return _PAGES.take(prod(shape) * rows.itemsize).view(rows.dtype).reshape(shape)
