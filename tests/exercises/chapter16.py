"""Answers to the exercises of chapter 16."""

from .answers import Answer

ANSWERS = [
    Answer(
        "rms-norm",
        right=[
            "1 / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5)",
            "(dy * x_hat).sum(axis=0)",
            "r * (dx_hat - x_hat * (dx_hat * x_hat).mean(axis=-1, keepdims=True))",
        ],
        wrong=[
            (0, "1 / np.sqrt((x**2).sum(axis=-1, keepdims=True) + 1e-5)", "mean(x^2)"),
            (0, "1 / (np.sqrt((x**2).mean(axis=-1, keepdims=True)) + 1e-5)", "of the root"),
            (1, "(dy * x_hat).mean(axis=0)", "Uses add up"),
            (2, "r * dx_hat", "two paths"),
            (2, "r * (dx_hat - (dx_hat * x_hat).mean(axis=-1, keepdims=True))", "two paths"),
        ],
    ),
    Answer(
        "rotary",
        right=[
            "np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)",
            "np.concatenate([dfirst * cos + dsecond * sin, dsecond * cos - dfirst * sin], axis=-1)",
        ],
        wrong=[
            (
                0,
                "np.concatenate([first * cos + second * sin, second * cos - first * sin], axis=-1)",
                "first cos - second sin",
            ),
            (
                1,
                "np.concatenate([dfirst * cos - dsecond * sin, "
                "dfirst * sin + dsecond * cos], axis=-1)",
                "turns back",
            ),
            (1, "np.concatenate([dfirst * cos, dsecond * cos], axis=-1)", "turns back"),
        ],
    ),
    Answer(
        "silu",
        right=["dy * s * (1 + x * (1 - s))"],
        wrong=[
            (0, "dy * s", "a product of two functions"),
            (0, "dy * s * (1 - s)", "a product of two functions"),
            (0, "s * (1 + x * (1 - s))", "a product of two functions"),
        ],
    ),
]
