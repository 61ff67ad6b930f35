"""Answers to the exercises of chapter 19."""

from .answers import Answer

GROUPED = """None
    K, V = (np.repeat(z, len(q) // len(k), axis=0) for z in (k, v))
    weights = np.exp(q @ K.transpose(0, 2, 1) / np.sqrt(q.shape[2]))
    weights = weights / weights.sum(axis=2, keepdims=True)
    y = weights @ V"""
GROUPED_BACK = """None, None, None
        M = len(k)
        dweights = dy @ V.transpose(0, 2, 1)
        dscores = weights * (dweights - (dweights * weights).sum(axis=2, keepdims=True))
        dscores = dscores / np.sqrt(q.shape[2])
        dq = dscores @ K
        dk = (dscores.transpose(0, 2, 1) @ q).reshape(M, -1, *k.shape[1:]).sum(axis=1)
        dv = (weights.transpose(0, 2, 1) @ dy).reshape(M, -1, *k.shape[1:]).sum(axis=1)"""

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
    Answer(
        "grouped-queries",
        right=[GROUPED, GROUPED_BACK],
        wrong=[
            (
                0,
                GROUPED.replace(
                    "np.repeat(z, len(q) // len(k), axis=0)", "np.tile(z, (len(q) // len(k), 1, 1))"
                ),
                "share key head 0",
            ),
            (0, GROUPED.replace(" / np.sqrt(q.shape[2])", ""), "the scale of its own width"),
            (1, GROUPED_BACK.replace(".sum(axis=1)", ".mean(axis=1)"), "uses add up"),
            (
                1,
                GROUPED_BACK.replace("reshape(M, -1", "reshape(-1, M").replace(
                    ".sum(axis=1)", ".sum(axis=0)"
                ),
                "uses add up",
            ),
        ],
    ),
]
