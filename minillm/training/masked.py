"""Models that fill gaps, in training: passages of a text, in which tokens are hidden."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.data.masking import MaskedBatch, Masking
from minillm.data.passages import Passages
from minillm.errors import InputError
from minillm.training.loop import Backward


class FillingModel(Protocol):
    """What is trained here: :class:`minillm.models.bert.BERT`, or one like it."""

    def loss(
        self, batch: MaskedBatch, rng: np.random.Generator | None = None
    ) -> tuple[np.floating, Backward]: ...

    def fill(self, batch: MaskedBatch) -> NDArray: ...


class MaskedTask:
    """A model and the passages whose hidden tokens it learns to predict.

    What is hidden is drawn anew for each batch, from the loop's generator; in ``validation`` it is
    always the same.  ``measures`` has the accuracy of the last validation.
    """

    def __init__(
        self,
        model: FillingModel,
        passages: Passages,
        masking: Masking,
        validation: Sequence[MaskedBatch],
        sample: Callable[[], str] = str,
    ):
        self.model, self.passages, self.masking = model, passages, masking
        self.validation, self.sample = validation, sample
        self.rows = 0  # tokens read in training so far, in this session
        self.measures: dict[str, float] = {}

    def training_loss(self, rng: np.random.Generator) -> tuple[np.floating, Backward, int]:
        """The loss of the next passages, in nats per hidden token."""
        batch = self.masking.hide(self.passages.next(), rng)
        if not len(batch.targets):
            raise InputError("the passages have no token that could be hidden: special ones alone")
        self.rows += int(batch.lengths.sum())
        loss, backward = self.model.loss(batch, rng)
        return loss, backward, len(batch.targets)

    def validation_loss(self) -> float:
        """The mean loss over the hidden tokens of the held-out passages."""
        loss, accuracy, _ = evaluate_filling(self.model, self.validation)
        self.measures = {"masked_accuracy": accuracy}
        return loss

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """The position in the text."""
        return {}, {"position": self.passages.position}

    def restore(self, arrays: Mapping[str, np.ndarray], values: dict[str, Any]) -> None:
        """Restores what :meth:`state` returned."""
        position = values["position"]
        if type(position) is not int or not 0 <= position < 2**63:
            raise ValueError(f"position: expected a number from 0, found {position!r}")
        self.passages.position = position


def evaluate_filling(
    model: FillingModel, batches: Iterable[MaskedBatch]
) -> tuple[float, float, int]:
    """The mean loss in nats per hidden token, the share of them that the model's first choice
    fills in, and their number."""
    total, right, hidden = 0.0, 0, 0
    for batch in batches:
        if not len(batch.targets):
            continue
        logits = model.fill(batch)  # (M, V)
        loss, _ = ops.cross_entropy(logits, batch.targets)
        total += float(loss) * len(batch.targets)
        right += int((logits.argmax(axis=1) == batch.targets).sum())
        hidden += len(batch.targets)
    if not hidden:
        raise InputError("the text to measure on has no token that could be hidden")
    return total / hidden, right / hidden, hidden
