"""The task of causal Transformers: windows of a text, each without a context before it."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from minillm.data import overlapping_windows
from minillm.data.windows import Ids, RandomWindows, Windows
from minillm.errors import InputError
from minillm.training.parallel import own_generator, own_rows
from minillm.training.task import Backward, position_from

LOGITS_AT_ONCE = 1 << 25  # the most numbers in a batch of validation


class ContextModel(Protocol):
    """A model of this task: :class:`minillm.models.gpt.GPT`, or one like it."""

    config: Any  # has ``context`` and ``vocabulary``

    def window_loss(
        self,
        inputs: np.ndarray,
        targets: np.ndarray,
        state: dict[str, np.ndarray],
        rng: np.random.Generator | None = None,
        mask: np.ndarray | None = None,
    ) -> tuple[tuple[np.floating, dict[str, np.ndarray]], Backward]: ...


class ContextTask:
    """A model that reads one window at a time, and the windows that it is trained on.

    Validation always reads the same ``validation_tokens`` of the held-out text: ten stretches
    spread evenly over it, because one part of a text may be easier than the whole.
    ``sample()``, if it is given, is a text that is shown after each validation.
    """

    def __init__(
        self,
        model: ContextModel,
        windows: RandomWindows | Windows,
        validation_ids: Ids,
        batch: int,
        validation_tokens: int,
        sample: Callable[[], str] = str,
    ):
        if len(validation_ids) < 2:
            raise InputError(
                f"the validation text has {len(validation_ids)} tokens: expected 2 or more"
            )
        self.model, self.windows, self.batch = model, windows, batch
        self.batches_per_epoch = windows.batches_per_epoch
        self.validation_ids = stretches(validation_ids, validation_tokens + 1)
        self.sample = sample
        self.own_rows, self.counts = own_rows(batch)

    def training_loss(self, rng: np.random.Generator) -> tuple[np.floating, Backward, int]:
        """Return the loss of the next windows in nats per token, its backward, and the tokens."""
        inputs, targets = (ids[self.own_rows] for ids in self.windows.next())
        (loss, _), backward = self.model.window_loss(inputs, targets, {}, own_generator(rng))
        return loss, backward, self.counts * targets.size

    def validation_loss(self) -> float:
        """Return the mean loss over the stretches of the held-out text, in nats per token."""
        return evaluate_in_context(self.model, self.validation_ids, self.batch)[0]

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """Return the position in the text."""
        return {}, {"position": self.windows.position}

    def restore(self, arrays: Mapping[str, np.ndarray], values: dict) -> None:
        """Restore a result of :meth:`state`."""
        self.windows.position = position_from(values)


def stretches(ids: Ids, tokens: int, count: int = 10) -> np.ndarray:
    """Return ``tokens`` tokens of a text: ``count`` stretches spread evenly over it, joined.

    >>> stretches(np.arange(100), 6, count=3).tolist()
    [0, 1, 49, 50, 98, 99]
    """
    length = -(-tokens // count)
    if len(ids) <= tokens or length < 2:
        return np.asarray(ids[:tokens])
    starts = np.linspace(0, len(ids) - length, count).astype(int)
    return np.concatenate([ids[start : start + length] for start in starts])[:tokens]


def evaluate_in_context(model: ContextModel, ids: Ids, batch: int) -> tuple[float, int]:
    """Return the mean loss over a text in nats per token, and the number of these tokens.

    The text is read ``batch`` windows or fewer at a time.  They overlap by half, so that from the
    second window on each token is predicted from half a context or more, as
    :meth:`minillm.models.gpt.GPT.log_probabilities` does.
    """
    context, vocabulary = model.config.context, model.config.vocabulary
    rows = max(1, min(batch, LOGITS_AT_ONCE // (context * vocabulary)))
    total, tokens = 0.0, 0
    for inputs, targets, mask in overlapping_windows(ids, rows, context):
        (loss, _), _ = model.window_loss(inputs, targets, {}, mask=mask)
        counted = int(mask.sum())
        total += float(loss) * counted
        tokens += counted
    return total / tokens, tokens
