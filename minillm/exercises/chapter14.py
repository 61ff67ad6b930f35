"""Exercises of chapter 14: GPT."""

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
    solution="minillm/ops/activations.py: gelu_backward",
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
    t = np.tanh(scale * (x + 0.044715 * x * x * x))
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
    solution="minillm/layers/stack.py: forward",
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
            "The new token looks at all keys, its own included, with the scale of attention.  Its "
            "context is the sum of the weighted values.",
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


def _gpt_size(layers, D, V, C):
    block = 3 * D * D + 3 * D + D * D + D + 2 * 4 * D * D + 4 * D + D + 4 * D
    return V * D + C * D + layers * block + 2 * D, 4 * 2 * layers * D * C


def _gpts(rng):
    for sizes in ((12, 768, 50257, 1024), (1, 2, 3, 5), (3, 8, 11, 7)):
        yield "", sizes


@exercise(
    "the size of a GPT-2 and of its cache",
    level=1,
    minutes=20,
    reference=_gpt_size,
    solution="minillm/exercises/chapter14.py: _gpt_size",
    cases=_gpts,
    outputs=("weights", "cache"),
    hints={
        "weights": (
            "Two tables at the bottom, of tokens and of positions; the output has no weights of "
            "its own.  A block has four matrices, a bias for each, and two norms; one norm ends it "
            "all.",
            "The matrices of a block: D by 3D, D by D, D by 4D and 4D by D; their biases 3D, D, 4D "
            "and D; each norm has 2 D numbers.",
        ),
        "cache": (
            "Each layer keeps a key and a value of D numbers for each position.",
            "2 layers D C numbers, of 4 bytes each.",
        ),
    },
)
def gpt_size(layers, D, V, C):
    """Count the weights of a GPT-2, and the bytes of the cache of a full context.

    It has a vocabulary of V, a context of C positions with a learned vector each, a feed-forward
    width of 4 D, biases everywhere, and an output layer tied to the embeddings; the cache has
    numbers of 4 bytes -> weights, cache.
    """
    weights = ...
    cache = ...
    return weights, cache


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _tiny_gpt(ids, targets, E, P, W_qkv, W_o, W_1, W_2):
    T = len(ids)
    x, embedding_backward = ops.embedding(ids, E)
    x = x + P
    qkv, qkv_backward = ops.linear(x, W_qkv)
    q, k, v = (np.ascontiguousarray(part)[None, None] for part in np.split(qkv, 3, axis=1))
    context, attention_backward = ops.scaled_dot_product_attention(q, k, v, causal=True)
    attended, o_backward = ops.linear(context[0, 0], W_o)
    x2 = x + attended
    a, a_backward = ops.linear(x2, W_1)
    g, gelu_backward = ops.gelu(a)
    f, f_backward = ops.linear(g, W_2)
    x3 = x2 + f
    logits, logits_backward = ops.linear(x3, np.ascontiguousarray(E.T))
    loss, loss_backward = ops.cross_entropy(logits, targets)

    def backward(dloss):
        dx3, dE_transposed = logits_backward(loss_backward(float(dloss)))
        dg, dW_2 = f_backward(dx3)
        dbranch, dW_1 = a_backward(gelu_backward(dg))
        dx2 = dx3 + dbranch
        dcontext, dW_o = o_backward(dx2)
        parts = attention_backward(dcontext[None, None])
        dqkv = np.concatenate([part[0, 0] for part in parts], axis=1)
        dbranch, dW_qkv = qkv_backward(dqkv)
        dx = dx2 + dbranch
        return embedding_backward(dx) + dE_transposed.T, dx, dW_qkv, dW_o, dW_1, dW_2

    return np.asarray(loss), backward


def _tiny_texts(rng):
    for V, T, D, F in ((4, 1, 2, 3), (5, 4, 2, 3)):
        arrays = draw(rng, (V, D), (T, D), (D, 3 * D), (D, D), (D, F), (F, D))
        yield "one token" if T == 1 else "", (rng.integers(0, V, T), rng.integers(0, V, T), *arrays)


