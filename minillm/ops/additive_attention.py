"""Additive attention: a small network scores each pair of a query and a key."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.checks import op
from minillm.ops.attention import Array, Lengths, attend, attend_backward, attending
from minillm.ops.linear import linear
from minillm.ops.padding import OptionalLengths, length_mask, zero_padding


@op(
    "query: B T D, keys: B S C, values: B S E, W_q: D A, W_k: C A or C=A, v: A, "
    "lengths: B <= S or S -> context: B T E, weights: B T S"
)
def additive_attention(
    query: NDArray,
    keys: NDArray,
    values: NDArray,
    W_q: NDArray,
    W_k: NDArray | None,
    v: NDArray,
    lengths: OptionalLengths = None,
) -> tuple[tuple[NDArray, NDArray], Callable]:
    """Attention that scores with a small network of one hidden layer.

        score(q, k) = v . tanh(q W_q + k W_k)

    query (B, T, D), keys (B, S, C), values (B, S, E), W_q (D, A), W_k (C, A),
    v (A,), lengths (B,) or None -> context (B, T, E), weights (B, T, S).
    ``backward(dcontext, dweights=None)`` -> dquery, dkeys, dvalues, dW_q, dW_k, dv.
    Keeps the arguments, the two projections and the weights; tanh, (B, T, S, A), is
    computed again.

    If W_k is None, the keys are projected already, (B, S, A), and there is no dW_k.  A decoder
    that runs step by step projects them once.

        dhidden = dscore v (1 - tanh^2)        dv = sum over b, t, s of dscore tanh
        d(q W_q) = sum over s of dhidden       d(k W_k) = sum over t of dhidden

    Raises TypeError or ValueError where dtypes, shapes or lengths do not fit.
    Source: Bahdanau, Cho and Bengio (2015), "Neural machine translation by jointly
    learning to align and translate", appendix A.1.2 (without a bias, as there).
    """
    q, q_backward = linear(query, W_q)
    present = zero_padding(keys, lengths)  # dW_k multiplies all of them
    k, k_backward = (keys, None) if W_k is None else linear(present, W_k)
    context, weights = additive_attention_forward(q, k, values, v, lengths)

    def backward(dcontext, dweights=None):
        dq, dk, dvalues, dv = additive_attention_backward(
            dcontext=dcontext,
            dweights=dweights,
            query=q,
            keys=k,
            values=values,
            v=v,
            lengths=lengths,
            weights=weights,
        )
        dquery, dW_q = q_backward(dq)
        if k_backward is None:
            return dquery, dk, dvalues, dW_q, dv
        dkeys, dW_k = k_backward(dk)
        return dquery, dkeys, dvalues, dW_q, dW_k, dv

    return (context, weights), backward


@twinned
def additive_attention_forward(
    query: Array, keys: Array, values: Array, v: Array, lengths: Lengths
) -> tuple[Array, Array]:
    """projected query (B, T, A) and keys (B, S, A), values (B, S, E), v (A,)
    -> context (B, T, E), weights (B, T, S)."""
    keys, values = zero_padding(keys, lengths), zero_padding(values, lengths)
    hidden = np.tanh(query[:, :, None] + keys[:, None])  # (B, T, S, A)
    scores = hidden @ v  # (B, T, S)
    return attend(scores, values, length_mask(lengths, keys.shape[1])[:, None])


@twinned
def additive_attention_backward(
    dcontext: Array,
    dweights: Array,
    query: Array,
    keys: Array,
    values: Array,
    v: Array,
    lengths: Lengths,
    weights: Array,
) -> tuple[Array, Array, Array, Array]:
    """-> dquery (B, T, A), dkeys (B, S, A), dvalues (B, S, E), dv (A,)."""
    keys, values = zero_padding(keys, lengths), zero_padding(values, lengths)
    allowed = length_mask(lengths, keys.shape[1])[:, None]  # (B, 1, S)
    dscores, dvalues = attend_backward(dcontext, dweights, values, weights, allowed)
    present = (allowed & attending(weights))[..., None]  # (B, T, S, 1)
    # scores = hidden v
    hidden = np.where(present, np.tanh(query[:, :, None] + keys[:, None]), 0)  # (B, T, S, A)
    dv = np.tensordot(dscores, hidden, axes=3)
    # hidden = tanh(query + key)
    da = np.where(present, dscores[..., None] * v * (1 - hidden**2), 0)
    return da.sum(axis=2), da.sum(axis=1), zero_padding(dvalues, lengths), dv
