"""Hashed n-grams: a vector for the last few tokens together.

    x_t = E[id_t] + E_2[row of (id_{t-1}, id_t)] + ... + E_N[row of (id_{t-N+1} .. id_t)]

A network that reads single characters must first learn to spell.  A table with a row for each
n-gram gives it spellings as it gives it letters: what often follows ``the``, it can learn from one
row.  There are V^n n-grams, of which a text has few.  So a table has R rows, and an n-gram has the
row of its hash:

    key = sum over k < n of (id_{t-k} + 1) A^k mod 2^64
    row = the highest bits of (key xor (key shifted right by 32)) A mod 2^64

Where several n-grams share a row, the other tables tell them apart.  The tables start at zero.  A
step reads one row of each, whatever R is.  Only the optimiser passes over all of them.

Legend: B batch, T time, D width, N the longest n-gram, R rows.

Sources: Mikolov, Deoras, Povey, Burget and Cernocky (2011), "Strategies for training large scale
neural network language models", for hashed n-grams that are trained with a recurrence (there they
are added to the logits); Huang et al. (2025), "Over-tokenized Transformer", for sums of n-gram
embeddings as the input; Knuth (1973), "The art of computer programming", volume 3, section 6.4, for
multiplicative hashing.
"""

import numpy as np
from numpy.typing import NDArray

from minillm.layers import embedding
from minillm.layers.fresh import Fresh, zeros
from minillm.layers.types import Backward, Ids, Params

BITS = 14  # R = 2^14
A = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio, as an odd number


def new_tables(N: int, D: int) -> dict[str, Fresh]:
    """Declare the tables ``ngrams.2.E`` to ``ngrams.N.E``, (R, D)."""
    return {name_of(n): Fresh((1 << BITS, D), zeros, "table", 0) for n in range(2, N + 1)}


def name_of(n: int) -> str:
    """The name of the table of n-grams."""
    return f"ngrams.{n}.E"


def rows_of(text: Ids, N: int) -> dict[int, NDArray[np.int64]]:
    """The row of the n-gram that ends at each token, for n from 2 to N.

    text (B, N - 1 + T) begins with the tokens before -> (B, T) each.
    """
    T = text.shape[1] - (N - 1)
    ids = text.astype(np.uint64) + np.uint64(1)
    key, power, rows = ids[:, N - 1 :].copy(), np.uint64(1), {}
    for n in range(2, N + 1):
        with np.errstate(over="ignore"):  # modulo 2^64
            power = power * A
        key += power * ids[:, N - n : N - n + T]
        mixed = (key ^ (key >> np.uint64(32))) * A  # the low bits of a key change the high ones
        rows[n] = (mixed >> np.uint64(64 - BITS)).astype(np.int64)
    return rows


def layer(params: Params, E: str, ids: Ids, before: Ids) -> tuple[NDArray, Backward]:
    """The vector of each token and of the n-grams that end there.

    E, the name of the table of tokens; ids (B, T); the tokens before, (B, N - 1) -> x (B, T, D).
    ``backward(dx)`` -> gradients.
    """
    rows = rows_of(np.concatenate([before, ids], axis=1), before.shape[1] + 1)
    return embedding.layer(params, {E: ids} | {name_of(n): row for n, row in rows.items()})


def last_tokens(ids: Ids, before: Ids, lengths: Ids | None = None) -> NDArray[np.int64]:
    """The tokens before the next window: the last N - 1, in row b of the first lengths[b]."""
    text = np.concatenate([before, ids], axis=1)
    ends = np.full(len(ids), ids.shape[1]) if lengths is None else np.asarray(lengths)
    places = ends[:, None] + np.arange(before.shape[1])
    return np.take_along_axis(text, places, axis=1).astype(np.int64)
