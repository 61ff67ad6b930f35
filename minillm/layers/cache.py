"""The cache: the keys and values of past tokens, kept so that no token is read twice.

A token attends to all tokens before it.  Their keys and values do not depend on later tokens, so
they are computed once and kept.  A cache is a dictionary.  For each attention layer it has
``prefix.keys`` and ``prefix.values`` (B, M, S, w), with room for S positions, and for all layers

    lengths (B,)   the number of positions that each row has read; the rest are free
    start (B,)     the number that it had read before the last tokens, which begin there
    written (B,)   the number written in these arrays, by any cache that shares them
    room           S

The arrays are written in place, because copying them at every step would cost as much as the step.
If a cache is extended twice, with different tokens, neither result may see the tokens of the
other.  So caches share ``written`` with the arrays, and copy both if ``written`` exceeds
``lengths``.  Two threads may extend one cache at the same time: ``CLAIM`` lets one of them have the
arrays.

Legend: B batch, T new tokens, S room, M heads of keys, w their width.
"""

import os
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Cache = dict[str, NDArray]

BLOCK = 64  # positions by which the room grows

CLAIM = threading.Lock()  # held while a thread reads how much is written, and adds to it
if hasattr(os, "register_at_fork"):  # no thread holds it in a child
    os.register_at_fork(
        before=CLAIM.acquire, after_in_parent=CLAIM.release, after_in_child=CLAIM.release
    )


def empty(B: int) -> Cache:
    """The cache of B rows before their first token."""
    counts = {name: np.zeros(B, np.int64) for name in ("lengths", "start", "written")}
    return counts | {"room": np.array(0)}


def extended(cache: Cache, counts: NDArray[np.int64], T: int) -> Cache:
    """A cache with room for T more positions in each row, of which ``counts`` (B,) are kept.

    The layers write the new keys and values with :func:`append`.  ``cache`` itself is not
    changed; the arrays are shared where that is safe.
    """
    start = cache["lengths"].copy()
    lengths, used = start + counts, max(start.tolist())
    new = cache | {"lengths": lengths, "start": start}
    with CLAIM:
        free = used + T <= cache["room"] and cache["written"].tolist() == start.tolist()
        if free:
            cache["written"][:] = lengths
    if not free:
        room = max(int(cache["room"]), -(-(used + T) // BLOCK) * BLOCK)
        new |= {"written": lengths.copy(), "room": np.array(room)}
        new |= {name: _copy(array, used, room) for name, array in cache.items() if array.ndim == 4}
    return new


def cut(cache: Cache, lengths: NDArray[np.int64], *, last: bool = False) -> Cache:
    """The cache as it was when each row had read ``lengths`` (B,) positions.

    With ``last``, ``cache`` will not be used any more: the arrays are written over from there on,
    if no other cache has gone on in them.  Otherwise they are copied when the result is extended.
    """
    lengths = lengths.copy()
    with CLAIM:
        if last and cache["written"].tolist() == cache["lengths"].tolist():
            cache["written"][:] = lengths
    return cache | {"lengths": lengths, "start": lengths}


def gathered(rows: Sequence[tuple[Cache, int]]) -> Cache:
    """A cache whose rows are copies of these rows of caches of one model.

    A row may have read any number of positions, and at least one.
    """
    lengths = np.array([cache["lengths"][row] for cache, row in rows])
    used = int(lengths.max())
    room = -(-(used + 1) // BLOCK) * BLOCK
    new = {"lengths": lengths, "start": lengths, "written": lengths.copy(), "room": np.array(room)}
    for name, array in rows[0][0].items():
        if array.ndim == 4:
            _, M, _, width = array.shape
            new[name] = np.zeros((len(rows), M, room, width), array.dtype)
            for place, ((cache, row), length) in enumerate(zip(rows, lengths, strict=True)):
                new[name][place, :, :length] = cache[name][row, :, :length]
        elif name not in new:
            new[name] = np.stack([cache[name][row] for cache, row in rows])
    return new


def append(cache: Cache, prefix: str, keys: NDArray, values: NDArray) -> tuple[NDArray, NDArray]:
    """Write the keys and values (B, M, T, w) of the positions from start[b] on.

    Returns all keys and values up to the last position, (B, M, S, w) each, as views of the cache.
    """
    start, T = cache["start"], keys.shape[2]
    S = int(start.max()) + T
    whole = []
    for name, new in ((f"{prefix}.keys", keys), (f"{prefix}.values", values)):
        if name not in cache:
            B, M, _, width = new.shape
            cache[name] = np.zeros((B, M, int(cache["room"]), width), new.dtype)
        array = cache[name]
        if (start == start[0]).all():
            array[:, :, start[0] : S] = new
        else:
            for row, first in enumerate(start):
                array[row, :, first : first + T] = new[row]
        whole.append(array[:, :, :S])
    return whole[0], whole[1]


def _copy(array: NDArray, used: int, room: int) -> NDArray:
    """A copy of the positions that are used, with room for ``room`` positions."""
    B, M, _, width = array.shape
    new = np.zeros((B, M, room, width), array.dtype)
    new[:, :, :used] = array[:, :, :used]
    return new
