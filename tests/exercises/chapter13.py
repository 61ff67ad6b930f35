"""Answers to the exercises of chapter 13."""

from .answers import Answer

MIX = """None
    w = np.exp(s) / np.exp(s).sum()
    y = (w[:, None, None] * layers).sum(axis=0)"""
MIX_BACK = """None, None
        dw = (layers * dy).sum(axis=(1, 2))
        dlayers, ds = w[:, None, None] * dy, w * (dw - (w * dw).sum())"""
PSEUDO = """0.0
    for t in range(len(ids)):
        hidden = ids.copy()
        hidden[t] = mask
        total += predict(hidden)[t, ids[t]]"""

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
    Answer(
        "layer-mix",
        right=[MIX, MIX_BACK],
        wrong=[
            (0, MIX.replace("np.exp(s) / np.exp(s).sum()", "s / s.sum()"), "positive and sum to 1"),
            (0, MIX.replace(".sum(axis=0)", ".mean(axis=0)"), "One weight for each layer"),
            (1, MIX_BACK.replace("w[:, None, None] * dy", "layers * dy"), "has the slope w[l]"),
            (1, MIX_BACK.replace("w * (dw - (w * dw).sum())", "dw"), "depend on every score"),
            (1, MIX_BACK.replace(".sum(axis=(1, 2))", ".mean(axis=(1, 2))"), "uses add up to dw"),
        ],
    ),
    Answer(
        "pseudo-likelihood",
        right=[PSEUDO],
        wrong=[
            (0, PSEUDO.replace("hidden[t] = mask", "pass"), "need not predict it"),
            (0, PSEUDO.replace("hidden[t] = mask", "hidden[t:] = mask"), "all others are visible"),
            (0, PSEUDO.replace("hidden[t] = mask", "hidden[:] = mask"), "a reading of its own"),
            (0, PSEUDO.replace("[t, ids[t]]", "[t].max()"), "predict(hidden)[t, ids[t]]"),
            (0, PSEUDO + " / len(ids)", "for each t"),
        ],
    ),
]
