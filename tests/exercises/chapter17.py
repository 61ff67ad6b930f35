"""Answers to the exercises of chapter 17."""

from .answers import Answer

ANSWERS = [
    Answer(
        "additions",
        right=[
            "(x @ A) @ B",
            "(dy @ B.T) @ A.T",
            "x.T @ (dy @ B.T)",
            "(x @ A).T @ dy",
        ],
        wrong=[
            (0, "2 * (x @ A) @ B", "the thin one"),
            (1, "-(dy @ B.T) @ A.T", "one of x"),
            (2, "2 * x.T @ (dy @ B.T)", "with the output x A"),
            (3, "-(x @ A).T @ dy", "of x A"),
            (0, "x @ (A @ B)", "Which of the two products is thin"),
            (0, 'np.einsum("mi,ir,ro->mo", x, A, B)', "Which of the two products is thin"),
            (1, "dy @ (A @ B).T", "is as large as W"),
            (2, "(x.T @ dy) @ B.T", "is as large as W"),
            (2, "np.dot(x.T.dot(dy), B.T)", "is as large as W"),
            (3, "A.T @ (x.T @ dy)", "is as large as W"),
        ],
    ),
    Answer(
        "preference-loss",
        right=[
            "np.log1p(np.exp(-0.5 * (chosen - rejected))).mean()",
            "-0.5 / (1 + np.exp(0.5 * (chosen - rejected))) / len(chosen) * dloss",
            "-dchosen",
        ],
        wrong=[
            (0, "np.log1p(np.exp(-(chosen - rejected))).mean()", "beta"),
            (1, "-0.5 / (1 + np.exp(0.5 * (chosen - rejected))) * dloss", "is a mean"),
            (2, "dchosen.copy()", "difference of the two"),
        ],
    ),
    Answer(
        "advantages",
        right=[
            "np.divide(rewards - rewards.mean(axis=1, keepdims=True), "
            "rewards.std(axis=1, keepdims=True), out=np.zeros_like(rewards), "
            "where=rewards.std(axis=1, keepdims=True) > 0)",
        ],
        wrong=[
            (0, "rewards - rewards.mean(axis=1, keepdims=True)", "Each row is a group"),
            (
                0,
                "(rewards - rewards.mean(axis=1, keepdims=True)) "
                "/ rewards.std(axis=1, ddof=1, keepdims=True)",
                "not by G - 1",
            ),
            (
                0,
                "(rewards - rewards.mean(axis=1, keepdims=True)) "
                "/ rewards.std(axis=1, keepdims=True)",
                "Divide only where it is above 0",
            ),
            (
                0,
                "(rewards - rewards.mean(axis=1, keepdims=True)) "
                "/ np.maximum(rewards.std(axis=1, keepdims=True), 1e-300) + 1",
                "Each row is a group",
            ),
        ],
    ),
]
