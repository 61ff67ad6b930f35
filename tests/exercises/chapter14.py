"""Answers to the exercises of chapter 14."""

from .answers import Answer

PREFIX = """None
    (B, T, d), m = q.shape, len(K)
    keys = np.concatenate([np.repeat(K[None], B, axis=0), k], axis=1)
    values = np.concatenate([np.repeat(V[None], B, axis=0), v], axis=1)
    scores = q @ keys.transpose(0, 2, 1) / np.sqrt(d)
    weights = np.where(np.tri(T, m + T, m, dtype=bool), np.exp(scores), 0)
    weights = weights / weights.sum(axis=-1, keepdims=True)
    y = weights @ values"""
PREFIX_BACK = """None, None, None, None, None
        dweights = dy @ values.transpose(0, 2, 1)
        dscores = weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))
        dq = dscores @ keys / np.sqrt(d)
        dkeys = dscores.transpose(0, 2, 1) @ q / np.sqrt(d)
        dvalues = weights.transpose(0, 2, 1) @ dy
        dk, dv = dkeys[:, m:], dvalues[:, m:]
        dK, dV = dkeys[:, :m].sum(axis=0), dvalues[:, :m].sum(axis=0)"""
MANY = """None
    u = np.einsum("ni,nir->nr", x, A[users])
    y = x @ W + np.einsum("nr,nro->no", u, B[users])"""
MANY_BACK = """None, None, None
        du = np.einsum("no,nro->nr", dy, B[users])
        dx = dy @ W.T + np.einsum("nr,nir->ni", du, A[users])
        dA, dB = np.zeros_like(A), np.zeros_like(B)
        for n, user in enumerate(users):
            dA[user] += np.outer(x[n], du[n])
            dB[user] += np.outer(u[n], dy[n])"""

ANSWERS = [
    Answer(
        "lora",
        right=[
            "x @ W + s * (x @ A) @ B",
            "dy @ W.T + s * (dy @ B.T) @ A.T",
            "s * x.T @ (dy @ B.T)",
            "s * (x @ A).T @ dy",
        ],
        wrong=[
            (0, "x @ W + x @ A @ B", "s times x through both"),
            (1, "dy @ W.T", "Uses add up"),
            (1, "s * (dy @ B.T) @ A.T", "Uses add up"),
            (2, "x.T @ (dy @ B.T)", "upstream gradient is that of x A"),
            (3, "(x @ A).T @ dy", "s multiplies its output"),
            (0, "x @ (W + s * A @ B)", "Which order has thin products only"),
            (0, 'x @ W + s * np.einsum("mi,ir,ro->mo", x, A, B)', "has thin products only"),
            (1, "dy @ (W + s * A @ B).T", "is as large as W"),
            (2, "s * (x.T @ dy) @ B.T", "is as large as W"),
            (2, "s * np.dot(x.T.dot(dy), B.T)", "is as large as W"),
            (3, "s * A.T @ (x.T @ dy)", "is as large as W"),
        ],
    ),
    Answer(
        "best-span",
        right=["range(i, min(i + longest, T))", "s[i] + e[j]"],
        wrong=[
            (0, "range(1, T)", "cannot end before it begins"),
            (0, "range(i, T)", "at most longest tokens"),
            (0, "range(i, min(i + longest + 1, T))", "at most longest tokens"),
            (0, "range(i + 1, min(i + longest, T))", "one token has j = i"),
            (1, "s[i]", "chosen together"),
            (0, "range(i, min(i + longest - 1, T))", "all ends of a span"),
            (0, "range(i, i + longest)", "lies in the text"),
            (0, "min(i + longest, T)", "lies in the text"),
            (1, "s[i] * e[j]", "the largest sum"),
        ],
    ),
    Answer(
        "prefix-attention",
        right=[PREFIX, PREFIX_BACK],
        wrong=[
            (
                0,
                PREFIX.replace("m + T, m, dtype", "m + T, 0, dtype"),
                "the whole prefix and to itself",
            ),
            (
                0,
                PREFIX.replace("np.tri(T, m + T, m, dtype=bool)", "True"),
                "the tokens up to itself",
            ),
            (0, PREFIX.replace(" / np.sqrt(d)", ""), "1 / sqrt(d)"),
            (1, PREFIX_BACK.replace("dkeys[:, :m].sum", "dkeys[:, :m].mean"), "used in all B rows"),
            (1, PREFIX_BACK.replace("dvalues[:, :m].sum", "dvalues[:, :m].mean"), "weights^T dy"),
            (
                1,
                PREFIX_BACK.replace(" - (dweights * weights).sum(axis=-1, keepdims=True)", ""),
                "one softmax over m + T keys",
            ),
            (1, PREFIX_BACK.replace("dkeys[:, m:], d", "dkeys[:, :T], d"), "those from m on"),
        ],
    ),
    Answer(
        "many-adapters",
        right=[MANY, MANY_BACK],
        wrong=[
            (0, MANY.replace("x @ W + ", ""), "All rows share W"),
            (0, MANY.replace("B[users]", "B[users[:1]].repeat(len(x), 0)"), "of its own user"),
            (1, MANY_BACK.replace("dy @ W.T + ", ""), "x is used by W"),
            (1, MANY_BACK.replace("dA[user] +=", "dA[user] ="), "adds only one of them"),
            (1, MANY_BACK.replace("dB[user] +=", "dB[user] ="), "the rows of one user add up"),
            (
                1,
                MANY_BACK.replace("np.outer(x[n], du[n])", "np.outer(x[n], u[n])"),
                "adapter of this",
            ),
        ],
    ),
]
