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
]
