"""Exercises of chapter 16: the uses of a pre-trained model."""

import numpy as np

from minillm import ops
from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug
from minillm.models.question_answering import best_spans


def _lora(x, W, A, B, s):
    xA, A_backward = ops.linear(x, A)
    y, B_backward = ops.linear(xA, B)

    def backward(dy):
        dxA, dB = B_backward(s * dy)
        dx, dA = A_backward(dxA)
        return dx + dy @ W.T, dA, dB

    return x @ W + s * y, backward


def _cheapest(x, W, A, B, s):
    """The multiplications with W, and those of thin products, each computed where it is used."""
    thin = len(x) * (A.size + B.size)
    return len(x) * W.size + thin, len(x) * W.size + 3 * thin


def _adapters(rng):
    for n, I, O, r, s in ((2, 6, 7, 1, 2.0), (3, 3, 3, 2, 0.5)):
        W, (x, A, B) = rng.integers(-3, 4, (I, O)), draw(rng, (n, I), (I, r), (r, O))
        yield "", (x, W, A, B, s)
        yield "", (x, W, A, np.zeros((r, O)), s)


@exercise(
    "LoRA: a frozen linear layer and its adapter of low rank",
    level=2,
    minutes=20,
    reference=_lora,
    solution="minillm/training/lora.py: LoraWeight",
    cases=_adapters,
    gradients=("dx", "dA", "dB"),
    multiplications=_cheapest,
    hints={
        "forward:order": (
            "The result is right, but A B is as large as W.  Which order has thin products only?",
            "x @ W + s * (x @ A) @ B",
        ),
        "backward:order": (
            "The gradients are right, but some product on the way is as large as W: A B or "
            "x^T dy.  The products that contain r are thin.",
            "dx = dy W^T + s (dy B^T) A^T, dA = s x^T (dy B^T), dB = s (x A)^T dy.",
        ),
        "y": (
            "The frozen layer's output, plus s times x through both thin matrices.",
            "x @ W + s * (x @ A) @ B",
        ),
        "dx": (
            "x is used twice: by the frozen matrix and by A.  Uses add up.",
            "dy @ W.T + s * (dy @ B.T) @ A.T",
        ),
        "dA": (
            "A is a linear layer with the input x.  Its upstream gradient is that of x A.",
            "x A has the gradient s * dy @ B.T (n, r), so dA = x.T @ (s * dy @ B.T).",
        ),
        "dB": (
            "B is a linear layer with the input x A, and s multiplies its output.",
            "dB = s * (x @ A).T @ dy",
        ),
    },
)
def lora(x, W, A, B, s):
    """Compute y = x W + s x A B by products of which none but W itself is as large as W.

    x (n, I), W (I, O), A (I, r), B (r, O) with a small r, s a number -> y (n, O).  W is frozen and
    has no gradient.  ``backward(dy)`` -> dx, dA, dB, by thin products too.
    """
    y = ...

    def backward(dy):
        dx = ...
        dA = ...
        dB = ...
        return dx, dA, dB

    return y, backward


def _best_span(s, e, longest):
    first, last, _ = best_spans(np.stack([s, e]), longest)[0]
    return first, last


def _logits_of_spans(rng):
    yield "", (np.array([0.0, 5, 1, 2]), np.array([0.0, 1, 2, 6]), 3)
    yield "one token", (np.array([0.0, 1, 6, 1]), np.array([0.0, 1, 6, 1]), 3)
    yield "backwards", (np.array([0.0, 1, 1, 5, 2]), np.array([0.0, 6, 1, 3, 2]), 4)
    yield "longest", (np.array([0.0, 9, 0, 0, 2, 0]), np.array([0.0, 1, 0, 7, 0, 0]), 2)
    for _ in range(4):
        yield "", (*rng.standard_normal((2, 12)), 4)


