"""Answers to the exercises of chapter 9."""

from .answers import Answer

ANSWERS = [
    Answer(
        "gelu",
        right=[
            "scale * (1 + 3 * 0.044715 * x**2)",
            "dy * ((1 + t) / 2 + x * (1 - t**2) * slope / 2)",
        ],
        wrong=[
            (0, "scale * (1 + 0.044715 * x**2)", "3 * 0.044715 x^2"),
            (1, "dy * (1 + t) / 2", "two"),
            (1, "dy * ((1 + t) / 2 + x * (1 - t**2) / 2)", "times du/dx"),
        ],
    ),
    Answer(
        "tied-embeddings",
        right=["dy.T @ x", "dy @ E", "dx[t]"],
        wrong=[
            (0, "np.zeros_like(E)", "it is the output layer"),
            (2, "dE[ids[t]] + dx[t]", "what the row of its id has already"),
            (2, "0 * dx[t]", "it is looked up"),
        ],
    ),
    Answer(
        "cache-step",
        right=[
            "np.concatenate([keys, k[:, None]], axis=1)",
            "np.concatenate([values, v[:, None]], axis=1)",
            "(keys @ q[:, :, None])[..., 0] / np.sqrt(q.shape[-1])",
            "(weights[:, None] @ values)[:, 0]",
        ],
        wrong=[
            (0, "np.concatenate([k[:, None], keys], axis=1)", "after those that are kept"),
            (2, "(keys @ q[:, :, None])[..., 0]", "the scale of attention"),
            (3, "(weights[:, None, 1:] @ values[:, 1:])[:, 0]", "its own included"),
        ],
    ),
    Answer(
        "top-p",
        right=["np.cumsum(ranked) - ranked < limit", "ranked[kept] / ranked[kept].sum()"],
        wrong=[
            (0, "np.cumsum(ranked) <= limit", "the one that crosses it"),
            (0, "(np.cumsum(ranked) < limit) | (ranked == ranked[0])", "until their sum reaches"),
            (1, "ranked[kept]", "sum to 1 again"),
        ],
    ),
]
