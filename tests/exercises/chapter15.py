"""Answers to the exercises of chapter 15."""

from .answers import Answer

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
]
