"""A language model of gated convolutions: each layer looks a few tokens back (2017).

    x_t = E[id_t]
    a_t, g_t = halves of (n_{t-K+1}, ..., n_t) W + b   L times: K tokens side by side, n = norm(x)
    x_t = x_t + a_t * sigmoid(g_t)                            a gated linear unit
    P(id_{t+1} | id_1 .. id_t) = softmax(norm(x_t) E^T)

With the K parts W_j of W, a layer's product is a *causal convolution*, the sum of n_{t-K+1+j} W_j.
L layers see L (K - 1) + 1 tokens.  A state has the last K - 1 inputs of each layer.

Legend: B batch, T time, V vocabulary, D width, K size of the convolution, L layers.

Source: Dauphin, Fan, Auli and Grangier (2017), "Language modeling with gated convolutional
networks", equation 1.  Here norms replace their normalised weights, and the output is tied to E.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense, embedding, stack
from minillm.layers.fresh import ParamSpec, at_depth, normal, ones
from minillm.layers.gradients import merge_gradients
from minillm.layers.norms import norm
from minillm.layers.types import Ids, Rng, State
from minillm.models import base, sizes


@dataclass(frozen=True)
class GatedConvolutionConfig:
    """The sizes of a model of gated convolutions."""

    vocabulary: int  # V
    layers: int = 6  # L
    width: int = 128  # D
    convolution: int = 4  # K
    dropout: float = 0.0

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "vocabulary", "layers", "width")
        sizes.check_at_least(self, 2, "convolution")
        sizes.check_below_one(self, "dropout")


class GatedConvolution(base.WindowModel[GatedConvolutionConfig]):
    """Gated convolutions on token embeddings, with a last norm.

    ``params``: ``embedding.E`` (V, D), ``norm.gain`` (D,), and for each layer, under ``layers.0.``
    and so on, ``norm.gain`` (D,), ``convolution.W`` (K D, 2 D), ``convolution.b`` (2 D,).
    """

    @staticmethod
    def new_parameters(config: GatedConvolutionConfig) -> dict[str, ParamSpec]:
        """Declare the parameters."""
        c, D = config, config.width
        params = {"embedding.E": ParamSpec((c.vocabulary, D), normal(0.02), "table", 0)}
        for layer in range(c.layers):
            p = f"layers.{layer}"
            own = dense.new_layer(f"{p}.convolution", c.convolution * D, 2 * D)
            params |= at_depth(1 + layer, own | {f"{p}.norm.gain": ParamSpec((D,), ones)})
        return params | {"norm.gain": ParamSpec((D,), ones)}

    def zero_state(self, B: int) -> State:
        """The state before B texts begin."""
        c, shape = self.config, (B, self.config.convolution - 1, self.config.width)
        return {f"layers.{k}.before": np.zeros(shape, self.dtype) for k in range(c.layers)}

    def layer(
        self, prefix: str, state: State, last: State, rng: Rng, x: NDArray
    ) -> tuple[NDArray, Callable]:
        """x + a * sigmoid(g): x (B, T, D) -> (B, T, D); ``last`` gets the layer's state.

        ``backward(dy)`` -> dx, gradients.
        """
        n, norm_backward = norm(self.params, f"{prefix}.norm", x)
        T, K = x.shape[1], self.config.convolution
        u = np.concatenate([state[f"{prefix}.before"], n], axis=1)  # (B, K - 1 + T, D)
        last[f"{prefix}.before"] = u[:, T:].copy()
        rows = np.concatenate([u[:, j : j + T] for j in range(K)], axis=-1)  # (B, T, K D)
        ag, convolution_backward = dense.layer(self.params, f"{prefix}.convolution", rows)
        a, g = np.split(ag, 2, axis=-1)
        gate, sigmoid_backward = ops.sigmoid(g)
        y, dropout_backward = ops.dropout(a * gate, self.config.dropout, rng)

        def backward(dy):
            # y = a * sigmoid(g)
            dag = dropout_backward(dy)
            dag = np.concatenate([dag * gate, sigmoid_backward(dag * a)], axis=-1)
            # rows_t = u_t, ..., u_{t+K-1}: an input has K uses
            drows, of_convolution = convolution_backward(dag)
            du = np.zeros_like(u)
            for j, part in enumerate(np.split(drows, K, axis=-1)):
                du[:, j : j + T] += part
            dx, of_norm = norm_backward(du[:, K - 1 :])
            return dy + dx, merge_gradients(of_convolution, of_norm)  # x has two uses

        return x + y, backward

    def forward(
        self, ids: Ids, state: State, rng: Rng = None
    ) -> tuple[tuple[NDArray, State], Callable]:
        """The logits of the token after each id (B, T, V), and the state after the last.

        With rng there is dropout.  ``backward(dlogits)`` -> gradients keyed as ``params``.
        """
        embedded = embedding.layer(self.params, {"embedding.E": ids})  # (B, T, D)
        last, names = State(), [f"layers.{layer}" for layer in range(self.config.layers)]
        layers = {name: partial(self.layer, name, state, last, rng) for name in names}
        y, stack_backward = stack.stacked(self.params, embedded, layers, ["embedding"])
        logits, output_backward = embedding.output(self.params, "embedding.E", y)

        def backward(dlogits):
            dy, of_output = output_backward(dlogits)
            return merge_gradients(stack_backward(dy), of_output)  # E has two uses

        return (logits, last), backward
