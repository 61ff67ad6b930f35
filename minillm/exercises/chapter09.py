"""Exercises of chapter 9: GPT."""

import numpy as np

from minillm import ops
from minillm.decoding.sampling import next_probabilities
from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug


def _numbers(rng):
    yield "", (2 * rng.standard_normal((3, 4)),)


@exercise(
    "the slope of GELU",
    level=2,
    minutes=15,
    reference=ops.gelu,
    solution="minillm/ops/gelu.py: gelu_backward",
    cases=_numbers,
    gradients=("dx",),
    hints={
        "dx": (
            "x stands in y twice, outside of the tanh and inside u: the product rule has two "
            "terms.  The slope of tanh(u) is 1 - tanh(u)^2, times du/dx.",
            "slope = scale (1 + 3 * 0.044715 x^2), and "
            "dx = dy ((1 + t) / 2 + x (1 - t^2) slope / 2) with t = tanh(u).",
        ),
    },
)
def gelu(x):
    """Compute y = x (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3), elementwise.

    x of any shape -> y.  ``backward(dy)`` -> dx.
    """
    scale = np.sqrt(2 / np.pi)
    t = np.tanh(scale * (x + 0.044715 * x**3))
    y = x * (1 + t) / 2

    def backward(dy):
        # du/dx, the slope of u
        slope = ...
        dx = ...
        return dx

    return y, backward


def _tied(ids, E):
    x, embedding_backward = ops.embedding(ids, E)
    y, linear_backward = ops.linear(x, np.ascontiguousarray(E.T))

    def backward(dy):
        dx, dE_transposed = linear_backward(dy)
        return embedding_backward(dx) + dE_transposed.T

    return y, backward


def _ids(rng):
    yield "", (np.array([1, 0, 4]), rng.standard_normal((5, 3)))
    yield "", (np.array([2, 0, 2, 2]), rng.standard_normal((3, 4)))


@exercise(
    "embeddings that are used twice",
    level=2,
    minutes=15,
    reference=_tied,
    solution="minillm/models/gpt.py: GPT.forward",
    cases=_ids,
    gradients=("dE",),
    hints={
        "dE": (
            "E has two uses: it is looked up, and it is the output layer.  Uses add up, and an id "
            "that occurs twice is looked up twice.",
            "From y = x E^T comes dy^T x.  From the lookup, each row of dx = dy E is added to what "
            "the row of its id has already.",
        ),
    },
)
def tied_embeddings(ids, E):
    """Look up the ids, and compare them with all embeddings: y = E[ids] E^T.

    ids (T,), E (V, D) -> y (T, V).  ``backward(dy)`` -> dE.
    """
    x = E[ids]
    y = x @ E.T

    def backward(dy):
        # of the use in y = x E^T
        dE = ...
        dx = ...
        # of the lookup
        for t in range(len(ids)):
            dE[ids[t]] += ...
        return dE

    return y, backward


def _cache_step(q, k, v, keys, values):
    keys = np.concatenate([keys, k[:, None]], axis=1)
    values = np.concatenate([values, v[:, None]], axis=1)
    context, _ = ops.scaled_dot_product_attention(
        q[None, :, None], keys[None], values[None], causal=True
    )
    return keys, values, context[0, :, 0]


def _steps(rng):
    for N, S, width in ((2, 3, 4), (3, 0, 2), (1, 5, 3)):
        new = tuple(rng.standard_normal((N, width)) for _ in "qkv")
        yield "", (*new, *(rng.standard_normal((N, S, width)) for _ in "kv"))


