"""Packing: sequences of different lengths one after another, instead of rows filled with padding.

    a a a a a b b c c c c c c c         one row of 14 tokens, of sequences of 5, 2 and 7

Most layers look at one token at a time, so that a row of several sequences costs what its tokens
cost.  Attention is the exception: a token may see only its own sequence.  There the sequences are
set below each other, with padding that is masked, and their results go back into the row:

    a a a a a . .
    b b . . . . .
    c c c c c c c

In batches of conversations, whose lengths differ widely, half of the work would otherwise be spent
on padding.

Legend: n sequences, S the longest, R = sum of lengths, N heads, w their width.

Source: Krell, Kosec, Perez and Fitzgibbon (2021), "Efficient sequence packing without
cross-contamination".
"""

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers.heads import Attend
from minillm.layers.types import Ids


def positions(lengths: Ids) -> NDArray[np.int64]:
    """The position of each token in its sequence: lengths (n,) -> (R,).

    >>> positions(np.array([3, 2])).tolist()
    [0, 1, 2, 0, 1]
    """
    return np.concatenate([np.arange(length) for length in lengths])


def below_each_other(x: NDArray, lengths: Ids) -> NDArray:
    """The sequences of one row, with zeros for padding: x (1, N, R, w) -> (n, N, S, w)."""
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    rows = np.zeros((len(lengths), x.shape[1], lengths.max(), x.shape[3]), x.dtype)
    rows[sequence, :, positions(lengths)] = x[0].swapaxes(0, 1)
    return rows


def in_one_row(rows: NDArray, lengths: Ids) -> NDArray:
    """The inverse of :func:`below_each_other`: rows (n, N, S, w) -> x (1, N, R, w)."""
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    return rows[sequence, :, positions(lengths)].swapaxes(0, 1)[None]


def attend_within(lengths: Ids) -> Attend:
    """Causal attention of each sequence of one row to itself alone.

    q (1, N, R, w), k and v (1, M, R, w) -> context (1, N, R, w).
    """

    def attend(q, k, v):
        q, k, v = (below_each_other(part, lengths) for part in (q, k, v))
        context, attention_backward = ops.scaled_dot_product_attention(q, k, v, True, lengths)

        def backward(dcontext):
            gradients = attention_backward(below_each_other(dcontext, lengths))
            return tuple(in_one_row(gradient, lengths) for gradient in gradients)

        return in_one_row(context, lengths), backward

    return attend
