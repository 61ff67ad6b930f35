"""Answers to the exercises of chapter 20."""

from .answers import Answer

CLIPPED = """None
    A, ratio = np.array(advantages), np.exp(log_p - old)
    plain, clipped = ratio * A, np.clip(ratio, 1 - e, 1 + e) * A
    loss = -np.minimum(plain, clipped).mean()"""
BEST = """p.copy()
    order = np.argsort(reward)
    q[order] = np.diff(np.append(0, np.cumsum(p[order])) ** n)"""

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
    Answer(
        "clipped-objective",
        right=[CLIPPED, "-dloss * np.where(plain <= clipped, plain, 0) / len(A)"],
        wrong=[
            (0, CLIPPED.replace("-np.minimum", "np.minimum"), "the loss is minus the mean"),
            (0, CLIPPED.replace("np.minimum(plain, clipped)", "clipped"), "is still to grow"),
            (0, CLIPPED.replace("np.minimum(plain", "np.maximum(plain"), "The smaller of the"),
            (
                0,
                CLIPPED.replace("np.minimum(plain, clipped)", "(np.minimum(ratio, 1 + e) * A)"),
                "Compare the products",
            ),
            (1, "-dloss * plain / len(A)", "a constant counts there"),
            (1, "-dloss * np.where(plain <= clipped, A, 0) / len(A)", "the slope of ratio A"),
            (1, "-dloss * np.where(np.abs(ratio - 1) < e, plain, 0) / len(A)", "has no gradient"),
            (1, "-dloss * np.where(plain <= clipped, plain, 0)", "the loss is minus a mean"),
        ],
    ),
    Answer(
        "best-of",
        right=[BEST, "(q * np.log(q / p)).sum()"],
        wrong=[
            (0, "p**n / (p**n).sum()", "if all n are at most as good"),
            (
                0,
                BEST.replace("np.argsort(reward)", "np.arange(len(p))"),
                "the order of the rewards",
            ),
            (0, BEST.replace("np.argsort(reward)", "np.argsort(-reward)"), "not all of them worse"),
            (0, BEST.replace("q[order] = np", "q = np"), "then q[order]"),
            (1, "(p * np.log(p / q)).sum()", "over the answers of q"),
            (1, "(q * np.log2(q / p)).sum()", "how far the best of n is"),
        ],
    ),
]
