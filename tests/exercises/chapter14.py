"""Answers to the exercises of chapter 14."""

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
        right=["A[i : i + rows, k][:, None] * B[k, j : j + columns]", "tile"],
        wrong=[
            (0, "A[i : i + rows, k].sum() * B[k, j : j + columns]", "outer products"),
            (0, "A[i : i + rows, k][:, None] * B[k, :columns]", "a piece of a row of B"),
            (1, "tile * tile", "the tile is stored once"),
        ],
    ),
]
