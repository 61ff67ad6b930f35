"""Answers to the exercises of chapter 22."""

from .answers import Answer

ANSWERS = [
    Answer(
        "linear-scan",
        right=["b[d:] + a[d:] * b[:-d]", "a[d:] * a[:-d]"],
        wrong=[
            (0, "b[d:] + b[:-d]", "a_2 b_1 + b_2"),
            (0, "b[d:] + a[:-d] * b[:-d]", "a_2 b_1 + b_2"),
            (1, "a[d:]", "a_2 a_1"),
            (1, "a[d:] + a[:-d]", "a_2 a_1"),
        ],
    ),
    Answer(
        "linear-recurrence",
        right=["dhs[:, t] + g", "g * h_prev", "g", "a[:, t] * g"],
        wrong=[
            (0, "dhs[:, t]", "also used in h_{t+1}"),
            (1, "g * hs[:, t]", "the state before the step"),
            (2, "g * a[:, t]", "with respect to b is 1"),
            (3, "g", "the slope is a"),
            (3, "np.zeros_like(g)", "the slope is a"),
        ],
    ),
    Answer(
        "min-gru-cell",
        right=[
            "(1 - z) * h_prev + z * n",
            "dh * (n - h_prev) * z * (1 - z)",
            "dh * z",
            "dh * (1 - z)",
        ],
        wrong=[
            (0, "z * h_prev + (1 - z) * n", "h"),
            (1, "dh * n * z * (1 - z)", "one of them with a minus"),
            (1, "dh * (n - h_prev) * z", "z (1 - z)"),
            (2, "dh * z * (1 - n**2)", "no tanh"),
            (3, "dh * z", "what the gate keeps"),
        ],
    ),
]
