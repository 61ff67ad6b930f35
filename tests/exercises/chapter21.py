"""Answers to the exercises of chapter 21."""

from .answers import Answer

ORACLE = """[], 0.0
    while len(chosen) < limit:
        scores = {}
        for k in range(len(sentences)):
            if k not in chosen:
                words = [word for j in [*chosen, k] for word in sentences[j]]
                common = (Counter(words) & Counter(summary)).total()
                scores[k] = 2 * common / (len(words) + len(summary))
        best = max(scores, key=scores.get)
        if scores[best] <= score:
            break
        score = scores[best]
        chosen.append(best)
    chosen = sorted(chosen)"""
SENTINELS = """[], []
    at = 0
    for number, (start, length) in enumerate(spans):
        source += [*ids[at:start], first - number]
        target += [first - number, *ids[start : start + length]]
        at = start + length
    source, target = source + ids[at:], [*target, first - len(spans)]"""

ANSWERS = [
    Answer(
        "mixture",
        right=[
            "np.bincount(source, weights, W)",
            "g * np.pad(p, (0, W - len(p))) + (1 - g) * copied",
        ],
        wrong=[
            (0, "np.zeros(W); copied[source] = weights", "keeps the last weight"),
            (0, "np.bincount(source, None, W) / len(source)", "Is the sum of P one"),
            (1, "(1 - g) * np.pad(p, (0, W - len(p))) + g * copied", "g times the prob"),
            (1, "g * np.pad(p, (0, W - len(p))) + copied", "Is the sum of P one"),
            (1, "g * p + (1 - g) * copied[: len(p)]", "can only be copied"),
        ],
    ),
    Answer(
        "pointer-loss",
        right=[
            "g * p_y + (1 - g) * m",
            "g * p_y / P",
            "r[:, None] * (p - y) / n * dloss",
            "(g - r) / n * dloss",
            "-(1 - g) / P / n * dloss",
        ],
        wrong=[
            (0, "(1 - g) * p_y + g * m", "from either model"),
            (0, "p_y + m", "from either model"),
            (1, "p_y / P", "Which part of P came from"),
            (2, "(p - y) / n * dloss", "Which part of P came from"),
            (2, "r[:, None] * p * (y - p) / n * dloss", "the gradient of cross-entropy"),
            (3, "(r - g) / n * dloss", "probability minus label"),
            (3, "-(p_y - m) / P / n * dloss", "probability minus label"),
            (4, "-(1 - g) / n * dloss", "the slope -1/P"),
            (4, "-(1 - g) / P * dloss", "The loss is a mean"),
        ],
    ),
    Answer(
        "coverage",
        right=[
            "np.cumsum(weights, axis=1) - weights",
            "np.where(weights < c, 0, share)",
            "np.cumsum(dc[:, ::-1], axis=1)[:, ::-1] - dc",
            "np.where(weights < c, share, 0) + later",
        ],
        wrong=[
            (0, "np.cumsum(weights, axis=1)", "does not contain the weights of step t"),
            (1, "np.where(weights < c, share, 0)", "share * (weights >= c), and later"),
            (2, "np.cumsum(dc, axis=1) - dc", "has the gradient of the smaller"),
            (2, "0 * dc", "uses add up"),
            (2, "np.roll(dc, -1, axis=1) * (np.arange(T) < T - 1)[:, None]", "uses add up"),
            (2, "np.cumsum(dc[:, ::-1], axis=1)[:, ::-1]", "has the gradient of the smaller"),
            (3, "later", "has the gradient of the smaller"),
            (3, "share + later", "has the gradient of the smaller"),
        ],
    ),
    Answer(
        "textrank",
        right=[
            "S / np.where(totals > 0, totals, 1)",
            "(1 - d) + d * (x @ steps)",
        ],
        wrong=[
            (0, "S / totals", "0/0 is no number"),
            (0, "S / S.sum(axis=0)", "the wrong index"),
            (0, "S / S.sum()", "the sum of row i"),
            (1, "(1 - d) + d * (steps @ x)", "Are all of your scores equal"),
            (1, "d + (1 - d) * (x @ steps)", "plus d times what arrives"),
            (1, "(1 - d) / len(S) + d * (x @ steps)", "The score of j is 1 - d"),
            (1, "x @ steps", "plus d times what arrives"),
        ],
    ),
    Answer(
        "oracle-extract",
        right=[ORACLE],
        wrong=[
            (
                0,
                ORACLE.replace("2 * common / (len(words) + len(summary))", "common / len(summary)"),
                "by the words of both texts",
            ),
            (
                0,
                ORACLE.replace("        if scores[best] <= score:\n            break\n", ""),
                "can lower F1",
            ),
            (0, ORACLE.replace("for j in [*chosen, k]", "for j in [k]"), "what it adds"),
            (0, ORACLE.replace("\n    chosen = sorted(chosen)", ""), "in the order of the text"),
            (
                0,
                ORACLE.replace(
                    "(Counter(words) & Counter(summary)).total()", "len(set(words) & set(summary))"
                ),
                "occurs twice in both",
            ),
            (0, ORACLE.replace("score = scores[best]", "score = max(score, 0.1)"), "divides twice"),
        ],
    ),
    Answer(
        "sentinels",
        right=[SENTINELS],
        wrong=[
            (0, SENTINELS.replace("first - number]", "first]"), "a sentinel of its own"),
            (0, SENTINELS.replace("start + length\n", "start + 1\n"), "whatever its length"),
            (0, SENTINELS.replace("[*target, first - len(spans)]", "target"), "where the last"),
            (0, SENTINELS.replace("source + ids[at:]", "source"), "at start + length"),
            (
                0,
                SENTINELS.replace("first - number, *ids[start", "*ids[start"),
                "follows its sentinel",
            ),
        ],
    ),
]
