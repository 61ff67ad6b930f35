"""Tiny models of random weights, with only what decoding needs of a model."""

from types import SimpleNamespace

import numpy as np


class TinyLanguageModel:
    """A recurrence over V tokens: h = tanh(E[id] + h W), logits = h U."""

    def __init__(self, V=5, H=4, seed=0, scale=3.0):
        rng = np.random.default_rng(seed)
        self.V, self.H = V, H
        self.E, self.W = rng.standard_normal((V, H)), rng.standard_normal((H, H))
        self.U = scale * rng.standard_normal((H, V))

    def zero_state(self, B):
        return {"h": np.zeros((B, self.H))}

    def read(self, ids, state):
        assert ids.ndim == 2
        assert ids.shape[1] > 0
        h = state["h"]
        for t in range(ids.shape[1]):
            h = np.tanh(self.E[ids[:, t]] + h @ self.W)
        return h @ self.U, {"h": h}


class TinyDecoder:
    """A recurrent decoder with dot attention over the embeddings of its source.

    ``attention=False``: it sees the mean of them in its first state, and has no weights.
    """

    def __init__(self, V=4, H=6, seed=0, scale=4.0, attention=True, sources=6):
        rng = np.random.default_rng(seed)
        self.attention = attention
        self.config = SimpleNamespace(bos=V, eos=V)
        self.source_E, self.target_E = (rng.standard_normal((n, H)) for n in (sources, V + 1))
        self.W = rng.standard_normal((H, H)) / H**0.5
        self.U = scale * rng.standard_normal((H, V + 1)) / H**0.5

    def start(self, source, lengths):
        real = np.arange(source.shape[1]) < lengths[:, None]
        memory = self.source_E[source] * real[..., None]
        h = np.tanh(memory.sum(axis=1) / lengths[:, None])
        return {"memory.values": memory, "memory.real": real, "h": h[:, None]}

    def step(self, ids, state):
        h = np.tanh(self.target_E[ids] + state["h"] @ self.W)  # (B, K, H)
        if not self.attention:
            return h @ self.U, None, state | {"h": h}
        scores = h @ state["memory.values"].swapaxes(1, 2)  # (B, K, S)
        scores = np.where(state["memory.real"][:, None], scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return (h + weights @ state["memory.values"]) @ self.U, weights, state | {"h": h}
