"""Exercises of chapter 22: the parts of today's models."""

import numpy as np

from minillm import ops
from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug


def _rows(rng):
    for shape in ((3, 5), (1, 2), (4, 1)):
        yield "", (rng.standard_normal(shape), rng.standard_normal(shape[-1]))
    yield "eps", (1e-3 * rng.standard_normal((2, 3)), rng.standard_normal(3))


@exercise(
    "root mean square normalisation, forward and backward",
    level=2,
    minutes=25,
    reference=ops.rms_norm,
    solution="minillm/ops/norms.py: rms_norm",
    cases=_rows,
    gradients=("dx", "dgain"),
    hints={
        "y": (
            "x_hat = x r with r = 1 / sqrt(mean(x^2) + eps), for each row, and y = gain x_hat.",
            "r has the shape (n, 1): np.mean(x**2, axis=-1, keepdims=True), with eps inside of "
            "the root.",
        ),
        "eps": (
            "The rows are small here, and eps counts.",
            "eps = 1e-5 is added to the mean of the squares, inside of the root.",
        ),
        "dx": (
            "Each x has two paths to x_hat: directly, with the slope r, and through r of its row.",
            "dx = r (dx_hat - x_hat mean(dx_hat x_hat)), the mean over the row.",
        ),
        "dgain": (
            "The gain is used in every row.  Uses add up.",
            "Sum dy x_hat over the rows, axis 0.",
        ),
    },
)
def rms_norm(x, gain):
    """Normalise each row to a mean square of 1, and multiply by the gain; eps is 1e-5.

    x (n, D), gain (D,) -> y (n, D).  ``backward(dy)`` -> dx, dgain.
    """
    r = ...
    x_hat = x * r
    y = gain * x_hat

    def backward(dy):
        dgain = ...
        dx_hat = dy * gain
        dx = ...
        return dx, dgain

    return y, backward


def _rotary(x, positions):
    y, backward = ops.rotary(x[None, None], positions[None])
    return y[0, 0], lambda dy: backward(dy[None, None])[0, 0]


def _sequences(rng):
    for T, D in ((3, 4), (1, 2), (5, 6)):
        yield "", (rng.standard_normal((T, D)), rng.integers(1, 9, T))


