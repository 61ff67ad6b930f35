"""Answers to the exercises of chapter 10."""

from .answers import Answer

SOFTMAX = "weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))"

SELF = """None
    qkv, scale = x @ W_qkv, 1 / (D // N) ** 0.5
    q, k, v = (
        part.reshape(B, T, N, D // N).transpose(0, 2, 1, 3) for part in np.split(qkv, 3, axis=-1)
    )
    scores = np.where(np.tri(T) > 0, scale * q @ k.transpose(0, 1, 3, 2), -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = weights / weights.sum(axis=-1, keepdims=True)
    context = (weights @ v).transpose(0, 2, 1, 3).reshape(B, T, D)
    y = context @ W_o"""
SELF_BACK = """None, None, None
        dW_o = np.einsum("btd,bte->de", context, dy)
        dheads = (dy @ W_o.T).reshape(B, T, N, D // N).transpose(0, 2, 1, 3)
        dv = weights.transpose(0, 1, 3, 2) @ dheads
        dweights = dheads @ v.transpose(0, 1, 3, 2)
        dscores = weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))
        dq = scale * dscores @ k
        dk = scale * dscores.transpose(0, 1, 3, 2) @ q
        parts = [part.transpose(0, 2, 1, 3).reshape(B, T, D) for part in (dq, dk, dv)]
        dqkv = np.concatenate(parts, axis=-1)
        dW_qkv = np.einsum("btd,bte->de", x, dqkv)
        dx = dqkv @ W_qkv.T"""
POST_BACK = """None, None, None, None
        dsum, dgain, dbias = norm_backward(dy)
        dbranch, dW = linear_backward(dsum)
        dx = dsum + dbranch"""

ANSWERS = [
    Answer(
        "causal-mask",
        right=[
            "S - T + np.arange(T)",
            "np.arange(S) <= position[:, None]",
            "np.where(allowed, scores, -np.inf)",
        ],
        wrong=[
            (0, "np.arange(T)", "not at position 0"),
            (1, "np.arange(S) < position[:, None]", "itself included"),
            (1, "np.arange(S) >= position[:, None]", "the keys j <= t"),
            (2, "np.where(allowed, scores, -1e9)", "minus infinity"),
        ],
    ),
    Answer(
        "attention-backward",
        right=[
            "weights.T @ dy",
            "dy @ v.T",
            SOFTMAX,
            "dscores @ k / np.sqrt(D)",
            "dscores.T @ q / np.sqrt(D)",
        ],
        wrong=[
            (0, "weights @ dy", "v stands where W did"),
            (2, "weights * dweights", "then the softmax"),
            (2, "weights * (1 - weights) * dweights", "sum of dweights weights over the row"),
            (3, "dscores @ k", "dq = dscores k / sqrt(D)"),
            (4, "dscores.T @ q", "The scale belongs to"),
            (4, "dscores @ q / np.sqrt(D)", "every query that sees it"),
        ],
    ),
    Answer(
        "heads",
        right=[
            "x.reshape(B, T, N, D // N).transpose(0, 2, 1, 3)",
            "dy.transpose(0, 2, 1, 3).reshape(B, T, D)",
        ],
        wrong=[
            (0, "x.reshape(B, N, T, D // N)", "mix up tokens"),
            (0, "x.reshape(B, T, D // N, N).transpose(0, 3, 1, 2)", "columns from n D/N"),
            (1, "dy.reshape(B, T, D)", "back to where its"),
        ],
    ),
    Answer(
        "sinusoids",
        right=[
            "np.arange(T)[:, None] / 10000 ** (np.arange(0, D, 2) / D)",
            "np.sin(angles)",
            "np.cos(angles)",
        ],
        wrong=[
            (0, "np.arange(T)[:, None] / 10000 ** (np.arange(D // 2) / D)", "2i / D"),
            (1, "np.cos(angles)", "Column 2i has the sine"),
        ],
    ),
    Answer(
        "layer-norm",
        right=[
            "1 / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)",
            "(x - mean) * inverse_std",
            "dy.sum(axis=0)",
            "(dy * x_hat).sum(axis=0)",
            "dy * gain",
            "(dx_hat - dx_hat.mean(-1, keepdims=True)"
            " - x_hat * (dx_hat * x_hat).mean(-1, keepdims=True)) * inverse_std",
        ],
        wrong=[
            (0, "1 / np.sqrt(x.var(axis=-1, ddof=1, keepdims=True) + 1e-5)", "the mean of (x -"),
            (0, "1 / (x.std(axis=-1, keepdims=True) + 1e-5)", "variance plus eps"),
            (2, "dy.mean(axis=0)", "added in each row"),
            (3, "dy.sum(axis=0)", "its slope is x_hat"),
            (4, "dy", "respect to x_hat is dy gain"),
            (5, "dx_hat * inverse_std", "on three paths"),
            (5, "(dx_hat - dx_hat.mean(-1, keepdims=True)) * inverse_std", "through the"),
        ],
    ),
    Answer(
        "residual",
        right=["x + h", "dy", "dy + dbranch"],
        wrong=[
            (0, "normed + h", "not to its norm"),
            (1, "dy * h", "handed to the branch unchanged"),
            (2, "dbranch", "x is used twice"),
        ],
    ),
    Answer(
        "self-attention",
        right=[SELF, SELF_BACK],
        wrong=[
            (0, SELF.replace("D // N) ** 0.5", "D) ** 0.5"), "its own scale"),
            (0, SELF.replace("np.tri(T) > 0", "True"), "no look at later positions"),
            (0, SELF.replace("@ W_o", "@ W_o.T"), "y = x W_v W_o"),
            (
                0,
                SELF.replace("reshape(B, T, N, D // N)", "reshape(B, T, D // N, N)").replace(
                    "transpose(0, 2, 1, 3) for", "transpose(0, 3, 1, 2) for"
                ),
                "columns from n D / N",
            ),
            (1, SELF_BACK.replace("dk = scale *", "dk ="), "sqrt(D / N)"),
            (1, SELF_BACK.replace("weights.transpose(0, 1, 3, 2)", "weights"), "sqrt(D / N)"),
            (
                1,
                SELF_BACK.replace('"btd,bte->de", context, dy', '"btd,bte->ed", context, dy'),
                "the joined context (B, T, D)",
            ),
        ],
    ),
    Answer(
        "post-norm",
        right=[
            "None\n    h, linear_backward = ops.linear(x, W)\n"
            "    y, norm_backward = ops.layer_norm(x + h, gain, bias)",
            POST_BACK,
        ],
        wrong=[
            (
                0,
                "None\n    h, linear_backward = ops.linear(x, W)\n"
                "    y, norm_backward = ops.layer_norm(h, gain, bias)\n    y = x + y",
                "the norm comes after the sum",
            ),
            (1, POST_BACK.replace("dsum + dbranch", "dbranch"), "x is used twice"),
            (1, POST_BACK.replace("dsum + dbranch", "dy + dbranch"), "no path around the norm"),
            (
                1,
                POST_BACK.replace("linear_backward(dsum)", "linear_backward(dy)"),
                "that linear_backward(dsum) returns",
            ),
        ],
    ),
]
