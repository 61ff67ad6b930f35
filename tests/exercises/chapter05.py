"""Answers to the exercises of chapter 5."""

from .answers import Answer

GLOVE = """None
    seen = counts > 0
    weights = np.minimum(1, (counts / 10) ** 0.75)
    error = v @ u.T + b[:, None] + c - np.log(np.where(seen, counts, 1))
    loss = (weights * error**2).sum()"""
GLOVE_BACK = """None, None, None, None
        ds = dloss * 2 * weights * error
        dv, du, db, dc = ds @ u, ds.T @ v, ds.sum(axis=1), ds.sum(axis=0)"""
PARTS = """None
    h = E[grams].mean(axis=0)
    s = U[ids] @ h
    signs = 2 * np.array(labels) - 1
    loss = -np.log(sigmoid(signs * s)).sum()"""
PARTS_BACK = """None, None
        ds = dloss * (sigmoid(s) - labels)
        dE, dU = np.zeros_like(E), np.zeros_like(U)
        np.add.at(dE, grams, ds @ U[ids] / len(grams))
        np.add.at(dU, ids, ds[:, None] * h)"""

ANSWERS = [
    Answer(
        "negative-sampling",
        right=[
            "-np.log(sigmoid(np.where(labels == 1, s, -s))).sum()",
            "(sigmoid(s) - labels) * dloss",
            "ds @ U",
            "np.outer(ds, h)",
        ],
        wrong=[
            (0, "-np.log(sigmoid(s)).sum()", "sigmoid(-s) where it is 0"),
            (1, "sigmoid(s) * dloss", "probability minus label"),
            (1, "(labels - sigmoid(s)) * dloss", "probability minus label"),
            (2, "(ds @ U) / len(U)", "Uses add up"),
            (3, "np.outer(ds, ds @ U)", "np.outer(ds, h)"),
        ],
    ),
    Answer(
        "cbow",
        right=["np.tile(dh / len(X), (len(X), 1))", "np.outer(ds, h)"],
        wrong=[
            (0, "np.tile(dh, (len(X), 1))", "with which slope"),
            (0, "dh / len(X)", "dX has shape"),
            (1, "np.outer(ds, X[0])", "meets the mean"),
        ],
    ),
    Answer(
        "subsampling",
        right=[
            "counts / counts.sum()",
            "np.minimum(1, (np.sqrt(f / threshold) + 1) * threshold / f)",
        ],
        wrong=[
            (0, "counts", "fraction of the text"),
            (1, "(np.sqrt(f / threshold) + 1) * threshold / f", "more than 1"),
            (1, "np.minimum(1, np.sqrt(threshold / f))", "sqrt(f / threshold) + 1"),
        ],
    ),
    Answer(
        "noise",
        right=["counts**power / (counts**power).sum()"],
        wrong=[
            (0, "counts / counts.sum()", "rare words more frequent"),
            (0, "(counts / counts.sum()) ** power", "The power comes first"),
        ],
    ),
    Answer(
        "path-probability",
        right=["np.prod(sigmoid(np.where(turns == 1, s, -s)))"],
        wrong=[
            (0, "np.sum(sigmoid(np.where(turns == 1, s, -s)))", "multiply"),
            (0, "np.prod(sigmoid(s))", "where the turn is 1"),
        ],
    ),
    Answer(
        "ppmi",
        right=[
            "counts * counts.sum() / np.maximum(counts.sum(axis=1, keepdims=True), 1)\n"
            "    table = table / np.maximum(counts.sum(axis=0), 1)\n"
            "    table = np.where(counts > 0, np.log(np.maximum(table, 1)), 0)"
        ],
        wrong=[
            (
                0,
                "np.log(counts * counts.sum() / counts.sum(axis=1, keepdims=True)"
                " / counts.sum(axis=0))",
                "what is below 0 counts as 0",
            ),
            (0, "np.maximum(0, np.log(counts / counts.sum()))", "PMI compares"),
            (
                0,
                "np.maximum(0, np.log(counts * counts.sum() / (counts.sum(axis=1, keepdims=True)"
                " * counts.sum(axis=0))))",
                "0/0 is no number",
            ),
        ],
    ),
    Answer(
        "glove",
        right=[GLOVE, GLOVE_BACK],
        wrong=[
            (0, GLOVE.replace(" + b[:, None]", ""), "Each pair has the error"),
            (
                0,
                GLOVE.replace("np.minimum(1, (counts / 10) ** 0.75)", "1.0 * seen"),
                "and 1 at most",
            ),
            (0, GLOVE.replace("np.where(seen, counts, 1)", "counts"), "no logarithm"),
            (0, GLOVE.replace("np.where(seen, counts, 1)", "counts + 1"), "- ln of its count"),
            (1, GLOVE_BACK.replace("2 * weights * error", "2 * error"), "stays a factor"),
            (1, GLOVE_BACK.replace("ds = dloss * 2 *", "ds = dloss *"), "A square has the slope 2"),
            (1, GLOVE_BACK.replace("ds.T @ v", "ds @ v"), "in the errors of its column"),
            (1, GLOVE_BACK.replace("ds.sum(axis=1)", "ds.sum(axis=0)"), "every error of its row"),
        ],
    ),
    Answer(
        "subwords",
        right=[PARTS, PARTS_BACK],
        wrong=[
            (0, PARTS.replace("mean", "sum"), "h is the mean"),
            (0, PARTS.replace("signs * s", "s"), "for the label 1"),
            (1, PARTS_BACK.replace(" / len(grams)", ""), "the share 1 / G"),
            (
                1,
                PARTS_BACK.replace("np.add.at(dE, grams, ", "dE[grams] += ("),
                "adds once only",
            ),
            (1, PARTS_BACK.replace("np.add.at(dU, ids, ", "dU[ids] += ("), "drawn twice as noise"),
            (1, PARTS_BACK.replace("ds[:, None] * h", "-ds[:, None] * h"), "with respect to U[id]"),
        ],
    ),
]
