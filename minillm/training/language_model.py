"""Language models in training: windows of a long text, each from the state after the last."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from minillm.data import Windows, windows_once
from minillm.errors import InputError, short
from minillm.training.checkpoints import copy_arrays
from minillm.training.loop import Backward
from minillm.training.parallel import all_rows, own_generator, own_rows


class WindowModel(Protocol):
    """What is trained here: any :class:`minillm.models.base.NextTokenModel`."""

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
        if len(validation_ids) < 2:
            raise InputError(
                f"the validation text has {len(validation_ids)} tokens: expected 2 or more"
            )
        self.validation_ids = validation_ids
        self.batch = batch
        self.own_rows, self.counts = own_rows(batch)
        self.carried_state = self._own(model.zero_state(batch))  # of this rank's rows

    @property
    def batches_per_epoch(self) -> int:
        """As the loop asks for it."""
        return self.windows.batches_per_epoch

    def training_loss(self, rng: np.random.Generator) -> tuple[np.floating, Backward, int]:
        """The loss of the next window, in nats per token."""
        inputs, targets = (ids[self.own_rows] for ids in self.windows.next())
        (loss, self.carried_state), backward = self.model.window_loss(
            inputs, targets, self.carried_state, own_generator(rng)
        )
        return loss, backward, self.counts * targets.size

    def validation_loss(self) -> float:
        """The mean loss over the whole validation text, in nats per token."""
        return evaluate(self.model, self.validation_ids, self.batch, self.windows.window)[0]

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """The carried state, and the position in the text."""
        return all_rows(self.carried_state, self.batch), {"position": self.windows.position}

    def restore(self, arrays: Mapping[str, np.ndarray], values: dict) -> None:
        """Restores what :meth:`state` returned."""
        state = self.model.zero_state(self.batch)
        copy_arrays(arrays, state, "the carried state")
        for name, array in state.items():
            V = self.model.config.vocabulary
            if array.dtype.kind == "i" and array.size and not (0 <= array.min() <= array.max() < V):
                raise ValueError(
                    f"{name}: expected ids from 0 to {V - 1}, found {array.min()} to {array.max()}"
                )
        position, length = values["position"], len(self.windows.ids)
        if type(position) is not int or not 0 <= position < length:
            raise ValueError(f"position: expected 0 to {length - 1}, found {short(position)}")
        self.windows.position = position
        self.carried_state = self._own(state)

    def _own(self, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: np.ascontiguousarray(rows[self.own_rows]) for name, rows in state.items()}


def evaluate(model: WindowModel, ids: np.ndarray, batch: int, window: int) -> tuple[float, int]:
    """The mean loss over a text in nats per token, and the number of tokens it is the mean of."""
    total, tokens, state = 0.0, 0, None
    for inputs, targets in windows_once(ids, batch, window):
        if state is None:
            state = model.zero_state(len(inputs))
        (loss, state), _ = model.window_loss(inputs, targets, state)
        total += float(loss) * targets.size
        tokens += targets.size
    return total / tokens, tokens
