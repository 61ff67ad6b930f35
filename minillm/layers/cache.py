"""The keys and values of the tokens that were read, kept so that none is read twice.

A token attends to all tokens before it, but the keys and values of these do not depend on it: they
are computed once, and kept.  A cache is a dictionary with, for each attention layer,
``prefix.keys`` and ``prefix.values`` (B, M, S, w), where S is the room that there is, and besides

    length         how many positions have been read: those after them are free
    start (B,)     how many had been read before the last tokens: where these begin, for each row
    written        how many are written in these arrays, by any cache that shares them
    room           S

The arrays are written in place, because to copy them at every step would cost as much as the step.
A cache that was extended twice, in two directions, must not see the other's tokens.  So caches
share ``written`` with the arrays, and copy both if ``written`` exceeds ``length``.

Legend: B batch, T new tokens, S room, M heads of keys, w their width.
"""

import numpy as np
from numpy.typing import NDArray

Cache = dict[str, NDArray]

BLOCK = 64  # positions by which the room grows


def empty(B: int) -> Cache:
    """The cache of B rows that have read nothing."""
    counts = {name: np.array(0) for name in ("length", "written", "room")}
    return counts | {"start": np.zeros(B, np.int64)}


def extended(cache: Cache, T: int) -> Cache:
    """A cache with room for T more positions.

    The layers write the new keys and values with :func:`append`.  ``cache`` itself stays as it
    is; the arrays are shared where that is safe.
    """
    start = int(cache["length"])
    length = start + T
    new = cache | {"length": np.array(length), "start": np.full_like(cache["start"], start)}
    if length > cache["room"] or cache["written"] != start:
        room = max(int(cache["room"]), -(-length // BLOCK) * BLOCK)
        new |= {"written": np.array(start), "room": np.array(room)}
        new |= {name: _copy(array, room) for name, array in cache.items() if array.ndim == 4}
    new["written"][...] = length
    return new


def append(cache: Cache, prefix: str, keys: NDArray, values: NDArray) -> tuple[NDArray, NDArray]:
    """Write the keys and values (B, M, T, w) of the last tokens.

    Returns those of all tokens: (B, M, S, w) each, views of the cache.
    """
    (B, M, T, width), S = keys.shape, int(cache["length"])
    whole = []
    for name, new in ((f"{prefix}.keys", keys), (f"{prefix}.values", values)):
        if name not in cache:
            cache[name] = np.zeros((B, M, int(cache["room"]), width), new.dtype)
        cache[name][:, :, S - T : S] = new
        whole.append(cache[name][:, :, :S])
    return whole[0], whole[1]


def _copy(array: NDArray, room: int) -> NDArray:
    """A copy with room for that many positions."""
    B, M, S, width = array.shape
    new = np.zeros((B, M, room, width), array.dtype)
    new[:, :, :S] = array
    return new
