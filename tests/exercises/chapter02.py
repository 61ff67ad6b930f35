"""Answers to the exercises of chapter 2."""

from .answers import Answer

TRAINING = """None, []
    n, W = len(x), np.zeros((x.shape[1], V))
    u = np.zeros_like(W)
    for _ in range(epochs):
        for start in range(0, n, batch):
            ids = targets[start : start + batch]
            p = np.exp(x[start : start + batch] @ W)
            p = p / p.sum(axis=1, keepdims=True)
            dlogits = (p - np.eye(V)[ids]) / len(ids)
            u = momentum * u + x[start : start + batch].T @ dlogits
            W = W - rate * u
        p = np.exp(x @ W)
        p = p / p.sum(axis=1, keepdims=True)
        losses.append(-np.log(p[np.arange(n), targets]).mean())
    losses = np.array(losses)"""

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
        "adam",
        right=[
            "beta1 * m + (1 - beta1) * g",
            "beta2 * v + (1 - beta2) * g**2",
            "p - learning_rate * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)",
        ],
        wrong=[
            (0, "beta1 * m + g", "the weight of the new one"),
            (1, "beta2 * v + (1 - beta1) * g**2", "the squares"),
            (2, "p - learning_rate * m / (np.sqrt(v) + eps)", "began at 0"),
            (
                2,
                "p + learning_rate * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)",
                "against the gradient",
            ),
            (2, "p - learning_rate * m / v", "over the root of the average square"),
            (2, "p - learning_rate * m_hat", "the names here are p, g, m, v, t, learning_rate"),
            (
                2,
                "p - learning_rate * m / (1 - beta1**t) / np.sqrt(v / (1 - beta2**t) + eps)",
                "not under it",
            ),
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
    Answer(
        "training-loop",
        right=[TRAINING],
        wrong=[
            (0, TRAINING.replace("- np.eye(V)[ids]", "+ np.eye(V)[ids]"), "W goes against it"),
            (0, TRAINING.replace("/ len(ids)", "/ batch"), "the mean is over these"),
            (0, TRAINING.replace("momentum * u +", ""), "The velocity is kept"),
            (
                0,
                TRAINING.replace("u = np.zeros", "z = np.zeros").replace(
                    "        for start", "        u = np.zeros_like(W)\n        for start"
                ),
                "from epoch to epoch",
            ),
            (
                0,
                TRAINING.replace("range(0, n, batch)", "range(0, n - batch + 1, batch)"),
                "No row is left out",
            ),
            (0, TRAINING.replace("x[start : start + batch] @ W", "x[:batch] @ W"), "new W"),
        ],
    ),
]
