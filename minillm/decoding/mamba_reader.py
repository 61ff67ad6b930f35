"""Reading on with Mamba, whose state has a fixed size.

A token costs the same at any place of a text: a step reads and writes the state (E, N) and the
last K - 1 inputs of each layer, and there is no cache that grows.  A prompt is read by the model's
own layers, in parts, so that its length takes no memory.  A single token is read by
:func:`_mamba_layer_step`, whose twin runs a layer in one call: in a small model, the calls of its
ops would take longer than the arithmetic.

    reader = Reader(model)
    state = reader.zero_state(1)
    logits, state = reader.read(prompt, state)          ids (1, T) -> (1, V)
    logits, state = reader.read(token, state)           ids (1, 1): one step

Legend: B batch, T time, V vocabulary, D width, E inner width, N size of the state of a column, K
size of the convolution, R rank of the steps.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm._kernels import twinned
from minillm.decoding.block_step import FoundWeights
from minillm.decoding.reader import Reader, StateReader
from minillm.layers.norms import norm
from minillm.layers.types import Ids, State
from minillm.models.mamba import Mamba
from minillm.ops.activations import logistic
from minillm.ops.linear import matmul
from minillm.ops.norms import rms_norm_forward

PART = 256  # tokens of a prompt that are read at once

LAYER_WEIGHTS = (
    *("norm.gain", "input.W", "convolution.W", "convolution.b", "selection.W", "step.W", "step.b"),
    *("A_log", "skip", "output.W"),
)


@Reader.register(Mamba)
class MambaReader(StateReader):
    """A Mamba: prompts by its layers, single tokens by steps that keep nothing for a backward."""

    _latest: tuple[Callable[..., Any], FoundWeights] | None = None  # at the last step

    def read(self, ids: Ids, state: State) -> tuple[NDArray, State]:
        """See :mod:`minillm.decoding.reader`.

        ValueError for the state of another model, and for no ids.
        """
        B, T = np.shape(ids)
        self._require_own(state, B)
        if T == 1:
            tokens = checks.ids("read", "ids", ids[:, 0], self.config.vocabulary)
            return self.step(tokens, state)
        if T == 0:
            raise ValueError("read: ids: expected one or more, found none")
        for start in range(0, T, PART):
            (ys, state), _ = self.model.hidden(ids[:, start : start + PART], state)
        return self.model.predict(ys[:, -1])[0], state

    def step(self, ids: Ids, state: State) -> tuple[NDArray, State]:
        """The logits after one token of each text, and the state: ids (B,) -> (B, V), state."""
        c, p = self.config, self.model.params
        E = p["embedding.E"]
        x = E.take(ids, axis=0) if isinstance(E, np.ndarray) else E.rows(ids)
        last: State = {}
        run, weights = self._layers()
        for layer in range(c.layers):
            names = f"layers.{layer}.before", f"layers.{layer}.h"
            before, h = checks.contiguous(*(state[name] for name in names))
            own = weights[layer * len(LAYER_WEIGHTS) : (layer + 1) * len(LAYER_WEIGHTS)]
            x, before, h = run(x, c.eps, before, h, *own)
            last |= zip(names, (before, h), strict=True)
        y, _ = norm(p, "norm", x, c.eps)
        return self.model.predict(y)[0], last

    def _layers(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The function that runs a layer, and the weights of all layers."""
        found = self._latest
        if found is None or not found[1].are_in(self.model.params):
            layers = range(self.config.layers)
            names = [f"layers.{layer}.{name}" for layer in layers for name in LAYER_WEIGHTS]
            weights = FoundWeights(self.model.params, names)
            plain = all(isinstance(weight, np.ndarray) for weight in weights.arrays)
            run = _mamba_layer_step if plain else inspect.unwrap(_mamba_layer_step)
            found = self._latest = run, weights
        return found[0], found[1].arrays

    def _require_own(self, state: State, B: int) -> None:
        """ValueError for the state of a model of other sizes, or of other than B texts."""
        for name, first in self.model.zero_state(0).items():
            expected, found = (B, *first.shape[1:]), state.get(name, np.zeros(0))
            if (found.shape, found.dtype) != (expected, first.dtype):
                raise ValueError(
                    f"state: expected {name} {expected} in {first.dtype}, found {found.shape} in "
                    f"{found.dtype}"
                )


@twinned
def _mamba_layer_step(
    x: NDArray,
    eps: float,
    before: NDArray,
    h: NDArray,
    gain: NDArray,
    W_input: NDArray,
    W: NDArray,
    b: NDArray,
    W_selection: NDArray,
    W_step: NDArray,
    b_step: NDArray,
    A_log: NDArray,
    skip: NDArray,
    W_output: NDArray,
) -> tuple[NDArray, NDArray, NDArray]:
    """x + mixer(norm(x)) for one token, without a backward: see :mod:`minillm.models.mamba`.

    x (B, D), the state and the weights -> x (B, D), and the new state.
    """
    E, R, N = len(skip), W_step.shape[0], A_log.shape[1]
    n, _ = rms_norm_forward(x, gain, eps)
    uz = multiply(n, W_input)  # (B, 2E)
    window = np.concatenate([before, uz[:, None, :E]], axis=1)  # (B, K, E)
    u = (window * W).sum(axis=1) + b
    u = u * logistic(u)
    r, b_write, c_read = np.split(multiply(u, W_selection), [R, R + N], axis=1)
    delta = np.logaddexp(multiply(r, W_step) + b_step, x.dtype.type(0))  # softplus
    decay = np.exp(delta[:, :, None] * -np.exp(A_log))  # (B, E, N)
    h = decay * h + (delta * u)[:, :, None] * b_write[:, None]
    s = (h * c_read[:, None]).sum(axis=2) + skip * u
    z = uz[:, E:]
    gated = s * (z * logistic(z))
    return x + multiply(gated, W_output), window[:, 1:].copy(), h


def multiply(x: NDArray, W: Any) -> NDArray:
    """x W, of a weight that may be no array: :class:`minillm.layers.dense.Weight`."""
    return matmul(x, W) if isinstance(W, np.ndarray) else W.linear(x)[0]
