"""Supervised fine-tuning: a model learns to answer like the answers in a set of conversations.

A conversation is a text (:mod:`minillm.text.chat_template`), and the model predicts each of its
tokens.  But in use it writes only the answers.  The loss is therefore the mean over the tokens of
the answers, each with the special token that ends it:

    loss = - sum over t of counted_t log P(id_t | id_1 .. id_{t-1}) / sum over t of counted_t

The model reads the other tokens, but does not learn them.  The output layer, which takes a fifth of
all products for a large vocabulary, is computed at counted tokens only.

Conversations are packed: a batch has as many as fit a number of tokens, one after another, and none
attends to another (:mod:`minillm.training.packed`).

Source: Ouyang et al. (2022), "Training language models to follow instructions with human feedback",
section 3.5.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm.layers.types import Backward, Ids
from minillm.training.packed import Packed
from minillm.training.task import Task, weighted_mean


class Encoded(NamedTuple):
    """The ids of a conversation (T,), and which of them the model has to write."""

    ids: NDArray[np.int32]
    counted: NDArray[np.bool_]


class PackedBatch(NamedTuple):
    """Conversations one after another; each token but a conversation's last predicts the next."""

    inputs: Ids  # (1, R)
    targets: Ids  # (1, R)
    mask: NDArray[np.bool_]  # (1, R): the targets that count
    lengths: NDArray[np.int64]  # (n,), of the conversations; their sum is R

    def arguments(self, rng: np.random.Generator | None) -> tuple[Any, ...]:
        """The arguments of :meth:`minillm.training.packed.Packed.loss`."""
        return (self.inputs, self.targets), rng, self.mask, self.lengths


def packed(conversations: Sequence[Encoded]) -> PackedBatch:
    """Put conversations one after another."""
    return PackedBatch(
        np.concatenate([c.ids[:-1] for c in conversations])[None],
        np.concatenate([c.ids[1:] for c in conversations])[None],
        np.concatenate([c.counted[1:] for c in conversations])[None],
        np.array([len(c.ids) - 1 for c in conversations]),
    )


def batches_of(lengths: Sequence[int], tokens: int, order: Sequence[int]) -> list[list[int]]:
    """The indices of the conversations in each batch, taken in an order.

    A batch has at most ``tokens`` tokens, or one conversation.

    >>> batches_of([3, 4, 2, 9, 1], 8, range(5))
    [[0, 1], [2], [3], [4]]
    """
    batches: list[list[int]] = []
    room = 0
    for number in order:
        if not batches or lengths[number] > room:
            batches.append([])
            room = tokens
        batches[-1].append(number)
        room -= lengths[number]
    return batches


class BatchesInEpochs:
    """An endless series of batches of as many items as fit a number of tokens; they are made once.

    Each epoch has them in another order, which depends only on the seed and the epoch's number.
    """

    def __init__(self, lengths: Sequence[int], tokens: int, seed: int):
        self.seed, self.position = seed, 0
        order = np.random.default_rng(seed).permutation(len(lengths))
        self.batches = batches_of(lengths, tokens, order.tolist())
        self.batches_per_epoch = len(self.batches)

    def next(self) -> list[int]:
        """The indices of the items in the next batch."""
        epoch, place = divmod(self.position, len(self.batches))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.batches))
        self.position += 1
        return self.batches[order[place]]


class ChatTask(Task):
    """A model and its conversations, as the training loop sees them."""

    def __init__(
        self,
        model: Any,
        training: Sequence[Encoded],
        validation: Sequence[Encoded],
        tokens: int,
        seed: int,
        recompute: bool = False,
    ):
        self.model, self.training = Packed(model, recompute), training
        super().__init__(BatchesInEpochs([len(one.ids) - 1 for one in training], tokens, seed))
        self.validation = in_batches(validation, tokens)

    def training_loss(self, rng: np.random.Generator) -> tuple[np.floating, Backward, int]:
        """The loss of the next batch, its backward, and the number of counted tokens."""
        batch = packed([self.training[k] for k in self.batches.next()])
        loss, backward = self.model.loss(*batch.arguments(rng))
        return loss, backward, int(batch.mask.sum())

    def validation_loss(self) -> float:
        """The mean loss over the answers of the held-out conversations."""
        return mean_loss(self.model, self.validation)[0]


def in_batches(conversations: Sequence[Encoded], tokens: int) -> list[PackedBatch]:
    """All conversations once, for evaluation: the short ones first."""
    ordered = sorted(conversations, key=lambda one: len(one.ids))
    groups = batches_of([len(one.ids) - 1 for one in ordered], tokens, range(len(ordered)))
    return [packed([ordered[k] for k in group]) for group in groups]


def mean_loss(model: Packed, batches: Sequence[PackedBatch]) -> tuple[float, int]:
    """The mean loss over the counted tokens of batches, and their number."""
    return weighted_mean(
        (model.loss(*batch.arguments(None))[0], int(batch.mask.sum())) for batch in batches
    )
