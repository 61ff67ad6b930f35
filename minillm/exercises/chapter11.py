"""Exercises of chapter 11: the Transformer."""

import numpy as np

from minillm import ops
from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug
from minillm.layers.heads import join_heads, split_heads
from minillm.layers.positions import sinusoids as reference_sinusoids


def _causal_mask(scores):
    T, S = scores.shape
    position = S - T + np.arange(T)
    return np.where(np.arange(S) <= position[:, None], scores, -np.inf)


def _scores(rng):
    yield "", (rng.standard_normal((4, 4)),)
    yield "past", (rng.standard_normal((2, 5)),)


@exercise(
    "the causal mask",
    level=1,
    minutes=10,
    reference=_causal_mask,
    solution="minillm/ops/mask.py: Mask.allowed",
    cases=_scores,
    outputs=("masked",),
    hints={
        "masked": (
            "Query t may look at the keys j <= t, itself included; all other scores are "
            "minus infinity.",
            "np.arange(S) <= position[:, None] is True where a key is allowed, and "
            "np.where(allowed, scores, -np.inf) masks the rest.",
        ),
        "past": (
            "The queries are the last T of S positions: the first query is not at position 0.",
            "The position of query t is S - T + t.",
        ),
    },
)
def causal_mask(scores):
    """Mask the scores of later keys with minus infinity.

    scores (T, S), of queries at the last T of S positions -> masked (T, S).
    """
    T, S = scores.shape
    position = ...
    allowed = ...
    masked = ...
    return masked


def _causal_attention(q, k, v):
    heads = (x[None, None] for x in (q, k, v))
    y, op_backward = ops.scaled_dot_product_attention(*heads, causal=True)

    def backward(dy):
        return tuple(dx[0, 0] for dx in op_backward(dy[None, None]))

    return y[0, 0], backward


def _sequences(rng):
    for T, D in ((4, 3), (3, 5)):
        yield "", tuple(rng.standard_normal((T, D)) for _ in "qkv")


@exercise(
    "the backward pass of causal attention",
    level=3,
    minutes=30,
    reference=_causal_attention,
    solution="minillm/ops/scaled_dot_product_attention.py: scaled_attention_backward",
    cases=_sequences,
    gradients=("dq", "dk", "dv"),
    hints={
        "dv": (
            "y = weights v is a product of matrices, like x W in chapter 0: v stands where W did.",
            "dv must be (S, E): multiply weights transposed (S, T) by dy (T, E).",
        ),
        "dq": (
            "Go back line by line: y = weights v, then the softmax, then scores = q k^T / sqrt(D).",
            "dweights = dy v^T; dscores = weights (dweights - sum of dweights weights over the "
            "row); dq = dscores k / sqrt(D).",
        ),
        "dk": (
            "A key is used by every query that sees it, and uses add up.  The scale belongs to "
            "this line, too.",
            "dk must be (S, D): multiply dscores transposed (S, T) by q (T, D), and divide by "
            "sqrt(D).",
        ),
    },
)
def attention_backward(q, k, v):
    """Attend to the keys up to each query: y = softmax(q k^T / sqrt(D), masked) v.

    q (T, D), k (T, D), v (T, E) -> y (T, E).  ``backward(dy)`` -> dq, dk, dv.
    """
    T, D = q.shape
    scores = np.where(np.tri(T, dtype=bool), q @ k.T / np.sqrt(D), -np.inf)
    exp_scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = exp_scores / exp_scores.sum(axis=-1, keepdims=True)
    y = weights @ v

    def backward(dy):
        dv = ...
        dweights = ...
        dscores = ...
        dq = ...
        dk = ...
        return dq, dk, dv

    return y, backward


def _split(x, heads):
    def backward(dy):
        return join_heads(dy)

    return np.ascontiguousarray(split_heads(x, heads)), backward


def _to_split(rng):
    for B, T, N, width in ((2, 3, 2, 4), (1, 4, 3, 2)):
        yield "", (rng.standard_normal((B, T, N * width)), N)


