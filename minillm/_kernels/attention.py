"""Attention, forward and backward: the NumPy original.

Legend: B batch, N heads, T queries, S keys, D width of queries and keys, A width
of the additive layer, E width of the values.  ``ops.attention`` states the
equations and checks the arguments; here they are trusted.

All kinds of attention end alike, whatever their scores:

    weights = softmax of the scores over the allowed keys        context = weights values

so that all backwards begin alike, with the softmax turned round:

    dweights += dcontext values^T                 dvalues = weights^T dcontext
    dscores = weights (dweights - sum of weights dweights)

A key that is not allowed (past its row's length, or later than a causal query)
has the score minus infinity, thus weight zero and no gradient.  A query that is
allowed no key has weights, context and gradients zero.

What is larger than the inputs is computed again rather than kept: the hidden layer
of every pair of query and key, (B, T, S, A), and the weights of every head.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Lengths = NDArray[np.int64]


def _cut(x: Array, lengths: Lengths) -> Array:
    """Zeros past each row's length, so that not even an infinity there can matter.

    x (B, ..., S, D): weight zero times infinity would be NaN.
    """
    S = x.shape[-2]
    valid = np.arange(S) < lengths[:, None]  # (B, S)
    return np.where(valid.reshape(len(x), *[1] * (x.ndim - 3), S, 1), x, 0)


def _softmax(scores: Array, allowed: NDArray[np.bool_]) -> Array:
    """Over the last axis, among the allowed entries; zeros where there are none."""
    scores = np.where(allowed, scores, -np.inf)
    largest = scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores - np.where(largest == -np.inf, 0, largest))
    total = weights.sum(axis=-1, keepdims=True)
    return weights / np.where(total == 0, 1, total)


def _softmax_backward(weights: Array, dweights: Array) -> Array:
    return weights * (dweights - (weights * dweights).sum(axis=-1, keepdims=True))


def _transposed(x: Array) -> Array:
    return np.swapaxes(x, -1, -2)


# --- additive: score = v . tanh(query + key), both projected before -------------


def additive_attention_forward(
    query: Array, keys: Array, values: Array, v: Array, lengths: Lengths
) -> tuple[Array, Array]:
    """query (B, T, A), keys (B, S, A), values (B, S, E), v (A,)
    -> context (B, T, E), weights (B, T, S)."""
    (B, T), S = query.shape[:2], keys.shape[1]
    scores = np.empty((B, T, S), query.dtype)
    for t in range(T):
        scores[:, t] = np.tanh(query[:, t, None] + keys) @ v
    allowed = np.arange(S) < lengths[:, None]  # (B, S)
    weights = _softmax(scores, allowed[:, None])
    return weights @ _cut(values, lengths), weights


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
    """-> dquery, dkeys, dvalues, dv."""
    # context = weights values; weights = softmax(scores)
    dweights = dweights + dcontext @ _transposed(_cut(values, lengths))
    dvalues = _transposed(weights) @ dcontext
    dscores = _softmax_backward(weights, dweights)

    dquery, dkeys, dv = np.empty_like(query), np.zeros_like(keys), np.zeros_like(v)
    keys = _cut(keys, lengths)
    for t in range(query.shape[1]):
        # score = v . hidden; hidden = tanh(query + key)
        hidden = np.tanh(query[:, t, None] + keys)  # (B, S, A)
        dv += np.tensordot(dscores[:, t], hidden, axes=2)
        dhidden = dscores[:, t, :, None] * v * (1 - hidden**2)
        dquery[:, t] = dhidden.sum(axis=1)
        dkeys += dhidden
    return dquery, dkeys, dvalues, dv


# --- multiplicative: score = query . key, the query projected before ------------


def multiplicative_attention_forward(
    query: Array, keys: Array, values: Array, lengths: Lengths
) -> tuple[Array, Array]:
    """query (B, T, D), keys (B, S, D), values (B, S, E)
    -> context (B, T, E), weights (B, T, S)."""
    allowed = np.arange(keys.shape[1]) < lengths[:, None]  # (B, S)
    weights = _softmax(query @ _transposed(_cut(keys, lengths)), allowed[:, None])
    return weights @ _cut(values, lengths), weights


def multiplicative_attention_backward(
    dcontext: Array,
    dweights: Array,
    query: Array,
    keys: Array,
    values: Array,
    lengths: Lengths,
    weights: Array,
) -> tuple[Array, Array, Array]:
    """-> dquery, dkeys, dvalues."""
    # context = weights values; weights = softmax(scores)
    dweights = dweights + dcontext @ _transposed(_cut(values, lengths))
    dvalues = _transposed(weights) @ dcontext
    dscores = _softmax_backward(weights, dweights)
    # score = query . key
    return dscores @ _cut(keys, lengths), _transposed(dscores) @ query, dvalues


# --- scaled dot product, of several heads: score = query . key / sqrt(D) ---------
#
# The weights of all heads, (B, N, T, S), would be the largest array of a
# Transformer.  One number for each query is enough to have them again from the
# scores: weight = exp(score - log of the sum of exp(scores)).


def _scaled(query: Array) -> Array:
    return query * query.dtype.type(query.shape[-1] ** -0.5)


def _scores(query: Array, keys: Array, lengths: Lengths, causal: bool) -> Array:
    """(B, N, T, S), minus infinity where a key is not allowed."""
    T, S = query.shape[2], keys.shape[2]
    scores = query @ _transposed(_cut(keys, lengths))
    allowed = np.arange(S) < lengths[:, None, None, None]
    if causal:
        # The queries are the last T of the S positions: with T = 1 this is
        # generation, where the earlier positions' keys are cached.
        allowed = allowed & (np.arange(S) <= np.arange(S - T, S)[:, None])
    return np.where(allowed, scores, -np.inf)


def scaled_attention_forward(
    query: Array, keys: Array, values: Array, lengths: Lengths, causal: bool
) -> tuple[Array, Array]:
    """query (B, N, T, D), keys (B, N, S, D), values (B, N, S, E)
    -> context (B, N, T, E), log_sums (B, N, T)."""
    scores = _scores(_scaled(query), keys, lengths, causal)
    largest = scores.max(axis=-1, keepdims=True)
    largest = np.where(largest == -np.inf, 0, largest)  # no key is allowed
    weights = np.exp(scores - largest)
    total = weights.sum(axis=-1, keepdims=True)
    total = np.where(total == 0, 1, total)
    weights /= total
    return weights @ _cut(values, lengths), (largest + np.log(total))[..., 0]


def scaled_attention_backward(
    dcontext: Array,
    query: Array,
    keys: Array,
    values: Array,
    lengths: Lengths,
    causal: bool,
    log_sums: Array,
) -> tuple[Array, Array, Array]:
    """-> dquery, dkeys, dvalues."""
    scores = _scores(_scaled(query), keys, lengths, causal)
    weights = np.exp(scores - log_sums[..., None])
    # context = weights values; weights = softmax(scores)
    dweights = dcontext @ _transposed(_cut(values, lengths))
    dvalues = _transposed(weights) @ dcontext
    dscores = _softmax_backward(weights, dweights)
    # score = query . key / sqrt(D)
    dquery = _scaled(dscores @ _cut(keys, lengths))
    return dquery, _transposed(dscores) @ _scaled(query), dvalues
