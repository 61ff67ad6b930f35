"""Answers to the exercises of chapter 16."""

from .answers import Answer

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
]
