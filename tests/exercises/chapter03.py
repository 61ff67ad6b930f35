"""Answers to the exercises of chapter 3."""

from .answers import Answer

LEVELS = """None
    n, C, V = len(h), W.shape[1], len(classes)
    own = classes[targets]
    p = np.exp(h @ W)
    p = p / p.sum(axis=1, keepdims=True)
    q = np.where(classes == own[:, None], np.exp(h @ U), 0)
    q = q / q.sum(axis=1, keepdims=True)
    rows = np.arange(n)
    loss = -(np.log(p[rows, own]) + np.log(q[rows, targets])).mean()"""
LEVELS_BACK = """None, None, None
        da = dloss * (p - np.eye(C)[own]) / n
        ds = dloss * (q - np.eye(V)[targets]) / n
        dh = da @ W.T + ds @ U.T
        dW, dU = h.T @ da, h.T @ ds"""
DIRECT = """None
    n = len(ids)
    x = E[ids].reshape(n, -1)
    h = np.tanh(x @ W)
    p = np.exp(h @ U + x @ S)
    p = p / p.sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(n), targets]).mean()"""
DIRECT_BACK = """None, None, None, None
        dlogits = dloss * (p - np.eye(len(E))[targets]) / n
        da = dlogits @ U.T * (1 - h**2)
        dU, dW, dS = h.T @ dlogits, x.T @ da, x.T @ dlogits
        dx = da @ W.T + dlogits @ S.T
        dE = np.zeros_like(E)
        np.add.at(dE, ids, dx.reshape(*ids.shape, -1))"""

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
    Answer(
        "two-levels",
        right=[LEVELS, LEVELS_BACK],
        wrong=[
            (
                0,
                LEVELS.replace(
                    "np.where(classes == own[:, None], np.exp(h @ U), 0)", "np.exp(h @ U)"
                ),
                "A class of one word has P(word | class) = 1",
            ),
            (0, LEVELS.replace("np.log(p[rows, own]) + ", ""), "the loss is that of the class"),
            (0, LEVELS.replace(" + np.log(q[rows, targets])", ""), "all words have one class"),
            (1, LEVELS_BACK.replace(" + ds @ U.T", ""), "h has two uses"),
            (1, LEVELS_BACK.replace("da @ W.T + ", ""), "in those of the words"),
            (
                1,
                LEVELS_BACK.replace("np.eye(C)[own]", "np.eye(C)[own] * 0"),
                "whose targets are classes",
            ),
        ],
    ),
    Answer(
        "direct-connections",
        right=[DIRECT, DIRECT_BACK],
        wrong=[
            (0, DIRECT.replace(" + x @ S", ""), "a sum of two products"),
            (1, DIRECT_BACK.replace(" + dlogits @ S.T", ""), "x has two uses"),
            (1, DIRECT_BACK.replace("da @ W.T + ", ""), "in x W and in x S"),
            (1, DIRECT_BACK.replace("np.add.at(dE, ids, ", "dE[ids] += ("), "at several positions"),
            (1, DIRECT_BACK.replace(" * (1 - h**2)", ""), "If dW is wrong as well"),
            (1, DIRECT_BACK.replace("h.T @ dlogits", "np.zeros_like(U)"), "multiplies the hidden"),
            (1, DIRECT_BACK.replace("x.T @ dlogits", "-x.T @ dlogits"), "to both terms unchanged"),
        ],
    ),
]
