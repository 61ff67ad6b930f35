"""Answers to the exercises of chapter 5."""

from .answers import Answer

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
]
