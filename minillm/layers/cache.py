"""The keys and values of the tokens that were read, kept so that none is read twice.

A token attends to all tokens before it, but the keys and values of these do not depend on it: they
are computed once, and kept.  A cache is a dictionary with, for each attention layer,
``prefix.keys`` and ``prefix.values`` (B, M, S, w), where S is the room that there is, and besides

    lengths (B,)   how many positions each row has read: those after them are free
    start (B,)     how many it had read before the last tokens: where these begin
    written (B,)   how many are written in these arrays, by any cache that shares them
    room           S

The arrays are written in place, because to copy them at every step would cost as much as the step.
A cache that was extended twice, in two directions, must not see the other's tokens.  So caches
share ``written`` with the arrays, and copy both if ``written`` exceeds ``lengths``.

Legend: B batch, T new tokens, S room, M heads of keys, w their width.
"""

import numpy as np
from numpy.typing import NDArray

Cache = dict[str, NDArray]

BLOCK = 64  # positions by which the room grows


def empty(B: int) -> Cache:
    """The cache of B rows that have read nothing."""
    counts = {name: np.zeros(B, np.int64) for name in ("lengths", "start", "written")}
    return counts | {"room": np.array(0)}


def extended(cache: Cache, counts: NDArray[np.int64], T: int) -> Cache:
    """A cache with room for T more positions in each row, of which ``counts`` (B,) are kept.

    The layers write the new keys and values with :func:`append`.  ``cache`` itself stays as it
    is; the arrays are shared where that is safe.
    """
    start = cache["lengths"]
    new, needed = cache | {"lengths": start + counts, "start": start}, max(start.tolist()) + T
    if needed > cache["room"] or cache["written"].tolist() != start.tolist():
        room = max(int(cache["room"]), -(-needed // BLOCK) * BLOCK)
        new |= {"written": start.copy(), "room": np.array(room)}
        new |= {name: _copy(array, room) for name, array in cache.items() if array.ndim == 4}
    new["written"][:] = new["lengths"]
    return new


def append(cache: Cache, prefix: str, keys: NDArray, values: NDArray) -> tuple[NDArray, NDArray]:
    """Write the keys and values (B, M, T, w) of the positions from start[b] on.

    Returns all up to the last of them: (B, M, S, w) each, views of the cache.
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


def _copy(array: NDArray, room: int) -> NDArray:
    """A copy with room for that many positions."""
    B, M, S, width = array.shape
    new = np.zeros((B, M, room, width), array.dtype)
    new[:, :, :S] = array
    return new
