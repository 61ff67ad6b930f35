"""Learning from preferences: of two answers, the chosen one becomes more probable.

The loss of :func:`minillm.ops.preference_loss` compares log-probabilities of whole answers by the
model with log-probabilities by the model before its first step.  The latter are constant, so they
are computed once and stored with the run.

Source: Rafailov et al. (2023), "Direct preference optimization".
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers.types import Backward
from minillm.training.conversations import BatchesInEpochs, Encoded, batches_of, packed
from minillm.training.packed import Packed
from minillm.training.task import Task, weighted_mean

Pair = tuple[Encoded, Encoded]  # chosen, rejected


def answer_log_likelihoods(
    model: Packed, conversations: Sequence[Encoded], rng: np.random.Generator | None = None
) -> tuple[NDArray, Backward]:
    """The log-probability of the answers of each conversation (n,): the sum over their tokens.

    ``backward(dlog_p)`` -> gradients.
    """
    log_p, likelihood_backward = model.log_likelihood(*packed(conversations).arguments(rng))
    owner = np.repeat(np.arange(len(conversations)), [c.counted[1:].sum() for c in conversations])
    sums = np.zeros(len(conversations), log_p.dtype)
    np.add.at(sums, owner, log_p)

    def backward(dsums):
        return likelihood_backward(dsums[owner])

    return sums, backward


class PreferenceTask(Task):
    """A model and pairs of conversations, as the training loop sees them.

    ``measures`` has the share of held-out pairs whose margin is above zero.
    """

    def __init__(
        self,
        model: Any,
        training: Sequence[Pair],
        validation: Sequence[Pair],
        tokens: int,
        seed: int,
        beta: float,
        recompute: bool = False,
    ):
        self.model, self.beta = Packed(model, recompute), beta
        self.training, self.validation = training, validation
        super().__init__(BatchesInEpochs([_length(pair) for pair in training], tokens, seed))
        self.tokens = tokens
        self.groups = batches_of([_length(p) for p in validation], tokens, range(len(validation)))
        self._reference: NDArray | None = None  # (training + validation, 2)

    def training_loss(self, rng: np.random.Generator) -> tuple[np.floating, Backward, int]:
        """The loss of the next batch, its backward, and the number of pairs."""
        reference = self.reference()
        batch = self.batches.next()
        (loss, _), backward = self._loss([self.training[k] for k in batch], reference[batch], rng)
        return loss, backward, len(batch)

    def validation_loss(self) -> float:
        """The mean loss over the held-out pairs, and keep the share that is right."""
        reference = self.reference()[len(self.training) :]
        results = [
            self._loss([self.validation[k] for k in group], reference[group])[0]
            for group in self.groups
        ]
        margins = np.concatenate([margins for _, margins in results])
        self.measures = {"preferred": float((margins > 0).mean())}
        return weighted_mean((loss, len(margins)) for loss, margins in results)[0]

    def reference(self) -> NDArray:
        """The log-probabilities (pairs, 2) of the answers by the model before its first step."""
        if self._reference is None:
            pairs = [*self.training, *self.validation]
            lengths = [_length(pair) for pair in pairs]
            rows = [
                answer_log_likelihoods(self.model, [one for k in group for one in pairs[k]])[0]
                for group in batches_of(lengths, self.tokens, range(len(pairs)))
            ]
            self._reference = np.concatenate(rows).reshape(-1, 2)
        return self._reference

    def _loss(
        self, pairs: Sequence[Pair], reference: NDArray, rng: np.random.Generator | None = None
    ) -> tuple[tuple[np.floating, NDArray], Backward]:
        """The loss of pairs and their margins (P,); ``backward()`` -> gradients."""
        log_p, sums_backward = answer_log_likelihoods(
            self.model, [one for pair in pairs for one in pair], rng
        )
        both = log_p.reshape(-1, 2)
        chosen, rejected = (np.ascontiguousarray(column) for column in both.T)
        of_chosen, of_rejected = (np.ascontiguousarray(column) for column in reference.T)
        loss, loss_backward = ops.preference_loss(
            chosen, rejected, of_chosen, of_rejected, self.beta
        )
        margins = (both - reference) @ np.array([1, -1], both.dtype)

        def backward():
            return sums_backward(np.stack(loss_backward(), axis=1).ravel())

        return (loss, margins), backward

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """The position and the reference."""
        return {"reference": self.reference()}, super().state()[1]

    def restore(self, arrays: Mapping[str, np.ndarray], values: dict) -> None:
        """Restore a result of :meth:`state`."""
        expected = (len(self.training) + len(self.validation), 2)
        if arrays["reference"].shape != expected:
            found = arrays["reference"].shape
            raise ValueError(f"reference: expected shape {expected}, found {found}")
        self._reference = np.array(arrays["reference"])
        super().restore(arrays, values)


def _length(pair: Pair) -> int:
    return sum(len(one.ids) - 1 for one in pair)
