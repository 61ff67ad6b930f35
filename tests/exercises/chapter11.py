"""Answers to the exercises of chapter 11."""

from .answers import Answer

ANSWERS = [
    Answer(
        "lora",
        right=[
            "y_frozen + s * (x @ A) @ B",
            "s * x.T @ (dy @ B.T)",
            "s * (x @ A).T @ dy",
            "frozen_backward(dy) + s * (dy @ B.T) @ A.T",
        ],
        wrong=[
            (0, "y_frozen + x @ A @ B", "s times x through both"),
            (1, "x.T @ (dy @ B.T)", "upstream gradient is that of x A"),
            (2, "(x @ A).T @ dy", "s multiplies its output"),
            (3, "frozen_backward(dy)", "Uses add up"),
            (3, "s * (dy @ B.T) @ A.T", "Uses add up"),
        ],
    ),
    Answer(
        "best-span",
        right=["range(i, min(i + longest, T))", "s[i] + e[j]"],
        wrong=[
            (0, "range(1, T)", "cannot end before it begins"),
            (0, "range(i, T)", "at most longest tokens"),
            (0, "range(i, min(i + longest + 1, T))", "at most longest tokens"),
            (0, "range(i + 1, min(i + longest, T))", "one token has j = i"),
            (1, "s[i]", "chosen together"),
            (0, "range(i, min(i + longest - 1, T))", "all ends of a span"),
            (0, "range(i, i + longest)", "lies in the text"),
            (0, "min(i + longest, T)", "lies in the text"),
            (1, "s[i] * e[j]", "the largest sum"),
        ],
    ),
]