@exercise(
    "a step with a cache",
    level=2,
    minutes=15,
    reference=_cache_step,
    solution="minillm/decoding/cache.py: Cache.attend",
    cases=_steps,
    outputs=("keys", "values", "context"),
    hints={
        "keys": (
            "The new key comes after those that are kept; all of them are kept for the next step.",
            "np.concatenate([keys, k[:, None]], axis=1): axis 1 counts positions.",
        ),
        "values": (
            "The new value comes after those that are kept.",
            "np.concatenate([values, v[:, None]], axis=1).",
        ),
        "context": (
            "The new token looks at all keys, its own included, with the scale of attention.",
            "scores[n, s] = keys[n, s] . q[n] / sqrt(w), (N, S + 1); after a softmax over s, "
            "context[n] is the sum of weights[n, s] values[n, s] over s.",
        ),
    },
)
def cache_step(q, k, v, keys, values):
    """Attend from one new token to all tokens before it and to itself, in N heads.

    q, k, v (N, w) of the new token; keys, values (N, S, w) of the past
    -> keys and values (N, S + 1, w) with the new ones, and context (N, w).
    """
    keys = ...
    values = ...
    scores = ...
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = weights / weights.sum(axis=-1, keepdims=True)
    context = ...
    return keys, values, context


def _top_p(p, limit):
    return next_probabilities(np.log(p), top_p=limit)


def _distributions(rng):
    yield "", (np.array([0.1, 0.4, 0.05, 0.3, 0.15]), 0.6)
    yield "first", (np.array([0.2, 0.5, 0.3]), 0.4)
    for limit in (0.3, 0.9):
        yield "", (rng.dirichlet(np.ones(7)), limit)


@exercise(
    "top-p sampling",
    level=2,
    minutes=15,
    reference=_top_p,
    solution="minillm/decoding/sampling.py: top_p",
    cases=_distributions,
    outputs=("filtered",),
    hints={
        "filtered": (
            "Keep tokens from the most probable down, until their sum reaches the limit; the one "
            "that crosses it is kept, too.  Then the rest must sum to 1 again.",
            "A token is kept if the sum of those ranked before it is below the limit: "
            "before = np.cumsum(ranked) - ranked.  Divide by the sum of the kept.",
        ),
        "first": (
            "The most probable token is always kept, even if it alone exceeds the limit.",
            "Compare the sum before each token with the limit, not the sum with the token: "
            "kept = np.cumsum(ranked) - ranked < limit.",
        ),
    },
)
def top_p(p, limit):
    """Keep the fewest most probable tokens whose probabilities sum to at least ``limit``.

    p (V,) -> filtered (V,): zero for all other tokens, and the sum is 1 again.
    """
    order = np.argsort(-p)  # the ids, the most probable first
    ranked = p[order]
    # a mask: True for those of the ranked that stay
    kept = ...
    filtered = np.zeros_like(p)
    filtered[order[kept]] = ...
    return filtered


# --- find the bug -------------------------------------------------------------------


def _square_branches(rng):
    for n in (3, 4):
        yield "", draw(rng, (2, n), (n, n), (n, n))


@find_the_bug(
    "find the bug: the feed-forward part of a block",
    level=2,
    minutes=15,
    cases=_square_branches,
    gradients=("dx", "dW", "dU"),
    bugs=(
        Bug(
            "path",
            "dx = dy + da @ W.T",
            "dx = da @ W.T",
            "x is used twice: in the sum, and in x W.",
        ),
        Bug(
            "path",
            "(s + 1.702 * a * s * (1 - s))",
            "s",
            "a is used twice in g = a s: as a factor, and inside of the sigmoid.",
        ),
        Bug(
            "value",
            "dU = g.T @ dy",
            "dU = a.T @ dy",
            "U multiplies g, what the activation returns.",
        ),
        Bug(
            "factor",
            "1.702 * a * s * (1 - s)",
            "a * s * (1 - s)",
            "s = sigmoid(1.702 a): the inner slope.",
        ),
        Bug("order", "dg = dy @ U.T", "dg = dy @ U", "g is the input of g U."),
    ),
)
def find_feed_forward(x, W, U):
    """Compute y = x + g U with g = a sigmoid(1.702 a), an approximation of GELU, and a = x W.

    x (T, D), W (D, F), U (F, D) -> y (T, D).  ``backward(dy)`` -> dx, dW, dU.
    """
    a = x @ W
    s = 1 / (1 + np.exp(-1.702 * a))
    g = a * s
    y = x + g @ U

    def backward(dy):
        dU = g.T @ dy
        dg = dy @ U.T
        da = dg * (s + 1.702 * a * s * (1 - s))
        dW = x.T @ da
        dx = dy + da @ W.T
        return dx, dW, dU

    return y, backward
