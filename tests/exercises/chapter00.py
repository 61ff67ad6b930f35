"""Answers to the exercises of chapter 0."""

from .answers import Answer

ANSWERS = [
    Answer(
        "square",
        right=["2 * x * dy"],
        wrong=[(0, "x * dy", "slope"), (0, "2 * x", "upstream gradient by its slope")],
    ),
    Answer(
        "linear",
        right=["dy @ W.T", "x.T @ dy", "dy.sum(axis=0)"],
        wrong=[
            (0, "dy @ W.T * 2", "reaches all outputs of its row"),
            (1, "x.T @ dy / len(x)", "Uses add up"),
            (2, "dy.mean(axis=0)", "A mean is not a sum"),
            (2, "dy", "db has shape"),
            (2, "dy.sum(axis=0, keepdims=True)", "without keepdims"),
            (2, "dz.sum(axis=0)", "the names here are dy, dx, dW, W, x"),
            (2, "dy.sum(axis=2)", "A mean is not a sum"),
            (0, "-dy @ W.T", "this fits a wrong sign: the gradient with respect to x is -1 times"),
        ],
    ),
    Answer(
        "mean",
        right=["np.ones_like(x) * dy[..., None] / x.shape[-1]"],
        wrong=[
            (0, "np.ones_like(x) * dy[..., None]", "With which slope"),
            (0, "dy / x.shape[-1]", "dx has shape"),
        ],
    ),
    Answer(
        "distances",
        right=[
            "((x[:, None] - z) ** 2).sum(axis=-1)",
            "2 * (dd[..., None] * (x[:, None] - z)).sum(axis=1)",
            "-2 * (dd[..., None] * (x[:, None] - z)).sum(axis=0)",
        ],
        wrong=[
            (0, "((x[:, None] - z) ** 2).mean(axis=-1)", "a sum over the D coordinates"),
            (0, "((x - z[:, None]) ** 2).sum(axis=-1)", "d has shape"),
            (1, "2 * (dd[..., None] * (x[:, None] - z)).mean(axis=1)", "Uses add up"),
            (1, "(dd[..., None] * (x[:, None] - z)).sum(axis=1)", "the slope 2 (x[i] - z[j])"),
            (2, "2 * (dd[..., None] * (x[:, None] - z)).sum(axis=0)", "By which sign"),
            (2, "-2 * (dd[..., None] * (x[:, None] - z)).sum(axis=1)", "over axis 0"),
        ],
    ),
    Answer(
        "running-mean",
        right=[
            "np.cumsum(x, axis=0) / np.arange(1, T + 1)[:, None]",
            "np.cumsum((dy / np.arange(1, T + 1)[:, None])[::-1], axis=0)[::-1]",
        ],
        wrong=[
            (0, "np.cumsum(x, axis=0) / T", "The first row is x[0] itself"),
            (1, "dy / np.arange(1, T + 1)[:, None]", "in all later ones"),
            (1, "np.cumsum(dy / np.arange(1, T + 1)[:, None], axis=0)", "Which means contain"),
            (
                1,
                "np.cumsum(dy[::-1], axis=0)[::-1] / np.arange(1, T + 1)[:, None]",
                "the sum of share[s:]",
            ),
            (1, "np.cumsum(dy[::-1], axis=0)[::-1]", "Start with the last row"),
        ],
    ),
]
