"""A task: a model and its data, as the training loop sees them."""

import os
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from minillm.errors import short
from minillm.layers.types import Backward


class Task:
    """A model and its data.  To train something new, write the two losses.

    :class:`minillm.training.language_model.LanguageModelTask` is a good example.  A task must not
    keep a reference to a ``backward``: the arrays of a batch are freed before the next batch.

    ``batches`` is an endless series such as :class:`minillm.data.Minibatches`: it has a method
    ``next``, its ``position``, and ``batches_per_epoch``.  A task without one, or one with more to
    remember, writes ``state`` and ``restore``, too.
    """

    batches_per_epoch: int | None = None  # None: a run has no epochs
    measures: Mapping[str, float] = MappingProxyType({})  # of the last validation, to show and log
    rows: int = 0  # read so far in this session, if the speed counts rows rather than tokens

    def __init__(self, batches: Any = None):
        self.batches = batches
        if batches is not None:
            self.batches_per_epoch = batches.batches_per_epoch

    def training_loss(self, rng: np.random.Generator) -> tuple[Any, Backward, int]:
        """The loss of the next batch, its backward, and the number of tokens.

        The loss is the mean over these.  Random numbers (dropout, shuffling) come only from rng.
        In a job of several ranks, each computes the loss of its own rows: see
        :mod:`minillm.training.parallel`.  A task may ignore ranks: each then computes the whole
        batch, which is correct, but no faster.
        """
        raise NotImplementedError

    def validation_loss(self) -> float:
        """The mean loss over the held-out data, without dropout."""
        raise NotImplementedError

    def step_cost(self) -> tuple[float, float]:
        """The least bytes that a step keeps, and its multiply-adds; (0, 0): not estimated."""
        return 0, 0

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """Everything that the task changes from step to step: here, its position in the data.

        With it, a resumed run of a number of steps gives the same bits as an uninterrupted one.
        """
        return {}, {"position": self.batches.position}

    def restore(self, arrays: Mapping[str, np.ndarray], values: dict) -> None:
        """Restore a result of :meth:`state`."""
        position = values["position"]
        if type(position) is not int or not 0 <= position < 2**63:
            raise ValueError(f"position: expected a number from 0 up, found {short(position)}")
        self.batches.position = position


def weighted_mean(pairs: Iterable[tuple[Any, int]]) -> tuple[float, int]:
    """The mean of the losses of batches, weighted by their counts, and the total count.

    ``pairs`` has the mean loss of each batch, and the number of items that it is the mean over.

    >>> weighted_mean([(2.0, 1), (1.0, 3)])
    (1.25, 4)
    """
    total, items = 0.0, 0
    for loss, count in pairs:
        total += float(loss) * count
        items += count
    return total / items, items


def machine_memory() -> int:
    """The bytes of memory of this machine; 0 where they are unknown, as on Windows."""
    if not hasattr(os, "sysconf"):
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
