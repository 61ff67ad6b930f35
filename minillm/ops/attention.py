"""Attention: each query's own mixture of the values, weighted by how its key fits.

Legend: B batch, N heads, T queries (the decoder's steps), S keys (the encoder's),
D, E and A widths.  All three attentions are

    weights = softmax over s of score(query_t, key_s)
    context_t = sum over s of weight_s value_s

and differ in the score alone.  Their softmax is turned round in one place,
``minillm/_kernels/attention.py``, which has the loops; read it beside this page.
The queries of a whole teacher-forced sequence are given at once; for one step of
a decoder, T is 1.  In beam search T is the beam: its hypotheses share the keys.

``lengths`` (B,): the keys at lengths[b] and later do not exist for row b.  Their
score is minus infinity, not a large negative number, so that nothing that stands
there changes any result or gradient.  A query without any key gets the context
zero, the weights zero, and no gradient.

The additive and multiplicative attentions return their weights too, to look at
or to learn from; None as their gradient means zero.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import active_kernels
from minillm.ops import _validate


def additive_attention(
    query: NDArray,
    keys: NDArray,
    values: NDArray,
    W_q: NDArray,
    W_k: NDArray | None,
    v: NDArray,
    lengths: NDArray[np.integer] | None = None,
) -> tuple[tuple[NDArray, NDArray], Callable]:
    """Attention that scores with a small network of one hidden layer.

        score(q, k) = v . tanh(q W_q + k W_k)

    query (B, T, D), keys (B, S, C), values (B, S, E), W_q (D, A), W_k (C, A),
    v (A,), lengths (B,) or None -> context (B, T, E), weights (B, T, S).
    ``backward(dcontext, dweights=None)`` -> dquery, dkeys, dvalues, dW_q, dW_k, dv.
    Keeps the arguments, the two projections and the weights; not tanh, (B, T, S, A),
    which is computed again.

    Where W_k is None, the keys are k W_k already, (B, S, A): a decoder that runs
    step by step projects them once.  There is no dW_k then.

        dhidden = dscore v (1 - tanh^2)        dv = sum over b, t, s of dscore tanh
        d(q W_q) = sum over s of dhidden       d(k W_k) = sum over t of dhidden

    Raises TypeError or ValueError where dtypes, shapes or lengths do not fit.
    Source: Bahdanau, Cho and Bengio (2015), "Neural machine translation by jointly
    learning to align and translate", appendix A.1.2 (without a bias, as there).
    """
    shapes = {"query": (query, "B T D"), "W_q": (W_q, "D A"), "keys": (keys, "B S A")}
    if W_k is not None:
        shapes |= {"keys": (keys, "B S C"), "W_k": (W_k, "C A")}
    sizes = _validate.floats("additive_attention", **shapes, values=(values, "B S E"), v=(v, "A"))
    B, S = sizes["B"], sizes["S"]
    lengths = _validate.sequence_lengths("additive_attention", lengths, B, S)
    kernels = active_kernels()

    def project(x, W):
        return kernels.matmul(_rows(x), W).reshape(*x.shape[:-1], W.shape[1])

    inputs = (
        project(query, W_q),
        np.ascontiguousarray(keys) if W_k is None else project(keys, W_k),
        np.ascontiguousarray(values),
        np.ascontiguousarray(v),
    )
    context, weights = kernels.additive_attention_forward(*inputs, lengths)

    def backward(dcontext, dweights=None):
        upstream = _gradients("additive_attention", context, weights, dcontext, dweights)
        dq, dk, dvalues, dv = kernels.additive_attention_backward(
            *upstream, *inputs, lengths, weights
        )
        # q = query W_q
        dquery = kernels.matmul(_rows(dq), W_q.T).reshape(query.shape)
        dW_q = kernels.matmul(_rows(query).T, _rows(dq))
        if W_k is None:
            return dquery, dk, dvalues, dW_q, dv
        # k = keys W_k
        dkeys = kernels.matmul(_rows(dk), W_k.T).reshape(keys.shape)
        dW_k = kernels.matmul(_rows(keys).T, _rows(dk))
        return dquery, dkeys, dvalues, dW_q, dW_k, dv

    return (context, weights), backward


def multiplicative_attention(
    query: NDArray,
    keys: NDArray,
    values: NDArray,
    W: NDArray | None = None,
    lengths: NDArray[np.integer] | None = None,
) -> tuple[tuple[NDArray, NDArray], Callable]:
    """Attention that scores with a product: "general" with a matrix, "dot" without.

        score(q, k) = q W k^T        or, where W is None,        q k^T

    query (B, T, D), keys (B, S, C), values (B, S, E), W (D, C) or None (then C is
    D), lengths (B,) or None -> context (B, T, E), weights (B, T, S).
    ``backward(dcontext, dweights=None)`` -> dquery, dkeys, dvalues, and dW if there
    is a W.  Keeps the arguments, q W and the weights.

        d(q W) = sum over s of dscore k        dk = sum over t of dscore q W

    Raises TypeError or ValueError where dtypes, shapes or lengths do not fit.
    Source: Luong, Pham and Manning (2015), "Effective approaches to attention-based
    neural machine translation", equation 8.
    """
    shapes = {"query": (query, "B T D"), "keys": (keys, "B S D")}
    if W is not None:
        shapes |= {"W": (W, "D C"), "keys": (keys, "B S C")}
    sizes = _validate.floats("multiplicative_attention", **shapes, values=(values, "B S E"))
    B, S = sizes["B"], sizes["S"]
    lengths = _validate.sequence_lengths("multiplicative_attention", lengths, B, S)
    kernels = active_kernels()

    q = query if W is None else kernels.matmul(_rows(query), W).reshape(*query.shape[:2], -1)
    inputs = tuple(np.ascontiguousarray(x) for x in (q, keys, values))
    context, weights = kernels.multiplicative_attention_forward(*inputs, lengths)

    def backward(dcontext, dweights=None):
        upstream = _gradients("multiplicative_attention", context, weights, dcontext, dweights)
        dq, dkeys, dvalues = kernels.multiplicative_attention_backward(
            *upstream, *inputs, lengths, weights
        )
        if W is None:
            return dq, dkeys, dvalues
        # q = query W
        dquery = kernels.matmul(_rows(dq), W.T).reshape(query.shape)
        dW = kernels.matmul(_rows(query).T, _rows(dq))
        return dquery, dkeys, dvalues, dW

    return (context, weights), backward


def scaled_dot_product_attention(
    q: NDArray,
    k: NDArray,
    v: NDArray,
    causal: bool = False,
    lengths: NDArray[np.integer] | None = None,
) -> tuple[NDArray, Callable]:
    """The attention of the Transformer, all heads at once.

        y = softmax(q k^T / sqrt(D)) v

    q (B, N, T, D), k (B, N, S, D), v (B, N, S, E), lengths (B,) or None
    -> y (B, N, T, E).  ``backward(dy)`` -> dq, dk, dv.
    Keeps the arguments and, for each query, the logarithm of its softmax's sum.  From
    them the weights (B, N, T, S) are computed again, for they would be the largest
    array of a Transformer.

    ``causal``: no query sees a later key.  The queries are the last T of the S
    positions (all of them where T = S), so that one new query fits a cache of keys.

    Without the scale, scores would grow like sqrt(D), and the softmax would harden.

    Raises TypeError or ValueError where dtypes, shapes or lengths do not fit.
    Source: Vaswani et al. (2017), "Attention is all you need", equation 1; without
    the weights in memory, Dao et al. (2022), "FlashAttention", section 3.1.
    """
    sizes = _validate.floats(
        "scaled_dot_product_attention", q=(q, "B N T D"), k=(k, "B N S D"), v=(v, "B N S E")
    )
    steps = _validate.sequence_lengths(
        "scaled_dot_product_attention", lengths, sizes["B"], sizes["S"]
    )
    kernels = active_kernels()
    inputs = tuple(np.ascontiguousarray(x) for x in (q, k, v))
    y, log_sums = kernels.scaled_attention_forward(*inputs, steps, causal)

    def backward(dy):
        dy = _gradient("scaled_dot_product_attention", "dy", dy, y)
        return kernels.scaled_attention_backward(dy, *inputs, steps, causal, log_sums)

    return y, backward


def _rows(x: NDArray) -> NDArray:
    return x.reshape(-1, x.shape[-1])  # (B, T, D) -> (B * T, D)


def _gradients(
    op: str, context: NDArray, weights: NDArray, dcontext: NDArray | None, dweights: NDArray | None
) -> tuple[NDArray, NDArray]:
    """Both upstream gradients as the kernels want them."""
    return (
        _gradient(op, "dcontext", dcontext, context),
        _gradient(op, "dweights", dweights, weights),
    )


def _gradient(op: str, name: str, gradient: NDArray | None, output: NDArray) -> NDArray:
    """None as zeros; checked; in C order."""
    if gradient is None:
        return np.zeros_like(output)
    if gradient.shape != output.shape or gradient.dtype != output.dtype:
        raise ValueError(
            f"{op}: {name} is {gradient.dtype} of shape {gradient.shape}, "
            f"expected {output.dtype} of shape {output.shape}"
        )
    return np.ascontiguousarray(gradient)
