"""The task of models that predict masked tokens: passages of a text with some tokens hidden."""

from collections.abc import Iterable, Sequence

import numpy as np

from minillm import ops
from minillm.data.masking import MaskedBatch, Masking, Passages
from minillm.errors import InputError
from minillm.layers.types import Backward
from minillm.models.bert import BERT
from minillm.training.parallel import own_generator, own_rows
from minillm.training.task import Task, weighted_mean

HIDING = 1  # separates its random numbers from the passages'


class MaskedTask(Task):
    """A model, and passages with hidden tokens that it learns to predict.

    The hidden tokens are drawn again for each batch, from a separate generator; in ``validation``
    they stay the same.  ``measures`` has the accuracy of the last validation.
    """

    def __init__(
        self,
        model: BERT,
        passages: Passages,
        masking: Masking,
        validation: Sequence[MaskedBatch],
    ):
        super().__init__(passages)
        self.model, self.masking, self.validation = model, masking, validation

    def training_loss(self, rng: np.random.Generator) -> tuple[np.floating, Backward, int]:
        """The loss of the next passages, its backward, and the number of hidden tokens."""
        hiding = np.random.default_rng((self.batches.seed, self.batches.position, HIDING))
        batch = self.masking.hide(self.batches.next(), hiding)
        if not len(batch.targets):
            raise InputError("the passages have no token that could be hidden, only special ones")
        self.rows += int(batch.lengths.sum())
        rows, counts = own_rows(len(batch.ids))
        part = batch.part(rows)
        if not len(part.targets):
            part, counts = batch, 0
        loss, backward = self.model.loss(part, own_generator(rng))
        return loss, backward, counts * len(part.targets)

    def validation_loss(self) -> float:
        """The mean loss over the hidden tokens of the held-out passages."""
        loss, accuracy, _ = evaluate_filling(self.model, self.validation)
        self.measures = {"masked_accuracy": accuracy}
        return loss


def evaluate_filling(model: BERT, batches: Iterable[MaskedBatch]) -> tuple[float, float, int]:
    """The mean loss in nats per hidden token, the accuracy, and the number of hidden tokens."""
    losses, right = [], 0
    for batch in batches:
        if len(batch.targets):
            logits = model.fill(batch)  # (M, V)
            loss, _ = ops.cross_entropy(logits, batch.targets)
            losses.append((loss, len(batch.targets)))
            right += int((logits.argmax(axis=1) == batch.targets).sum())
    if not losses:
        raise InputError("the text to measure on has no token that could be hidden")
    mean, hidden = weighted_mean(losses)
    return mean, right / hidden, hidden
