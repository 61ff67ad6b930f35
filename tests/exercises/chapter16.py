"""Answers to the exercises of chapter 16."""

from .answers import Answer

STEP = """shards.copy()
    old = shards
    g = np.array(counts) @ gradients / sum(counts)
    g = g * min(1, maximum / np.linalg.norm(g))
    shards = old - rate * g.reshape(old.shape)"""
PLAN = """0, 0
    sequences = max(0, memory - 16 * weights) // (kept * T)
    if sequences > 0:
        parts = -(-(-(-wanted // T)) // sequences)"""

ANSWERS = [
    Answer(
        "product-operations",
        right=["2 * n * I * O", "2 * n * I * O", "2 * n * I * O"],
        wrong=[
            (0, "n * I * O", "multiplications and additions of one entry"),
            (0, "n * O * (2 * I - 1)", "I multiplications, I additions"),
            (1, "2 * I * O", "each is a sum over the rows"),
            (2, "2 * n * O", "each is a sum over the outputs"),
        ],
    ),
    Answer(
        "accumulate",
        right=[
            "counts[r] * losses[r]",
            "counts[r] * gradients[r]",
            "loss / tokens",
            "gradient / tokens",
        ],
        wrong=[
            (0, "losses[r]", "not over its parts"),
            (1, "gradients[r]", "same weighted sum of the derivatives"),
            (2, "loss / len(counts)", "divide by all tokens"),
            (3, "gradient / len(counts)", "divide once by the number of all tokens"),
        ],
    ),
    Answer(
        "sharded-step",
        right=[STEP],
        wrong=[
            (
                0,
                STEP.replace(
                    "np.array(counts) @ gradients / sum(counts)", "gradients.mean(axis=0)"
                ),
                "counts more in the gradient",
            ),
            (
                0,
                STEP.replace("np.array(counts) @ gradients / sum(counts)", "gradients.sum(axis=0)"),
                "against piece r of the mean",
            ),
            (
                0,
                STEP.replace("np.linalg.norm(g))", "np.linalg.norm(g[: old.shape[1]]))"),
                "the squares add up over all",
            ),
            (0, STEP.replace("min(1, ", "max(0, "), "against piece r of the mean"),
            (
                0,
                STEP.replace("g.reshape(old.shape)", "g.reshape(old.T.shape).T"),
                "shard r moves against piece r",
            ),
            (0, STEP.replace("old - rate", "old + rate"), "moves against"),
        ],
    ),
    Answer(
        "plan-batch",
        right=[PLAN],
        wrong=[
            (0, PLAN.replace("16 * weights", "4 * weights"), "Adam's two moments"),
            (0, PLAN.replace("(kept * T)", "kept"), "holds whole sequences"),
            (
                0,
                PLAN.replace("-(-(-(-wanted // T)) // sequences)", "wanted // (T * sequences)"),
                "Both are rounded up",
            ),
            (
                0,
                PLAN.replace("max(0, memory - 16 * weights)", "(memory - 16 * weights)").replace(
                    "if sequences > 0", "if sequences"
                ),
                "a negative rest",
            ),
            (
                0,
                PLAN.replace(
                    "max(0, memory - 16 * weights) // (kept * T)",
                    "max(1, (memory - 16 * weights) // (kept * T))",
                ),
                "nothing can be planned",
            ),
        ],
    ),
]
