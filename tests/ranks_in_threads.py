"""The ranks of a job as threads of one process: for tests of what they make together."""

import threading

import numpy as np

from minillm.mpi import Ranks


class _Job:
    def __init__(self, size):
        self.barrier, self.slots = threading.Barrier(size, timeout=60), [None] * size


class ThreadRanks(Ranks):
    """As :class:`minillm.mpi.Ranks`, of a job in this process."""

    def __init__(self, job, rank):
        self.job, self.rank, self.size = job, rank, len(job.slots)

    def gather(self, value):
        self.job.slots[self.rank] = value
        self.job.barrier.wait()
        values = list(self.job.slots)
        self.job.barrier.wait()
        return values

    def sum(self, array):
        array[...] = np.sum(self.gather(array.copy()), axis=0)

    def broadcast(self, value):
        return self.gather(value)[0]

    def exchange(self, parts):
        return [given[self.rank].copy() for given in self.gather(parts)]

    def wait(self):
        self.gather(None)


def on_ranks(size, work):
    """Run ``work(ranks)`` on several ranks; return the results, or raise the first error."""
    job, results, errors = _Job(size), [None] * size, []

    def run(rank):
        try:
            results[rank] = work(ThreadRanks(job, rank))
        except threading.BrokenBarrierError:
            pass
        except BaseException as error:
            errors.append(error)
            job.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
