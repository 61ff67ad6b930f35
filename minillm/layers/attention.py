"""The attention of a decoder to what its encoder has read.

Four kinds, of which a model has one:

- "none": every step gets the same context, the encoder's last state (Cho et al. 2014).
- "dot", "general": multiplicative attention (Luong et al. 2015).
- "additive": (Bahdanau et al. 2015).

What depends on the source alone, above all the keys, is computed once: :func:`prepare`
makes the decoder's *memory*, a dictionary with ``memory.keys``, ``memory.values`` and
``memory.lengths``, or, without attention, with ``memory.last``.  It is part of the
decoder's state.  :func:`attend` is then called with the queries of all steps at once, or
of one step after another.

Legend: B batch, S source steps, T queries (in beam search the hypotheses of one source),
H the width of the decoder, M that of the encoder's outputs.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers.fresh import Fresh, uniform

KINDS = ("none", "dot", "general", "additive")


def new_layer(prefix: str, kind: str, H: int, M: int) -> dict[str, Fresh]:
    """Fresh weights: ``W`` ("general"); ``W_q``, ``W_k``, ``b_k`` and ``v`` ("additive")."""
    if kind == "general":
        return {f"{prefix}.W": Fresh((H, M), uniform(H**-0.5))}
    if kind == "additive":
        return {
            f"{prefix}.W_q": Fresh((H, H), uniform(H**-0.5)),
            f"{prefix}.W_k": Fresh((M, H), uniform(M**-0.5)),
            f"{prefix}.b_k": Fresh((H,)),
            f"{prefix}.v": Fresh((H,), uniform(H**-0.5)),
        }
    return {}


def prepare(
    params: dict[str, NDArray],
    prefix: str,
    kind: str,
    hs: NDArray,
    h_last: NDArray,
    lengths: NDArray[np.integer],
    H: int,
) -> tuple[dict[str, NDArray], Callable]:
    """The memory of a source: the encoder's outputs as values, and their keys.

    hs (B, S, M), h_last (B, M), lengths (B,) -> memory.  H is the width of the queries.

    - "additive": keys = hs W_k + b_k
    - "dot": keys = hs, of which both directions are added where M is 2H, as a dot
      product needs vectors of one width
    - "general": keys = hs

    ``backward(dmemory)`` -> dhs, dh_last, gradients; one of the first two is None: zero.
    """
    if kind == "none":
        return {"memory.last": h_last}, lambda dmemory: (None, dmemory["memory.last"], {})

    keys, keys_backward = _keys(params, prefix, kind, hs, H)

    def backward(dmemory):
        dhs, gradients = keys_backward(dmemory["memory.keys"])
        return dmemory["memory.values"] + dhs, None, gradients

    return {"memory.keys": keys, "memory.values": hs, "memory.lengths": lengths}, backward


def _keys(
    params: dict[str, NDArray], prefix: str, kind: str, hs: NDArray, H: int
) -> tuple[NDArray, Callable]:
    """hs (B, S, M) -> keys (B, S, H or M).  ``backward(dkeys)`` -> dhs, gradients."""
    if kind == "additive":
        W_k, b_k = f"{prefix}.W_k", f"{prefix}.b_k"
        keys, linear_backward = ops.linear(hs, params[W_k], params[b_k])

        def backward(dkeys):
            dhs, dW_k, db_k = linear_backward(dkeys)
            return dhs, {W_k: dW_k, b_k: db_k}

        return keys, backward
    if kind == "dot" and hs.shape[-1] == 2 * H:
        # keys = forward + reverse
        keys = hs[..., :H] + hs[..., H:]
        return keys, lambda dkeys: (np.concatenate([dkeys, dkeys], axis=-1), {})
    return hs, lambda dkeys: (dkeys, {})


def attend(
    params: dict[str, NDArray], prefix: str, kind: str, query: NDArray, memory: dict[str, NDArray]
) -> tuple[tuple[NDArray, NDArray | None], Callable]:
    """The context of each query, and its weights.

    query (B, T, H) -> context (B, T, M), weights (B, T, S), or None without attention.
    ``backward(dcontext)`` -> dquery, dmemory, gradients.
    """
    if kind == "none":
        last = memory["memory.last"][:, None]  # (B, 1, M)
        context = np.broadcast_to(last, (*query.shape[:2], last.shape[-1]))

        def last_backward(dcontext):
            return np.zeros_like(query), {"memory.last": dcontext.sum(axis=1)}, {}

        return (context, None), last_backward

    keys, values, lengths = (memory[f"memory.{name}"] for name in ("keys", "values", "lengths"))
    if kind == "additive":
        names = [f"{prefix}.W_q", f"{prefix}.v"]
        W_q, v = (params[name] for name in names)
        outputs, op_backward = ops.additive_attention(query, keys, values, W_q, None, v, lengths)
    else:
        names = [f"{prefix}.W"] if kind == "general" else []
        W = params[names[0]] if names else None
        outputs, op_backward = ops.multiplicative_attention(query, keys, values, W, lengths)

    def backward(dcontext):
        dquery, dkeys, dvalues, *dweights = op_backward(dcontext)
        dmemory = {"memory.keys": dkeys, "memory.values": dvalues}
        return dquery, dmemory, dict(zip(names, dweights, strict=True))

    return outputs, backward
