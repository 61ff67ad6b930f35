"""The tasks of models that are trained on random minibatches: encoder-decoders, classifiers."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.data import Minibatches, Sequences
from minillm.data.sequences import Column
from minillm.layers.types import Backward
from minillm.training.parallel import own_generator, own_rows
from minillm.training.task import Task, weighted_mean


class MinibatchTask(Task):
    """A model and its minibatches, as the training loop sees them.

    ``count(batch)`` is the number of items of a batch; its loss is the mean over them.
    """

    def __init__(
        self,
        model: Any,
        training: Minibatches,
        validation: Minibatches,
        count: Callable[[tuple[NDArray, ...]], int],
    ):
        super().__init__(training)
        self.model, self.validation, self.count = model, validation, count

    def training_loss(self, rng: np.random.Generator) -> tuple[np.floating, Backward, int]:
        """The loss of the next batch, its backward, and the items."""
        batch = self.batches.next()
        self.rows += len(batch[0])
        rows, counts = own_rows(len(batch[0]))
        part = tuple(column[rows] for column in batch)
        loss, backward = self.loss(part, own_generator(rng))
        return loss, backward, counts * self.count(part)

    def loss(
        self, batch: tuple[Any, ...], rng: np.random.Generator | None
    ) -> tuple[np.floating, Backward]:
        """The loss of a batch."""
        return self.model.loss(batch, rng)

    def validation_loss(self) -> float:
        """The mean loss over all of the held-out rows."""
        return mean_loss(self.model, self.validation, self.count)


class ClassificationTask(MinibatchTask):
    """A classifier and its minibatches; the last entry of a batch is the classes, (B,) or (B, N).

    ``measures`` has the share of rows whose classes the model all predicts right, after each
    validation, under the name ``measure``.  With ``class_weights`` (classes,), the loss of a text
    is multiplied by the weight of its class.
    """

    def __init__(
        self,
        model: Any,
        training: Minibatches,
        validation: Minibatches,
        class_weights: NDArray | None = None,
        measure: str = "accuracy",
    ):
        super().__init__(model, training, validation, count=lambda batch: len(batch[0]))
        self.class_weights, self.measure = class_weights, measure

    def loss(
        self, batch: tuple[Any, ...], rng: np.random.Generator | None
    ) -> tuple[np.floating, Backward]:
        """The loss of a batch, each text weighted by its class."""
        weights = () if self.class_weights is None else (self.class_weights,)
        return self.model.loss(batch, rng, *weights)

    def validation_loss(self) -> float:
        """The mean loss over all of the held-out rows, and keep the share that is right."""
        losses, right = [], []
        for batch in self.validation.once():
            *inputs, targets = batch
            logits, _ = self.model.forward(*inputs)
            loss, _ = ops.cross_entropy(logits, targets, class_weights=self.class_weights)
            losses.append((loss, len(targets)))
            right += (logits.argmax(axis=-1) == targets).reshape(len(targets), -1).all(1).tolist()
        self.measures = {self.measure: float(np.mean(right))}
        return weighted_mean(losses)[0]


def balanced_weights(classes: NDArray[np.integer], count: int) -> NDArray[np.float64]:
    """Weights (count,) of the classes, with which all classes count equally.

        w_c = N / (C n_c)

    The mean over the N items is 1.  A class without items has the weight 0.

    >>> balanced_weights(np.array([0, 0, 0, 1]), 2).round(3).tolist()
    [0.667, 2.0]

    Source: King and Zeng (2001), "Logistic regression in rare events data", section 4.2.
    """
    items = np.bincount(classes, minlength=count)
    present = items > 0
    return np.where(present, len(classes) / (present.sum() * np.maximum(items, 1)), 0.0)


def mean_loss(
    model: Any, batches: Minibatches, count: Callable[[tuple[NDArray, ...]], int]
) -> float:
    """The mean loss over all rows, each read once and each item weighted equally."""
    return weighted_mean((model.loss(batch)[0], count(batch)) for batch in batches.once())[0]


def fingerprint(columns: tuple[Column, ...]) -> str:
    """A digest of the data, with which a resumed run checks that they have not changed."""
    digest = hashlib.sha256()
    for column in columns:
        if isinstance(column, Sequences):
            digest.update(column.ids.tobytes())
            digest.update(column.lengths.tobytes())
        else:
            digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()
