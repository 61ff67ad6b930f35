"""Hashed n-grams: a vector for the last few tokens together.

    x_t = E[id_t] + E_2[row of (id_{t-1}, id_t)] + ... + E_N[row of (id_{t-N+1} .. id_t)]

A network that reads single characters must first learn to spell.  A table with a row for each
n-gram spares it that: what often follows ``the``, it can learn from one row.  V^n n-grams are too
many for a table, but only a few of them occur in a text.  So a table has R rows, and an n-gram has
the row of its hash:

    key = sum over k < n of (id_{t-k} + 1) A^k mod 2^64
    row = the highest bits of (key xor (key shifted right by 32)) A mod 2^64

Where several n-grams share a row, the other tables tell them apart.  The tables start at zero.
Each token reads one row of each table, whatever R is.  Only the optimiser passes over all rows.
The gradient of a row is a sum over its uses, as in any table of embeddings:

    dE_n[r] = sum of dx_t over all t whose n-gram has the row r

A long n-gram that occurs once in the training text predicts it perfectly, and tells nothing about
another text.  So each training step drops half of the n-grams at random.  The model learns to do
without a long n-gram, as an n-gram model backs off to a shorter one.

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
from minillm.layers.fresh import ParamSpec, zeros
from minillm.layers.gradients import merge_gradients
from minillm.layers.types import Backward, Ids, Params, Rng

BITS = 14  # R = 2^14
DROPPED = 0.5  # the share of n-grams that a training step does not see
A = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio, as an odd number


def new_tables(N: int, D: int) -> dict[str, ParamSpec]:
    """Declare the tables ``embedding.ngrams.2.E`` and so on to N, (R, D)."""
    return {name_of(n): ParamSpec((1 << BITS, D), zeros, "table", 0) for n in range(2, N + 1)}


def name_of(n: int) -> str:
    """The name of the table of n-grams."""
    return f"embedding.ngrams.{n}.E"


def rows_of(text: Ids, N: int, positions: Ids | None = None) -> dict[int, NDArray[np.int64]]:
    """The row of the n-gram that ends at each token, for n from 2 to N.

    text (B, N - 1 + T) begins with the tokens before -> (B, T) each.  With positions (B, T), a row
    may hold several texts, each from position 0 on: what is before a text has the id 0.
    """
    T = text.shape[1] - (N - 1)
    ids = text.astype(np.uint64) + np.uint64(1)
    key, power, rows = ids[:, N - 1 :].copy(), np.uint64(1), {}
    for n in range(2, N + 1):
        with np.errstate(over="ignore"):  # modulo 2^64
            power = power * A
        earlier = ids[:, N - n : N - n + T]
        if positions is not None:
            earlier = np.where(positions < n - 1, np.uint64(1), earlier)
        key += power * earlier
        mixed = (key ^ (key >> np.uint64(32))) * A  # the low bits of a key change the high ones
        rows[n] = (mixed >> np.uint64(64 - BITS)).astype(np.int64)
    return rows


def layer(
    params: Params,
    E: str,
    ids: Ids,
    before: Ids,
    rng: Rng = None,
    positions: Ids | None = None,
) -> tuple[NDArray, Backward]:
    """The sum of the vectors of each token and of the n-grams that end there.

    E, the name of the table of tokens; ids (B, T); the tokens before, (B, N - 1) -> x (B, T, D).
    With rng, half of the n-grams are dropped.  For positions see :func:`rows_of`.
    ``backward(dx)`` -> gradients.
    """
    x, of_tokens = embedding.layer(params, {E: ids})
    backwards, text = {}, np.concatenate([before, ids], axis=1)
    for n, rows in rows_of(text, before.shape[1] + 1, positions).items():
        y, table_backward = embedding.layer(params, {name_of(n): rows})
        y, backwards[n] = _dropped(y, table_backward, rng)
        x = x + y

    def backward(dx):
        return merge_gradients(of_tokens(dx), *(back(dx) for back in backwards.values()))

    return x, backward


def _dropped(y: NDArray, table_backward: Backward, rng: Rng) -> tuple[NDArray, Backward]:
    """Drop whole vectors of n-grams, y (B, T, D), and scale up the others."""
    if rng is None:
        return y, table_backward
    kept = (rng.random((*y.shape[:2], 1)) >= DROPPED) / y.dtype.type(1 - DROPPED)
    return y * kept, lambda dy: table_backward(dy * kept)
