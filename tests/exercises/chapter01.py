"""Answers to the exercises of chapter 1."""

from .answers import Answer

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
]
