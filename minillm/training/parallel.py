"""Data parallelism: each rank has its rows of every batch, and all take the same step.

    mpiexec -n 4 minillm train gpt --out runs/gpt

Every rank has a replica of the model, and computes the gradient of its own rows.  The loss of a
batch is the mean over its N tokens.  Let rank r have N_r of them, the mean loss L_r over these,
and its gradient g_r.  Then the whole batch has

    N = sum over r of N_r      L = sum over r of N_r / N L_r      g = sum over r of N_r / N g_r

that is, the mean over the ranks, weighted by their tokens.  With g, every rank takes the step that
one process with the whole batch would take.  So the number of ranks changes only the time, and the
order in which floating-point numbers are summed.

- **The batch** is drawn by all ranks alike, from the same seeds, and dealt by rows.  Reading all of
  it costs little beside a gradient.
- **The gradients** of all weights are one buffer, in which MPI sums them (Allreduce).  All ranks
  then have the same bits; each clips them, and takes the same step.  No weights are sent.
- **Dropout** comes from a generator of each rank's own, so that it differs from row to row.
- **Time and signals** differ between ranks, which would then wait for each other forever.  So all
  go by rank 0's clock, and a signal to one rank ends the training of all, after the same step.  All
  other decisions follow from numbers that the ranks have in common.

The sum begins when the backward has ended.  Summing the gradients of the last layers while those of
the first are still computed would hide some of its time.  It is left out because a model's backward
returns all gradients at once, and MPI would need a thread of its own.

Source: Zinkevich, Weimer, Li and Smola (2010), "Parallelized stochastic gradient descent", for the
setting; Goyal et al. (2017), "Accurate, large minibatch SGD: training ImageNet in 1 hour", section
3, for its pitfalls: means of unequal parts, and the order of data.
"""

import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from minillm.errors import DivergedError
from minillm.mpi import ranks

Arrays = dict[str, NDArray]


def own_rows(B: int) -> tuple[slice, int]:
    """Return this rank's rows among the B of a batch, and 1, the times that they count.

    Rows are dealt like cards, so that no rank gets all the longest of a batch sorted by length.  A
    rank without a row (B is below its number) computes the first, which counts 0 times: its
    gradient is zero, but has the names and shapes of the others.
    """
    rank, size = ranks().rank, ranks().size
    return (slice(rank, None, size), 1) if rank < B else (slice(0, 1), 0)


def all_rows(own: Arrays, B: int) -> Arrays:
    """Join the rows of all ranks to arrays of B rows: the reverse of :func:`own_rows`."""
    size = ranks().size
    if size == 1:
        return own
    whole = {name: np.empty((B, *rows.shape[1:]), rows.dtype) for name, rows in own.items()}
    for rank, part in enumerate(ranks().gather(own)[:B]):
        for name, rows in part.items():
            whole[name][rank::size] = rows
    return whole


def own_generator(rng: np.random.Generator) -> np.random.Generator:
    """Return this rank's generator for the next batch; ``rng``, common to all, moves on alike."""
    if ranks().size == 1:
        return rng
    return np.random.default_rng((int(rng.integers(2**63)), ranks().rank))


def mean_over_ranks(loss: float, grads: Arrays, tokens: int) -> tuple[float, Arrays, int]:
    """Return L, g and N from the L_r, g_r and N_r of each rank; g are views of one buffer."""
    if ranks().size == 1:
        return loss, grads, tokens
    of_all = np.array([tokens * loss, tokens])
    ranks().sum(of_all)
    total, N = float(of_all[0]), int(of_all[1])
    ends = np.cumsum([g.size for g in grads.values()])
    flat = np.empty(ends[-1], next(iter(grads.values())).dtype)
    views = dict(zip(grads, np.split(flat, ends[:-1]), strict=True))
    for name, g in grads.items():
        views[name] = views[name].reshape(g.shape)
        np.multiply(g, tokens / N, out=views[name])
    ranks().sum(flat)
    return total / N, views, N


def check_replicas(params: Mapping[str, NDArray]) -> None:
    """Raise DivergedError unless the weights have the same bits on all ranks.

    All took the same steps, but a machine with other instructions or with faulty memory may have
    rounded or kept the numbers in another way.
    """
    if ranks().size == 1:
        return
    checksum = 0
    for p in params.values():
        checksum = zlib.crc32(p.tobytes(), checksum)
    checksums = ranks().gather(checksum)
    differ = [str(rank) for rank, other in enumerate(checksums) if other != checksums[0]]
    if differ:
        raise DivergedError(
            f"the replicas differ: rank {', '.join(differ)} no longer has the weights of rank 0: "
            "expected machines with the same processors, and MINILLM_KERNELS the same on all"
        )