@exercise(
    "split into heads, and the way back",
    level=2,
    minutes=15,
    reference=_split,
    solution="minillm/layers/heads.py: split_heads",
    cases=_to_split,
    gradients=("dx",),
    hints={
        "y": (
            "Head n takes the columns from n D/N on.  A reshape to (B, N, T, D/N) alone would mix "
            "up tokens.",
            "Reshape to (B, T, N, D/N) first, then exchange the axes 1 and 2.",
        ),
        "dx": (
            "Each number of x goes to one entry of y, so each gradient goes back to where its "
            "number came from.",
            "Exchange the axes 1 and 2 of dy, then reshape to the shape of x.",
        ),
    },
)
def heads(x, N):
    """Split the last axis into heads.

    x (B, T, D), N heads -> y (B, N, T, D/N).  ``backward(dy)`` -> dx.
    """
    B, T, D = x.shape
    y = ...

    def backward(dy):
        dx = ...
        return dx

    return y, backward


def _places(rng):
    for T, D in ((5, 6), (3, 8), (12, 2)):
        yield "", (T, D)


def _sinusoids(T, D):
    return reference_sinusoids(np.arange(T), D, np.float64)


@exercise(
    "sines and cosines for positions",
    level=1,
    minutes=10,
    reference=_sinusoids,
    solution="minillm/layers/positions.py: sinusoids",
    cases=_places,
    outputs=("P",),
    hints={
        "P": (
            "Column 2i has the sine, column 2i + 1 the cosine, both of the angle "
            "t / 10000^(2i / D).",
            "The angles are np.arange(T)[:, None] / 10000 ** (np.arange(0, D, 2) / D), of shape "
            "(T, D/2); assign P[:, 0::2] and P[:, 1::2].",
        ),
    },
)
def sinusoids(T, D):
    """The vectors of the positions 0 to T - 1, for an even D: P (T, D).

    P[t, 2i] = sin(t / 10000^(2i / D)), P[t, 2i + 1] = cos(t / 10000^(2i / D)).
    """
    P = np.zeros((T, D))
    angles = ...
    P[:, 0::2] = ...
    P[:, 1::2] = ...
    return P


def _rows(rng):
    for n, D in ((3, 5), (4, 2), (1, 6)):
        x = 3 * rng.standard_normal((n, D)) + 1
        yield "", (x, rng.standard_normal(D), rng.standard_normal(D))


@exercise(
    "layer norm, forward and backward",
    level=3,
    minutes=40,
    reference=ops.layer_norm,
    solution="minillm/ops/norms.py: layer_norm_backward",
    cases=_rows,
    gradients=("dx", "dgain", "dbias"),
    hints={
        "y": (
            "Subtract each row's mean, and divide by the root of its variance plus eps.",
            "x_hat = (x - mean) * inverse_std with inverse_std = 1 / sqrt(variance + eps), and "
            "the variance is the mean of (x - mean)^2: x.var(axis=-1, keepdims=True).",
        ),
        "dbias": (
            "The bias is added in each row.  Uses add up.",
            "Sum dy over the rows, axis 0.",
        ),
        "dgain": (
            "The gain multiplies x_hat in each row: its slope is x_hat, and uses add up.",
            "Sum dy * x_hat over the rows, axis 0.",
        ),
        "dx": (
            "x acts on its row on three paths: directly, through the mean, and through the "
            "variance.  The gradient with respect to x_hat is dy gain.",
            "dx = (dx_hat - mean(dx_hat) - x_hat mean(dx_hat x_hat)) inverse_std, with means over "
            "the row.",
        ),
    },
)
def layer_norm(x, gain, bias):
    """Normalise each row, then apply gain and bias, with eps = 1e-5.

    x (n, D), gain (D,), bias (D,) -> y (n, D).  ``backward(dy)`` -> dx, dgain, dbias.
    """
    mean = x.mean(axis=-1, keepdims=True)
    inverse_std = ...
    x_hat = ...
    y = gain * x_hat + bias

    def backward(dy):
        dbias = ...
        dgain = ...
        dx_hat = ...
        dx = ...
        return dx, dgain, dbias

    return y, backward


def _residual(x, gain, bias, W):
    normed, norm_backward = ops.layer_norm(x, gain, bias)
    h, linear_backward = ops.linear(normed, W)

    def backward(dy):
        dnormed, dW = linear_backward(dy)
        dx, dgain, dbias = norm_backward(dnormed)
        return dy + dx, dgain, dbias, dW

    return x + h, backward


def _branches(rng):
    for n, D in ((3, 4), (2, 6)):
        yield (
            "",
            (
                rng.standard_normal((n, D)),
                rng.standard_normal(D),
                rng.standard_normal(D),
                rng.standard_normal((D, D)),
            ),
        )


