"""Mamba: a language model without attention, whose state has a fixed size (2023).

    x_t = E[id_t]
    x = x + mixer(norm(x))                      L times
    y = norm(x)
    P(id_{t+1} | id_1 .. id_t) = softmax(y_t E^T)       or softmax(y_t W)

The mixer takes the place of attention and of the feed-forward layer:

    u, z = halves of x W_input                          (E,) each: E is 2 D
    u = silu(convolution(u))                            the last K steps, column by column
    r, b, c = parts of u W_selection                    (R,), (N,), (N,)
    delta = softplus(r W_step + b_step)                 how long the step takes, in each column
    y = selective_scan(u, delta, -exp(A_log), b, c)     see minillm.ops.selective_scan
    mixer = (y * silu(z)) W_output

An LSTM computes its gates from x_t and h_{t-1}, so that a step waits for the one before.  Here
delta, b and c depend on x_t alone, and a product computes them for all steps at once.  The text
before enters them through the layers below, and through the convolution.

A GPT keeps keys and values of all tokens that it has read.  Mamba keeps, for each layer, a state
(E, N) and the last K - 1 inputs of the convolution, however long the text is.  It is trained in
windows, as a recurrent network is: each window begins with the last state of the one before.

Legend: B batch, T time, V vocabulary, D width, E inner width, N size of the state of a column,
K size of the convolution, R rank of the steps, L layers.

Source: Gu and Dao (2023), "Mamba: linear-time sequence modeling with selective state spaces",
section 3.4 and figure 3; section 3.6 for the fresh A; for the fresh steps, its published code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense, embedding, stack
from minillm.layers.fresh import ParamSpec, Shape, at_depth, normal, ones, steps, uniform
from minillm.layers.gradients import merge_gradients
from minillm.layers.norms import norm
from minillm.layers.types import Ids, Params, Rng, State
from minillm.models import base, sizes

DEVIATION = 0.02  # of the fresh embedding


@dataclass(frozen=True)
class MambaConfig:
    """The sizes of a Mamba.  A size that is None, or left out, follows from the others."""

    vocabulary: int  # V
    layers: int = 4  # L
    width: int = 128  # D
    inner: int = None  # type: ignore[assignment]  # E; None: 2 D
    state: int = 16  # N
    convolution: int = 4  # K
    rank: int = None  # type: ignore[assignment]  # R; None: D / 16, rounded up
    eps: float = 1e-5  # of the norms
    tied: bool = True  # the output is the embedding
    dropout: float = 0.0

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "vocabulary", "layers", "width", "state")
        sizes.check_at_least(self, 2, "convolution")
        sizes.fill_in(self, inner=2 * self.width, rank=-(-self.width // 16))
        sizes.check_at_least(self, 1, "inner", "rank")
        sizes.check_above_zero(self, "eps")
        sizes.check_below_one(self, "dropout")


def mixer(
    params: Params, prefix: str, x: NDArray, state: State, config: MambaConfig
) -> tuple[tuple[NDArray, State], Callable]:
    """The mixer of one layer: x (B, T, D), state -> y (B, T, D), and the state after the last step.

    The state is ``prefix.before`` (B, K - 1, E) and ``prefix.h`` (B, E, N).
    ``backward(dy)`` -> dx, gradients.  No gradient flows back to the state.
    """
    p, c = params, config
    E, R, N = c.inner, c.rank, c.state
    uz, input_backward = dense.layer(p, f"{prefix}.input", x)  # (B, T, 2E)
    W, b_conv = p[f"{prefix}.convolution.W"], p[f"{prefix}.convolution.b"]
    (u, before), convolution_backward = ops.causal_convolution(
        uz[..., :E], W, b_conv, state[f"{prefix}.before"]
    )
    u, silu_backward = ops.silu(u)  # (B, T, E)
    rbc, selection_backward = dense.layer(p, f"{prefix}.selection", u)  # (B, T, R + 2N)
    r, b, c_read = np.split(rbc, [R, R + N], axis=-1)
    a, step_backward = dense.layer(p, f"{prefix}.step", r)  # (B, T, E)
    delta, softplus_backward = ops.softplus(a)
    A = -np.exp(p[f"{prefix}.A_log"])  # (E, N)
    (s, h), scan_backward = ops.selective_scan(
        u, delta, A, b, c_read, p[f"{prefix}.skip"], state[f"{prefix}.h"]
    )
    gate, gate_backward = ops.silu(uz[..., E:])
    y, output_backward = dense.layer(p, f"{prefix}.output", s * gate)

    def backward(dy):
        # y = (s * silu(z)) W_output
        dsg, of_output = output_backward(dy)
        dz = gate_backward(dsg * s)
        # s = selective_scan(u, delta, A, b, c)
        du, ddelta, dA, db, dc, dskip, _dh = scan_backward(dsg * gate)
        # delta = softplus(r W_step + b_step); A = -exp(A_log)
        dr, of_step = step_backward(softplus_backward(ddelta))
        # r, b, c = parts of u W_selection
        du_selection, of_selection = selection_backward(np.concatenate([dr, db, dc], axis=-1))
        # u = silu(convolution(u)), which has two uses
        du, dW, db_conv, _dbefore = convolution_backward(silu_backward(du + du_selection))
        # u, z = halves of x W_input
        dx, of_input = input_backward(np.concatenate([du, dz], axis=-1))
        own = {
            f"{prefix}.convolution.W": dW,
            f"{prefix}.convolution.b": db_conv,
            f"{prefix}.A_log": dA * A,
            f"{prefix}.skip": dskip,
        }
        return dx, merge_gradients(of_output, of_step, of_selection, of_input, own)

    return (y, {f"{prefix}.before": before, f"{prefix}.h": h}), backward


class Mamba(base.WindowModel[MambaConfig]):
    """Token embeddings, L mixers, a last norm, and an output that may be tied to E.

    ``params``: ``embedding.E`` (V, D); ``norm.gain`` (D,); ``output.W`` (D, V) if it is not tied;
    and for each layer, under ``layers.0.`` and so on, ``norm.gain`` (D,), ``input.W`` (D, 2E),
    ``convolution.W`` (K, E) and ``convolution.b`` (E,), ``selection.W`` (E, R + 2N), ``step.W``
    (R, E) and ``step.b`` (E,), ``A_log`` (E, N), ``skip`` (E,), ``output.W`` (E, D).
    A state has ``layers.0.before`` (B, K - 1, E) and ``layers.0.h`` (B, E, N), for each layer.
    """

    @staticmethod
    def new_parameters(config: MambaConfig) -> dict[str, ParamSpec]:
        """Declare the parameters; the first predictions are almost uniform."""
        c = config
        D, E, N, K, R = c.width, c.inner, c.state, c.convolution, c.rank
        params = {"embedding.E": ParamSpec((c.vocabulary, D), normal(DEVIATION), "table", 0)}
        for layer in range(c.layers):
            p = f"layers.{layer}"
            own = {
                f"{p}.norm.gain": ParamSpec((D,), ones),
                f"{p}.input.W": ParamSpec((D, 2 * E), uniform(D**-0.5), "matrix"),
                f"{p}.convolution.W": ParamSpec((K, E), uniform(K**-0.5)),
                f"{p}.convolution.b": ParamSpec((E,)),
                f"{p}.selection.W": ParamSpec((E, R + 2 * N), uniform(E**-0.5), "matrix"),
                f"{p}.step.W": ParamSpec((R, E), uniform(R**-0.5), "matrix"),
                f"{p}.step.b": ParamSpec((E,), steps),
                f"{p}.A_log": ParamSpec((E, N), rates),
                f"{p}.skip": ParamSpec((E,), ones),
                f"{p}.output.W": ParamSpec((E, D), uniform((E * c.layers) ** -0.5), "matrix"),
            }
            params |= at_depth(1 + layer, own)
        params["norm.gain"] = ParamSpec((D,), ones)
        if not c.tied:
            params["output.W"] = ParamSpec((D, c.vocabulary), normal(DEVIATION), "matrix")
        return params

    def zero_state(self, B: int) -> State:
        """The state before a text begins, for B texts at a time."""
        c, state = self.config, {}
        for layer in range(c.layers):
            state[f"layers.{layer}.before"] = np.zeros((B, c.convolution - 1, c.inner), self.dtype)
            state[f"layers.{layer}.h"] = np.zeros((B, c.inner, c.state), self.dtype)
        return state

    def hidden(
        self, ids: Ids, state: State, rng: Rng = None
    ) -> tuple[tuple[NDArray, State], Callable]:
        """The vector that predicts the token after each id, and the state after the last.

        ids (B, T) -> y (B, T, D), state.  With rng there is dropout.
        ``backward(dy)`` -> gradients keyed as ``params``.
        """
        c, last = self.config, State()
        x, table_backward = embedding.layer(self.params, {"embedding.E": ids})  # (B, T, D)
        x, dropout_backward = ops.dropout(x, c.dropout, rng)
        layers = {
            f"layers.{layer}": partial(self._layer, f"layers.{layer}", state, last, rng)
            for layer in range(c.layers)
        }
        embedded = x, lambda dx: table_backward(dropout_backward(dx))
        y, backward = stack.stacked(self.params, embedded, layers, ["embedding"], eps=c.eps)
        return (y, last), backward

    def _layer(
        self, prefix: str, state: State, last: State, rng: Rng, x: NDArray
    ) -> tuple[NDArray, Callable]:
        """x + mixer(norm(x)): x (B, T, D) -> (B, T, D).  ``last`` gets the layer's last state.

        ``backward(dy)`` -> dx, gradients.
        """
        n, norm_backward = norm(self.params, f"{prefix}.norm", x, self.config.eps)
        (m, own), mixer_backward = mixer(self.params, prefix, n, state, self.config)
        m, dropout_backward = ops.dropout(m, self.config.dropout, rng)
        last.update(own)

        def backward(dy):
            dn, of_mixer = mixer_backward(dropout_backward(dy))
            dx, of_norm = norm_backward(dn)
            return dy + dx, merge_gradients(of_mixer, of_norm)  # x has two uses

        return x + m, backward

    def predict(self, y: NDArray) -> tuple[NDArray, Callable]:
        """The logits of the next token: y (..., D) -> y E^T or y W (..., V).

        ``backward(dlogits)`` -> dy, gradients.
        """
        if self.config.tied:
            return embedding.output(self.params, "embedding.E", y)
        return dense.layer(self.params, "output", y)

    def forward(
        self, ids: Ids, state: State, rng: Rng = None
    ) -> tuple[tuple[NDArray, State], Callable]:
        """The logits of the token after each id, and the state after the last.

        ids (B, T) -> logits (B, T, V), state.  With rng there is dropout.
        ``backward(dlogits)`` -> gradients keyed as ``params``.
        """
        (y, last), hidden_backward = self.hidden(ids, state, rng)
        logits, predict_backward = self.predict(y)

        def backward(dlogits):
            dy, of_output = predict_backward(dlogits)
            return merge_gradients(hidden_backward(dy), of_output)  # E may have two uses

        return (logits, last), backward


def rates(shape: Shape, rng: np.random.Generator, dtype: type) -> NDArray:
    """The logarithms of 1, 2, ..., N in each row: a column remembers at N speeds."""
    E, N = shape
    return np.tile(np.log(np.arange(1, N + 1, dtype=dtype)), (E, 1))
