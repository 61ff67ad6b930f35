"""Masked diffusion: a masked language model that writes, by unmasking a text step by step.

A text x of T tokens is destroyed by masking each token with probability t, and t grows from 0 to 1.
A model learns to undo this: p(x_i | visible) for each masked token i.  It does not need t: given
the visible tokens, t says nothing more about the masked ones.

**The loss** is a bound.  Unmasking one token after another, in an order o, writes x with the
probability p_o(x) = prod_j p(x_o(j) | x_o(1) ... x_o(j-1)).  In a random order, x has the
probability p(x), the mean of p_o(x) over all T! orders.  A mean of logarithms is at most the
logarithm of the mean:

    ln p(x) >= E_o ln p_o(x) = - T E_k E_M [mean over i in M of -ln p(x_i | tokens outside M)]

where M is the set of the k tokens that are still masked.  k is uniform from 1 to T, and all sets of
k tokens are equally likely.  Both sides are equal if all orders agree, as they do for conditionals
of one distribution.  If instead each token is masked with probability t, and t is uniform, then the
sum over M has the weight 1/t.  A given set of k tokens is masked with probability
t^k (1 - t)^(T - k), and

    integral from 0 to 1 of (1/t) t^k (1 - t)^(T - k) dt = 1 / (k binomial(T, k))

So the loss is BERT's, if the share of masked tokens is drawn for each text, and none is replaced by
a random token or kept.

**Writing** unmasks the tokens in a few steps.  One token a step samples from p(x).  Several tokens
of a step are sampled independently, so they may contradict each other.

Legend: B batch, T time, M masked tokens, V tokens that can be written.  [MASK] is the last id, V,
of a model with a vocabulary of V + 1.

Sources: Sahoo et al. (2024), "Simple and effective masked diffusion language models", equation 10,
for the weight 1/t and a model without t; Ou et al. (2025), "Your absorbing discrete diffusion
secretly models the conditional distributions of clean data", for the orders; Nie et al. (2025),
"Large language diffusion models", equation 14, for a uniform k.
"""

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers.gradients import merge_gradients
from minillm.layers.types import Backward, Ids
from minillm.models.bert import BERT


def masks(B: int, T: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw the masked tokens of each row (B, T): a uniform number, at random positions."""
    counts = rng.integers(1, T + 1, B)
    ranks = rng.random((B, T)).argsort(axis=1).argsort(axis=1)
    return ranks < counts[:, None]


def loss(model: BERT, ids: Ids, rng: np.random.Generator) -> tuple[np.floating, Backward]:
    """The bound on -ln p(x) per token in nats, for masks drawn once: ids (B, T).

        L = mean over rows of the mean over their masked tokens of -ln p(x_i | visible)

    ``backward()`` -> gradients keyed as ``params``.
    """
    B, T = ids.shape
    mask = model.config.vocabulary - 1
    places = masks(B, T, rng)
    x, hidden_backward = model.hidden(np.where(places, mask, ids))
    logits, words_backward = model.masked_words(x[places])  # (M, V + 1)
    log_p, likelihood_backward = ops.log_likelihood(logits[:, :mask].copy(), ids[places])  # (M,)
    weights = (places / places.sum(axis=1, keepdims=True) / B)[places].astype(x.dtype)

    def backward():
        dlogits = np.zeros_like(logits)
        dlogits[:, :mask] = likelihood_backward(-weights)  # L = -sum weights log_p
        drows, of_words = words_backward(dlogits)
        dx = np.zeros_like(x)
        dx[places] = drows
        return merge_gradients(of_words, hidden_backward(dx))

    return -(weights * log_p).sum(), backward


def write(model: BERT, ids: Ids, steps: int, rng: np.random.Generator) -> Ids:
    """Replace each [MASK] of ids (B, T) by a sampled token, in random order.

    Each step unmasks an equal share of a row's masked tokens, and samples them independently.
    """
    mask = model.config.vocabulary - 1
    ids = np.array(ids, np.int64)
    masked = ids == mask
    lots = np.where(masked, rng.random(ids.shape), np.inf)
    ranks = lots.argsort(axis=1).argsort(axis=1)
    step_of = np.where(masked, ranks * steps // np.maximum(1, masked.sum(axis=1))[:, None], -1)
    for step in range(steps):
        places = step_of == step
        if places.any():
            x, _ = model.hidden(ids)
            logits = model.masked_words(x[places])[0][:, :mask]
            # The largest of logit + Gumbel noise is a sample of the softmax.
            ids[places] = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return ids
