"""Language models in training: windows of a long text, with the state carried along."""

from collections.abc import Mapping

import numpy as np

from minillm.data import Windows, windows_once
from minillm.errors import InputError
from minillm.models.language_model import LanguageModel
from minillm.training.checkpoints import copy_arrays
from minillm.training.loop import Backward


class LanguageModelTask:
    """Truncated backpropagation through time over B parallel streams of a text.

    The state at the end of each window is the next one's initial state; the gradient stops
    between them.  Source: Mikolov et al. (2010); Williams and Peng (1990).
    """

    def __init__(
        self,
        model: LanguageModel,
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
        self.recurrent_state = model.zero_state(batch)

    def training_loss(self, rng: np.random.Generator) -> tuple[np.floating, Backward, int]:
        """The loss of the next window, in nats a token."""
        inputs, targets = self.windows.next()
        (loss, self.recurrent_state), backward = self.model.window_loss(
            inputs, targets, self.recurrent_state, rng
        )
        return loss, backward, targets.size

    def validation_loss(self) -> float:
        """The mean loss over all of the held-out text, in nats a token."""
        batch = len(self.windows.starts)
        return evaluate(self.model, self.validation_ids, batch, self.windows.window)[0]

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """The carried state, and the position in the text."""
        return self.recurrent_state, {"position": self.windows.position}

    def restore(self, arrays: Mapping[str, np.ndarray], values: dict) -> None:
        """Goes back to what :meth:`state` told."""
        copy_arrays(arrays, self.recurrent_state, "the carried state")
        self.windows.position = int(values["position"])


def evaluate(model: LanguageModel, ids: np.ndarray, batch: int, window: int) -> tuple[float, int]:
    """The mean loss over a text in nats a token, and over how many tokens it was taken."""
    total, tokens, state = 0.0, 0, None
    for inputs, targets in windows_once(ids, batch, window):
        if state is None:
            state = model.zero_state(len(inputs))
        (loss, state), _ = model.window_loss(inputs, targets, state)
        total += float(loss) * targets.size
        tokens += targets.size
    return total / tokens, tokens
