"""Answers to the exercises of chapter 8."""

from .answers import Answer

POOLED = """None
    mask = (np.arange(hs.shape[1]) < lengths[:, None])[..., None]
    real = np.where(mask, hs, -np.inf)
    mean = (hs * mask).sum(axis=1) / lengths[:, None]
    y = np.concatenate([mean, real.max(axis=1)], axis=1)"""
POOLED_BACK = """None
        dmean, dmax = np.split(dy, 2, axis=1)
        top = real == real.max(axis=1, keepdims=True)
        dhs = mask * (dmean / lengths[:, None])[:, None] + top * dmax[:, None]"""

PER_TEXT = """None
    (_, T, V) = logits.shape
    p = np.exp(logits)
    p = p / p.sum(axis=-1, keepdims=True)
    one_hot = np.eye(V)[targets]
    mask = np.arange(T) < lengths[:, None]
    weights = mask / np.maximum(lengths, 1)[:, None] / np.count_nonzero(lengths)
    loss = -(weights * np.log((p * one_hot).sum(axis=-1))).sum()"""

ANSWERS = [
    Answer(
        "last-state",
        right=[
            "hs[np.arange(B), lengths - 1]",
            "np.zeros_like(hs); dhs[np.arange(B), lengths - 1] = dy",
        ],
        wrong=[
            (0, "hs[:, -1]", "Row b has lengths[b] steps"),
            (0, "hs[:, lengths - 1]", "y has shape"),
            (1, "np.zeros_like(hs); dhs[:, -1] = dy", "Which of the states"),
            (1, "np.zeros_like(hs) + dy[:, None]", "All others get zero"),
        ],
    ),
    Answer(
        "masked-loss",
        right=[
            "np.arange(T) < lengths[:, None]",
            "(nats * mask).sum() / mask.sum()",
            "dloss * (p - one_hot) * mask[..., None] / mask.sum()",
        ],
        wrong=[
            (0, "np.arange(T) <= lengths[:, None]", "Padding does not count"),
            (1, "(nats * mask).mean()", "the number that divides it"),
            (1, "((nats * mask).sum(axis=1) / lengths).mean()", "not by B T"),
            (2, "dloss * (p - one_hot) / mask.sum()", "in the padding have none"),
            (2, "dloss * (p - one_hot) * mask[..., None]", "divided the loss"),
            (2, "(p - one_hot) * mask[..., None] / mask.sum()", "dloss * (p - one_hot)"),
        ],
    ),
    Answer(
        "teacher-forcing",
        right=["np.concatenate([first, targets[:, :-1]], axis=1)"],
        wrong=[
            (0, "targets", "the step before"),
            (0, "np.concatenate([targets[:, 1:], first], axis=1)", "the step before"),
            (0, "np.concatenate([first, targets], axis=1)", "inputs has shape"),
        ],
    ),
    Answer(
        "mean-max",
        right=[POOLED, POOLED_BACK],
        wrong=[
            (0, POOLED.replace("-np.inf", "0"), "a padding of 0 would be"),
            (0, POOLED.replace("/ lengths[:, None]", "/ hs.shape[1]"), "nor its number"),
            (1, POOLED_BACK.replace("mask * (", "("), "gradient is 0 at the padding"),
            (1, POOLED_BACK.replace(" + top * dmax[:, None]", ""), "Each state is used twice"),
            (1, POOLED_BACK.replace("top * ", "mask * "), "where it is the largest"),
        ],
    ),
    Answer(
        "loss-per-text",
        right=[PER_TEXT, "dloss * (p - one_hot) * weights[..., None]"],
        wrong=[
            (
                0,
                PER_TEXT.replace(
                    "mask / np.maximum(lengths, 1)[:, None] / np.count_nonzero(lengths)",
                    "mask / mask.sum()",
                ),
                "First the mean over the real tokens",
            ),
            (0, PER_TEXT.replace("np.count_nonzero(lengths)", "len(lengths)"), "has no mean"),
            (0, PER_TEXT.replace("np.maximum(lengths, 1)", "lengths"), "np.count_nonzero(lengths)"),
            (0, PER_TEXT.replace("mask / np", "1 / np"), "mask / lengths[:, None]"),
            (0, PER_TEXT.replace("loss = -", "loss = "), "this is the mean over all tokens"),
            (1, "dloss * (p - one_hot) * mask[..., None] / mask.sum()", "which number"),
            (1, "dloss * (one_hot - p) * weights[..., None]", "p minus one-hot"),
            (1, "dloss * (p - one_hot) / lengths[:, None, None]", "times its weight"),
        ],
    ),
]
