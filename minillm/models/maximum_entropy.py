"""The maximum entropy model: any evidence about the next word, each piece with a weight.

    p(w | a) = exp(sum over f of weight_f f(a, w)) / Z(a)

A *feature* f(a, w) is 1 where its condition on the context a and the word w is true, otherwise 0:

    w = v                                    unigrams: ``bias`` (V,)
    w = v, and u stood k words before it     k = 1 .. K: ``pairs.k`` (V, V)
    w = v, and v stands among the last S words     triggers: ``trigger`` (V,)

An n-gram model has one row of counts for each context, and must choose a row.  Here the conditions
overlap freely, and each adds to the logits.

Why exponentials.  Ask that the model expects each feature as often as the training text has it, and
of all distributions that fulfil this take the one of largest entropy, which assumes nothing else.
With a Lagrange multiplier for each of these equations, the solution is the formula above, and the
multipliers are the weights.  They are found by maximum likelihood, because the gradient of the mean
log-likelihood with respect to a weight is

    observed - expected = mean of f(a, w) - mean over a of sum over v of p(v | a) f(a, v)

which is zero where the equations hold.  This is "p minus y", summed over the uses of a weight.

Legend: B batch, S words of a context, V words, K distances.

Sources: Berger, Della Pietra and Della Pietra (1996), "A maximum entropy approach to natural
language processing"; Rosenfeld (1996), "A maximum entropy approach to adaptive statistical language
modeling", for triggers, here those of a word by itself; Chen and Rosenfeld (1999), "A Gaussian
prior for smoothing maximum entropy models", for ``prior``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers.fresh import ParamSpec
from minillm.layers.types import Backward, Ids, Rng
from minillm.models import base, sizes


@dataclass(frozen=True)
class MaximumEntropyConfig:
    """The sizes of a model: its context is the last ``memory`` words."""

    vocabulary: int  # V
    distances: int = 2  # K, of words with features of their own
    memory: int = 100  # S, of the triggers
    prior: float = 0.0  # half of it, times the sum of all squared weights, is added to the loss

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "vocabulary", "distances", "memory")
        sizes.check_at_least(self, 0, "prior")


class MaximumEntropy(base.Model[MaximumEntropyConfig]):
    """``params``: the weights of the features, as above."""

    @staticmethod
    def new_parameters(config: MaximumEntropyConfig) -> dict[str, ParamSpec]:
        """Declare zeros: without evidence all words are alike."""
        V, K = config.vocabulary, config.distances
        pairs = {f"pairs.{k}": ParamSpec((V, V)) for k in range(1, K + 1)}
        return {"bias": ParamSpec((V,)), **pairs, "trigger": ParamSpec((V,))}

    def forward(self, context: Ids) -> tuple[NDArray, Backward]:
        """The logits of the next word: contexts (B, S) -> (B, V).

        ``backward(dlogits)`` -> gradients keyed as ``params``: expected minus observed, for the
        dlogits of the cross-entropy.
        """
        p, B = self.params, len(context)
        seen = np.zeros((B, self.config.vocabulary), self.dtype)
        seen[np.arange(B)[:, None], context] = 1
        logits, backwards = p["bias"] + seen * p["trigger"], {}
        for k in range(1, self.config.distances + 1):
            rows, backwards[k] = ops.embedding(context[:, -k], p[f"pairs.{k}"])
            logits = logits + rows

        def backward(dlogits):
            pairs = {f"pairs.{k}": rows_backward(dlogits) for k, rows_backward in backwards.items()}
            seen_with = (seen * dlogits).sum(axis=0)
            return {"bias": dlogits.sum(axis=0), **pairs, "trigger": seen_with}

        return logits, backward

    def loss(self, batch: tuple[Ids, Ids], rng: Rng = None) -> tuple[np.floating, Backward]:
        """The mean cross-entropy of (contexts (B, S), words (B,)) in nats, and the prior."""
        context, targets = batch
        logits, logits_backward = self.forward(context)
        loss, loss_backward = ops.cross_entropy(logits, targets)
        prior = self.config.prior
        squares = sum((weight**2).sum() for weight in self.params.values())

        def backward():
            gradients = logits_backward(loss_backward())
            return {name: g + prior * self.params[name] for name, g in gradients.items()}

        return loss + prior / 2 * squares, backward

    def probabilities(self, ids: Ids) -> NDArray:
        """log p of each token of a text given the tokens before it: (T,) -> (T,).

        The text stands after S tokens with the id 0, the unknown word.
        """
        S = self.config.memory
        windows = np.lib.stride_tricks.sliding_window_view(np.append(np.zeros(S, int), ids), S)
        found = []
        for part in np.array_split(np.arange(len(ids)), 1 + len(ids) // 1024):  # to save memory
            logits, _ = self.forward(windows[part])
            found.append(ops.log_likelihood(logits, ids[part])[0])
        return np.concatenate(found)
