"""Reading on with Mamba, whose state has a fixed size.

A token costs the same at any place of a text: a step reads and writes the state (E, N) and the
last K - 1 inputs of each layer, and there is no cache that grows.  A prompt is read by the model's
own layers, in parts, so that its length takes no memory.

    reader = Reader(model)
    state = reader.zero_state(1)
    logits, state = reader.read(prompt, state)          ids (1, T) -> (1, V)
    logits, state = reader.read(token, state)           ids (1, 1): one step

Legend: B batch, T time, V vocabulary, D width, E inner width, N size of the state of a column, K
size of the convolution, R rank of the steps.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm import checks, ops
from minillm.decoding.reader import Reader
from minillm.layers import dense
from minillm.layers.norms import norm
from minillm.layers.types import Ids, Params, State
from minillm.models.mamba import Mamba, MambaConfig
from minillm.ops.activations import logistic

PART = 256  # tokens of a prompt that are read at once


class MixerStep(NamedTuple):
    """One step of a mixer: its output, its state, and what it did with the state."""

    y: NDArray  # (B, D)
    state: State
    delta: NDArray  # (B, E) how long the step took
    gated: NDArray  # (B, E) the outputs of the scan, gated


class MambaReader(Reader, of=Mamba):
    """A Mamba: prompts by its layers, single tokens by steps that keep nothing for a backward."""

    def read(self, ids: Ids, state: State) -> tuple[NDArray, State]:
        """See :meth:`Reader.read`.  ValueError for the state of another model, and for no ids."""
        B, T = np.shape(ids)
        self._require_own(state, B)
        if T == 1:
            tokens = checks.ids("read", "ids", ids[:, 0], self.config.vocabulary)
            y, state, _ = self.step(tokens, state)
            return self.model.predict(y)[0], state
        if T == 0:
            raise ValueError("read: ids: expected one or more, found none")
        for start in range(0, T, PART):
            (ys, state), _ = self.model.hidden(ids[:, start : start + PART], state)
        return self.model.predict(ys[:, -1])[0], state

    def step(self, ids: Ids, state: State) -> tuple[NDArray, State, list[MixerStep]]:
        """The vectors that predict the next tokens, the state, and the step of each mixer.

        ids (B,), state -> y (B, D), state, L steps.
        """
        c, p = self.config, self.model.params
        E = p["embedding.E"]
        x = E.take(ids, axis=0) if isinstance(E, np.ndarray) else E.rows(ids)
        last: State = {}
        steps = []
        for layer in range(c.layers):
            prefix = f"layers.{layer}"
            n, _ = norm(p, f"{prefix}.norm", x, c.eps)
            step = mixer_step(p, prefix, n, state, c)
            x = x + step.y
            last |= step.state
            steps.append(step)
        y, _ = norm(p, "norm", x, c.eps)
        return y, last, steps

    def _require_own(self, state: State, B: int) -> None:
        """ValueError for the state of a model of other sizes, or of other than B texts."""
        c, dtype = self.config, self.model.dtype
        shapes = {"before": (B, c.convolution - 1, c.inner), "h": (B, c.inner, c.state)}
        for layer in range(c.layers):
            for name, shape in shapes.items():
                found = state.get(f"layers.{layer}.{name}")
                if found is None or found.shape != shape or found.dtype != dtype:
                    raise ValueError(
                        f"state: expected layers.{layer}.{name} {shape} in {dtype}, found "
                        f"{'none' if found is None else f'{found.shape} in {found.dtype}'}"
                    )


def mixer_step(
    params: Params, prefix: str, x: NDArray, state: State, config: MambaConfig
) -> MixerStep:
    """One step of :func:`minillm.models.mamba.mixer`, without a backward: x (B, D)."""
    p, E, R, N = params, config.inner, config.rank, config.state
    uz, _ = dense.layer(p, f"{prefix}.input", x)  # (B, 2E)
    window = np.concatenate([state[f"{prefix}.before"], uz[:, None, :E]], axis=1)  # (B, K, E)
    u = (window * p[f"{prefix}.convolution.W"]).sum(axis=1) + p[f"{prefix}.convolution.b"]
    u = u * logistic(u)
    rbc, _ = dense.layer(p, f"{prefix}.selection", u)
    r, b, c = rbc[:, :R], rbc[:, R : R + N], rbc[:, R + N :]
    a, _ = dense.layer(p, f"{prefix}.step", r)
    delta, _ = ops.softplus(a)
    A = -np.exp(p[f"{prefix}.A_log"])
    u, delta, b, c = (part[:, None] for part in (u, delta, b, c))  # a text of one token
    skip, h = p[f"{prefix}.skip"], state[f"{prefix}.h"]
    (s, h), _ = ops.selective_scan(u, delta, A, b, c, skip, h)
    z = uz[:, E:]
    gated = s[:, 0] * (z * logistic(z))
    y, _ = dense.layer(p, f"{prefix}.output", gated)
    own = {f"{prefix}.before": window[:, 1:], f"{prefix}.h": h}
    return MixerStep(y, own, delta[:, 0], gated)
