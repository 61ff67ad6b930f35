"""Windows of a long text: consecutive, random, or overlapping."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from minillm.errors import InputError


class Ids(Protocol):
    """A long sequence of ids: an array, or :class:`~minillm.data.shards.Shards`."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: Any) -> np.ndarray: ...


def check_longer_than_a_window(ids: Ids, window: int) -> None:
    """InputError if a training text is not longer than a window."""
    if len(ids) <= window:
        raise InputError(
            f"the training text: expected more than one window of {window:,} tokens, "
            f"found {len(ids):,}"
        )


def windows_per_epoch(ids: Ids, batch: int, window: int) -> int:
    """The number of batches with as many tokens as the text, rounded up."""
    return -(-len(ids) // (batch * window))


class Windows:
    """An endless series of windows: a text read as B parallel streams, T tokens at a time.

    Stream b starts at b/B of the text.  Each window continues where the previous one ended, so that
    a recurrent state can be carried over.  At its end, a stream continues with the text of the next
    one: the text is a ring.  Targets are the tokens after the inputs.

    >>> windows = Windows(np.arange(10), batch=2, window=3)
    >>> windows.next()[0].tolist(), windows.next()[0].tolist()
    ([[0, 1, 2], [5, 6, 7]], [[3, 4, 5], [8, 9, 0]])

    The state is ``position``, the number of tokens that each stream has read.
    """

    def __init__(self, ids: Ids, batch: int, window: int, position: int = 0):
        check_longer_than_a_window(ids, window)
        self.ids = ids
        self.window = window
        self.starts = np.arange(batch)[:, None] * len(ids) // batch  # (B, 1)
        self.position = position

    @property
    def batches_per_epoch(self) -> int:
        """The number of batches in which the streams together read the text once."""
        return windows_per_epoch(self.ids, len(self.starts), self.window)

    def next(self) -> tuple[np.ndarray, np.ndarray]:
        """The next ``inputs`` and ``targets``, int64 (B, T)."""
        steps = self.position + np.arange(self.window + 1)  # (T + 1,)
        span = self.ids[(self.starts + steps) % len(self.ids)].astype(np.int64)  # (B, T + 1)
        self.position = (self.position + self.window) % len(self.ids)
        return span[:, :-1], span[:, 1:]


def windows_once(ids: Ids, batch: int, window: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All windows of a text once, as B parallel streams: ``inputs``, ``targets`` (B, <= T).

    For evaluation.  A stream is at least 16 windows long, so that starting from the zero state
    costs little.  A short text is read as fewer streams, down to one.  Up to B - 1 tokens at the
    end are not read.
    """
    _check_two_tokens(ids)
    batch = max(1, min(batch, len(ids) // (16 * window)))
    length = (len(ids) - 1) // batch
    streams = np.arange(batch)[:, None] * length  # (B, 1)
    for start in range(0, length, window):
        steps = np.arange(start, min(start + window, length) + 1)
        span = ids[streams + steps].astype(np.int64)
        yield span[:, :-1], span[:, 1:]


def _check_two_tokens(ids: Ids) -> None:
    if len(ids) < 2:
        raise InputError(f"the text to evaluate: expected 2 tokens or more, found {len(ids)}")


class RandomWindows:
    """An endless series of windows from random places of a text.

    Batch k is drawn from a new generator, seeded by ``seed`` and k.  So the state is ``position``,
    the number of batches drawn.
    """

    def __init__(self, ids: Ids, batch: int, window: int, seed: int = 0, position: int = 0):
        check_longer_than_a_window(ids, window)
        self.ids, self.batch, self.window, self.seed = ids, batch, window, seed
        self.position = position

    @property
    def batches_per_epoch(self) -> int:
        """The number of batches with as many tokens as the text."""
        return windows_per_epoch(self.ids, self.batch, self.window)

    def next(self) -> tuple[np.ndarray, np.ndarray]:
        """The next ``inputs`` and ``targets``, int64 (B, T)."""
        rng = np.random.default_rng((self.seed, self.position))
        starts = rng.integers(0, len(self.ids) - self.window, (self.batch, 1))
        span = self.ids[starts + np.arange(self.window + 1)].astype(np.int64)  # (B, T + 1)
        self.position += 1
        return span[:, :-1], span[:, 1:]


def overlapping_windows(
    ids: Ids, batch: int, window: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A text once, in windows that overlap by half: ``inputs``, ``targets``, ``mask`` (B, T).

    For evaluating a model that sees nothing before its window.  The mask is True at the targets
    that count.  Each token but the first counts once, in the window in which more tokens precede
    it.  After the first window, that is at least half a window.
    """
    _check_two_tokens(ids)
    last, overlap = len(ids) - 1, window // 2
    starts = np.arange(0, max(1, last - overlap), window - overlap)
    steps = np.arange(min(window, last) + 1)
    for first in range(0, len(starts), batch):
        begin = starts[first : first + batch, None]  # (B, 1)
        places = begin + steps  # (B, T + 1)
        span = ids[np.minimum(places, last)].astype(np.int64)
        counts = (begin == 0) | (steps[1:] > overlap)
        yield span[:, :-1], span[:, 1:], counts & (places[:, 1:] <= last)
