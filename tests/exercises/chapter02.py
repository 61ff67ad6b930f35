"""Answers to the exercises of chapter 2."""

from .answers import Answer

ANSWERS = [
    Answer(
        "absolute-discounting",
        right=[
            "np.where(count > 0, count - D, 0) / count.sum()",
            "1 - share.sum()",
            "share + leftover * p_shorter",
        ],
        wrong=[
            (0, "(count - D) / count.sum()", "From a count of 0 nothing"),
            (1, "D / count.sum()", "once for each different word"),
            (2, "np.where(count > 0, share, leftover * p_shorter)", "also for the words"),
        ],
    ),
    Answer(
        "kneser-ney-discounts",
        right=["n[1] / (n[1] + 2 * n[2])", "r - (r + 1) * Y * n[r + 1] / n[r]"],
        wrong=[
            (0, "n[1] / (n[1] + n[2])", "n1 / (n1 + 2 n2)"),
            (1, "r - (r + 1) * n[r + 1] / n[r]", "where Y is the single discount"),
            (1, "r - (r + 1) * Y * n[r] / n[r + 1]", "above the line"),
        ],
    ),
    Answer(
        "continuation-counts",
        right=["(pairs > 0).sum(axis=0)", "count / count.sum()"],
        wrong=[
            (0, "pairs.sum(axis=0)", "not occurrences"),
            (0, "(pairs > 0).sum(axis=1)", "not the words after it"),
            (1, "count / pairs.sum()", "total of the continuation counts"),
        ],
    ),
    Answer(
        "interpolation",
        right=[
            "None\n"
            "    unigram = (1 - floor) * counts.sum(axis=0) / counts.sum() + floor / V\n"
            "    totals = counts.sum(axis=1, keepdims=True)\n"
            "    p = weight * counts / np.maximum(totals, 1) + (1 - weight) * unigram\n"
            "    p = np.where(totals > 0, p, unigram)"
        ],
        wrong=[
            (
                0,
                "weight * counts / counts.sum(axis=1, keepdims=True) + (1 - weight) * ("
                "(1 - floor) * counts.sum(axis=0) / counts.sum() + floor / V)",
                "A row of zeros has no bigram estimate",
            ),
            (
                0,
                "weight * counts / counts.sum(axis=1, keepdims=True) + (1 - weight) / V",
                "The unigram counts of w",
            ),
            (
                0,
                "weight * counts / counts.sum() + (1 - weight) * ("
                "(1 - floor) * counts.sum(axis=0) / counts.sum() + floor / V)",
                "weight * counts / its total",
            ),
            (
                0,
                "weight * counts / counts.sum(axis=1, keepdims=True) + (1 - weight) * ("
                "(1 - floor) * counts.sum(axis=1) / counts.sum() + floor / V)",
                "the pairs that end in w",
            ),
        ],
    ),
    Answer(
        "mixture-weights",
        right=[
            "(weights[:, None] * p / (weights @ p)).mean(axis=1)",
            "-np.log2(weights @ p).mean()",
        ],
        wrong=[
            (0, "(p / p.sum(axis=0)).mean(axis=1)", "with the present weights"),
            (0, "p.mean(axis=1) / p.mean(axis=1).sum()", "Bayes' rule"),
            (0, "weights * p.sum(axis=1) / (weights @ p).sum()", "for each token"),
            (0, "(weights[:, None] * p / (weights @ p)).sum(axis=1)", ".mean(axis=1)"),
            (1, "-(weights @ np.log2(p)).mean()", "logarithm of this mean"),
            (1, "-np.log2((weights @ p).mean())", "weighted mean of the probabilities"),
            (1, "-np.log(weights @ p).mean()", "in bits"),
        ],
    ),
]
