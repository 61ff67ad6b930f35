"""Answers to the exercises of chapter 20."""

from .answers import Answer

ANSWERS = [
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
    Answer(
        "dpo-by-numbers",
        right=[
            "reference * np.exp(reward / beta) / (reference * np.exp(reward / beta)).sum()",
            "reward[chosen] - reward[rejected]",
            "-beta / (1 + np.exp(margin))",
        ],
        wrong=[
            (0, "np.exp(reward / beta) / np.exp(reward / beta).sum()", "with a multiplier"),
            (0, "reference * np.exp(reward / beta)", "divided by its sum"),
            (
                0,
                "reference * np.exp(beta * reward) / (reference * np.exp(beta * reward)).sum()",
                "reward / beta",
            ),
            (1, "np.log(policy[chosen] / policy[rejected])", "the same for both answers"),
            (2, "-beta / (1 + np.exp(-margin))", "-ln sigmoid(margin)"),
            (2, "-1 / (1 + np.exp(margin))", "moves by beta"),
        ],
    ),
]