@exercise(
    "rotary positions, forward and backward",
    level=2,
    minutes=20,
    reference=_rotary,
    solution="minillm/ops/rotary.py: rotary",
    cases=_sequences,
    gradients=("dx",),
    hints={
        "y": (
            "Each pair (first, second) is turned by its angle: by 90 degrees, (1, 0) becomes "
            "(0, 1), and (0, 1) becomes (-1, 0).",
            "The halves are first cos - second sin and first sin + second cos, joined along the "
            "last axis.",
        ),
        "dx": (
            "A rotation is a matrix R.  y = R x has the backward pass R^T dy, and R^T turns back.",
            "dfirst cos + dsecond sin, then dsecond cos - dfirst sin.",
        ),
    },
)
def rotary(x, positions):
    """Turn the pairs x[t, i], x[t, i + D/2] by the angles positions[t] 10000^(-2 i / D).

    x (T, D) with an even D, positions (T,) -> y (T, D).  ``backward(dy)`` -> dx.
    """
    D = x.shape[-1]
    angles = positions[:, None] * 10000.0 ** (-2 * np.arange(D // 2) / D)
    cos, sin = np.cos(angles), np.sin(angles)
    first, second = np.split(x, 2, axis=-1)
    y = ...

    def backward(dy):
        dfirst, dsecond = np.split(dy, 2, axis=-1)
        dx = ...
        return dx

    return y, backward


def _any(rng):
    yield "", (2 * rng.standard_normal((3, 4)),)
    yield "", (2 * rng.standard_normal(5),)


@exercise(
    "the backward pass of SiLU",
    level=1,
    minutes=10,
    reference=ops.silu,
    solution="minillm/ops/activations.py: silu",
    cases=_any,
    gradients=("dx",),
    hints={
        "dx": (
            "y = x s is a product of two functions of x: (u v)' = u' v + u v'.",
            "The slope of s is s (1 - s): dy (s + x s (1 - s)).",
        ),
    },
)
def silu(x):
    """Compute y = x s with s = 1 / (1 + exp(-x)).  ``backward(dy)`` -> dx."""
    s = 1 / (1 + np.exp(-x))
    y = x * s

    def backward(dy):
        dx = ...
        return dx

    return y, backward


def _grouped(q, k, v):
    N, M = len(q), len(k)
    keys, values = (np.repeat(array, N // M, axis=0) for array in (k, v))
    y, op_backward = ops.scaled_dot_product_attention(q[None], keys[None], values[None])

    def backward(dy):
        dq, dkeys, dvalues = op_backward(dy[None])
        grouped = (M, N // M, *k.shape[1:])
        return dq[0], dkeys.reshape(grouped).sum(axis=1), dvalues.reshape(grouped).sum(axis=1)

    return y[0], backward


def _heads_in_groups(rng):
    for N, M, label in ((2, 2, "own keys"), (4, 2, "groups"), (3, 1, "groups")):
        yield label, draw(rng, (N, 3, 2), (M, 4, 2), (M, 4, 2))


@exercise(
    "grouped queries, forward and backward",
    level=3,
    minutes=35,
    reference=_grouped,
    solution="minillm/exercises/chapter22.py: _grouped",
    cases=_heads_in_groups,
    gradients=("dq", "dk", "dv"),
    hints={
        "own keys": (
            "Where N = M, this is attention in N heads, each with the scale of its own width.",
            "scores = q k^T / sqrt(d) for each head; dscores = weights (dweights - sum of dweights "
            "weights over the keys).",
        ),
        "groups": (
            "Query heads 0 to N/M - 1 share key head 0, and so on.  A key is used by all of its "
            "group: uses add up.",
            "np.repeat(k, N // M, axis=0) in the forward pass; in the backward pass, dk of "
            "all N heads reshaped to (M, N // M, S, d) and summed over axis 1.",
        ),
    },
)
def grouped_queries(q, k, v):
    """Attend with N heads of queries to M heads of keys and values, of which N is a multiple.

    q (N, T, d), k and v (M, S, d): key head m serves the N / M query heads from m N / M on; all
    keys are allowed, and the scale is 1 / sqrt(d) -> y (N, T, d).  ``backward(dy)`` -> dq, dk, dv.
    """
    # as many lines as you need
    y = ...

    def backward(dy):
        dq, dk, dv = ...
        return dq, dk, dv

    return y, backward


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _normed_queries(q, k, v, gain):
    normed_q, q_backward = ops.rms_norm(q, gain)
    normed_k, k_backward = ops.rms_norm(k, gain)
    d = q.shape[1]
    weights, softmax_backward = ops.softmax(normed_q @ normed_k.T / np.sqrt(d))

    def backward(dy):
        ds = softmax_backward(dy @ v.T) / np.sqrt(d)
        dq, from_q = q_backward(ds @ normed_k)
        dk, from_k = k_backward(ds.T @ normed_q)
        return dq, dk, weights.T @ dy, from_q + from_k

    return weights @ v, backward


def _queries(rng):
    for T, S, d, e in ((1, 2, 3, 2), (3, 4, 2, 3)):
        yield "", draw(rng, (T, d), (S, d), (S, e), d)


@exercise(
    "attention with normalised queries and keys",
    level=2,
    minutes=25,
    reference=_normed_queries,
    solution="minillm/exercises/chapter22.py: _normed_queries",
    cases=_queries,
    imports="\nfrom minillm import ops",
    gradients=("dq", "dk", "dv", "dgain"),
    hints={
        "y": (
            "Queries and keys are normalised, values are not; the scale is 1 / sqrt(d) as before.",
            "normed_q, q_backward = ops.rms_norm(q, gain), the same with k; then ops.softmax("
            "normed_q @ normed_k.T / np.sqrt(d)), times v.",
        ),
        "dq": (
            "The score is a product with the normalised key, and the norm has a backward pass of "
            "its own.",
            "q_backward(ds @ normed_k / np.sqrt(d))[0], with ds from the backward of the softmax.",
        ),
        "dk": (
            "The score is a product with the normalised query, and the norm has a backward pass of "
            "its own.",
            "k_backward(ds.T @ normed_q / np.sqrt(d))[0].",
        ),
        "dv": ("A value has the slopes of its weights.", "weights.T @ dy."),
        "dgain": (
            "One gain has two uses, in the queries and in the keys.  Uses add up.",
            "The sum of what q_backward and k_backward return for it.",
        ),
    },
)
def normed_queries(q, k, v, gain):
    """Compute softmax(q' k'^T / sqrt(d)) v, where q' and k' are the rms_norm of q and k.

    q (T, d), k (S, d), v (S, e), gain (d,), the same for both norms -> y (T, e).  Use ops.rms_norm
    and ops.softmax.  ``backward(dy)`` -> dq, dk, dv, dgain.
    """
    # as many lines as you need
    y = ...

    def backward(dy):
        dq, dk, dv, dgain = ...
        return dq, dk, dv, dgain

    return y, backward


def _mix_experts(scores, f):
    chosen = np.argsort(-scores, axis=1)[:, :2]
    gates, softmax_backward = ops.softmax(np.take_along_axis(scores, chosen, axis=1))
    outputs = np.take_along_axis(f, chosen[..., None], axis=1)

    def backward(dy):
        dscores, df = np.zeros_like(scores), np.zeros_like(f)
        dgates = softmax_backward((outputs * dy[:, None]).sum(axis=2))
        np.put_along_axis(dscores, chosen, dgates, axis=1)
        np.put_along_axis(df, chosen[..., None], gates[..., None] * dy[:, None], axis=1)
        return dscores, df

    return (gates[..., None] * outputs).sum(axis=1), backward


def _answers(rng):
    for label, n, experts, D in (("all chosen", 2, 2, 3), ("", 3, 4, 2)):
        yield label, draw(rng, (n, experts), (n, experts, D))


@exercise(
    "the gate of a mixture of experts",
    level=2,
    minutes=25,
    reference=_mix_experts,
    solution="minillm/exercises/chapter22.py: _mix_experts",
    cases=_answers,
    gradients=("dscores", "df"),
    hints={
        "all chosen": (
            "With two experts, both are chosen: a softmax over both scores weighs their outputs.",
            "y[n] is the sum of p[n, j] f[n, j] over j.",
        ),
        "y": (
            "The softmax sees the two largest scores of a row alone, and only these two answer.",
            "Sort a row downwards with np.argsort(-scores, axis=1), and keep two.",
        ),
        "dscores": (
            "dp_j is dy . f_j, and the softmax subtracts the mean of the chosen ones.  A score "
            "that was not chosen has the gradient 0.",
            "dscores_j = p_j (dp_j - sum over the chosen i of p_i dp_i).",
        ),
        "df": (
            "An output is multiplied by its gate; an expert that was not chosen is not used.",
            "df[n, j] = p[n, j] dy[n] for the chosen j, and 0 for the others.",
        ),
    },
)
def expert_gate(scores, f):
    """Weigh the outputs of the two experts with the largest scores by a softmax over these two.

    scores (n, experts), f (n, experts, D) -> y (n, D).  ``backward(dy)`` -> dscores, df.
    """
    # as many lines as you need
    y = ...

    def backward(dy):
        dscores, df = ...
        return dscores, df

    return y, backward


# --- find the bug -------------------------------------------------------------------


def _square_gated(rng):
    for n in (3, 4):
        yield "", draw(rng, (2, n), (n, n), (n, n), (n, n))


@find_the_bug(
    "find the bug: SwiGLU",
    level=2,
    minutes=20,
    cases=_square_gated,
    gradients=("dx", "dW", "dV", "dU"),
    bugs=(
        Bug("path", "da @ W.T + db @ V.T", "da @ W.T", "x is used in x W and in x V."),
        Bug(
            "value",
            "db = dg * a * s",
            "db = dg * s",
            "g = a s b: the slope with respect to b is a s.",
        ),
        Bug("path", "(s + a * s * (1 - s))", "s", "a is used twice in a s, and s depends on it."),
        Bug("value", "dV = x.T @ db", "dV = x.T @ da", "V is used in b = x V only."),
        Bug("order", "dg = dy @ U.T", "dg = dy @ U", "g is the input of g U."),
        Bug("factor", "da = dg * b *", "da = dg *", "g = a s b: what reaches a is scaled by b."),
    ),
)
def find_swiglu(x, W, V, U):
    """Compute y = g U with g = a sigmoid(a) b, a = x W and b = x V.

    x (T, D), W and V (D, F), U (F, D) -> y (T, D).  ``backward(dy)`` -> dx, dW, dV, dU.
    """
    a, b = x @ W, x @ V
    s = 1 / (1 + np.exp(-a))
    g = a * s * b
    y = g @ U

    def backward(dy):
        dU = g.T @ dy
        dg = dy @ U.T
        db = dg * a * s
        da = dg * b * (s + a * s * (1 - s))
        dW = x.T @ da
        dV = x.T @ db
        dx = da @ W.T + db @ V.T
        return dx, dW, dV, dU

    return y, backward


def _head_attribution(x, c, W, U, target):
    parts = (c[:, None] @ W)[:, 0]  # (N, D)
    y = x + parts.sum(axis=0)
    logits = np.stack([y, *(y - parts)]) @ U
    log_p = logits[:, target] - np.log(np.exp(logits).sum(axis=1))
    dlogits = np.eye(len(U.T))[target] - ops.softmax(logits[0])[0]
    return log_p[0] - log_p[1:], parts @ (U @ dlogits)


def _last_layers(rng):
    for N, w, D, V in ((2, 3, 4, 5), (4, 2, 6, 3)):
        yield "", (*draw(rng, D, (N, w), (N, w, D), (D, V)), int(rng.integers(V)))


@exercise(
    "the head that made a prediction",
    level=2,
    minutes=25,
    reference=_head_attribution,
    solution="minillm/look/attribution.py: contributions",
    cases=_last_layers,
    imports="\nfrom minillm import ops",
    outputs=("effects", "estimates"),
    hints={
        "effects": (
            "Leave one head out of the sum, compute log P again, and subtract it from the whole "
            "log P: a head that helps has a positive effect.",
            "Without head n, y is y - c[n] @ W[n]; log P is log of ops.softmax(y @ U)[0][target].",
        ),
        "estimates": (
            "One gradient serves all heads: dy of log P, through the softmax and U.  Through W_n "
            "it reaches c_n, and is multiplied by c_n.",
            "dlogits = one-hot minus p; dy = U @ dlogits; estimates[n] = c[n] @ (W[n] @ dy).",
        ),
    },
)
def head_attribution(x, c, W, U, target):
    """Find what each head of the last layer adds to log P of a token.

    log P = log softmax(y U)[target], where y = x + sum of c_n W_n has the stream x (D,) and the
    results of the heads.  c (N, w), W (N, w, D), U (D, V).
    -> effects (N,): log P minus log P without the head, and estimates (N,) of them: the gradient
    of log P with respect to c_n times c_n.  ops.softmax(z) returns p and a backward.
    """
    # as many lines as you need
    effects = ...
    estimates = ...
    return effects, estimates
