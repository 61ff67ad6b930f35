"""Answers to the exercises of chapter 8."""

from .answers import Answer

SOFTMAX = "weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))"

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
        "attention",
        right=[
            "q @ k.T / np.sqrt(q.shape[-1])",
            "exp_scores / exp_scores.sum(axis=-1, keepdims=True)",
            "weights @ v",
        ],
        wrong=[
            (0, "q @ k.T", "how are the scores scaled"),
            (0, "q @ k.T / q.shape[-1]", "sqrt(D)"),
            (1, "exp_scores / exp_scores.sum(axis=0)", "sum to 1 over the keys"),
            (1, "exp_scores / exp_scores.sum(axis=0, keepdims=True)", "sum to 1 over the keys"),
            (1, "exp_scores", "sum to 1 over the keys"),
            (1, "exp_scores / exp_scores.sum(axis=-1)", "sum to 1 over the keys"),
            (2, "weights.T @ v", "a sum of the values"),
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
]
