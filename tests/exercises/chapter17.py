"""Answers to the exercises of chapter 17."""

from .answers import Answer

ANSWERS = [
    Answer(
        "intensity",
        right=["2 * M * K * N", "4 * (M * K + K * N + M * N)"],
        wrong=[
            (0, "M * K * N", "Divide the operations by the bytes"),
            (1, "M * K + K * N + M * N", "numbers of 4 bytes"),
        ],
    ),
    Answer(
        "tiled-product",
        right=["column[:, None] * row", "tile"],
        wrong=[
            (0, "column.sum() * row", "outer products"),
            (0, "column[:, None] * B[k, 0]", "a piece of a row of B"),
            (1, "tile * tile", "after the loop over k"),
        ],
    ),
]
