"""Exercises of chapter 16: big data."""

import numpy as np

from minillm import ops
from minillm.exercises.declaration import exercise


def _operations(n, I, O):
    def of(M, K, N):
        return 2 * M * K * N

    return of(n, I, O), of(I, n, O), of(n, O, I)


def _sizes(rng):
    for n, I, O in ((10, 3, 4), (1, 512, 2048), (7, 5, 11)):
        yield "", (n, I, O)


@exercise(
    "the operations of a linear layer's three products",
    level=1,
    minutes=10,
    reference=_operations,
    solution="minillm/exercises/chapter16.py: _operations",
    cases=_sizes,
    outputs=("forward", "of_dW", "of_dx"),
    hints={
        "forward": (
            "Count the entries of y, and the multiplications and additions of one entry.",
            "y has n O entries, and each is a sum of I products: I multiplications, I additions.",
        ),
        "of_dW": (
            "dW = x^T dy has one entry for each weight, and each is a sum over the rows.",
            "I O entries of n multiplications and n additions each.",
        ),
        "of_dx": (
            "dx = dy W^T has the entries of x, and each is a sum over the outputs.",
            "n I entries of O multiplications and O additions each.",
        ),
    },
)
def product_operations(n, I, O):
    """Count multiplications and additions of y = x W, dW = x^T dy and dx = dy W^T.

    n rows, I inputs, O outputs -> three numbers.  The bias is left out.  A sum begins at zero: n
    products are n multiplications and n additions.
    """
    forward = ...
    of_dW = ...
    of_dx = ...
    return forward, of_dW, of_dx


def _accumulate(losses, gradients, counts):
    tokens = np.array(counts)
    of_all = tokens.sum()
    return tokens @ losses / of_all, tokens @ gradients / of_all


def _parts(rng):
    logits, targets = rng.standard_normal((12, 4)), rng.integers(0, 4, 12)
    for label, counts in (("", (3, 9)), ("", (1, 4, 7)), ("equal", (4, 4, 4)), ("", (0, 12))):
        losses, gradients = [], []
        first = 0
        for count in counts:
            part = slice(first, first + max(count, 1))  # a part without tokens has the weight 0
            loss, backward = ops.cross_entropy(logits[part], targets[part])
            losses.append(float(loss))
            gradients.append(backward().sum(axis=0))
            first += count
        yield label, (np.array(losses), np.array(gradients), list(counts))


@exercise(
    "a batch in parts, with unequal numbers of tokens",
    level=2,
    minutes=15,
    reference=_accumulate,
    solution="minillm/training/loop.py: _gradient",
    cases=_parts,
    outputs=("loss", "gradient"),
    hints={
        "loss": (
            "The loss of the batch is the mean over its tokens, and not over its parts.",
            "Multiply each part's mean by its tokens, add up, and divide by all tokens.",
        ),
        "gradient": (
            "The derivative of a weighted sum is the same weighted sum of the derivatives.",
            "Add counts[r] * gradients[r], and divide once by the number of all tokens.",
        ),
    },
)
def accumulate(losses, gradients, counts):
    """Join parts of a batch to the loss and the gradient of the whole batch.

    losses (R,) are means over the tokens of each part, gradients (R, D) those of these losses,
    counts has the tokens of each part -> loss, gradient (D,).  A part without tokens does not
    count.
    """
    loss, gradient, tokens = 0.0, np.zeros(gradients.shape[1]), 0
    for r in range(len(counts)):
        loss += ...
        gradient += ...
        tokens += counts[r]
    loss = ...
    gradient = ...
    return loss, gradient
