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
    Answer(
        "online-softmax",
        right=[
            "np.maximum(m, scores.max(axis=1))",
            "np.exp(m - m_new)",
            "np.exp(scores - m_new[:, None])",
            "total * scale + p.sum(axis=1)",
            "y * scale[:, None] + p @ values",
        ],
        wrong=[
            (0, "scores.max(axis=1)", "the largest score so far"),
            (0, "np.zeros(T)", "exp of a large score"),
            (1, "np.ones(T)", "By which factor"),
            (1, "np.exp(m_new - m)", "exp(m - m_new) is 0 there"),
            (2, "np.exp(scores)", "p = np.exp(scores - m_new[:, None])"),
            (3, "total + p.sum(axis=1)", "both old sums"),
            (4, "y + p @ values", "both old sums"),
        ],
    ),
]