@exercise(
    "the best answer: a span of a text",
    level=2,
    minutes=15,
    reference=_best_span,
    solution="minillm/models/question_answering.py: best_spans",
    cases=_logits_of_spans,
    outputs=("first", "last"),
    hints={
        "first": (
            "The two ends are chosen together: the largest sum s[i] + e[j] counts.  For each i, j "
            "runs over all ends of a span that is not too long and lies in the text.",
            "s[i] + e[j], where j runs over range(i, min(i + longest, T)).",
        ),
        "last": (
            "The two ends are chosen together: the largest sum s[i] + e[j] counts.  For each i, j "
            "runs over all ends of a span that is not too long and lies in the text.",
            "s[i] + e[j], where j runs over range(i, min(i + longest, T)).",
        ),
        "one token": (
            "The last position belongs to the answer: a span of one token has j = i.",
            "j runs over range(i, min(i + longest, T)).",
        ),
        "backwards": (
            "An answer cannot end before it begins.  Two separate argmaxes may do that.",
            "For each i, allow only j from i on.",
        ),
        "longest": (
            "A span has at most longest tokens, i and j among them.",
            "j - i is at most longest - 1, so j runs over range(i, min(i + longest, T)).",
        ),
    },
)
def best_span(s, e, longest):
    """Find the span with the largest s[i] + e[j].

    s, e (T,): the logits of the first and of the last token of the answer; position 0 is [CLS], and
    no part of an answer -> i, j, where the span i..j has at most ``longest`` tokens.
    """
    T = len(s)
    scores = {}
    for i in range(1, T):
        ends = ...
        for j in ends:
            scores[i, j] = ...
    return max(scores, key=scores.get)


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _prefix(q, k, v, K, V):
    B, T, d = q.shape
    keys, values = (
        np.concatenate([np.broadcast_to(own, (B, *own.shape)), array], axis=1)
        for own, array in ((K, k), (V, v))
    )
    arrays = [np.ascontiguousarray(array[:, None]) for array in (q, keys, values)]
    y, op_backward = ops.scaled_dot_product_attention(*arrays, causal=True)

    def backward(dy):
        dq, dkeys, dvalues = (array[:, 0] for array in op_backward(dy[:, None]))
        m = len(K)
        return (
            dq,
            dkeys[:, m:],
            dvalues[:, m:],
            dkeys[:, :m].sum(axis=0),
            dvalues[:, :m].sum(axis=0),
        )

    return y[:, 0], backward


def _prefixed(rng):
    for B, T, m, d in ((1, 1, 1, 2), (1, 3, 2, 2), (3, 2, 2, 3)):
        label = "one token" if T == 1 else ""
        yield label, draw(rng, (B, T, d), (B, T, d), (B, T, d), (m, d), (m, d))


@exercise(
    "prefix tuning: keys and values that are learned",
    level=3,
    minutes=35,
    reference=_prefix,
    solution="minillm/exercises/chapter16.py: _prefix",
    cases=_prefixed,
    gradients=("dq", "dk", "dv", "dK", "dV"),
    hints={
        "one token": (
            "A single token attends to the whole prefix and to itself, by one softmax.",
            "The keys are K and then k of its row: np.concatenate([K, k[b]]), and the scale is "
            "1 / sqrt(d).",
        ),
        "y": (
            "Each token sees the whole prefix, and of its text the tokens up to itself.",
            "Position t sees the first m + t + 1 keys: np.tri(T, m + T, m, dtype=bool).",
        ),
        "dq": (
            "The scores of the prefix are scores like all others: one softmax over m + T keys.",
            "dq = dscores keys / sqrt(d), with dscores = weights (dweights - sum of dweights "
            "weights).",
        ),
        "dk": (
            "The keys of the text are those from m on.",
            "dscores^T q / sqrt(d), of the columns from m on.",
        ),
        "dv": (
            "The values of the text are those from m on.",
            "weights^T dy, of the columns from m on.",
        ),
        "dK": (
            "The prefix is used in all B rows.  Uses add up.",
            "The first m rows of dscores^T q / sqrt(d), summed over the batch.",
        ),
        "dV": (
            "The prefix is used in all B rows.  Uses add up.",
            "The first m rows of weights^T dy, summed over the batch.",
        ),
    },
)
def prefix_attention(q, k, v, K, V):
    """Compute causal attention with m more keys and values that are learned, before each text.

    q, k, v (B, T, d); K, V (m, d): the same for all rows, and visible to every query; the scale is
    1 / sqrt(d) -> y (B, T, d).  ``backward(dy)`` -> dq, dk, dv, dK, dV.
    """
    # as many lines as you need
    y = ...

    def backward(dy):
        dq, dk, dv, dK, dV = ...
        return dq, dk, dv, dK, dV

    return y, backward


