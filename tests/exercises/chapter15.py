"""Answers to the exercises of chapter 15."""

from .answers import Answer

ANSWERS = [
    Answer(
        "central-difference",
        right=["(L(x + h) - L(x - h)) / (2 * h)"],
        wrong=[
            (0, "(L(x + h) - L(x)) / h", "on both sides of x"),
            (0, "(L(x + h) - L(x - h)) / h", "2 h apart"),
        ],
    ),
    Answer(
        "richardson",
        right=["(4 * D(h / 2) - D(h)) / 3"],
        wrong=[
            (0, "(D(h / 2) + D(h)) / 2", "remove a"),
            (0, "4 * D(h / 2) - D(h)", "(4 D(h / 2) - D(h)) / 3"),
            (0, "(D(h / 2) - D(h) / 4) / 3", "(4 D(h / 2) - D(h)) / 3"),
            (0, "(4 * D(h) - D(h / 2)) / 3", "keep one times L'"),
        ],
    ),
]
