"""Answers to the exercises of chapter 4."""

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
        "schedule",
        right=[
            "rate * (k + 1) / warm_up",
            "(k - warm_up) / (steps - warm_up)",
            "rate * (1 + np.cos(np.pi * x)) / 2",
        ],
        wrong=[
            (0, "rate * k / warm_up", "The first step has one of them"),
            (0, "rate", "the last step of the warm-up the whole rate"),
            (1, "k / steps", "x runs from 0 to 1"),
            (2, "rate * np.cos(np.pi * x / 2)", "(1 + np.cos(np.pi * x)) / 2"),
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
    Answer(
        "factored-step",
        right=[
            "beta * rows + (1 - beta) * (g**2).mean(axis=1)",
            "beta * columns + (1 - beta) * (g**2).mean(axis=0)",
            "W - rate * g / np.sqrt(rows[:, None] * columns / rows.mean())",
        ],
        wrong=[
            (0, "beta * rows + (1 - beta) * (g**2).sum(axis=1)", "the new ones, as Adam's v"),
            (0, "beta * rows + (1 - beta) * g.mean(axis=1) ** 2", "(g**2).mean(axis=1)"),
            (1, "beta * columns + (g**2).mean(axis=0)", "the mean over the other axis"),
            (2, "W - rate * g / np.sqrt(rows[:, None] * columns)", "which number is missing"),
            (2, "W - rate * g / (rows[:, None] * columns / rows.mean())", "np.sqrt(v)"),
            (2, "W + rate * g / np.sqrt(rows[:, None] * columns / rows.mean())", "W - rate * g"),
            (2, "W - rate * g / np.sqrt((rows[:, None] + columns) / 2)", "A table of rank 1"),
        ],
    ),
]
