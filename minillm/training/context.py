"""Transformers in training: windows of a text, each of which begins from nothing."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from minillm.data import overlapping_windows
from minillm.data.windows import Ids, RandomWindows, Windows
from minillm.errors import InputError
from minillm.training.loop import Backward
from minillm.training.parallel import own_generator, own_rows

LOGITS_AT_ONCE = 1 << 25  # numbers: what a batch of validation may take


class ContextModel(Protocol):
    """What is trained here: :class:`minillm.models.gpt.GPT`, or one like it."""

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
    """A model that sees one window at a time, and the windows that it is trained on.

    Validation reads ``validation_tokens`` of the text that was held out, in ten stretches spread
    evenly over it, for one part of a text may be easier than the whole: always the same ones.
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
        self.validation_ids = stretches(validation_ids, validation_tokens + 1)
        self.sample = sample
        self.own_rows, self.counts = own_rows(batch)

    @property
    def batches_per_epoch(self) -> int:
        """As the loop asks for it."""
        return self.windows.batches_per_epoch

    def training_loss(self, rng: np.random.Generator) -> tuple[np.floating, Backward, int]:
        """The loss of the next windows, in nats per token."""
        inputs, targets = (ids[self.own_rows] for ids in self.windows.next())
        (loss, _), backward = self.model.window_loss(inputs, targets, {}, own_generator(rng))
        return loss, backward, self.counts * targets.size

    def validation_loss(self) -> float:
        """The mean loss over the first of the validation text, in nats per token."""
        return evaluate_in_context(self.model, self.validation_ids, self.batch)[0]

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """The position in the text."""
        return {}, {"position": self.windows.position}

    def restore(self, arrays: Mapping[str, np.ndarray], values: dict) -> None:
        """Restores what :meth:`state` returned."""
        position = values["position"]
        if type(position) is not int or not 0 <= position < 2**63:
            raise ValueError(f"position: expected a number from 0, found {position!r}")
        self.windows.position = position


def stretches(ids: Ids, tokens: int, count: int = 10) -> np.ndarray:
    """So many tokens of a text, in ``count`` stretches that are spread evenly over it, as one text.

    >>> stretches(np.arange(100), 6, count=3).tolist()
    [0, 1, 49, 50, 98, 99]
    """
    length = -(-tokens // count)
    if len(ids) <= tokens or length < 2:
        return np.asarray(ids[:tokens])
    starts = np.linspace(0, len(ids) - length, count).astype(int)
    return np.concatenate([ids[start : start + length] for start in starts])[:tokens]


def evaluate_in_context(model: ContextModel, ids: Ids, batch: int) -> tuple[float, int]:
    """The mean loss over a text in nats per token, and the number of tokens it is the mean of.

    The text is read in windows that overlap by half, so that from the second window on each token
    is predicted from half a context or more: as :meth:`minillm.models.gpt.GPT.log_probabilities`,
    ``batch`` windows at a time or fewer.
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
