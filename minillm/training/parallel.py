"""Data parallelism: the ranks divide the rows of every batch, and all take the same step.

    mpiexec -n 4 minillm train gpt --out runs/gpt

Every rank has a replica of the model, and computes the gradient of its own rows.  The loss of a
batch is the mean over its n tokens.  Rank r has n_r of them, with the mean loss L_r and its
gradient g_r.  The whole batch then has

    n = sum over r of n_r      L = sum over r of n_r / n L_r      g = sum over r of n_r / n g_r

L and g are means over the ranks, weighted by their tokens.  With g, every rank takes the step that
one process with the whole batch would take.  So the number of ranks changes only the time, and the
order in which floating-point numbers are summed.

- **The batch** is the same on all ranks, drawn from the same seeds, and dealt by rows.  Reading all
  of it costs little compared with a gradient.
- **The gradients** of all weights are one buffer, which MPI sums (Allreduce).  All ranks then have
  the same bits; each clips them, and takes the same step.  No weights are sent.
- **Dropout** comes from a separate generator on each rank, so it differs from row to row.
- **Time and signals** differ between ranks.  If each rank acted on its own, the others would wait
  for it forever.  So all use rank 0's clock, and a signal to one rank ends the training of all
  ranks after the same step.  All other decisions follow from numbers that the ranks share.

The sum starts after the backward pass.  If it started while the gradients of the first layers are
still being computed, some of its time would be hidden.  It does not, because a model's backward
returns all gradients at once, and MPI would need another thread.

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
    """This rank's rows among the B of a batch, and their weight, 1.

    Rows are dealt like cards, so that no rank gets all the longest rows of a sorted batch.  A rank
    without a row (if B is too small) computes the first one with the weight 0: its gradient is
    zero, but has the names and shapes of the others.
    """
    rank, size = ranks().rank, ranks().size
    return (slice(rank, None, size), 1) if rank < B else (slice(0, 1), 0)


def all_rows(part: Arrays, B: int) -> Arrays:
    """Join the rows of all ranks to arrays of B rows: the reverse of :func:`own_rows`."""
    size = ranks().size
    if size == 1:
        return part
    whole = {name: np.empty((B, *rows.shape[1:]), rows.dtype) for name, rows in part.items()}
    for rank, rows_of_rank in enumerate(ranks().gather(part)[:B]):
        for name, rows in rows_of_rank.items():
            whole[name][rank::size] = rows
    return whole


def own_generator(rng: np.random.Generator) -> np.random.Generator:
    """This rank's generator for the next batch; the shared ``rng`` advances equally."""
    if ranks().size == 1:
        return rng
    return np.random.default_rng((int(rng.integers(2**63)), ranks().rank))


def mean_over_ranks(loss: float, grads: Arrays, tokens: int) -> tuple[float, Arrays, int]:
    """L, g and n from the L_r, g_r and n_r of each rank; all g are views of one buffer."""
    if ranks().size == 1:
        return loss, grads, tokens
    of_all = np.array([tokens * loss, tokens])
    ranks().sum(of_all)
    total, n = float(of_all[0]), int(of_all[1])
    ends = np.cumsum([g.size for g in grads.values()])
    flat = np.empty(ends[-1], next(iter(grads.values())).dtype)
    views = dict(zip(grads, np.split(flat, ends[:-1]), strict=True))
    for name, g in grads.items():
        views[name] = views[name].reshape(g.shape)
        np.multiply(g, tokens / n, out=views[name])
    ranks().sum(flat)
    return total / n, views, n


def check_replicas(params: Mapping[str, NDArray]) -> None:
    """Raise DivergedError unless the weights have the same bits on all ranks.

    All ranks took the same steps, but a machine with other instructions may have rounded
    differently, and one with faulty memory may have changed a number.
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