@exercise(
    "a GPT of one block, and all its gradients",
    level=3,
    minutes=90,
    reference=_tiny_gpt,
    solution="minillm/exercises/chapter14.py: _tiny_gpt",
    cases=_tiny_texts,
    imports="\nfrom minillm import ops",
    outputs=("loss",),
    gradients=("dE", "dP", "dW_qkv", "dW_o", "dW_1", "dW_2"),
    hints={
        "loss": (
            "Position t sees the positions up to t, by scores over sqrt(D).  Both branches are "
            "added to the stream that they read.",
            "x = E[ids] + P; x = x + attention(x W_qkv) W_o; x = x + gelu(x W_1) W_2; then the "
            "mean cross-entropy of x E^T.",
        ),
        "one token": (
            "With one token, the context is v.  Each branch is added to the stream that it read.",
            "The loss is -log of the softmax of x E^T at the target, after both branches.",
        ),
        "dE": (
            "E has two uses, in the lookup and in the logits, and an id may occur twice.",
            "dlogits^T x, plus each row of dx, added to the row of its id.  If dP is wrong too, "
            "begin there: at each residual sum, dx = dx + what comes back through the branch.",
        ),
        "dP": (
            "P is added to the stream: its gradient is that of the first x, after both branches "
            "have added theirs.",
            "At each residual sum, dx = dx + the gradient that comes back through the branch.",
        ),
        "dW_2": ("The second branch receives the gradient of the last x.", "gelu(a)^T dx."),
        "dW_1": (
            "Through W_2 and the slope of GELU: which x does W_1 multiply?",
            "x after the attention, transposed, times the gradient of a = x W_1.",
        ),
        "dW_o": (
            "What reaches the first branch is the gradient of x after both uses of it: the sum "
            "and the second branch.",
            "context^T dx, where dx already has what came back through W_1.",
        ),
        "dW_qkv": (
            "dq, dk and dv side by side are the gradient of x W_qkv.",
            "x^T times this, with the first x, E[ids] + P.",
        ),
    },
)
def tiny_gpt(ids, targets, E, P, W_qkv, W_o, W_1, W_2):
    """Compute the loss of a GPT of one block and one head, without norms and biases.

    The stream begins with x = E[ids] + P.  Scaled causal attention of x W_qkv, times W_o, is added;
    then gelu(x W_1) W_2, with GPT-2's tanh; the logits are x E^T.  ids and targets (T,), E (V, D),
    P (T, D), W_qkv (D, 3D), W_o (D, D), W_1 (D, F), W_2 (F, D) -> the mean loss.  Use your own
    functions of earlier exercises, or ``ops``: linear, embedding, gelu, cross_entropy, and
    scaled_dot_product_attention of q[None, None] and so on.
    ``backward(dloss)`` -> dE, dP, dW_qkv, dW_o, dW_1, dW_2.
    """
    # as many lines as you need
    loss = ...

    def backward(dloss):
        dE, dP, dW_qkv, dW_o, dW_1, dW_2 = ...
        return dE, dP, dW_qkv, dW_o, dW_1, dW_2

    return loss, backward


def _parallel_block(x, gain, bias, W, U, V):
    h, norm_backward = ops.layer_norm(x, gain, bias)
    g, gelu_backward = ops.gelu(h @ U)

    def backward(dy):
        da = gelu_backward(dy @ V.T)
        dx, dgain, dbias = norm_backward(dy @ W.T + da @ U.T)
        return dx + dy, dgain, dbias, h.T @ dy, h.T @ da, g.T @ dy

    return x + h @ W + g @ V, backward


def _streams(rng):
    for n, D, F in ((2, 3, 4), (3, 4, 3)):
        yield "", draw(rng, (n, D), D, D, (D, D), (D, F), (F, D))


@exercise(
    "a block whose two branches run side by side",
    level=2,
    minutes=25,
    reference=_parallel_block,
    solution="minillm/exercises/chapter14.py: _parallel_block",
    cases=_streams,
    imports="\nfrom minillm import ops",
    gradients=("dx", "dgain", "dbias", "dW", "dU", "dV"),
    hints={
        "y": (
            "Both branches read the same norm of x, with its gain and bias, and both are added to "
            "x itself.  gelu stands between U and V.",
            "h, norm_backward = ops.layer_norm(x, gain, bias); g, gelu_backward = ops.gelu(h @ U); "
            "y = x + h @ W + g @ V.",
        ),
        "dx": (
            "x is used in the sum and in the norm, which is used by two branches.  Uses add up, "
            "at both places.  If dgain is wrong as well, look at what goes into norm_backward; if "
            "dU is, start with da: it needs the slope of gelu.",
            "da = gelu_backward(dy @ V.T); dh = dy @ W.T + da @ U.T goes through norm_backward "
            "once; dx = dy + what returns.",
        ),
        "dx:only": (
            "dgain and dbias are right, so both branches reach the norm.  Where else is x used?",
            "y = x + ...: dx = dy + what norm_backward returns.",
        ),
        **dict.fromkeys(
            ("dgain", "dbias"),
            (
                "gain and bias are used in h, which two branches read: both send a gradient.",
                "norm_backward(dy @ W.T + da @ U.T) returns dgain and dbias too, of both branches.",
            ),
        ),
        "dW": ("W multiplies the norm of x.", "h.T @ dy."),
        "dU": (
            "Between U and the output are the activation and V.",
            "h.T @ da with da = gelu_backward(dy @ V.T).",
        ),
        "dV": ("V multiplies what the activation returns.", "g.T @ dy."),
    },
)
def parallel_block(x, gain, bias, W, U, V):
    """Compute y = x + h W + gelu(h U) V, where both branches read h = layer_norm(x).

    ops.layer_norm(x, gain, bias) and ops.gelu(a) each return their output and a backward.

    x (n, D), gain, bias (D,), W (D, D), U (D, F), V (F, D) -> y (n, D).  W stands for attention.
    ``backward(dy)`` -> dx, dgain, dbias, dW, dU, dV.
    """
    # as many lines as you need
    y = ...

    def backward(dy):
        dx, dgain, dbias, dW, dU, dV = ...
        return dx, dgain, dbias, dW, dU, dV

    return y, backward


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
