"""Several classifiers of one shape, whose probabilities are averaged.

    P(label | text) = 1 / K sum over k of P_k(label | text)

The K members differ in their first weights and in their dropout, and so in what they get wrong.
In training each has a loss of its own, on the same batches; nothing passes from one to another.

Source: Hansen and Salamon (1990), "Neural network ensembles"; Lakshminarayanan, Pritzel and
Blundell (2017), "Simple and scalable predictive uncertainty estimation using deep ensembles",
section 2.4: all members learn from all data.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers.fresh import Fresh
from minillm.models import base
from minillm.models.base import Gradients
from minillm.models.classifier import Batch, Classifier, ClassifierConfig


class Ensemble(base.Model[ClassifierConfig]):
    """``members`` classifiers.

    ``params``: those of :class:`minillm.models.classifier.Classifier`, each once a member:
    ``members.0.embedding.E`` and so on.
    """

    @staticmethod
    def new_parameters(config: ClassifierConfig) -> dict[str, Fresh]:
        """Fresh parameters, others for each member."""
        of_one = Classifier.new_parameters(replace(config, members=1))
        return {
            f"members.{number}.{name}": fresh
            for number in range(config.members)
            for name, fresh in of_one.items()
        }

    def members(self) -> list[tuple[str, Classifier]]:
        """Each member, which shares its weights with the whole, and the prefix of their names."""
        alone, found = replace(self.config, members=1), []
        for number in range(self.config.members):
            prefix = f"members.{number}."
            found.append((prefix, self.part(Classifier, alone, prefix)))
        return found

    def forward(
        self, ids: NDArray, lengths: NDArray, rng: np.random.Generator | None = None
    ) -> tuple[NDArray, Callable]:
        """ids (B, T), lengths (B,) -> log P (B, classes), which are logits of P.

        ``backward(dlogits)`` -> gradients keyed as ``params``.
        """
        parts, total = [], np.zeros((), self.dtype)
        for prefix, member in self.members():
            logits, member_backward = member.forward(ids, lengths, rng)
            p, softmax_backward = ops.softmax(logits)
            parts.append((prefix, softmax_backward, member_backward))
            total = total + p
        mean = np.maximum(total / self.dtype.type(len(parts)), np.finfo(self.dtype).tiny)

        def backward(dlogits):
            gradients = {}
            # logits = log mean, mean = sum of p / K:
            dp = dlogits / mean / self.dtype.type(len(parts))
            for prefix, softmax_backward, member_backward in parts:
                own = member_backward(softmax_backward(dp))
                gradients |= {f"{prefix}{name}": g for name, g in own.items()}
            return gradients

        return np.log(mean), backward

    def loss(
        self,
        batch: Batch,
        rng: np.random.Generator | None = None,
        class_weights: NDArray | None = None,
    ) -> tuple[np.floating, Callable[..., Gradients]]:
        """The mean of the members' losses on (ids (B, T), lengths (B,), labels (B,)), in nats."""
        losses = [
            (prefix, *member.loss(batch, rng, class_weights)) for prefix, member in self.members()
        ]
        share = self.dtype.type(1 / len(losses))

        def backward(trained=None):
            gradients = {}
            for prefix, _, member_backward in losses:
                own = member_backward()
                gradients |= {f"{prefix}{name}": share * g for name, g in own.items()}
            return gradients

        return share * sum(loss for _, loss, _ in losses), backward
