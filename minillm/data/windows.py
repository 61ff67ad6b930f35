"""Windows of a long text, for truncated backpropagation through time."""

from collections.abc import Iterator

import numpy as np

from minillm.errors import InputError


class Windows:
    """An endless series of windows: a text read as B parallel streams, T tokens at a time.

    The text is a ring.  Stream b starts at b/B of its length, and each window continues where
    the one before ended, so that a recurrent state can be carried from window to window; at its
    end a stream continues with the text of the next.  Targets are the tokens after the inputs.

    >>> windows = Windows(np.arange(10), batch=2, window=3)
    >>> windows.next()[0].tolist(), windows.next()[0].tolist()
    ([[0, 1, 2], [5, 6, 7]], [[3, 4, 5], [8, 9, 0]])

    ``position``, the number of tokens that each stream has read, is all the state.
    """

    def __init__(self, ids: np.ndarray, batch: int, window: int, position: int = 0):
        if len(ids) <= window:
            raise InputError(
                f"the training text has {len(ids):,} tokens: "
                f"expected more than one window of {window:,}"
            )
        self.ids = ids
        self.window = window
        self.starts = np.arange(batch)[:, None] * len(ids) // batch  # (B, 1)
        self.position = position

    def next(self) -> tuple[np.ndarray, np.ndarray]:
        """The next ``inputs`` and ``targets``, int64 (B, T)."""
        steps = self.position + np.arange(self.window + 1)  # (T + 1,)
        span = self.ids[(self.starts + steps) % len(self.ids)].astype(np.int64)  # (B, T + 1)
        self.position = (self.position + self.window) % len(self.ids)
        return span[:, :-1], span[:, 1:]


def windows_once(
    ids: np.ndarray, batch: int, window: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All windows of a text once, as B parallel streams: ``inputs``, ``targets`` (B, <= T).

    For evaluation.  A stream is at least 16 windows long, so that its start from the zero state
    costs little: a short text is read as fewer streams, down to one.  Fewer than B tokens at
    the end are not read.
    """
    if len(ids) < 2:
        raise InputError(f"the text to evaluate has {len(ids)} tokens: expected 2 or more")
    batch = max(1, min(batch, len(ids) // (16 * window)))
    length = (len(ids) - 1) // batch
    streams = np.arange(batch)[:, None] * length  # (B, 1)
    for start in range(0, length, window):
        steps = np.arange(start, min(start + window, length) + 1)
        span = ids[streams + steps].astype(np.int64)
        yield span[:, :-1], span[:, 1:]
