"""Answers to the exercises of chapter 12."""

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
]
