"""Answers to the exercises of chapter 1."""

from .answers import Answer

SHARE = """None
    share = np.ones(V) / V
    for _ in range(1000):
        share = share @ P"""

ANSWERS = [
    Answer(
        "count-ngrams",
        right=["range(len(text) - n + 1)", "counts.get(ngram, 0) + 1"],
        wrong=[
            (0, "range(len(text) - n)", "the last such position included"),
            (0, "range(len(text))", "expected without"),
            (0, "range(0, len(text) - n + 1, n)", "wherever n characters"),
            (1, "counts.get(ngram, 1) + 1", "begins with the count 0"),
        ],
    ),
    Answer(
        "perplexity",
        right=["-np.log(p).mean()", "nats / np.log(2)", "np.exp(nats)"],
        wrong=[
            (0, "-np.log(p.mean())", "of each p first"),
            (0, "-np.log(p).sum()", "the mean over the tokens"),
            (1, "nats * np.log(2)", "ln(x) / ln(2)"),
            (2, "2**nats", "inverse of the natural logarithm"),
        ],
    ),
    Answer(
        "add-k",
        right=["(counts + k) / (counts.sum(axis=1, keepdims=True) + k * V)"],
        wrong=[
            (0, "(counts + k) / (counts.sum(axis=1, keepdims=True) + k)", "for each of V words"),
            (0, "(counts + k) / (counts.sum() + k * V)", "a total for each row"),
        ],
    ),
    Answer(
        "fair-comparison",
        right=["nats * tokens / characters / np.log(2)", "np.exp(nats * tokens / words)"],
        wrong=[
            (0, "nats / np.log(2)", "How many nats does the whole text cost"),
            (0, "nats * characters / tokens / np.log(2)", "The text costs nats * tokens"),
            (0, "nats * tokens / characters", "np.log(2) nats per bit"),
            (1, "np.exp(nats)", "a loss per word"),
            (1, "np.exp(nats) * tokens / words", "divided among its words"),
            (1, "2 ** (nats * tokens / words)", "the exponential of a loss per word"),
        ],
    ),
    Answer(
        "entropy-rate",
        right=[SHARE, "-(share[:, None] * P * np.log2(np.where(P > 0, P, 1))).sum()"],
        wrong=[
            (0, "np.ones(V) / V", "its share is the sum over a"),
            (0, "P.mean(axis=0)", "repeat share = share @ P"),
            (0, SHARE.replace("share @ P", "P @ share"), "The shares sum to 1"),
            (1, "-(P * np.log2(np.where(P > 0, P, 1))).sum(axis=1).mean()", "How often does each"),
            (1, "-(share * np.log2(share)).sum()", "the best model predicts P[a]"),
            (1, "-(share[:, None] * P * np.log(np.where(P > 0, P, 1))).sum()", "mean of -log2"),
            (1, "-(share[:, None] * P * np.log2(P)).sum()", "costs nothing"),
        ],
    ),
]
