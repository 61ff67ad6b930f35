"""The processes of a job, started and connected by MPI.

    mpiexec -n 4 minillm train lm --out runs/lm

runs the same program four times.  Each process is a *rank*, with a number from 0.  All ranks call
the same operations, which pass data between them, in the same order.  A program that was not
started in this way is a single rank, and does not import MPI.

Source: Message Passing Interface Forum (1994), "MPI: a message-passing interface standard".
"""

import math
import os
import time
from functools import cache
from typing import Any

from minillm.errors import InputError

# Variables that launchers set for each process: MPICH, Open MPI, PMIx.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
_RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK")
_LOCAL_SIZES = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE")
_PATIENCE, _NAP = 0.001, 0.0001  # seconds
_ON_ITS_WAY = 0.5  # seconds for mpiexec to pass on the output before all ranks end


class Ranks:
    """The ranks of a job, seen from one of them: ``rank`` of ``size``.

    All ranks call each method.  It returns when this rank's part is done.
    """

    def __init__(self, communicator: Any = None):
        self.communicator = communicator
        self._of_errors: Any = communicator.Dup() if communicator else None
        self.rank: int = communicator.Get_rank() if communicator else 0
        self.size: int = communicator.Get_size() if communicator else 1

    def sum(self, array: Any) -> None:
        """Replace a contiguous array, of one shape on all ranks, by the sum over the ranks.

        All ranks get the same bits.
        """
        if self.size > 1:
            from mpi4py import MPI

            self.wait()  # for late ranks, asleep; the sum itself needs all of them awake
            self.communicator.Allreduce(MPI.IN_PLACE, array)

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, in their order, on every rank; the first is rank 0's."""
        self.wait()
        return self.communicator.allgather(value) if self.size > 1 else [value]

    def wait(self) -> None:
        """Wait until every rank has called this."""
        if self.size > 1:
            _finish(self.communicator.Ibarrier())

    def all_fail(self, seconds: float) -> bool:
        """Whether every rank calls this within ``seconds``, which means that all failed.

        It does not interfere with operations in which other ranks may be waiting.
        """
        return self.size == 1 or _finish(self._of_errors.Ibarrier(), seconds)

    def abort(self, status: int) -> None:
        """End all ranks at once, because the others would wait for this one forever."""
        if self.size > 1:
            time.sleep(_ON_ITS_WAY)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # MPICH prints many lines about the end
            self.communicator.Abort(status)


def _finish(request: Any, seconds: float = math.inf) -> bool:
    """Wait for a request, and return whether it is complete within ``seconds``.

    MPI itself would poll, and keep a core busy that the rank it waits for may need.  So this
    function sleeps between two polls, but for the first ``_PATIENCE`` seconds.
    """
    began = time.monotonic()
    while not request.Test():
        waited = time.monotonic() - began
        if waited > seconds:
            return False
        time.sleep(_NAP if waited > _PATIENCE else 0)  # 0: let others run
    return True


def launched_as() -> int | None:
    """This process's rank as set by mpiexec, without using MPI; None without mpiexec."""
    return next((int(os.environ[name]) for name in _RANKS if name in os.environ), None)


def share_cores() -> None:
    """Divide the cores of a machine among its ranks, unless OMP_NUM_THREADS is set.

    Call this before importing NumPy, because NumPy and the kernels then set their number of
    threads.  If there were more threads than cores, they would wait for each other.
    """
    local = next((int(os.environ[name]) for name in _LOCAL_SIZES if name in os.environ), 1)
    if local > 1:
        has = getattr(os, "sched_getaffinity", None)
        cores = len(has(0)) if has else os.cpu_count() or 1
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // local)))


@cache
def ranks() -> Ranks:
    """The ranks of this job.

    InputError if the job was started by mpiexec and mpi4py is missing, or belongs to another MPI.
    """
    if launched_as() is None:
        return Ranks()
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: it finds no library
        raise InputError(
            f"started by mpiexec, which needs the package mpi4py and an MPI library: {error}"
        ) from None
    size = max(int(os.environ.get(name, 1)) for name in _SIZES)
    if MPI.COMM_WORLD.Get_size() == 1 < size:
        library = MPI.Get_library_version().split("\n")[0]
        raise InputError(
            f"started as one of {size} processes, but MPI ({library}) knows of one: expected the "
            "mpiexec that belongs to it"
        )
    return Ranks(MPI.COMM_WORLD)
