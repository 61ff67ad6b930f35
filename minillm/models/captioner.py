"""The captioner, one to many: from an image to its caption.

    f = relu(x W + b)                                      features of the image
    h_0 = tanh(f W_h + b_h)                                the decoder's first state
    h_t = recurrence(E[y_{t-1}], h_{t-1})                  a language model from there
    P(y_t | y_1 .. y_{t-1}, x) = softmax(h_t W_out + b_out)

Source: Vinyals, Toshev, Bengio and Erhan (2015), "Show and tell: a neural image caption
generator".  There the image is the first input; here it sets the first state, as in the
encoder-decoder.  Karpathy and Fei-Fei (2015) add it to the pre-activation of the first step, which
differs only by the matrix that a first state is multiplied by.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense, embedding, recurrent
from minillm.layers.fresh import ParamSpec, normal
from minillm.layers.gradients import merge_gradients
from minillm.layers.types import Backward, Gradients, Rng, State
from minillm.models import base, sizes
from minillm.models.teacher_forcing import TargetConfig, target_loss, teacher_forcing

Batch = tuple[NDArray, NDArray, NDArray]


@dataclass(frozen=True)
class CaptionerConfig(TargetConfig):
    """The sizes of a captioner."""

    pixels: int  # of an image
    vocabulary: int  # V, without BOS and EOS
    embedding: int = 32  # D
    hidden: int = 128  # H
    cell: str = "gru"
    dropout: float = 0.5

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "pixels", "vocabulary", "embedding", "hidden")
        sizes.check_one_of(self, "cell", tuple(recurrent.CELLS))
        sizes.check_below_one(self, "dropout")


class Captioner(base.Model[CaptionerConfig]):
    """The features of an image, and a recurrence that starts from them.

    ``params``: ``image.W`` and ``image.b``; ``first.W`` and ``first.b``; ``embedding.E``;
    ``decoder.W_x`` and so on; ``output.W`` and ``output.b``.
    A state has ``decoder.h`` (B, K, H) and, for an lstm, ``decoder.c``; in training there is no
    axis K.
    """

    @staticmethod
    def new_parameters(config: CaptionerConfig) -> dict[str, ParamSpec]:
        """Declare the parameters."""
        c = config
        D, H, V = c.embedding, c.hidden, c.vocabulary + 1
        params = dense.new_matrix("image", "", c.pixels, H, normal((2 / c.pixels) ** 0.5))
        params |= dense.new_matrix("first", "", H, H, normal(H**-0.5))
        params |= {"embedding.E": ParamSpec((V, D), normal(), "table", 0)}
        params |= recurrent.new_layer("decoder", c.cell, D, H)
        return params | dense.new_matrix("output", "", H, V, normal(H**-0.5))

    def loss(self, batch: Batch, rng: Rng = None) -> tuple[np.floating, Backward]:
        """The mean cross-entropy of captions, in nats per token.  With rng, there is dropout.

        batch is images (B, pixels), captions (B, T), lengths (B,).  A caption ends with EOS,
        and its length includes it.  ``backward()`` -> gradients keyed as ``params``.
        """
        c, p = self.config, self.params
        images, captions, lengths = batch
        inputs = teacher_forcing(captions, c.bos)
        state, first_backward = self.first_state(images, rng)
        x, embedding_backward = embedding.layer(p, {"embedding.E": inputs})  # (B, T, D)
        (hs, _), decoder_backward = recurrent.layer(p, "decoder", x, state, c.cell)
        loss, loss_backward = target_loss(p, hs, captions, lengths)

        def backward():
            dhs, of_output = loss_backward()
            dx, dstate, of_decoder = decoder_backward(dhs)
            of_embedding, of_image = embedding_backward(dx), first_backward(dstate)
            return merge_gradients(of_output, of_decoder, of_embedding, of_image)

        return loss, backward

    def first_state(
        self, images: NDArray, rng: Rng = None
    ) -> tuple[State, Callable[[State], Gradients]]:
        """h_0 from the image; the cell of an lstm is zero: (B, H) each.

        ``backward(dstate)`` -> gradients.
        """
        c, p = self.config, self.params
        features, image_backward = dense.layer(p, "image", images, ops.relu)  # (B, H)
        features, dropout_backward = ops.dropout(features, c.dropout, rng)
        h, first_backward = dense.layer(p, "first", features, ops.tanh)
        state = {f"decoder.{name}": np.zeros_like(h) for name in recurrent.CELLS[c.cell].state}
        state["decoder.h"] = h

        def backward(dstate):
            dfeatures, of_first = first_backward(dstate["decoder.h"])
            _dimages, of_image = image_backward(dropout_backward(dfeatures))
            return merge_gradients(of_first, of_image)

        return state, backward
