"""The cache: the keys and values of past tokens, kept so that no token is read twice.

A token attends to all tokens before it.  Their keys and values do not depend on later tokens, so
they are computed once and kept, with room for more.  The arrays are written in place, because
copying them at every step would cost as much as the step.  If a cache is extended twice, with
different tokens, neither result may see the tokens of the other.  So caches share ``written`` with
the arrays, and copy both if ``written`` exceeds ``lengths``.  Two threads may extend one cache at
the same time: ``CLAIM`` lets one of them have the arrays.

Legend: B batch, C context, T new tokens, S room, M heads of keys, w their width.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers.heads import CAUSAL, Attend
from minillm.ops import Mask

Counts = NDArray[np.int64]

BLOCK = 64  # positions by which the room grows

CLAIM = threading.Lock()  # held while a thread reads how much is written, and adds to it


@dataclass(eq=False)
class Cache:
    """The tokens that a causal Transformer has read of B texts, with their keys and values."""

    ids: NDArray[np.int64]  # (B, C) the tokens of the window
    lengths: Counts  # (B,) positions that each row has read; the rest of its room is free
    start: Counts  # (B,) positions that it had read before the last tokens
    written: Counts  # (B,) positions written in these arrays, by any cache that shares them
    keys: tuple[NDArray, ...]  # of each layer, (B, M, S, w)
    values: tuple[NDArray, ...]

    @classmethod
    def empty(cls, B: int, C: int, layers: int, M: int, w: int, dtype: Any) -> "Cache":
        """The cache of B rows before their first token; it has no room."""
        nothing = tuple(np.zeros((B, M, 0, w), dtype) for _ in range(layers))
        none = np.zeros(B, np.int64)
        return cls(np.zeros((B, C), np.int64), none, none, none.copy(), nothing, nothing)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def room(self) -> int:
        """Positions for which the arrays have room."""
        return self.keys[0].shape[2]

    def before(self, n: int) -> NDArray[np.int64]:
        """The n tokens before the last ones, (B, n); ids of 0 before the first token."""
        places = self.start[:, None] + np.arange(-n, 0)
        ids = np.take_along_axis(self.ids, np.maximum(places, 0), axis=1)
        return np.where(places < 0, 0, ids)

    def past(self) -> list[NDArray]:
        """The keys and values of each layer in turn, as the kernels take them."""
        return [array for pair in zip(self.keys, self.values, strict=True) for array in pair]

    def extended(self, ids: NDArray[np.integer], counts: Counts) -> "Cache":
        """A cache with room for ids (B, T); the first ``counts`` (B,) of each row are kept.

        The attention of each layer writes their keys and values: see :meth:`attend`.  This cache is
        not changed; the arrays are shared where that is safe.
        """
        start = self.lengths
        lengths, used = start + counts, max(start.tolist())
        with CLAIM:
            free = used + ids.shape[1] <= self.room and self.written.tolist() == start.tolist()
            if free:
                self.written[:] = lengths
        if free:
            new = Cache(self.ids, lengths, start, self.written, self.keys, self.values)
        else:
            room = max(self.room, -(-(used + ids.shape[1]) // BLOCK) * BLOCK)
            keys, values = (
                tuple(_copy(array, used, room) for array in arrays)
                for arrays in (self.keys, self.values)
            )
            new = Cache(self.ids.copy(), lengths, start, lengths.copy(), keys, values)
        for row, (first, last) in enumerate(zip(start.tolist(), lengths.tolist(), strict=True)):
            new.ids[row, first:last] = ids[row, : last - first]
        return new

    def cut(self, lengths: Counts, *, last: bool = False) -> "Cache":
        """The cache as it was when each row had read ``lengths`` (B,) positions.

        With ``last``, this cache will not be used any more: the arrays are written over from there
        on, if no other cache has gone on in them.  Otherwise they are copied when the result is
        extended.
        """
        lengths = lengths.copy()
        with CLAIM:
            if last and np.array_equal(self.written, self.lengths):
                self.written[:] = lengths
        return replace(self, lengths=lengths, start=lengths)

    def attend(self, layer: int, mask: Mask = CAUSAL) -> Attend:
        """The attention of a layer's new tokens to the tokens of their rows; it has no backward."""
        from_start = replace(mask, start=self.start)

        def attend(q: NDArray, k: NDArray, v: NDArray) -> tuple[NDArray, Any]:
            keys, values = self._with(self.keys[layer], k), self._with(self.values[layer], v)
            return ops.scaled_dot_product_attention(q, keys, values, mask=from_start)

        return attend

    def _with(self, array: NDArray, new: NDArray) -> NDArray:
        """Write keys or values (B, M, T, w) of the positions from start[b] on, and return all."""
        start, T = self.start, new.shape[2]
        S = int(start.max()) + T
        if (start == start[0]).all():
            array[:, :, start[0] : S] = new
        else:
            for row, first in enumerate(start):
                array[row, :, first : first + T] = new[row]
        return array[:, :, :S]


def gathered(rows: Sequence[tuple[Cache, int]]) -> Cache:
    """A cache whose rows are copies of these rows of caches of one model.

    A row may have read any number of positions, and at least one.
    """
    lengths = np.array([cache.lengths[row] for cache, row in rows])
    room = -(-(int(lengths.max()) + 1) // BLOCK) * BLOCK

    def gather(layers: Sequence[tuple[NDArray, ...]]) -> tuple[NDArray, ...]:
        new = []
        for arrays in zip(*layers, strict=True):  # of one layer
            each = zip(arrays, rows, lengths, strict=True)
            new.append(np.concatenate([_copy(a[[row]], n, room) for a, (_, row), n in each]))
        return tuple(new)

    return Cache(
        np.stack([cache.ids[row] for cache, row in rows]),
        lengths,
        lengths,
        lengths.copy(),
        gather([cache.keys for cache, _ in rows]),
        gather([cache.values for cache, _ in rows]),
    )


def _copy(array: NDArray, used: int, room: int) -> NDArray:
    """A copy of the positions that are used, with room for ``room`` positions."""
    B, M, _, width = array.shape
    new = np.zeros((B, M, room, width), array.dtype)
    new[:, :, :used] = array[:, :, :used]
    return new
