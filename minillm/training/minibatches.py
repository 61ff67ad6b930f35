"""The tasks of models that are trained on random minibatches: encoder-decoders, classifiers."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.data import Minibatches, Sequences
from minillm.data.sequences import Column
from minillm.training.parallel import own_generator, own_rows
from minillm.training.task import Backward


class Model(Protocol):
    """A model to train: with rng, ``loss`` has dropout and all else that training draws."""

    def loss(
        self, batch: Any, rng: np.random.Generator | None = None
    ) -> tuple[np.floating, Backward]: ...


class MinibatchTask:
    """A model and its minibatches, as the training loop sees them.

    ``count(batch)`` is the number of items that the loss of a batch is the mean over.
    """

    def __init__(
        self,
        model: Model,
        training: Minibatches,
        validation: Minibatches,
        count: Callable[[tuple[NDArray, ...]], int],
    ):
        self.model = model
        self.training, self.validation = training, validation
        self.count = count
        self.rows = 0  # read in training so far, in this session

    @property
    def batches_per_epoch(self) -> int:
        """The number of batches in which each row is read once."""
        return self.training.batches_per_epoch

    def training_loss(self, rng: np.random.Generator) -> tuple[np.floating, Backward, int]:
        """Return the loss of the next batch."""
        batch = self.training.next()
        self.rows += len(batch[0])
        rows, counts = own_rows(len(batch[0]))
        own = tuple(column[rows] for column in batch)
        loss, backward = self.loss(own, own_generator(rng))
        return loss, backward, counts * self.count(own)

    def loss(
        self, batch: tuple[Any, ...], rng: np.random.Generator | None
    ) -> tuple[np.floating, Backward]:
        """Return the loss of a batch."""
        return self.model.loss(batch, rng)

    def validation_loss(self) -> float:
        """Return the mean loss over all of the held-out rows."""
        return mean_loss(self.model, self.validation, self.count)

    def state(self) -> tuple[dict[str, NDArray], dict]:
        """Return the epoch, and the position in it."""
        return {}, self.training.state()

    def restore(self, arrays: Mapping[str, NDArray], values: dict) -> None:
        """Restore what :meth:`state` returned."""
        self.training.restore(values)


class ClassificationTask(MinibatchTask):
    """A classifier and its minibatches, the last entry of which are the classes (B,).

    ``measures`` has the accuracy of the last validation.  Where the rows are ``texts`` and changed
    copies of them, an epoch has as many rows as there are texts, so that the model is validated as
    often as without copies.  With ``class_weights`` (classes,), the loss of a text is multiplied by
    the weight of its class.
    """

    def __init__(
        self,
        model: Any,
        training: Minibatches,
        validation: Minibatches,
        texts: int | None = None,
        class_weights: NDArray | None = None,
    ):
        super().__init__(model, training, validation, count=lambda batch: len(batch[0]))
        self.texts, self.class_weights = texts, class_weights
        self.measures: dict[str, float] = {}

    @property
    def batches_per_epoch(self) -> int:
        """The number of batches that have as many rows as there are texts."""
        if self.texts is None:
            return self.training.batches_per_epoch
        return -(-self.texts // self.training.batch)

    def loss(
        self, batch: tuple[Any, ...], rng: np.random.Generator | None
    ) -> tuple[np.floating, Backward]:
        """Return the loss of a batch, each text weighted by its class."""
        model: Any = self.model
        return model.loss(batch, rng, self.class_weights)

    def validation_loss(self) -> float:
        """Return the mean loss over all of the held-out rows, and the accuracy."""
        total, right, items = 0.0, 0, 0
        for *inputs, classes in self.validation.once():
            logits, _ = self.model.forward(*inputs)  # type: ignore[attr-defined]
            loss, _ = ops.cross_entropy(logits, classes, class_weights=self.class_weights)
            total += float(loss) * len(classes)
            right += int((logits.argmax(axis=1) == classes).sum())
            items += len(classes)
        self.measures = {"accuracy": right / items}
        return total / items


class SpanTask(MinibatchTask):
    """A reader and its minibatches: questions, contexts, first and last places (B,) of the answers.

    ``measures`` has the share of the windows of the last validation in which both places are right.
    """

    def __init__(self, model: Any, training: Minibatches, validation: Minibatches):
        super().__init__(model, training, validation, count=lambda batch: len(batch[0]))
        self.measures: dict[str, float] = {}

    def validation_loss(self) -> float:
        """Return the mean loss over all of the held-out rows, and how many places are right."""
        total, right, rows = 0.0, 0, 0
        for *texts, first, last in self.validation.once():
            places = np.stack([first, last], axis=1)  # (B, 2)
            logits, _ = self.model.forward(*texts)  # type: ignore[attr-defined]
            loss, _ = ops.cross_entropy(logits, places)
            total += float(loss) * len(places)
            right += int((logits.argmax(axis=2) == places).all(axis=1).sum())
            rows += len(places)
        self.measures = {"exact_spans": right / rows}
        return total / rows


def balanced_weights(classes: NDArray[np.integer], count: int) -> NDArray[np.float64]:
    """Return the weights (count,) of the items of each class with which all classes count alike.

        w_c = N / (C n_c), the mean of which over the N items is 1; 0 for a class without any

    >>> balanced_weights(np.array([0, 0, 0, 1]), 2).round(3).tolist()
    [0.667, 2.0]

    Source: King and Zeng (2001), "Logistic regression in rare events data", section 4.2.
    """
    items = np.bincount(classes, minlength=count)
    present = items > 0
    return np.where(present, len(classes) / (present.sum() * np.maximum(items, 1)), 0.0)


def mean_loss(
    model: Model, batches: Minibatches, count: Callable[[tuple[NDArray, ...]], int]
) -> float:
    """Return the mean loss over all rows, each read once and each item weighted equally."""
    total, items = 0.0, 0
    for batch in batches.once():
        loss, _ = model.loss(batch)
        total += float(loss) * count(batch)
        items += count(batch)
    return total / items


def fingerprint(columns: tuple[Column, ...]) -> str:
    """Return a digest of the data: a resumed run checks that they are still the same."""
    digest = hashlib.sha256()
    for column in columns:
        if isinstance(column, Sequences):
            digest.update(column.ids.tobytes())
            digest.update(column.lengths.tobytes())
        else:
            digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()
