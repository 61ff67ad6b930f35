"""Answers to the exercises of chapter 15."""

from .answers import Answer

CALIBRATION = """0.0
    of = np.minimum((confidence * bins).astype(int), bins - 1)
    for m in range(bins):
        own = of == m
        if own.any():
            error += own.mean() * abs(confidence[own].mean() - right[own].mean())"""
PAIRED = """None
    d = a - b
    signs = np.array(list(product((1, -1), repeat=len(d))))
    p = np.mean(abs(signs @ d) >= abs(d.sum()))"""

ANSWERS = [
    Answer(
        "macro-f1",
        right=[
            "np.sum(predicted == c) + np.sum(actual == c)",
            "2 * correct / total",
            "np.mean(scores)",
        ],
        wrong=[
            (0, "np.sum(actual == c)", "how often it was predicted"),
            (1, "correct / total", "2 correct"),
            (2, "np.sum(scores) / classes", "neither occurs nor is predicted"),
            (2, "np.mean(predicted == actual)", "The score is the mean of F1"),
        ],
    ),
    Answer(
        "balanced-loss",
        right=[
            "N / (C * np.maximum(n, 1))",
            "dloss * weights[labels][:, None] * (p - y) / N",
        ],
        wrong=[
            (0, "1 / np.maximum(n, 1)", "add up to N"),
            (0, "N / (V * np.maximum(n, 1))", "classes that occur"),
            (1, "dloss * (p - y) / N", "multiplied by the weight of its class"),
            (1, "dloss * weights * (p - y) / N", "weight of its own label"),
        ],
    ),
    Answer(
        "mcnemar",
        right=[
            "int(np.sum(right_a & ~right_b))",
            "int(np.sum(right_b & ~right_a))",
            "None\n    n, few = only_a + only_b, min(only_a, only_b)\n"
            "    p = min(1.0, 2 * sum(comb(n, k) for k in range(few + 1)) / 2**n)",
        ],
        wrong=[
            (0, "int(np.sum(right_a))", "A has right and B not"),
            (1, "int(np.sum(right_b))", "B has right and A has not"),
            (2, "comb(only_a + only_b, only_a) / 2 ** (only_a + only_b)", "a fair coin"),
            (
                2,
                "2 * sum(comb(only_a + only_b, k) for k in range(min(only_a, only_b) + 1))"
                " / 2 ** (only_a + only_b)",
                "min(1, ...)",
            ),
        ],
    ),
    Answer(
        "calibration-error",
        right=[CALIBRATION],
        wrong=[
            (0, "abs(confidence.mean() - right.mean())", "Each bin has its own"),
            (0, "abs(confidence - right).mean()", "With one bin, this is the distance"),
            (0, CALIBRATION.replace("own.mean() *", "1 / bins *"), "not the mean over the bins"),
            (
                0,
                CALIBRATION.replace("np.minimum(", "").replace(", bins - 1)", ""),
                "belongs to the last bin",
            ),
            (0, CALIBRATION.replace("abs(", "("), "abs(confidence.mean() - right.mean())"),
        ],
    ),
    Answer(
        "paired-test",
        right=[PAIRED],
        wrong=[
            (0, PAIRED.replace(">=", ">"), "2 of the 8 cases"),
            (
                0,
                PAIRED.replace("abs(signs @ d) >= abs(d.sum())", "signs @ d >= d.sum()"),
                "Both sides",
            ),
            (0, PAIRED.replace("d = a - b", "d = np.sign(a - b)"), "have the other sign"),
            (0, PAIRED.replace("np.mean", "np.sum"), "2 of the 8 cases"),
            (0, PAIRED.replace("abs(d.sum())", "abs(d).sum()"), "In how many of the 2^n cases"),
        ],
    ),
]
