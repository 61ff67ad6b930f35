"""One to one: the class of an image, by a feed-forward network.

    h = relu(x W_1 + b_1)
    P(class | x) = softmax(h W_2 + b_2)

Source: Rumelhart, Hinton and Williams (1986), "Learning representations by
back-propagating errors", with relu (Nair and Hinton 2010) in place of the sigmoid.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import feed_forward
from minillm.layers.dropout import dropout
from minillm.models import base
from minillm.models.base import Gradients


@dataclass(frozen=True)
class ImageClassifierConfig:
    """The sizes of an image classifier: everything but its weights."""

    pixels: int  # of an image
    classes: int
    hidden: int = 256
    dropout: float = 0.3

    def __post_init__(self) -> None:
        base.check_at_least(self, 1, "pixels", "classes", "hidden")
        base.check_below_one(self, "dropout")


class ImageClassifier(base.Model[ImageClassifierConfig]):
    """Two layers.  ``params``: ``hidden.W``, ``hidden.b``, ``output.W``, ``output.b``."""

    def new_parameters(self, rng: np.random.Generator, dtype: type) -> dict[str, NDArray]:
        """Fresh parameters."""
        c = self.config
        return {
            "hidden.W": feed_forward.normal((c.pixels, c.hidden), 2.0, rng, dtype),
            "hidden.b": np.zeros(c.hidden, dtype),
            "output.W": feed_forward.normal((c.hidden, c.classes), 1.0, rng, dtype),
            "output.b": np.zeros(c.classes, dtype),
        }

    def forward(
        self, images: NDArray, rng: np.random.Generator | None = None
    ) -> tuple[NDArray, Callable]:
        """images (B, pixels) -> logits (B, classes).  With rng, there is dropout.

        ``backward(dlogits)`` -> gradients keyed as ``params``.
        """
        h, hidden_backward = feed_forward.layer(self.params, "hidden", images, ops.relu)
        h, dropout_backward = dropout(h, self.config.dropout, rng)
        logits, output_backward = feed_forward.layer(self.params, "output", h)

        def backward(dlogits):
            dh, output_gradients = output_backward(dlogits)
            _dimages, gradients = hidden_backward(dropout_backward(dh))
            return gradients | output_gradients

        return logits, backward

    def loss(
        self, batch: tuple[NDArray, NDArray], rng: np.random.Generator | None = None
    ) -> tuple[np.floating, Callable[[], Gradients]]:
        """The mean cross-entropy of (images (B, pixels), classes (B,)), in nats per image."""
        images, classes = batch
        logits, logits_backward = self.forward(images, rng)
        loss, loss_backward = self.label_loss(logits, classes)

        def backward():
            return logits_backward(loss_backward())

        return loss, backward
