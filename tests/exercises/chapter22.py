"""Answers to the exercises of chapter 22."""

from .answers import Answer

RESTARTED = """None
    kept, h, hs = np.where(starts[..., None], 0, a), np.zeros_like(b[:, 0]), []
    for t in range(b.shape[1]):
        h = kept[:, t] * h + b[:, t]
        hs.append(h)
    hs = np.stack(hs, axis=1)"""
RESTARTED_BACK = """np.zeros_like(a), np.zeros_like(b)
        g = np.zeros_like(b[:, 0])
        for t in reversed(range(b.shape[1])):
            g = g + dhs[:, t]
            db[:, t] = g
            if t > 0:
                da[:, t] = np.where(starts[:, t, None], 0, g * hs[:, t - 1])
            g = kept[:, t] * g"""
FADING = """None
    T = len(q)
    age = np.arange(T)[:, None] - np.arange(T)
    D = np.where(age >= 0, decay ** np.maximum(age, 0), 0)
    weights = D * (q @ k.T)
    y = weights @ v"""
FADING_BACK = """None, None, None
        dscores = D * (dy @ v.T)
        dq, dk, dv = dscores @ k, dscores.T @ q, weights.T @ dy"""

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
    Answer(
        "restarted",
        right=[RESTARTED, RESTARTED_BACK],
        wrong=[
            (0, RESTARTED.replace("np.where(starts[..., None], 0, a)", "a"), "must not come in"),
            (0, RESTARTED.replace("+ b[:, t]", "+ (1 - kept[:, t]) * b[:, t]"), "so h_0 = b_0"),
            (
                1,
                RESTARTED_BACK.replace(
                    "np.where(starts[:, t, None], 0, g * hs[:, t - 1])", "g * hs[:, t - 1]"
                ),
                "has no gradient",
            ),
            (
                1,
                RESTARTED_BACK.replace("g * hs[:, t - 1]", "g * hs[:, t]"),
                "state before the step",
            ),
            (
                1,
                RESTARTED_BACK.replace("g = kept[:, t] * g", "g = a[:, t] * g"),
                "none of the next one",
            ),
            (1, RESTARTED_BACK.replace("g = g + dhs", "g = dhs"), "reaches all later states"),
        ],
    ),
    Answer(
        "decayed-memory",
        right=[FADING, FADING_BACK],
        wrong=[
            (0, FADING.replace("age >= 0", "age > 0"), "After one step the memory is"),
            (0, FADING.replace("age >= 0", "age < 99"), "over all s up to t"),
            (
                0,
                FADING.replace("decay ** np", "decay * np.ones_like(age) ** np"),
                "the answer to q",
            ),
            (0, FADING.replace("decay ** np.maximum(age, 0)", "1.0"), "at each step since then"),
            (1, FADING_BACK.replace("D * (dy", "(dy"), "(D * (dy @ v.T)) @ k"),
            (1, FADING_BACK.replace("dscores @ k", "dscores.T @ k"), "as it was at step t"),
            (1, FADING_BACK.replace("dscores.T @ q", "dscores @ q"), "k_s is read by every later"),
            (1, FADING_BACK.replace("weights.T @ dy", "D.T @ dy"), "v_s is read by every later"),
        ],
    ),
]
