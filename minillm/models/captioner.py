"""One to many: from an image to its caption.

    h_0 = tanh(relu(x W + b) W_h + b_h)                    what the image shows
    h_t = recurrence(E[y_{t-1}], h_{t-1})                  and from there a language model
    P(y_t | y_1 .. y_{t-1}, x) = softmax(h_t W_out + b_out)

Source: Vinyals, Toshev, Bengio and Erhan (2015), "Show and tell: a neural image caption
generator"; there the image is the first input, here it sets the first state, as in Karpathy
and Fei-Fei (2015) and as the encoder-decoder does it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.models import recurrent_layer

Batch = tuple[NDArray, NDArray, NDArray]


@dataclass(frozen=True)
class CaptionerConfig:
    """The sizes of a captioner: everything but its weights."""

    points: int  # of an image
    vocabulary: int  # V, without the border
    embedding: int = 32  # D
    hidden: int = 128  # H
    cell: str = "gru"
    dropout: float = 0.2

    def __post_init__(self) -> None:
        for name in ("points", "vocabulary", "embedding", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.cell not in recurrent_layer.CELLS:
            raise ValueError(f"cell must be one of {recurrent_layer.CELLS}, found {self.cell!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), found {self.dropout}")

    @property
    def border(self) -> int:
        """The id that stands before a caption's first token and after its last one."""
        return self.vocabulary


class Captioner:
    """An image's features, and a recurrence that starts from them.

    ``params``: ``image.W`` and ``image.b``; ``first.W`` and ``first.b``; ``embedding.E``;
    ``decoder.W_x`` and so on; ``output.W`` and ``output.b``.

    ``start``, ``step`` and ``select`` are what :mod:`minillm.beam` decodes with.
    """

    def __init__(
        self,
        config: CaptionerConfig,
        rng: np.random.Generator | None = None,
        *,
        params: dict[str, NDArray] | None = None,
        dtype: type = np.float32,
    ) -> None:
        """Fresh parameters drawn from rng, or those given."""
        self.config = config
        if params is None:
            if rng is None:
                raise TypeError("Captioner needs rng for fresh parameters, or params")
            params = self._new_parameters(rng, dtype)
        self.params = params

    def _new_parameters(self, rng: np.random.Generator, dtype: type) -> dict[str, NDArray]:
        c = self.config
        H, V = c.hidden, c.vocabulary + 1

        def matrix(I: int, O: int, gain: float = 1.0) -> NDArray:
            return (gain * I**-0.5 * rng.standard_normal((I, O))).astype(dtype)

        params = {
            "image.W": matrix(c.points, H, 2**0.5),
            "image.b": np.zeros(H, dtype),
            "first.W": matrix(H, H),
            "first.b": np.zeros(H, dtype),
            "embedding.E": rng.standard_normal((V, c.embedding)).astype(dtype),
        }
        params |= recurrent_layer.new_parameters(c.cell, "decoder", c.embedding, H, rng, dtype)
        params |= {"output.W": matrix(H, V), "output.b": np.zeros(V, dtype)}
        return params

    def loss(
        self, batch: Batch, rng: np.random.Generator | None = None
    ) -> tuple[np.floating, Callable[[], dict[str, NDArray]]]:
        """The mean cross-entropy of captions, in nats a token.  With rng, there is dropout.

        batch is images (B, points), captions (B, T), lengths (B,), which count the border
        at a caption's end.
        """
        p = self.params
        images, captions, lengths = batch
        inputs = np.empty_like(captions)
        inputs[:, 0] = self.config.border
        inputs[:, 1:] = captions[:, :-1]
        real = np.arange(captions.shape[1]) < lengths[:, None]

        state, first_backward = self._first_state(images, rng)
        x, embedding_backward = ops.embedding(inputs, p["embedding.E"])  # (B, T, D)
        (hs, _), decoder_backward = recurrent_layer.run(self.config.cell, p, "decoder", x, state)
        logits, output_backward = ops.linear(hs, p["output.W"], p["output.b"])
        loss, loss_backward = ops.cross_entropy(logits, captions, real)

        def backward():
            dhs, dW, db = output_backward(loss_backward())
            dx, dstate, gradients = decoder_backward(dhs)
            gradients |= {"output.W": dW, "output.b": db}
            gradients["embedding.E"] = embedding_backward(dx)
            return gradients | first_backward(dstate)

        return loss, backward

    def _first_state(
        self, images: NDArray, rng: np.random.Generator | None
    ) -> tuple[recurrent_layer.State, Callable]:
        """What the image shows: h_0, and zero for the cell of an lstm."""
        p = self.params
        a, image_backward = ops.linear(images, p["image.W"], p["image.b"])
        features, relu_backward = ops.relu(a)
        dropout_backward = None
        if rng is not None and self.config.dropout > 0:
            features, dropout_backward = ops.dropout(features, self.config.dropout, rng)
        a, first_backward = ops.linear(features, p["first.W"], p["first.b"])
        h, tanh_backward = ops.tanh(a)
        state = (h, np.zeros_like(h)) if self.config.cell == "lstm" else (h,)

        def backward(dstate):
            dfeatures, dW_first, db_first = first_backward(tanh_backward(dstate[0]))
            if dropout_backward:
                dfeatures = dropout_backward(dfeatures)
            _dimages, dW, db = image_backward(relu_backward(dfeatures))
            return {
                "first.W": dW_first,
                "first.b": db_first,
                "image.W": dW,
                "image.b": db,
            }

        return state, backward

    # --- decoding -------------------------------------------------------------

    def start(self, images: NDArray, lengths: NDArray | None = None) -> "CaptionState":
        """Looks at images (B, points), which have no lengths: one hypothesis of each."""
        return CaptionState(self._first_state(images, None)[0], 1)

    def step(self, ids: NDArray, state: "CaptionState") -> tuple[NDArray, None, "CaptionState"]:
        """ids (B, K) -> logits (B, K, V + 1), no attention weights, the new state."""
        p, (B, K) = self.params, ids.shape
        x, _ = ops.embedding(ids.ravel(), p["embedding.E"])  # (B * K, D)
        layer = recurrent_layer.step(self.config.cell, p, "decoder", x, state.layer)
        logits, _ = ops.linear(layer[0], p["output.W"], p["output.b"])
        return logits.reshape(B, K, -1), None, CaptionState(layer, K)

    def select(self, state: "CaptionState", rows: NDArray, parents: NDArray) -> "CaptionState":
        """Of a state, the images ``rows`` (b,), and of each the hypotheses ``parents`` (b, k)."""
        flat = (rows[:, None] * state.hypotheses + parents).ravel()
        return CaptionState(tuple(part[flat] for part in state.layer), parents.shape[1])


class CaptionState(NamedTuple):
    """Where the decoder stands in K hypotheses of each of B images."""

    layer: recurrent_layer.State  # each array (B * K, H)
    hypotheses: int  # K
