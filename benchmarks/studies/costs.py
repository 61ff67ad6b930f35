"""Plan a training in advance: operations, memory, communication, time.

Everything follows from the sizes of the model and a few figures of the machine.

Legend: L layers, D width, C context, V vocabulary; n ranks.  The papers on scaling call the number
of weights N and the number of tokens D; here they are written out.  A number is a float32, 4 bytes.

**Operations.**  In the forward pass, each token takes a multiplication and an addition with each
weight of a matrix.  The backward pass has two products for each product of the forward pass, for
the gradients of the weights and of the input.  That is 6 operations for each weight and token, the
well-known

    6 weights tokens                                 of a whole training

Exactly, for a GPT: the matrices have 12 D^2 weights in each
layer (3 D^2 for q, k and v, D^2 after the attention, 8 D^2 in the feed-forward layer) and V D at
the output; positions are looked up.
Attention adds 4 D operations for each position attended to, for a score q . k and its share of the
values.  A causal context has C / 2 positions on average; forward and backward that is 6 C D in each
layer:

    operations of a token = 6 (12 L D^2 + V D) + 6 L C D

**Time.**  Products run at the rate of large matrix products.  Everything else, norms, activations,
sums, softmaxes and the optimiser, waits for memory.  Nothing overlaps:

    seconds = operations / rate of products + bytes moved / bandwidth of memory + communication

**Communication.**  Each rank has the whole model and some rows of the batch; each step sums the
gradients of all ranks (Allreduce).  In a ring, every rank first sends n - 1 times one n-th of a
partial sum, and then n - 1 times one n-th of the complete sum.  No algorithm sends less:

    bytes sent by a rank = 2 (n - 1) / n 4 weights
    seconds = 2 ceil(log2 n) latency + bytes sent / bandwidth of the network

A ring waits for 2 (n - 1) messages.  MPI libraries halve and double instead, which sends the same
bytes in 2 log2 n messages.

**Memory** of a rank: weights, gradients and Adam's two moments, and with several ranks the buffer
that Allreduce sums.  The activations that the forward pass keeps grow with the tokens of the rank's
rows: see :func:`of_gpt`.

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

# Numbers moved for each weight: Adam reads weight, gradient and two moments and writes all but the
# gradient, which is read for its norm, too.  Several ranks copy it into a buffer and divide there.
OPTIMISER, BUFFER = 8, 4


@dataclass(frozen=True)
class Machine:
    """The figures of one rank; all ranks are the same."""

    products: float  # operations a second in large products of float32 matrices
    memory: float  # bytes a second, read and written
    network: float  # bytes a second that a rank sends while it receives as many
    latency: float  # seconds until even the shortest message arrives


@dataclass(frozen=True)
class Demand:
    """The demands of a model on a machine."""

    weights: int
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
        """Seconds of the whole step."""
        return self.compute + self.communication

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


def of_gpt(config: GPTConfig) -> Demand:
    """The demand of a GPT.

    weights: 12 D^2 + 13 D in each layer, with the biases and norms; two tables, and a last norm.

    moved, in widths D: in a layer 23 D forward (2 a norm, 6 the attention and its heads side by
    side, 4 a sum with its norm, 8 the activation, which is 4 D wide, 3 a sum) and 36 D backward (8
    two norms, 7 the attention, 12 the activation, 9 the gradients of the biases); 16 D around the
    layers, and 8 V for the softmax and its gradient.

    kept, in widths D: of each layer its input, the norm of it, q, k and v (3), the heads' results,
    the sum after the attention, the norm of it, and both sides of the activation (8): 16 D.  2 D
    for the last layer's output and its norm; V for the probabilities; and the larger of V, their
    gradient, and 11 D, which the backward of a layer takes later.  Dropout keeps more.
    """
    L, D, C, V = config.layers, config.width, config.context, config.vocabulary
    return Demand(
        weights=L * (12 * D**2 + 13 * D) + (V + C + 2) * D,
        context=C,
        operations=6.0 * (12 * L * D**2 + V * D) + 6.0 * L * C * D,
        moved=59 * L * D + 16 * D + 8 * V,
        kept=16 * L * D + 2 * D + V + max(V, 11 * D),
    )


# --- a step -----------------------------------------------------------------------------


def memory(demand: Demand, rows: int, ranks: int = 1) -> dict[str, float]:
    """The memory of a rank with ``rows`` rows, in bytes by purpose."""
    weights = BYTES * demand.weights
    parts = {"weights": weights, "gradients": weights, "moments": 2 * weights}
    if ranks > 1:
        parts["buffer"] = weights
    return parts | {"activations": BYTES * rows * demand.context * demand.kept}


def sent(demand: Demand, ranks: int) -> float:
    """The bytes that each rank sends in a step: 2 (n - 1) / n of the gradient."""
    return 2 * (ranks - 1) / ranks * BYTES * demand.weights


def communication(demand: Demand, machine: Machine, ranks: int) -> float:
    """The seconds of an Allreduce of the gradient."""
    messages = 2 * math.ceil(math.log2(ranks))
    return messages * machine.latency + sent(demand, ranks) / machine.network


def compute(demand: Demand, machine: Machine, rows: int, ranks: int = 1) -> float:
    """The seconds that a rank takes for the gradient of its rows and the step."""
    tokens = rows * demand.context
    per_weight = OPTIMISER + (BUFFER if ranks > 1 else 0)
    moved = BYTES * (tokens * demand.moved + per_weight * demand.weights)
    return tokens * demand.operations / machine.products + moved / machine.memory


def weak(demand: Demand, machine: Machine, rows: int, ranks: int) -> Step:
    """A step with ``rows`` rows on *each* rank: the batch grows with the ranks."""
    return _step(demand, machine, ranks, total=rows * ranks, most=rows)


def strong(demand: Demand, machine: Machine, rows: int, ranks: int) -> Step | None:
    """A step with ``rows`` rows on all ranks *together*: the same batch for any number of ranks.

    The rank with the most rows determines the time.  None if there are more ranks than rows.
    """
    if ranks > rows:
        return None
    return _step(demand, machine, ranks, total=rows, most=math.ceil(rows / ranks))


def _step(demand: Demand, machine: Machine, ranks: int, total: int, most: int) -> Step:
    """A step of ``total`` rows, with at most ``most`` on a rank."""
    return Step(
        ranks=ranks,
        rows=total,
        tokens=total * demand.context,
        compute=compute(demand, machine, most, ranks),
        communication=communication(demand, machine, ranks),
    )


def efficiency(step: Step, alone: Step) -> float:
    """The tokens per second of a rank, relative to a single rank: at most 1."""
    return step.rate / (step.ranks * alone.rate)


# --- the size of the model ----------------------------------------------------------------


def optimum(operations: float) -> tuple[float, float]:
    """The weights and the tokens of the best model for a number of operations.

        6 weights tokens = operations      tokens = 20 weights
        so that  weights = sqrt(operations / 120)

    Hoffmann et al. (2022) find in three ways how both should grow with the operations.  By two,
    both grow as the square root, about 20 tokens to a weight (their tables 2 and 3).  The third, a
    law for the loss with published constants, has the tokens grow faster; but that fit had not
    converged, and fitted again to the same data it agrees with the others (Besiroglu et al. 2024).
    """
    weights = math.sqrt(operations / (6 * TOKENS_PER_WEIGHT))
    return weights, TOKENS_PER_WEIGHT * weights


def shape_of(weights: float, like: GPTConfig) -> GPTConfig:
    """A GPT of about ``weights`` weights, 64 times as wide as it is deep, with heads of width 64.

    It has the vocabulary and the context of ``like``.

    Over a wide range, the loss hardly depends on the shape (Kaplan et al. 2020, section 3.1).
    """

    def of_depth(layers: int) -> GPTConfig:
        return GPTConfig(like.vocabulary, like.context, layers, heads=layers, width=64 * layers)

    layers = 1
    while of_gpt(of_depth(layers + 1)).weights <= weights:
        layers += 1
    lower, upper = of_depth(layers), of_depth(layers + 1)
    closer_below = weights / of_gpt(lower).weights < of_gpt(upper).weights / weights
    return lower if closer_below else upper
