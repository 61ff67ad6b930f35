"""Answers to the exercises of chapter 18."""

from .answers import Answer

ANSWERS = [
    Answer(
        "forward-step",
        right=["2 * np.sqrt(eps * L / curvature)", "h * curvature / 2 + 2 * eps * L / h"],
        wrong=[
            (0, "(6 * eps) ** (1 / 3)", "what is left after the division by h"),
            (0, "np.sqrt(eps * L / curvature)", "h^2 = 4 eps L / curvature"),
            (1, "h * curvature / 2", "the sum of the two errors"),
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