def _many_adapters(x, W, A, B, users):
    u = np.einsum("ni,nir->nr", x, A[users])

    def backward(dy):
        du = np.einsum("no,nro->nr", dy, B[users])
        dA, dB = np.zeros_like(A), np.zeros_like(B)
        np.add.at(dA, users, x[:, :, None] * du[:, None])
        np.add.at(dB, users, u[:, :, None] * dy[:, None])
        return dy @ W.T + np.einsum("nr,nir->ni", du, A[users]), dA, dB

    return x @ W + np.einsum("nr,nro->no", u, B[users]), backward


def _users(rng):
    for I, O, r, users in ((3, 2, 1, [1, 0]), (2, 3, 2, [0, 2, 0, 0]), (3, 3, 2, [1, 1, 1])):
        W = rng.integers(-3, 4, (I, O))
        x, A, B = draw(rng, (len(users), I), (3, I, r), (3, r, O))
        yield "", (x, W, A, B, np.array(users))


@exercise(
    "one batch, many adapters",
    level=2,
    minutes=25,
    reference=_many_adapters,
    solution="minillm/exercises/chapter16.py: _many_adapters",
    cases=_users,
    gradients=("dx", "dA", "dB"),
    hints={
        "y": (
            "All rows share W, and each has the two thin matrices of its own user.",
            'u = np.einsum("ni,nir->nr", x, A[users]); x @ W + np.einsum("nr,nro->no", u, '
            "B[users]).",
        ),
        "dx": (
            "x is used by W and by A of its user.  Uses add up.",
            'dy @ W.T + np.einsum("nr,nir->ni", du, A[users]), with du = dy B^T of each row.',
        ),
        "dA": (
            "The rows of one user add up in the adapter of this user; dA[users] += ... adds only "
            "one of them.  Who has no row has no gradient.",
            "np.add.at(dA, users, x[:, :, None] * du[:, None]).",
        ),
        "dB": (
            "B multiplies u = x A, and the rows of one user add up.",
            "np.add.at(dB, users, u[:, :, None] * dy[:, None]).",
        ),
    },
)
def many_adapters(x, W, A, B, users):
    """Compute y[n] = x[n] W + x[n] A[c] B[c] with c = users[n]: each row has an adapter of its own.

    x (n, I), W (I, O), frozen, A (C, I, r), B (C, r, O), users (n,), from 0 to C - 1 -> y (n, O).
    ``backward(dy)`` -> dx, dA, dB.
    """
    # as many lines as you need
    y = ...

    def backward(dy):
        dx, dA, dB = ...
        return dx, dA, dB

    return y, backward


# --- find the bug -------------------------------------------------------------------


def _dropped(rng):
    for n, I, r in ((3, 4, 2), (2, 3, 3)):
        W, kept = rng.integers(-3, 4, (I, I)), 2 * rng.integers(0, 2, (n, I))
        kept[0, :2] = 0, 2
        x, A, B = draw(rng, (n, I), (I, r), (r, I))
        yield "", (x, W, A, B, kept, 0.5)


@find_the_bug(
    "find the bug: an adapter with dropout",
    level=2,
    minutes=20,
    cases=_dropped,
    gradients=("dx", "dA", "dB"),
    bugs=(
        Bug("path", "dx = dy @ W.T + ", "dx = ", "x is used by the frozen matrix, too."),
        Bug(
            "mask",
            "du @ A.T * kept",
            "du @ A.T",
            "What was dropped had no part in the forward pass.",
        ),
        Bug("factor", "du = s * dy @ B.T", "du = dy @ B.T", "s multiplies the adapter's output."),
        Bug("value", "d.T @ du", "x.T @ du", "A multiplies what dropout has left of x."),
        Bug("order", "dy @ W.T", "dy @ W", "x is the input of x W."),
    ),
)
def find_adapter(x, W, A, B, kept, s):
    """Compute y = x W + s (x kept) A B: dropout before the adapter only.

    x (n, I), W (I, O), frozen, A (I, r), B (r, O); kept (n, I), the factors of dropout, 0 or 2; s a
    number -> y (n, O).  ``backward(dy)`` -> dx, dA, dB.
    """
    d = x * kept
    u = d @ A
    y = x @ W + s * u @ B

    def backward(dy):
        dB = s * u.T @ dy
        du = s * dy @ B.T
        dA = d.T @ du
        dx = dy @ W.T + du @ A.T * kept
        return dx, dA, dB

    return y, backward
