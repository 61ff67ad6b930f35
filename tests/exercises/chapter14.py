"""Answers to the exercises of chapter 14."""

from .answers import Answer

ANSWERS = [
    Answer(
        "lora",
        right=[
            "x @ W + s * (x @ A) @ B",
            "dy @ W.T + s * (dy @ B.T) @ A.T",
            "s * x.T @ (dy @ B.T)",
            "s * (x @ A).T @ dy",
        ],
        wrong=[
            (0, "x @ W + x @ A @ B", "s times x through both"),
            (1, "dy @ W.T", "Uses add up"),
            (1, "s * (dy @ B.T) @ A.T", "Uses add up"),
            (2, "x.T @ (dy @ B.T)", "upstream gradient is that of x A"),
            (3, "(x @ A).T @ dy", "s multiplies its output"),
            (0, "x @ (W + s * A @ B)", "Which order has thin products only"),
            (0, 'x @ W + s * np.einsum("mi,ir,ro->mo", x, A, B)', "has thin products only"),
            (1, "dy @ (W + s * A @ B).T", "is as large as W"),
            (2, "s * (x.T @ dy) @ B.T", "is as large as W"),
            (2, "s * np.dot(x.T.dot(dy), B.T)", "is as large as W"),
            (3, "s * A.T @ (x.T @ dy)", "is as large as W"),
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