@exercise(
    "a residual branch, pre-norm",
    level=2,
    minutes=10,
    reference=_residual,
    solution="minillm/layers/block.py: pre_norm",
    cases=_branches,
    imports="\nfrom minillm import ops",
    gradients=("dx", "dgain", "dbias", "dW"),
    hints={
        "y": (
            "The branch is added to x itself, not to its norm.",
            "y = x + h.",
        ),
        "dx": (
            "x is used twice: in the sum, and as the input of the branch.  Uses add up.",
            "dx = dy + dbranch, the gradient that comes back through the norm; dy itself is handed "
            "to the branch unchanged: dh = dy.",
        ),
    },
)
def residual(x, gain, bias, W):
    """Add a branch to the stream: y = x + layer_norm(x) W.

    x (n, D), gain (D,), bias (D,), W (D, D) -> y (n, D).
    ``backward(dy)`` -> dx, dgain, dbias, dW.
    """
    normed, norm_backward = ops.layer_norm(x, gain, bias)
    h, linear_backward = ops.linear(normed, W)
    y = ...

    def backward(dy):
        dh = ...
        dnormed, dW = linear_backward(dh)
        dbranch, dgain, dbias = norm_backward(dnormed)
        dx = ...
        return dx, dgain, dbias, dW

    return y, backward


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _self_attention(x, W_qkv, W_o, N):
    qkv, qkv_backward = ops.linear(x, W_qkv)
    q, k, v = (split_heads(part, N) for part in np.split(qkv, 3, axis=-1))
    context, attention_backward = ops.scaled_dot_product_attention(q, k, v, causal=True)
    y, output_backward = ops.linear(np.ascontiguousarray(join_heads(context)), W_o)

    def backward(dy):
        dcontext, dW_o = output_backward(dy)
        parts = attention_backward(np.ascontiguousarray(split_heads(dcontext, N)))
        dqkv = np.concatenate([join_heads(part) for part in parts], axis=-1)
        return *qkv_backward(dqkv), dW_o

    return y, backward


def _layers_of_attention(rng):
    for B, T, D, N, label in (
        (1, 1, 2, 1, "one token"),
        (2, 3, 2, 1, "one head"),
        (2, 3, 4, 2, ""),
    ):
        yield label, (*draw(rng, (B, T, D), (D, 3 * D), (D, D)), N)


@exercise(
    "self-attention as a layer, forward and backward",
    level=3,
    minutes=75,
    reference=_self_attention,
    solution="minillm/exercises/chapter11.py: _self_attention",
    cases=_layers_of_attention,
    gradients=("dx", "dW_qkv", "dW_o"),
    hints={
        "one token": (
            "A token that is alone attends to itself with the weight 1: y = x W_v W_o, and only "
            "the last third of W_qkv has a gradient.",
            "q, k, v = np.split(x @ W_qkv, 3, axis=-1), and y = context @ W_o.",
        ),
        "one head": (
            "Scores over sqrt(D / N), no look at later positions, and a softmax over the keys.",
            "scores = q k^T / sqrt(D / N), (B, N, T, T), with -np.inf where np.tri(T) is 0.",
        ),
        "y": (
            "With one head, y is right: head n takes the columns from n D / N of q, k and v, and "
            "its own scale.",
            "q.reshape(B, T, N, D // N).transpose(0, 2, 1, 3), scale sqrt(D / N); back by "
            "transpose(0, 2, 1, 3).reshape(B, T, D) before W_o.",
        ),
        "dx": (
            "x is used once, in x W_qkv.  Is dqkv complete: dq, dk and dv, heads joined, side by "
            "side?",
            "dx = dqkv @ W_qkv.T, and dqkv = np.concatenate([dq, dk, dv], axis=-1) after each went "
            "back from (B, N, T, D / N) to (B, T, D).",
        ),
        "dW_qkv": (
            "W_qkv is used at every position of every row: uses add up.  Which third is wrong?  "
            "For q and k, the softmax subtracts a mean, and the scale counts; for v, the weights "
            "are transposed.",
            'np.einsum("btd,bte->de", x, dqkv); dq = dscores k / sqrt(D / N), dk = dscores^T q / '
            "sqrt(D / N), dv = weights^T dcontext, of each head.",
        ),
        "dW_o": (
            "W_o multiplies the joined contexts, at every position of every row.",
            'np.einsum("btd,bte->de", context, dy), with the joined context (B, T, D).',
        ),
    },
)
def self_attention(x, W_qkv, W_o, N):
    """Compute causal self-attention with N heads.

    x (B, T, D), W_qkv (D, 3D): its thirds give q, k and v; W_o (D, D) multiplies the joined
    contexts; N divides D -> y (B, T, D).  ``backward(dy)`` -> dx, dW_qkv, dW_o.
    """
    B, T, D = x.shape
    # as many lines as you need
    y = ...

    def backward(dy):
        dx, dW_qkv, dW_o = ...
        return dx, dW_qkv, dW_o

    return y, backward


