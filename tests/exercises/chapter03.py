"""Answers to the exercises of chapter 3."""

from .answers import Answer

ANSWERS = [
    Answer(
        "softmax-forward",
        right=[
            "np.exp(x - x.max(axis=-1, keepdims=True))",
            "exp / exp.sum(axis=-1, keepdims=True)",
        ],
        wrong=[
            (0, "np.exp(np.minimum(x, 700))", "Subtract the largest of each row"),
            (0, "np.exp(x)", "overflow"),
            (0, "np.exp(x - x.max())", "the largest of each row"),
            (1, "exp / exp.sum()", "Each row is divided by its own sum"),
            (1, "exp / exp.max(axis=-1, keepdims=True)", "its own sum"),
        ],
    ),
    Answer(
        "softmax",
        right=["y * (dy - (dy * y).sum(axis=-1, keepdims=True))"],
        wrong=[
            (0, "dy * y * (1 - y)", "reaches all y of its row"),
            (0, "y * (dy - dy.sum(axis=-1, keepdims=True))", "sum over i of dy_i y_i"),
            (0, "y * (dy - (dy * y).sum())", "over the last axis"),
        ],
    ),
    Answer(
        "cross-entropy",
        right=["-log_p[rows, targets].mean()", "(np.exp(log_p) - np.eye(V)[targets]) / n"],
        wrong=[
            (0, "-log_p[rows, targets].sum()", "mean over the rows"),
            (0, "-log_p.mean()", "one entry of each row"),
            (1, "(log_p - np.eye(V)[targets]) / n", "p is np.exp(log_p)"),
            (1, "np.exp(log_p) - np.eye(V)[targets]", "Divide by n"),
            (1, "(np.eye(V)[targets] - np.exp(log_p)) / n", "p - y"),
        ],
    ),
    Answer(
        "embedding",
        right=["np.eye(len(E))[ids].T @ dy"],
        wrong=[
            (0, "np.zeros_like(E); dE[ids] += dy", "keeps only the last of equal ids"),
            (0, "np.zeros_like(E)", "add each dy[k] to row ids[k]"),
            (0, "dy", "dE has shape"),
        ],
    ),
    Answer(
        "next-probabilities",
        right=[
            "logits / temperature",
            "z >= np.sort(z)[-k]",
            "softmax(np.where(kept, z, -np.inf))",
        ],
        wrong=[
            (0, "logits * temperature", "divided by the temperature"),
            (
                1,
                "z > np.sort(z)[-k - 1] if k < len(z) else z > z.min()",
                "the smallest that is kept",
            ),
            (1, "z >= np.sort(z)[k - 1]", "the smallest that is kept"),
            (2, "np.where(kept, softmax(z), 0)", "divides by the sum of the rest"),
            (2, "np.where(kept, z, 0)", "is the softmax of the logits"),
        ],
    ),
]
