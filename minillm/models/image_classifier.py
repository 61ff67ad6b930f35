"""One to one: what class an image shows, by a feed-forward network.

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


@dataclass(frozen=True)
class ImageClassifierConfig:
    """The sizes of an image classifier: everything but its weights."""

    points: int  # of an image
    classes: int
    hidden: int = 256
    dropout: float = 0.3

    def __post_init__(self) -> None:
        for name in ("points", "classes", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), found {self.dropout}")


class ImageClassifier:
    """Two layers.  ``params``: ``hidden.W``, ``hidden.b``, ``output.W``, ``output.b``."""

    def __init__(
        self,
        config: ImageClassifierConfig,
        rng: np.random.Generator | None = None,
        *,
        params: dict[str, NDArray] | None = None,
        dtype: type = np.float32,
    ) -> None:
        """Fresh parameters drawn from rng, or those given."""
        self.config = c = config
        if params is None:
            if rng is None:
                raise TypeError("ImageClassifier needs rng for fresh parameters, or params")
            # relu passes on half of the variance, so that its inputs get twice as much
            # (He, Zhang, Ren and Sun 2015).
            hidden = rng.standard_normal((c.points, c.hidden)) * (2 / c.points) ** 0.5
            output = rng.standard_normal((c.hidden, c.classes)) * c.hidden**-0.5
            params = {
                "hidden.W": hidden.astype(dtype),
                "hidden.b": np.zeros(c.hidden, dtype),
                "output.W": output.astype(dtype),
                "output.b": np.zeros(c.classes, dtype),
            }
        self.params = params

    def forward(
        self, images: NDArray, rng: np.random.Generator | None = None
    ) -> tuple[NDArray, Callable]:
        """images (B, points) -> logits (B, classes).  With rng, there is dropout.

        ``backward(dlogits)`` -> gradients keyed as ``params``.
        """
        p = self.params
        a, hidden_backward = ops.linear(images, p["hidden.W"], p["hidden.b"])
        h, relu_backward = ops.relu(a)
        dropout_backward = None
        if rng is not None and self.config.dropout > 0:
            h, dropout_backward = ops.dropout(h, self.config.dropout, rng)
        logits, output_backward = ops.linear(h, p["output.W"], p["output.b"])

        def backward(dlogits):
            dh, dW_output, db_output = output_backward(dlogits)
            if dropout_backward:
                dh = dropout_backward(dh)
            _dimages, dW, db = hidden_backward(relu_backward(dh))
            return {
                "hidden.W": dW,
                "hidden.b": db,
                "output.W": dW_output,
                "output.b": db_output,
            }

        return logits, backward

    def loss(
        self, batch: tuple[NDArray, NDArray], rng: np.random.Generator | None = None
    ) -> tuple[np.floating, Callable[[], dict[str, NDArray]]]:
        """The mean cross-entropy of (images (B, points), classes (B,)), in nats an image."""
        images, classes = batch
        logits, logits_backward = self.forward(images, rng)
        loss, loss_backward = ops.cross_entropy(logits, classes)

        def backward():
            return logits_backward(loss_backward())

        return loss, backward
