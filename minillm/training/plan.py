"""What a training takes, before it is started: operations, memory, communication, time.

All of it follows from the sizes of the model and a few figures of the machine.

Legend, as in the papers on scaling: N weights, D tokens that are read; L layers, W width,
C context, V vocabulary; n ranks.  A number is a float32, of 4 bytes.

**Operations.**  A token meets each weight of a matrix once in the forward pass: a multiplication
and an addition.  The backward pass has two products for each of the forward's, for the gradients of
the weights and of the input.  That is 6 operations for each weight and token, the well-known

    6 N D                                            of a whole training

Exactly, of GPT: N counts the matrices, 12 W^2 in each layer (3 W^2 for q, k and v, W^2 behind the
attention, 8 W^2 in the feed-forward layer) and the output's V W, but not the positions, which are
looked up.  Attention multiplies no weights, and comes on top: a score q . k and its share of the
values are 4 W operations for each position attended to, of which a causal context has C / 2 on the
average; forward and backward that is 6 C W in each layer:

    operations of a token = 6 (12 L W^2 + V W) + 6 L C W

**Time.**  The products run at the rate of large matrix products.  Between them lie the norms,
activations, sums and softmaxes, and after them the optimiser: these wait for memory.  Nothing
overlaps:

    seconds = operations / rate of products + bytes moved / bandwidth of memory + communication

**Communication.**  Each rank has the whole model and some rows of the batch, so that the gradients
of all ranks are summed in each step (Allreduce).  In a ring, every rank sends n - 1 times one n-th
of the sum that is being made, and n - 1 times one of the sum that is made.  No way to add them up
sends less:

    bytes sent by a rank = 2 (n - 1) / n 4 N
    seconds = 2 ceil(log2 n) latency + bytes sent / bandwidth of the network

A ring waits for 2 (n - 1) messages.  MPI libraries halve and double instead, which sends the same
bytes in 2 log2 n messages.  Where communication is hidden behind the backward pass, a step is
quicker than is said here.

**Memory** of a rank: weights, gradients and Adam's two moments are 4 N numbers; a fifth N is the
buffer that Allreduce sums, if there are several ranks.  The activations that the forward keeps for
the backward grow with the tokens of the rank's rows: see :func:`of_gpt`.

**How large a model.**  For a given number of operations, a model can be too large, and read too
little, or too small, and learn too little from what it reads.  See :func:`optimum`.

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
# writes all but the gradient; before it, the gradient is read for its norm.  Of several ranks, the
# gradient is copied into the buffer, and divided there.
OPTIMISER, BUFFER = 8, 4

# The law of :func:`expected_loss`: E, A, B, alpha, beta.
LAW = (1.8172, 482.01, 2085.43, 0.3478, 0.3658)


@dataclass(frozen=True)
class Machine:
    """What one rank runs on; all ranks are alike."""

    products: float  # operations a second in large products of float32 matrices
    memory: float  # bytes a second, read and written
    network: float  # bytes a second that a rank sends while it receives as many
    latency: float  # seconds until a message arrives, however short


@dataclass(frozen=True)
class Demand:
    """What a model asks of a machine."""

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
        """Of the whole step."""
        return self.compute + self.communication

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


def of_gpt(config: GPTConfig) -> Demand:
    """What a GPT asks for.

    weights: 12 W^2 + 13 W in each layer, with the biases and norms; two tables, and a last norm.

    moved, in widths W: in a layer 23 W forward (2 a norm, 6 the attention and its heads side by
    side, 4 a sum with its norm, 8 the activation, which is 4 W wide, 3 a sum) and 36 W backward (8
    two norms, 7 the attention, 12 the activation, 9 the gradients of the biases); 16 W around the
    layers, and 8 V for the softmax and its gradient.

    kept, in widths W: of each layer its input, the norm of it, q, k and v (3), the heads' results,
    the sum behind the attention, the norm of it, and both sides of the activation (8): 16 W.  2 W
    for the last layer's output and its norm; V for the probabilities and V for their gradient; and
    11 W while a layer is walked backwards.  Dropout keeps more.
    """
    L, W, C, V = config.layers, config.width, config.context, config.vocabulary
    return Demand(
        weights=L * (12 * W**2 + 13 * W) + (V + C + 2) * W,
        context=C,
        operations=6.0 * (12 * L * W**2 + V * W) + 6.0 * L * C * W,
        moved=59 * L * W + 16 * W + 8 * V,
        kept=16 * L * W + 13 * W + 2 * V,
    )


# --- a step -----------------------------------------------------------------------------


def memory(demand: Demand, rows: int, ranks: int = 1) -> dict[str, float]:
    """The bytes of a rank that has so many rows, by what they are for."""
    weights = BYTES * demand.weights
    taken = {"weights": weights, "gradients": weights, "moments": 2 * weights}
    if ranks > 1:
        taken["buffer"] = weights
    return taken | {"activations": BYTES * rows * demand.context * demand.kept}


def sent(demand: Demand, ranks: int) -> float:
    """The bytes that each rank sends in a step: 2 (n - 1) / n of the gradient."""
    return 2 * (ranks - 1) / ranks * BYTES * demand.weights


def communication(demand: Demand, machine: Machine, ranks: int) -> float:
    """The seconds of an Allreduce of the gradient."""
    messages = 2 * math.ceil(math.log2(ranks))
    return messages * machine.latency + sent(demand, ranks) / machine.network


def compute(demand: Demand, machine: Machine, rows: int, ranks: int = 1) -> float:
    """The seconds in which a rank computes the gradient of its rows and takes the step."""
    tokens = rows * demand.context
    per_weight = OPTIMISER + (BUFFER if ranks > 1 else 0)
    moved = BYTES * (tokens * demand.moved + per_weight * demand.weights)
    return tokens * demand.operations / machine.products + moved / machine.memory


def weak(demand: Demand, machine: Machine, rows: int, ranks: int) -> Step:
    """A step with so many rows on *each* rank: the batch grows with the ranks."""
    return Step(
        ranks,
        rows * ranks,
        rows * ranks * demand.context,
        compute(demand, machine, rows, ranks),
        communication(demand, machine, ranks),
    )


def strong(demand: Demand, machine: Machine, rows: int, ranks: int) -> Step | None:
    """A step with so many rows on all ranks *together*: the same batch whatever their number.

    The rank with the most rows decides.  None where there are more ranks than rows.
    """
    if ranks > rows:
        return None
    return Step(
        ranks,
        rows,
        rows * demand.context,
        compute(demand, machine, math.ceil(rows / ranks), ranks),
        communication(demand, machine, ranks),
    )


def efficiency(step: Step, alone: Step) -> float:
    """The tokens a second of a rank, as a share of those of a rank that is alone: at most 1."""
    return step.rate / (step.ranks * alone.rate)


# --- how large a model ------------------------------------------------------------------


def optimum(operations: float) -> tuple[float, float]:
    """The weights N and the tokens D of the best model that so many operations can train.

        6 N D = operations        D = 20 N        so that  N = sqrt(operations / 120)

    Hoffmann et al. (2022) find in three ways how N and D should grow with the operations.  By two,
    both as the square root, about 20 tokens to a weight all along (their tables 2 and 3).  The
    third, a law for the loss with published constants, has D grow faster than N; but their fit had
    not converged, and fitted again to the same data it agrees with the others (Besiroglu et al.
    2024).
    """
    N = math.sqrt(operations / (6 * TOKENS_PER_WEIGHT))
    return N, TOKENS_PER_WEIGHT * N


def expected_loss(N: float, D: float) -> float:
    """The loss after D tokens of a model of N weights, in nats per token.

        L(N, D) = E + A / N^alpha + B / D^beta

    E is what no model can know; the others are what too few weights and too few tokens cost.  It
    was fitted to models from 70 million weights on, over a vocabulary of 32,000 tokens of web text
    and books: of small models, and of other texts, it tells the direction and not the value.

    Source: Hoffmann et al. (2022), equation 2; the constants of Besiroglu, Erdil, Barnett and You
    (2024), "Chinchilla scaling: a replication attempt", for the reason told in :func:`optimum`.
    """
    E, A, B, alpha, beta = LAW
    return E + A / N**alpha + B / D**beta


def shape_of(N: float, vocabulary: int, context: int) -> GPTConfig:
    """The GPT of about N weights that is 64 times as wide as it is deep, with heads of 64.

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
