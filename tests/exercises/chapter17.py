"""Answers to the exercises of chapter 17."""

from .answers import Answer

MISSES = """0
    cache = []
    for place in places:
        number = place // line
        if number in cache:
            cache.remove(number)
        else:
            misses += 1
        cache.append(number)
        cache = cache[-lines:]"""
ROUNDED = """None
    spacing = 2.0 ** (np.floor(np.log2(np.abs(x))) - 7)
    below = np.floor(x / spacing) * spacing
    y = below + spacing * (u < (x - below) / spacing)"""

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
    Answer(
        "cache-misses",
        right=[MISSES],
        wrong=[
            (0, MISSES.replace("place // line", "place"), "A miss brings a whole line"),
            (0, "len({place // line for place in places})", "is a miss again"),
            (0, MISSES.replace("cache.remove(number)", "continue"), "makes it young again"),
            (0, MISSES.replace("[-lines:]", "[:lines]"), "cut it to the last"),
            (0, MISSES.replace("[-lines:]", ""), "has room for"),
        ],
    ),
    Answer(
        "stochastic-rounding",
        right=[ROUNDED],
        wrong=[
            (0, ROUNDED.replace("u < (x", "0.5 < (x"), "the mean over all u is x"),
            (0, ROUNDED.replace("u < (x - below) / spacing", "u < 0.5"), "stays as it is"),
            (0, ROUNDED.replace("u < (x", "1 - u < (x"), "where u is smaller than"),
            (
                0,
                ROUNDED.replace("2.0 ** (np.floor(np.log2(np.abs(x))) - 7)", "2.0**-7"),
                "The spacing doubles",
            ),
            (0, ROUNDED.replace("np.floor(x / spacing)", "np.trunc(x / spacing)"), "more negative"),
        ],
    ),
]