def _post_norm(x, gain, bias, W):
    h, linear_backward = ops.linear(x, W)
    y, norm_backward = ops.layer_norm(x + h, gain, bias)

    def backward(dy):
        dsum, dgain, dbias = norm_backward(dy)
        dx, dW = linear_backward(dsum)
        return dsum + dx, dgain, dbias, dW

    return y, backward


@exercise(
    "a residual branch, post-norm",
    level=2,
    minutes=15,
    reference=_post_norm,
    solution="minillm/exercises/chapter11.py: _post_norm",
    cases=_branches,
    imports="\nfrom minillm import ops",
    gradients=("dx", "dgain", "dbias", "dW"),
    hints={
        "y": (
            "Post-norm: the branch reads x itself, and the norm comes after the sum.",
            "h, linear_backward = ops.linear(x, W); y, norm_backward = ops.layer_norm(x + h, gain, "
            "bias).",
        ),
        "dx": (
            "What leaves the norm reaches both terms of the sum, and x is used twice.",
            "dsum = norm_backward(dy)[0]; dx = dsum + the gradient that linear_backward(dsum) "
            "returns.  There is no path around the norm any more.",
        ),
        "dW": (
            "The branch receives what leaves the norm, not dy.",
            "dbranch, dW = linear_backward(dsum).",
        ),
    },
)
def post_norm(x, gain, bias, W):
    """Compute y = layer_norm(x + x W), where the norm comes after the sum.

    ops.linear(x, W) and ops.layer_norm(x, gain, bias) each return their output and a backward:
    one of dh returns dx, dW, the other of dy returns dx, dgain, dbias.

    x (n, D), gain (D,), bias (D,), W (D, D) -> y (n, D).
    ``backward(dy)`` -> dx, dgain, dbias, dW.
    """
    # as many lines as you need
    y = ...

    def backward(dy):
        dx, dgain, dbias, dW = ...
        return dx, dgain, dbias, dW

    return y, backward


# --- find the bug -------------------------------------------------------------------


def _square_layers(rng):
    for n in (3, 4):
        yield "", (2 * rng.standard_normal((n, n)), *draw(rng, n, (n, n)))


@find_the_bug(
    "find the bug: a norm and a layer",
    level=2,
    minutes=20,
    cases=_square_layers,
    gradients=("dx", "dgain", "dW"),
    bugs=(
        Bug(
            "path",
            "- dx_hat.mean(axis=1, keepdims=True) ",
            "",
            "x acts on its row through the mean, too.",
        ),
        Bug(
            "value",
            "x_hat * (dx_hat * x_hat).mean",
            "x_hat * (dx_hat * x).mean",
            "The path through the variance needs the mean of dx_hat x_hat.",
        ),
        Bug(
            "axis",
            "(du * x_hat).sum(axis=0)",
            "(du * x_hat).sum(axis=1)",
            "The gain is used in each row.",
        ),
        Bug("value", "dW = u.T @ dy", "dW = x_hat.T @ dy", "W multiplies u = gain x_hat."),
        Bug("order", "dy @ W.T", "dy @ W", "u is the input of y = u W."),
        Bug(
            "factor",
            "dx_hat = du * gain",
            "dx_hat = du",
            "u = gain x_hat: the slope with respect to x_hat is gain.",
        ),
    ),
)
def find_norm_and_layer(x, gain, W):
    """Compute y = (gain layer_norm(x)) W, with eps = 1e-5 in the norm.

    x (n, D), gain (D,), W (D, O) -> y (n, O).  ``backward(dy)`` -> dx, dgain, dW.
    """
    inverse_std = 1 / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    x_hat = (x - x.mean(axis=1, keepdims=True)) * inverse_std
    u = gain * x_hat
    y = u @ W

    def backward(dy):
        dW = u.T @ dy
        du = dy @ W.T
        dgain = (du * x_hat).sum(axis=0)
        dx_hat = du * gain
        through_variance = x_hat * (dx_hat * x_hat).mean(axis=1, keepdims=True)
        dx = (dx_hat - dx_hat.mean(axis=1, keepdims=True) - through_variance) * inverse_std
        return dx, dgain, dW

    return y, backward
