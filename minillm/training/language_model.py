"""The task of recurrent language models: windows of a text, each with the state of the previous."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from minillm.data import Windows, windows_once
from minillm.errors import InputError
from minillm.training.checkpoints import copy_arrays
from minillm.training.parallel import all_rows, own_generator, own_rows
from minillm.training.task import Backward, position_from


class WindowModel(Protocol):
    """A model of this task: any :class:`minillm.models.base.NextTokenModel`."""

    config: Any  # has ``vocabulary``

    def zero_state(self, B: int) -> dict[str, np.ndarray]: ...

    def window_loss(
        self,
        inputs: np.ndarray,
        targets: np.ndarray,
        state: dict[str, np.ndarray],
        rng: np.random.Generator | None = None,
    ) -> tuple[tuple[np.floating, dict[str, np.ndarray]], Backward]: ...


class LanguageModelTask:
    """Truncated backpropagation through time over B parallel streams of a text.

    The state at the end of each window is the initial state of the next; no gradient flows
    between them.  Source: Mikolov et al. (2010); Williams and Peng (1990).
    """

    def __init__(
        self,
        model: WindowModel,
        training_ids: np.ndarray,
        validation_ids: np.ndarray,
        batch: int,
        window: int,
    ):
        self.model = model
        self.windows = Windows(training_ids, batch, window)
        self.batches_per_epoch = self.windows.batches_per_epoch
        if len(validation_ids) < 2:
            raise InputError(
                f"the validation text has {len(validation_ids)} tokens: expected 2 or more"
            )
        self.validation_ids = validation_ids
        self.batch = batch
        self.own_rows, self.counts = own_rows(batch)
        self.carried_state = self._own(model.zero_state(batch))  # of this rank's rows

    def training_loss(self, rng: np.random.Generator) -> tuple[np.floating, Backward, int]:
        """Return the loss of the next window in nats per token, its backward, and the tokens."""
        inputs, targets = (ids[self.own_rows] for ids in self.windows.next())
        (loss, self.carried_state), backward = self.model.window_loss(
            inputs, targets, self.carried_state, own_generator(rng)
        )
        return loss, backward, self.counts * targets.size

    def validation_loss(self) -> float:
        """Return the mean loss over the whole held-out text, in nats per token."""
        return evaluate(self.model, self.validation_ids, self.batch, self.windows.window)[0]

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """Return the carried state, and the position in the text."""
        return all_rows(self.carried_state, self.batch), {"position": self.windows.position}

    def restore(self, arrays: Mapping[str, np.ndarray], values: dict) -> None:
        """Restore a result of :meth:`state`."""
        state = self.model.zero_state(self.batch)
        copy_arrays(arrays, state, "the carried state")
        for name, array in state.items():
            V = self.model.config.vocabulary
            if array.dtype.kind == "i" and array.size and not (0 <= array.min() <= array.max() < V):
                raise ValueError(
                    f"{name}: expected ids from 0 to {V - 1}, found {array.min()} to {array.max()}"
                )
        self.windows.position = position_from(values, below=len(self.windows.ids))
        self.carried_state = self._own(state)

    def _own(self, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: np.ascontiguousarray(rows[self.own_rows]) for name, rows in state.items()}


def evaluate(model: WindowModel, ids: np.ndarray, batch: int, window: int) -> tuple[float, int]:
    """Return the mean loss over a text in nats per token, and the number of these tokens."""
    total, tokens, state = 0.0, 0, None
    for inputs, targets in windows_once(ids, batch, window):
        if state is None:
            state = model.zero_state(len(inputs))
        (loss, state), _ = model.window_loss(inputs, targets, state)
        total += float(loss) * targets.size
        tokens += targets.size
    return total / tokens, tokens
