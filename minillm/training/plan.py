"""The plan of a training: its operations, memory, communication and time, before it is started.

All of it follows from the sizes of the model and a few figures of the machine.

Legend: N weights; L layers, D width, C context, V vocabulary; n ranks.  A number is a float32, of
4 bytes.

**Operations.**  The forward pass multiplies each weight of a matrix once by something of a token,
and adds.  The backward pass has two products for each of the forward's, for the gradients of the
weights and of the input.  That is 6 operations for each weight and token, the well-known

    operations of a training = 6 N tokens

For a GPT, exactly: N counts the matrices, 12 D^2 in each layer (3 D^2 for q, k and v, D^2 behind
the attention, 8 D^2 in the feed-forward layer) and the output's V D, but not the positions, which
are looked up.  Attention adds products without weights: a score q . k and its share of the values
are 4 D operations for each pair of positions.  A causal context has C / 2 of these for each token
on average.  Forward and backward, that is 6 C D in each layer:

    operations of a token = 6 (12 L D^2 + V D) + 6 L C D

**Time.**  The products run at the rate of large matrix products.  Norms, activations, sums,
softmaxes and the optimiser wait for memory.  Nothing overlaps:

    seconds = operations / rate of products + bytes moved / bandwidth of memory + communication

**Communication.**  Each rank has the whole model and some rows of the batch, so that each step sums
the gradients of all ranks (Allreduce).  In a ring, every rank sends n - 1 times one n-th of the
partial sums, and n - 1 times one n-th of the result.  No algorithm sends less:

    bytes sent by a rank = 2 (n - 1) / n 4 N
    seconds = 2 ceil(log2 n) latency + bytes sent / bandwidth of the network

A ring waits for 2 (n - 1) messages.  MPI libraries halve and double instead, which sends the same
bytes in 2 log2 n messages.

**Memory** of a rank: weights, gradients and Adam's two moments are 4 N numbers; with several ranks,
a fifth N is the buffer that Allreduce sums.  The activations that the forward keeps for the
backward grow with the tokens of the rank's rows: see :func:`of_gpt`.

Sources: Kaplan et al. (2020), "Scaling laws for neural language models", section 2.1, for the
operations; Patarasuk and Yuan (2009), "Bandwidth optimal all-reduce algorithms for clusters of
workstations"; Thakur, Rabenseifner and Gropp (2005), "Optimization of collective communication
operations in MPICH"; Hoffmann et al. (2022), "Training compute-optimal large language models".
"""

import math
from dataclasses import dataclass

from minillm.models.gpt import GPTConfig

BYTES = 4  # of a number
TOKENS_PER_WEIGHT = 20  # of a compute-optimal training (Hoffmann et al. 2022, table 3)

# Numbers that the optimiser moves for each weight: Adam reads weight, gradient and two moments and
# writes all but the gradient; before it, the gradient is read for its norm.  Several ranks also
# copy the gradient into the buffer, and divide it there.
OPTIMISER, BUFFER = 8, 4

# The constants of :func:`expected_loss`: E, A, B, alpha, beta.
LAW = (1.8172, 482.01, 2085.43, 0.3478, 0.3658)


@dataclass(frozen=True)
class Machine:
    """The machine of one rank; all ranks are alike."""

    products: float  # operations a second in large products of float32 matrices
    memory: float  # bytes a second, read and written
    network: float  # bytes a second that a rank sends while it receives as many
    latency: float  # seconds until a message arrives, however short


@dataclass(frozen=True)
class Demand:
    """The demand of a model on a machine."""

    weights: int  # N
    context: int  # tokens in a row of the batch
    operations: float  # for each token, forward and backward
    moved: float  # numbers for each token, read and written between the products
    kept: float  # numbers for each token that are in memory at once, at most


@dataclass(frozen=True)
class Step:
    """One step of all ranks."""

    ranks: int
    rows: int  # of the whole batch
    tokens: int  # of the whole batch
    compute: float  # seconds
    communication: float  # seconds

    @property
    def seconds(self) -> float:
        """The seconds of the whole step."""
        return self.compute + self.communication

    @property
    def rate(self) -> float:
        """The tokens per second."""
        return self.tokens / self.seconds


def of_gpt(config: GPTConfig) -> Demand:
    """Return the demand of a GPT.

    weights: 12 D^2 + 13 D in each layer, with the biases and norms; two tables, and a last norm.

    moved, in widths D: in a layer 23 D forward (2 a norm, 6 the attention and its heads side by
    side, 4 a sum with its norm, 8 the activation, which is 4 D wide, 3 a sum) and 36 D backward (8
    two norms, 7 the attention, 12 the activation, 9 the gradients of the biases); 16 D around the
    layers, and 8 V for the softmax and its gradient.

    kept, in widths D: of each layer its input, the norm of it, q, k and v (3), the heads' results,
    the sum behind the attention, the norm of it, and both sides of the activation (8): 16 D.  2 D
    for the last layer's output and its norm; V for the probabilities and V for their gradient; and
    11 D while a layer is walked backwards.  Dropout keeps more.
    """
    L, D, C, V = config.layers, config.width, config.context, config.vocabulary
    return Demand(
        weights=L * (12 * D**2 + 13 * D) + (V + C + 2) * D,
        context=C,
        operations=6.0 * (12 * L * D**2 + V * D) + 6.0 * L * C * D,
        moved=59 * L * D + 16 * D + 8 * V,
        kept=16 * L * D + 13 * D + 2 * V,
    )


