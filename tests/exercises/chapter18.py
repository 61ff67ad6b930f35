"""Answers to the exercises of chapter 18."""

from .answers import Answer

BITS = """0
    n = len(claimed)
    directions = np.array([(np.arange(n) >> b) & 1 for b in range((n - 1).bit_length())])
    measured = slopes(directions)
    for b in range(len(directions)):
        if abs(measured[b] - directions[b] @ claimed) > 1e-6:
            index += 2**b"""

ANSWERS = [
    Answer(
        "forward-step",
        right=["2 * np.sqrt(eps * L / curvature)", "h * curvature / 2 + 2 * eps * L / h"],
        wrong=[
            (0, "(6 * eps) ** (1 / 3)", "what is left after the division by h"),
            (0, "np.sqrt(eps * L / curvature)", "h^2 = 4 eps L / curvature"),
            (0, "2 * np.sqrt(eps * curvature / L)", "two values that are wrong by eps L"),
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
    Answer(
        "along-direction",
        right=[
            "u / np.linalg.norm(u)",
            "(L(x + h * u) - L(x - h * u)) / (2 * h)",
            "np.sum(u * gradient)",
        ],
        wrong=[
            (0, "u", "along a direction of the length 1"),
            (1, "(L(x + h * u) - L(x)) / h", "L(x - h * u)"),
            (1, "np.sum(u * gradient)", "they differ"),
            (2, "np.linalg.norm(gradient)", "the sum of u times the gradient"),
            (2, "(L(x + h * u) - L(x - h * u)) / (2 * h)", "from the given gradient alone"),
        ],
    ),
    Answer(
        "wrong-coordinate",
        right=[BITS],
        wrong=[
            (
                0,
                "int(np.argmax(np.abs(slopes(np.eye(len(claimed))) - claimed)))",
                "directions, found",
            ),
            (0, BITS.replace(">> b) & 1", ">> b) & 1 == 0"), "Where slope and claim differ"),
            (0, BITS.replace("2**b", "b"), "one bit of its number"),
            (0, BITS.replace("> 1e-6", "< 1e-6"), "Each answer is one bit"),
            (0, BITS.replace("index += 2**b", "index = 2**b"), "the bit b of the index is 1"),
        ],
    ),
]
