"""Shuffling documents that do not fit into memory.

Each of two passes reads and writes only long stretches:

1. Each document goes to a random bucket, which is a file on disk.
2. Each bucket fits into memory.  It is read, its documents are shuffled, and it is written.

All orders are equally likely.  The result is the same as if each document got a random number
between 0 and 1 and all were sorted: the bucket is the number's first digit, and the other digits
order the documents within a bucket.

The draws depend only on the seed and on the places in the corpus.  So the result is the same for
any number of ranks.  Rank 0 scatters the corpus, and each rank shuffles some of the buckets.

Source: C. R. Rao (1961), "Generation of random permutation of given number of elements using
random sampling numbers"; Sanders (1998), "Random permutations on distributed, external and
hierarchical memory".
"""

import shutil
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.files import naming
from minillm.data.shards import Shards, write_shard
from minillm.errors import InputError
from minillm.mpi import Ranks

BLOCK = 1 << 22  # tokens that are scattered at a time
BUCKET = 1 << 23  # tokens in a bucket, on average
LONGEST = 1 << 25  # tokens of a document


def shuffled(
    shards: Shards, folder: Path, scratch: Path, seed: int, job: Ranks
) -> list[dict[str, Any]]:
    """Write the documents of shards in random order; return the entries of the index.

    ``folder`` gets a shard of each bucket; ``scratch`` gets the buckets.  A document ends with EOS.
    InputError if one is longer than LONGEST.
    """
    if job.rank == 0:
        shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
        scratch.mkdir()
        _scatter(shards, scratch, seed)
    job.wait()
    entries = []
    for file in sorted(scratch.iterdir())[job.rank :: job.size]:
        documents = _documents(np.fromfile(file, shards.dtype), shards.eos)[:-1]
        order = np.random.default_rng((seed, 1, int(file.stem))).permutation(len(documents))
        ids = [documents[k] for k in order]
        entries.append(write_shard(folder / file.name, ids, shards.dtype))
    return sorted(chain(*job.gather(entries)), key=lambda entry: entry["file"])


def _documents(ids: NDArray, eos: int | None) -> list[NDArray]:
    """The documents, each with its EOS, and the rest after the last one."""
    return np.split(ids, np.flatnonzero(ids == eos) + 1)


def _scatter(shards: Shards, scratch: Path, seed: int) -> None:
    """Append each document to its bucket, drawn with the block in which the document ends."""
    start, count = 0, -(-len(shards) // BUCKET)
    for block in range(-(-len(shards) // BLOCK)):
        stop = (block + 1) * BLOCK
        if stop - start > LONGEST + BLOCK:
            raise InputError(
                f"--shuffle: expected documents of at most {LONGEST:,} tokens, found a longer one "
                f"from token {start:,} of {shards.path} on: --documents line makes shorter ones"
            )
        *documents, rest = _documents(shards[start:stop], shards.eos)
        bucket_of = np.random.default_rng((seed, 0, block)).integers(0, count, len(documents))
        for bucket in np.unique(bucket_of).tolist():
            path = scratch / f"{bucket:05}.bin"
            chosen = np.flatnonzero(bucket_of == bucket)
            with naming(path), open(path, "ab") as file:
                file.write(np.concatenate([documents[k] for k in chosen]).tobytes())
        start = min(stop, len(shards)) - len(rest)
