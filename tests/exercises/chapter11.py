"""Answers to the exercises of chapter 11."""

from .answers import Answer

ANSWERS = [
    Answer(
        "lora",
        right=[
            "x @ W + b + s * (x @ A) @ B",
            "s * x.T @ (dy @ B.T)",
            "s * (x @ A).T @ dy",
            "dy @ W.T + s * (dy @ B.T) @ A.T",
        ],
        wrong=[
            (0, "x @ W + b + x @ A @ B", "s times x through both"),
            (1, "x.T @ (dy @ B.T)", "upstream gradient is that of x A"),
            (2, "(x @ A).T @ dy", "s multiplies its output"),
            (3, "dy @ W.T", "Uses add up"),
            (3, "s * (dy @ B.T) @ A.T", "Uses add up"),
        ],
    ),
    Answer(
        "best-span",
        right=["range(i, min(i + longest, T))", "s[i] + e[j]"],
        wrong=[
            (0, "range(1, T)", "cannot end before it begins"),
            (0, "range(i, T)", "at most longest tokens"),
            (0, "range(i + 1, min(i + longest, T))", "one token has j = i"),
            (1, "s[i]", "chosen together"),
        ],
    ),
]
