"""The image classifier, one to one: a feed-forward network from an image to its class.

    h = relu(x W_1 + b_1)
    P(class | x) = softmax(h W_2 + b_2)

Source: Rumelhart, Hinton and Williams (1986), "Learning representations by
back-propagating errors", with relu (Nair and Hinton 2010) in place of the sigmoid.
"""

from dataclasses import dataclass

from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense
from minillm.layers.fresh import ParamSpec, normal
from minillm.layers.gradients import merge_gradients
from minillm.layers.types import Backward, Rng
from minillm.models import base, sizes


@dataclass(frozen=True)
class ImageClassifierConfig:
    """The sizes of an image classifier."""

    pixels: int  # of an image
    classes: int
    hidden: int = 256
    dropout: float = 0.3

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "pixels", "classes", "hidden")
        sizes.check_below_one(self, "dropout")


class ImageClassifier(base.LabelModel[ImageClassifierConfig]):
    """Two layers.  ``params``: ``hidden.W``, ``hidden.b``, ``output.W``, ``output.b``."""

    @staticmethod
    def new_parameters(config: ImageClassifierConfig) -> dict[str, ParamSpec]:
        """Declare the parameters."""
        c = config
        hidden = dense.new_matrix("hidden", "", c.pixels, c.hidden, normal((2 / c.pixels) ** 0.5))
        return hidden | dense.new_matrix("output", "", c.hidden, c.classes, normal(c.hidden**-0.5))

    def forward(self, images: NDArray, rng: Rng = None) -> tuple[NDArray, Backward]:
        """images (B, pixels) -> logits (B, classes).  With rng, there is dropout.

        ``backward(dlogits)`` -> gradients keyed as ``params``.
        """
        h, hidden_backward = dense.layer(self.params, "hidden", images, ops.relu)
        h, dropout_backward = ops.dropout(h, self.config.dropout, rng)
        logits, output_backward = dense.layer(self.params, "output", h)

        def backward(dlogits):
            dh, of_output = output_backward(dlogits)
            _dimages, of_hidden = hidden_backward(dropout_backward(dh))
            return merge_gradients(of_hidden, of_output)

        return logits, backward
