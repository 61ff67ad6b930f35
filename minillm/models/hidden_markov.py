"""Hidden Markov models: each token is written by a hidden state, and states follow each other.

    p(s, w) = start[s_1] emissions[w_1, s_1] product over t > 1 of
              transitions[s_{t-1}, s_t] emissions[w_t, s_t]

The states s of a text w are unknown, so p(w) is a sum over all paths.  The parameters are stored as
logarithms: log p(w) is then the log Z of a chain (:mod:`minillm.models.chain`), and its gradient
holds the expected counts of the start, of each transition and of each emission, given w.

EM (*Baum-Welch*) sets each probability to its share of the expected counts.  It never lowers
log p(w), for the reason in :mod:`minillm.models.mixture`.

Legend: B texts, T tokens of each, K states, V words.

Source: Rabiner (1989), "A tutorial on hidden Markov models and selected applications in speech
recognition".
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers.types import Ids, Params
from minillm.models.chain import forward, log_partition, logsumexp

TINY = 1e-300  # the least count: its logarithm is finite


class HiddenMarkov:
    """A model whose ``params`` are log-probabilities.

    ``start`` (K,), ``transitions`` (K, K), by rows, and ``emissions`` (V, K), by columns.
    """

    def __init__(self, states: int, vocabulary: int, rng: np.random.Generator) -> None:
        """Draw distributions, each as likely as any other; equal states would stay equal."""
        shapes = {"start": (states,), "transitions": (states, states)}
        shapes["emissions"] = (vocabulary, states)
        self.set({name: rng.exponential(size=shape) for name, shape in shapes.items()})

    def set(self, counts: Params) -> None:
        """Set each probability to its share of the counts."""
        counts = {name: np.maximum(n, TINY) for name, n in counts.items()}
        axes = {"start": 0, "transitions": 1, "emissions": 0}
        self.params = {
            name: np.log(n / n.sum(axis=axes[name], keepdims=True)) for name, n in counts.items()
        }

    def log_likelihood(self, ids: Ids) -> tuple[NDArray, Callable]:
        """log p of texts: ids (B, T) -> (B,).  ``backward(dlog_p)`` -> gradients, by name."""
        p = self.params
        scores, emissions_backward = ops.embedding(ids, p["emissions"])
        log_p, chain_backward = log_partition(p["start"], p["transitions"], scores)

        def backward(dlog_p):
            dstart, dA, dscores = chain_backward(dlog_p)
            return {"start": dstart, "transitions": dA, "emissions": emissions_backward(dscores)}

        return log_p, backward

    def learn(self, ids: Ids) -> float:
        """A step of EM on texts (B, T); returns the mean log p of a token before it."""
        log_p, backward = self.log_likelihood(ids)
        self.set(backward(np.ones(len(ids))))
        return float(log_p.sum()) / ids.size

    def probabilities(self, ids: Ids) -> NDArray:
        """log p of each token of a text given the tokens before it: (T,) -> (T,)."""
        scores = self.params["emissions"][None, ids]
        log_alpha = forward(self.params["start"], self.params["transitions"], scores)
        return np.diff(logsumexp(log_alpha[0]), prepend=0.0)