# --- a step -----------------------------------------------------------------------------


def memory(demand: Demand, rows: int, ranks: int = 1) -> dict[str, float]:
    """Return the bytes of a rank that has ``rows`` rows, by their purpose."""
    weights = BYTES * demand.weights
    parts = {"weights": weights, "gradients": weights, "moments": 2 * weights}
    if ranks > 1:
        parts["buffer"] = weights
    return parts | {"activations": BYTES * rows * demand.context * demand.kept}


def sent(demand: Demand, ranks: int) -> float:
    """Return the bytes that each rank sends in a step: 2 (n - 1) / n of the gradient."""
    return 2 * (ranks - 1) / ranks * BYTES * demand.weights


def communication(demand: Demand, machine: Machine, ranks: int) -> float:
    """Return the seconds of an Allreduce of the gradient."""
    messages = 2 * math.ceil(math.log2(ranks))
    return messages * machine.latency + sent(demand, ranks) / machine.network


def compute(demand: Demand, machine: Machine, rows: int, ranks: int = 1) -> float:
    """Return the seconds in which a rank computes the gradient of its rows and takes the step."""
    tokens = rows * demand.context
    per_weight = OPTIMISER + (BUFFER if ranks > 1 else 0)
    moved = BYTES * (tokens * demand.moved + per_weight * demand.weights)
    return tokens * demand.operations / machine.products + moved / machine.memory


def weak(demand: Demand, machine: Machine, rows: int, ranks: int) -> Step:
    """Plan a step with ``rows`` rows on *each* rank: the batch grows with the ranks."""
    return _step(demand, machine, rows * ranks, ranks)


def strong(demand: Demand, machine: Machine, rows: int, ranks: int) -> Step | None:
    """Plan a step with ``rows`` rows on all ranks *together*; None if there are more ranks."""
    return _step(demand, machine, rows, ranks) if ranks <= rows else None


def _step(demand: Demand, machine: Machine, rows: int, ranks: int) -> Step:
    """Plan a step with ``rows`` rows in all; the rank with the most rows decides its time."""
    return Step(
        ranks,
        rows,
        rows * demand.context,
        compute(demand, machine, math.ceil(rows / ranks), ranks),
        communication(demand, machine, ranks),
    )


def efficiency(step: Step, alone: Step) -> float:
    """Return a rank's tokens per second as a share of those of a rank alone: at most 1."""
    return step.rate / (step.ranks * alone.rate)


# --- how large a model ------------------------------------------------------------------


def optimum(operations: float) -> tuple[float, float]:
    """Return the weights N and the tokens of the best model that these operations can train.

        6 N tokens = operations     tokens = 20 N     so that  N = sqrt(operations / 120)

    A larger model would read too little, a smaller one learn too little from what it reads.
    Hoffmann et al. (2022) find the optimum in three ways.  By two of them, weights and tokens both
    grow as the square root of the operations, with about 20 tokens to a weight (their tables 2 and
    3).  By the third, a law for the loss with published constants, tokens grow faster; but that fit
    had not converged, and repeated on the same data it agrees with the others (Besiroglu et al.
    2024).
    """
    N = math.sqrt(operations / (6 * TOKENS_PER_WEIGHT))
    return N, TOKENS_PER_WEIGHT * N


def expected_loss(N: float, tokens: float) -> float:
    """Return the loss in nats per token of a model of N weights that has read ``tokens`` tokens.

        L(N, tokens) = E + A / N^alpha + B / tokens^beta

    E is the entropy of text itself; the others are the costs of too few weights and too few tokens.
    The law was fitted to models from 70 million weights on, over a vocabulary of 32,000 tokens of
    web text and books: for small models, and for other texts, it tells the direction and not the
    value.

    Source: Hoffmann et al. (2022), equation 2; the constants of Besiroglu, Erdil, Barnett and You
    (2024), "Chinchilla scaling: a replication attempt", for the reason given in :func:`optimum`.
    """
    E, A, B, alpha, beta = LAW
    return E + A / N**alpha + B / tokens**beta


def shape_of(N: float, vocabulary: int, context: int) -> GPTConfig:
    """Return the GPT of about N weights that is 64 times as wide as it is deep, with heads of 64.

    Over a wide range, the loss hardly depends on the shape (Kaplan et al. 2020, section 3.1).
    """

    def of_depth(layers: int) -> GPTConfig:
        return GPTConfig(vocabulary, context, layers, layers, 64 * layers)

    layers = 1
    while of_gpt(of_depth(layers + 1)).weights <= N:
        layers += 1
    lower, upper = of_depth(layers), of_depth(layers + 1)
    closer_below = N / of_gpt(lower).weights < of_gpt(upper).weights / N
    return lower if closer_below else upper
