"""Shuffling documents that do not fit into memory.

Each of two passes reads and writes only long stretches:

1. Each document goes to a random bucket, which is a file on disk.
2. Each bucket fits into memory.  It is read, its documents are shuffled, and it is written.

All orders are equally likely.  The result is the same as if each document got a random number
between 0 and 1 and all were sorted: the bucket is the number's first digit, and the order within a
bucket is that of the other digits.

The draws depend only on the seed and on the places in the corpus.  So the result is the same for
any number of ranks.  Each rank scatters a range of the corpus, and shuffles some of the buckets.

Source: C. R. Rao (1961), "Generation of random permutation of given number of elements using
random sampling numbers"; Sanders (1998), "Random permutations on distributed, external and
hierarchical memory".
"""

import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.files import naming
from minillm.data.shards import Shards, write_part
from minillm.errors import InputError
from minillm.mpi import Ranks

BLOCK = 1 << 22  # tokens that are scattered at a time
BUCKET = 1 << 23  # tokens in a bucket, on average
LONGEST = 1 << 25  # tokens of a document


def shuffled(
    shards: Shards, folder: Path, scratch: Path, seed: int, shard_tokens: int, job: Ranks
) -> list[dict[str, Any]]:
    """Write the documents of shards in random order -> the entries of the index.

    ``folder`` gets files of at most ``shard_tokens``; ``scratch`` gets the buckets.  A document
    ends with EOS.  InputError if one is longer than LONGEST.
    """
    count = -(-len(shards) // BUCKET)
    if job.rank == 0:
        shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
        scratch.mkdir()
    job.wait()
    _scatter(shards, scratch, count, seed, job)
    job.wait()
    entries = []
    for bucket in range(job.rank, count, job.size):
        files = [scratch / _name(bucket, rank) for rank in range(job.size)]
        parts = [np.fromfile(file, shards.dtype) for file in files if file.exists()]
        if parts:
            pieces = _in_random_order(np.concatenate(parts), shards.eos, seed, bucket)
            entries.append((bucket, write_part(folder, bucket, pieces, shard_tokens, shards.dtype)))
    ordered = sorted(chain(*job.gather(entries)))
    return [entry for _, of_bucket in ordered for entry in of_bucket]


def _name(bucket: int, rank: int) -> str:
    return f"{bucket:05}-{rank:05}"


def _scatter(shards: Shards, scratch: Path, count: int, seed: int, job: Ranks) -> None:
    """Append each document to its bucket; this rank's documents end in a range of blocks."""
    blocks = -(-len(shards) // BLOCK)
    first, last = (blocks * rank // job.size for rank in (job.rank, job.rank + 1))
    start = _end_before(shards, first * BLOCK)
    for block in range(first, last):
        ids = shards[start : (block + 1) * BLOCK]
        ends = np.flatnonzero(ids == shards.eos) + 1
        if len(ids) - (ends[-1] if len(ends) else 0) > LONGEST:
            raise _too_long(shards, start)
        rng = np.random.default_rng((seed, 0, block))
        bucket_of = rng.integers(0, count, len(ends))
        order = np.argsort(bucket_of, kind="stable")
        bounds = np.searchsorted(bucket_of[order], np.arange(count + 1))
        for bucket in np.unique(bucket_of).tolist():
            path = scratch / _name(bucket, job.rank)
            with naming(path), open(path, "ab") as file:
                for piece in _arranged(ids, ends, order[bounds[bucket] : bounds[bucket + 1]]):
                    file.write(piece.tobytes())
        start += int(ends[-1]) if len(ends) else 0


def _end_before(shards: Shards, place: int) -> int:
    """The end of the last document that ends at ``place`` or before it."""
    at = place
    while at > 0 and place - at <= LONGEST:
        begin = max(0, at - BLOCK)
        ends = np.flatnonzero(shards[begin:at] == shards.eos)
        if len(ends):
            return begin + int(ends[-1]) + 1
        at = begin
    if at > 0:
        raise _too_long(shards, at)
    return 0


def _in_random_order(ids: NDArray, eos: int | None, seed: int, bucket: int) -> Iterator[NDArray]:
    ends = np.flatnonzero(ids == eos) + 1
    order = np.random.default_rng((seed, 1, bucket)).permutation(len(ends))
    return _arranged(ids, ends, order)


def _arranged(ids: NDArray, ends: NDArray, order: NDArray, some: int = 4096) -> Iterator[NDArray]:
    """The documents that end at ``ends``, in the order ``order``, some at a time."""
    starts = np.concatenate([[0], ends[:-1]])
    for first in range(0, len(order), some):
        chosen = order[first : first + some]
        spans = zip(starts[chosen].tolist(), ends[chosen].tolist(), strict=True)
        yield np.concatenate([ids[start:end] for start, end in spans])


def _too_long(shards: Shards, start: int) -> InputError:
    return InputError(
        f"--shuffle: expected documents of at most {LONGEST:,} tokens, found a longer one from "
        f"token {start:,} of {shards.path} on: --documents line makes shorter ones"
    )
