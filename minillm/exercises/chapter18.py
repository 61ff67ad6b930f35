"""Exercises of chapter 18: big data."""

import numpy as np

from minillm import ops
from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug


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
    solution="minillm/exercises/chapter18.py: _operations",
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


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _sharded_step(shards, gradients, counts, rate, maximum):
    g = np.array(counts) @ gradients / sum(counts)
    g = g * min(1, maximum / np.linalg.norm(g))
    return shards - rate * g.reshape(shards.shape)


def _ranks(rng):
    for label, counts, maximum in (
        ("equal counts", [3, 3], 99.0),
        ("counts", [2, 10], 99.0),
        ("clipped", [5, 5], 0.5),
        ("", [1, 4, 7], 0.3),
    ):
        R = len(counts)
        yield label, (*draw(rng, (R, 3), (R, 3 * R)), counts, 0.1, maximum)


@exercise(
    "a step of ranks that share the weights",
    level=2,
    minutes=25,
    reference=_sharded_step,
    solution="minillm/exercises/chapter18.py: _sharded_step",
    cases=_ranks,
    outputs=("shards",),
    hints={
        "shards": (
            "The norm that decides is the norm of the gradient of the whole batch, of all weights: "
            "of the weighted mean, not of one rank's gradient and not of one shard.",
            "g = the mean of the gradients weighted by counts; scale = min(1, maximum / "
            "np.linalg.norm(g)); shard r takes its own piece of g.",
        ),
        "equal counts": (
            "With equal counts and no clipping, shard r moves against piece r of the mean of all "
            "ranks' gradients.",
            "shards - rate * gradients.mean(axis=0).reshape(shards.shape).",
        ),
        "counts": (
            "A rank with more tokens counts more in the gradient of the batch.",
            "np.array(counts) @ gradients / sum(counts).",
        ),
        "clipped": (
            "The pieces of one vector have one norm together: the squares add up over all shards.",
            "np.sqrt of the sum of the squares of all pieces, or np.linalg.norm of the whole mean "
            "gradient; then every piece is scaled by the same number.",
        ),
    },
)
def sharded_step(shards, gradients, counts, rate, maximum):
    """Take a step of gradient descent where each of R ranks keeps only a part of the weights.

    shards (R, P / R): the weights that each rank keeps; gradients (R, P): the gradient of each
    rank's mean loss with respect to all P weights, in the order of the shards; counts: a list of
    the tokens of each rank.  The gradient of the batch is clipped to the norm ``maximum``
    -> shards (R, P / R) after the step.
    """
    # as many lines as you need
    shards = ...
    return shards


def _plan_batch(memory, weights, kept, T, wanted):
    sequences = max(0, memory - 16 * weights) // (kept * T)
    if sequences == 0:
        return 0, 0
    needed = -(-wanted // T)
    return sequences, -(-needed // sequences)


def _machines(rng):
    yield "", (16_000_000_000, 124_000_000, 1_500_000, 1024, 500_000)
    yield "", (1000, 10, 7, 4, 100)
    yield "all at once", (10_000, 10, 7, 4, 100)
    yield "too small", (8_000_000_000, 600_000_000, 1_000_000, 1024, 500_000)
    yield "too small", (180, 10, 7, 4, 100)


@exercise(
    "does it fit?  A batch in parts",
    level=1,
    minutes=20,
    reference=_plan_batch,
    solution="minillm/exercises/chapter18.py: _plan_batch",
    cases=_machines,
    outputs=("sequences", "parts"),
    hints={
        "sequences": (
            "First the weights, their gradients and Adam's two moments, in float32.  What is left "
            "of the memory holds whole sequences.",
            "(memory - 16 * weights) // (kept * T).",
        ),
        "parts": (
            "Count whole sequences: how many does the batch need, and how many parts do these "
            "need?  Both are rounded up.",
            "needed = -(-wanted // T), and -(-needed // sequences) parts.",
        ),
        "all at once": (
            "If all sequences of the batch fit at once, there is one part.",
            "The number of parts is rounded up, so it is never 0.",
        ),
        "too small": (
            "If not even one sequence fits, nothing can be planned.",
            "return 0, 0; a negative rest of the memory is no sequence either.",
        ),
    },
)
def plan_batch(memory, weights, kept, T, wanted):
    """Plan a training step with Adam in float32, by gradient accumulation.

    memory: bytes; weights: their number; kept: the bytes that the forward pass keeps per token; T:
    tokens of a sequence; wanted: the least number of tokens of a batch, in whole sequences
    -> sequences: the most that fit into memory at once, besides all that Adam needs; parts: the
    smallest number of parts of a batch of at least ``wanted`` tokens.  0, 0 if none fits.
    """
    # as many lines as you need
    sequences, parts = ...
    return sequences, parts


# --- find the bug -------------------------------------------------------------------


def _batches(rng):
    yield "", (*draw(rng, (3, 2), (4, 3)), rng.integers(0, 2, 4), [4], 9.0)
    yield "", (*draw(rng, (2, 3), (6, 2)), rng.integers(0, 3, 6), [1, 3, 2], 9.0)
    yield "", (*draw(rng, (2, 3), (5, 2)), rng.integers(0, 3, 5), [2, 3], 0.05)


@find_the_bug(
    "find the bug: a batch in parts",
    level=1,
    minutes=15,
    cases=_batches,
    outputs=("gradient",),
    bugs=(
        Bug(
            "path",
            "gradient += x[part]",
            "gradient = x[part]",
            "The sums of all parts add up.",
            lead="Compare sizes [4] with sizes [2, 2].  Does the first part still count?",
        ),
        Bug(
            "factor",
            "gradient / len(x)",
            "gradient / len(sizes)",
            "The mean is over the rows of the batch, not over the parts.",
            lead="Compare sizes [4] with [2, 2], without clipping.  Which factor is between them?",
        ),
        Bug(
            "range",
            "start += size",
            "start += size - 1",
            "The next part begins where this one ended.",
            lead="Print the rows of each part, for sizes [2, 2]: does each row occur once?",
        ),
        Bug(
            "axis",
            "p.sum(axis=1, keepdims=True)",
            "p.sum(axis=0, keepdims=True)",
            "The probabilities of each row sum to 1.",
            lead="Which sums of p should be 1?  Print both.",
        ),
        Bug(
            "value",
            "targets[part]",
            "targets[:size]",
            "The rows of a part have targets of their own.",
            lead="The given code is right for sizes [4] alone: which rows does a second part read?",
        ),
        Bug(
            "value",
            "np.linalg.norm(gradient)",
            "np.linalg.norm(W)",
            "Clipping asks for the length of the gradient.",
            lead="A small maximum should be the norm of the result.  Is it?",
        ),
    ),
)
def find_accumulation(W, x, targets, sizes, maximum):
    """Compute the gradient of the mean cross-entropy of x W, one part of the rows after the other.

    W (D, V), x (n, D), targets (n,); sizes: a list of the rows of each part, n together; maximum:
    the largest norm that the result may have -> gradient (D, V).
    """
    gradient, start = np.zeros_like(W), 0
    for size in sizes:
        part = slice(start, start + size)
        p = np.exp(x[part] @ W)
        p = p / p.sum(axis=1, keepdims=True)
        gradient += x[part].T @ (p - np.eye(W.shape[1])[targets[part]])
        start += size
    gradient = gradient / len(x)
    norm = np.linalg.norm(gradient)
    return gradient * min(1, maximum / norm)
