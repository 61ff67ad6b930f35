"""Exercises of chapter 23: quantisation, drafts, mixtures, and a model that adapts."""

import numpy as np

from minillm import ops
from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug

# --- rounded rows -------------------------------------------------------------------


def _rounded_rows(W, x):
    delta = np.abs(W).max(axis=1, keepdims=True) / 127
    q = np.round(W / delta)
    return delta[:, 0], q, delta[:, 0] * (q @ x)


@exercise(
    "integers of 8 bits, and a product with them",
    level=1,
    minutes=10,
    reference=_rounded_rows,
    solution="minillm/exercises/chapter23.py: _rounded_rows",
    cases=lambda rng: [("", draw(rng, (O, I), I)) for O, I in ((1, 4), (3, 5))],
    outputs=("delta", "q", "y"),
    hints={
        "delta": (
            "The largest absolute value of a row becomes 127.",
            "np.abs(W).max(axis=1) / 127: one scale per row.",
        ),
        "q": (
            "Divide each row by its own scale before you round.",
            "np.round(W / delta[:, None]).",
        ),
        "y": (
            "The scale of a row is a factor of the whole dot product, so it is applied once.",
            "delta * (q @ x).",
        ),
    },
)
def rounded_rows(W, x):
    """Quantise each row of W to integers from -127 to 127, and multiply x by the result.

    W (O, I), x (I,) -> delta (O,), q (O, I), which contains integers, and y (O,), close to W @ x.
    """
    delta = ...
    q = ...
    y = ...
    return delta, q, y


# --- the remainder of a draft -------------------------------------------------------


def _draft_remainder(p, draft):
    rest = np.maximum(0, p - draft)
    return np.minimum(1, p / draft), rest.sum(), rest / rest.sum()


def _pairs(rng):
    yield "", (np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.5, 0.3]))
    yield "", tuple(rng.dirichlet(np.ones(5)) for _ in range(2))


@exercise(
    "speculative sampling: acceptance, rejection, remainder",
    level=1,
    minutes=10,
    reference=_draft_remainder,
    solution="minillm/exercises/chapter23.py: _draft_remainder",
    cases=_pairs,
    outputs=("accepted", "rejected", "remainder"),
    hints={
        "accepted": (
            "A guess that the model finds at least as probable as the draft is always accepted.",
            "np.minimum(1, p / draft).",
        ),
        "rejected": (
            "The probability of a rejection is the sum of what the draft lacks.",
            "np.maximum(0, p - draft).sum(), which is also 1 minus the sum of the smaller ones.",
        ),
        "remainder": (
            "After a rejection, draw what the draft has too little of.  It must sum to 1.",
            "np.maximum(0, p - draft), divided by its sum.",
        ),
    },
)
def draft_remainder(p, draft):
    """Compute when a guess is accepted, how often one is rejected, and what is drawn then.

    p and draft (V,) are the distributions of the model and of the guesses -> accepted (V,), the
    probability that each token is accepted if it was guessed; rejected, a number; remainder (V,).
    """
    accepted = ...
    rejected = ...
    remainder = ...
    return accepted, rejected, remainder


# --- find the bug -------------------------------------------------------------------


def _mixtures(rng):
    for T, models in ((2, 3), (4, 2)):
        yield "", (rng.uniform(0.1, 0.9, (T, models)), rng.standard_normal(models))


@find_the_bug(
    "find the bug: the weights of a mixture",
    level=2,
    minutes=20,
    cases=_mixtures,
    outputs=("loss",),
    gradients=("dp", "dz"),
    bugs=(
        Bug("sign", "dp = -dloss", "dp = dloss", "-ln P falls if P grows."),
        Bug("factor", "w / P[:, None] / T", "w / P[:, None]", "The loss is a mean over T."),
        Bug("value", "w / P[:, None] / T", "p / P[:, None] / T", "P = sum w_k p_k: by p_k, w_k."),
        Bug("sign", "(w - r.mean(axis=0))", "(r.mean(axis=0) - w)", "Weight minus responsibility."),
        Bug("factor", "r.mean(axis=0)", "r.sum(axis=0)", "The loss is a mean over T."),
        Bug("value", "r = w * p /", "r = p /", "A responsibility contains the weight."),
    ),
)
def find_mixture(p, z):
    """Compute the mean of -ln P_t with P_t = sum over k of w_k p_tk and w = softmax(z).

    p (T, models), the probability that each model gives to token t; z (models,) -> loss.
    ``backward(dloss)`` -> dp, dz.
    """
    T = len(p)
    w = np.exp(z - z.max())
    w = w / w.sum()
    P = p @ w
    loss = -np.log(P).mean()

    def backward(dloss=1.0):
        r = w * p / P[:, None]
        dp = -dloss * w / P[:, None] / T
        dz = dloss * (w - r.mean(axis=0))
        return dp, dz

    return loss, backward


