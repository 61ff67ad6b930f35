"""The processes of a job: MPI starts and connects them.

    mpiexec -n 4 minillm train lm --out runs/lm

runs the same program four times.  Each process is a *rank*, with a number from 0; all call the same
operations in the same order, and in each of them data pass between them.  A program that was not
started in this way is a single rank, and imports nothing of MPI.

Source: Message Passing Interface Forum (1994), "MPI: a message-passing interface standard".
"""

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError

# What launchers tell each process: MPICH and those made from it, Open MPI, PMIx.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMIX_RANK")


class Ranks:
    """All ranks of the job, as one of them sees the others: ``rank`` of ``size``.

    Each method is called by all ranks, and returns when this one's part is done.
    """

    def __init__(self, communicator: Any = None):
        self.communicator = communicator
        self.rank: int = communicator.Get_rank() if communicator else 0
        self.size: int = communicator.Get_size() if communicator else 1

    def sum(self, array: NDArray) -> None:
        """Replaces a contiguous array, of one shape on all ranks, by the sum over the ranks.

        All of them have the same bits afterwards.
        """
        if self.size > 1:
            from mpi4py import MPI

            self.communicator.Allreduce(MPI.IN_PLACE, array)

    def broadcast(self, value: Any) -> Any:
        """What rank 0 gives, on every rank; what the others give does not matter."""
        return self.communicator.bcast(value) if self.size > 1 else value

    def gather(self, value: Any) -> list[Any]:
        """What each rank gives, in the order of the ranks, on every rank."""
        return self.communicator.allgather(value) if self.size > 1 else [value]

    def exchange(self, parts: Sequence[NDArray]) -> list[NDArray]:
        """Sends part i to rank i; returns what each rank sent here, in their order.

        parts: ``size`` arrays of one dimension and one dtype; they may have any lengths.
        """
        if self.size == 1:
            return list(parts)
        dtype = parts[0].dtype
        sent = np.array([part.nbytes for part in parts])
        received = np.empty_like(sent)
        self.communicator.Alltoall(sent, received)
        outgoing = np.concatenate(parts).view(np.uint8)
        incoming = np.empty(received.sum() // dtype.itemsize, dtype)
        self.communicator.Alltoallv((outgoing, sent), (incoming.view(np.uint8), received))
        return np.split(incoming, np.cumsum(received)[:-1] // dtype.itemsize)

    def wait(self) -> None:
        """Returns when every rank has called it."""
        if self.size > 1:
            self.communicator.Barrier()


@cache
def ranks() -> Ranks:
    """The ranks of this job.

    InputError where it was started by mpiexec and mpi4py is not installed, or is made for another
    MPI than mpiexec.
    """
    if not any(name in os.environ for name in _RANKS):
        return Ranks()
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise InputError(
            f"started by mpiexec, which needs the package mpi4py and an MPI library: {error}: "
            "pip install 'minillm-book[mpi]'"
        ) from None
    size = max(int(os.environ.get(name, 1)) for name in _SIZES)
    if MPI.COMM_WORLD.Get_size() == 1 < size:
        raise InputError(
            f"started as one of {size} processes, but MPI ({_library(MPI)}) knows of one: expected "
            "the mpiexec that belongs to it"
        )
    return Ranks(MPI.COMM_WORLD)


def _library(MPI: Any) -> str:
    return MPI.Get_library_version().replace(":", "").split("\n")[0].strip()
