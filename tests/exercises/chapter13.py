"""Answers to the exercises of chapter 13."""

from .answers import Answer

ANSWERS = [
    Answer(
        "mask-tokens",
        right=["dice < 0.8", "dice < 0.9"],
        wrong=[
            (0, "dice < 0.9", "three fates"),
            (0, "places", "Below 0.8"),
            (1, "places", "From there to 0.9"),
            (1, "dice < 0.8", "unchanged"),
        ],
    ),
    Answer(
        "visible-token",
        right=[
            "kept * (np.arange(V) == v) + replaced / V",
            "P * likelihood / (P * likelihood).sum()",
        ],
        wrong=[
            (0, "kept * (np.arange(V) == v) + replaced", "with the probability 1 / V"),
            (0, "kept * (np.arange(V) == v) + replaced / (V - 1)", "random token is v"),
            (0, "np.where(np.arange(V) == v, kept, replaced / V)", "Both causes of v add up"),
            (1, "P * likelihood", "divided by its sum"),
            (1, "likelihood / likelihood.sum()", "from the context alone"),
        ],
    ),
    Answer(
        "text-vector",
        right=[
            "(x * mask[..., None]).sum(axis=1) / lengths[:, None]",
            "(dy - y * (y * dy).sum(axis=1, keepdims=True)) / norm",
            "mask[..., None] * (dm / lengths[:, None])[:, None]",
        ],
        wrong=[
            (0, "x.mean(axis=1)", "The padding takes no part"),
            (0, "x.max(axis=1)", "divided by the number of these tokens"),
            (0, "(x * mask[..., None]).sum(axis=1)", "If m is a sum and no mean"),
            (0, "(x * mask).sum(axis=1) / lengths[:, None]", "a sum over the tokens of a text"),
            (1, "dy / norm", "without its part along y"),
            (2, "(dm / lengths[:, None])[:, None] * np.ones_like(x)", "the padding 0"),
        ],
    ),
]