# --- a unigram that learns while it reads -------------------------------------------


def _adapting_unigram(z, ids, rate):
    z, losses = z.copy(), []
    for token in ids:
        p = np.exp(z - z.max())
        p = p / p.sum()
        losses.append(-np.log(p[token]))
        z = z - rate * (p - np.eye(len(z))[token])
    return np.array(losses), z


def _texts(rng):
    yield "one token", (rng.standard_normal(3), np.array([1]), 0.5)
    yield "", (rng.standard_normal(4), np.array([0, 2, 2, 3, 2, 2]), 0.3)


@exercise(
    "a unigram that learns while it reads",
    level=2,
    minutes=20,
    reference=_adapting_unigram,
    solution="minillm/exercises/chapter23.py: _adapting_unigram",
    cases=_texts,
    outputs=("losses", "last"),
    hints={
        "one token": (
            "The token is scored with the logits that were given, before the step on it.",
            "losses[0] = -ln softmax(z)[ids[0]], then z - rate (p - e), with e one-hot.",
        ),
        "losses": (
            "Each token is scored with the logits after the steps on all earlier tokens, and none "
            "on itself.",
            "In the loop: p = softmax(z), append -ln p[token], then the step.",
        ),
        "last": (
            "The gradient of -ln p[token] with respect to z is p - e.",
            "z = z - rate * (p - np.eye(len(z))[token]), for the last token as well.",
        ),
    },
)
def adapting_unigram(z, ids, rate):
    """Predict each token from the logits z alone, and take a step of gradient descent on it after.

    z (V,), ids (T,), rate a number -> losses (T,), in nats, and the logits after the last step.
    Do not change the argument z.
    """
    # as many lines as you need
    losses, last = ...
    return losses, last


# --- latent attention ---------------------------------------------------------------


def _latent_attention(q, c, K, V):
    keys, values = c @ K, c @ V
    y, op_backward = ops.scaled_dot_product_attention(q[None], keys[None], values[None])

    def backward(dy):
        dq, dkeys, dvalues = (array[0] for array in op_backward(dy[None]))
        dc = (dkeys @ K.transpose(0, 2, 1) + dvalues @ V.transpose(0, 2, 1)).sum(axis=0)
        return dq, dc, c.T @ dkeys, c.T @ dvalues

    return y[0], backward


def _latents(rng):
    for label, N, T, S, r, d in (("one head", 1, 2, 3, 2, 3), ("", 3, 2, 4, 2, 3)):
        yield label, draw(rng, (N, T, d), (S, r), (N, r, d), (N, r, d))


@exercise(
    "latent attention: all keys and values from one small vector",
    level=3,
    minutes=40,
    reference=_latent_attention,
    solution="minillm/exercises/chapter23.py: _latent_attention",
    cases=_latents,
    gradients=("dq", "dc", "dK", "dV"),
    hints={
        "one head": (
            "With one head: the keys c K, the values c V, and attention as always.",
            "softmax(q keys^T / sqrt(d)) values, the softmax over the S positions.",
        ),
        "y": (
            "Each head has its own K and V, and all heads read the same c.",
            "keys = c @ K and values = c @ V have the shape (N, S, d).",
        ),
        "dq": (
            "The scores are q times the keys, over sqrt(d), and the softmax subtracts a mean.",
            "dscores @ keys / sqrt(d).",
        ),
        "dc": (
            "c has 2 N uses: in the keys and in the values of every head.  Uses add up.",
            "(dkeys @ K.transpose(0, 2, 1) + dvalues @ V.transpose(0, 2, 1)).sum(axis=0).",
        ),
        "dK": (
            "The keys of a head are a linear layer with the input c.",
            "c.T @ dkeys with dkeys = dscores^T q / sqrt(d) of each head.",
        ),
        "dV": (
            "The values of a head are a linear layer with the input c.",
            "c.T @ dvalues with dvalues = weights^T dy of each head.",
        ),
    },
)
def latent_attention(q, c, K, V):
    """Attend in N heads to keys c K[n] and values c V[n]: a cache has to keep c only.

    q (N, T, d), c (S, r), K, V (N, r, d); all positions are visible, and the scale is 1 / sqrt(d)
    -> y (N, T, d).  ``backward(dy)`` -> dq, dc, dK, dV.
    """
    # as many lines as you need
    y = ...

    def backward(dy):
        dq, dc, dK, dV = ...
        return dq, dc, dK, dV

    return y, backward
