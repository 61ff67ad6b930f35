"""A task: a model and its data, as the training loop sees them.

To train something new, write the four methods of :class:`Task`:
:class:`minillm.training.language_model.LanguageModelTask` is one to copy from.

- ``training_loss(rng)`` takes the next batch from wherever the task keeps its data, runs the
  model forward, and returns the loss, its backward, and the number of tokens whose mean it is.
  Random numbers (dropout, shuffling) come from ``rng`` only.  In a job of several ranks, the loss
  is that of this rank's rows: see :mod:`minillm.training.parallel`.  A task that ignores ranks
  computes the whole batch on each of them, which is right, but no faster.
- ``validation_loss()`` is the mean loss over the held-out data, without dropout.
- ``state()`` and ``restore(...)`` save and restore all that the task itself changes from step to
  step: the position in the data, a hidden state.  With these, a run of a number of steps that is
  resumed gives the same bits as one that was never stopped.

Three more attributes are optional:

- ``batches_per_epoch`` is the number of batches in all of the training data.  Without it, a run
  has no epochs.
- ``measures``, a dictionary that ``validation_loss`` fills, is shown and logged beside the loss.
- ``sample()`` is a line of text to show after each validation.

A task should keep no backward, so that the arrays of one batch are freed before the next.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from minillm.errors import short
from minillm.layers.types import Backward


class Task(Protocol):
    """A model and its data."""

    def training_loss(
        self, rng: np.random.Generator
    ) -> tuple[float | np.floating, Backward, int]: ...

    def validation_loss(self) -> float: ...

    def state(self) -> tuple[dict[str, np.ndarray], dict]: ...

    def restore(self, arrays: Mapping[str, np.ndarray], values: dict) -> None: ...


def position_from(values: Mapping[str, Any]) -> int:
    """Return ``values["position"]``, checked: a position in the data that a task has stored."""
    position = values["position"]
    if type(position) is not int or not 0 <= position < 2**63:
        raise ValueError(f"position: expected a number from 0 up, found {short(position)}")
    return position
