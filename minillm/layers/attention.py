"""The attention of a decoder to the outputs of its encoder.

A model has one kind of attention:

- "none": the context of every step is the encoder's last state (Cho et al. 2014).
- "dot", "general": multiplicative attention (Luong et al. 2015).
- "additive": (Bahdanau et al. 2015).

Each kind is a class in ``KINDS``.  The part that depends only on the source, above all the
keys, is computed once: ``prepare`` makes the decoder's *memory*.  It is a dictionary of
``memory.keys``, ``memory.values`` and ``memory.lengths``, or, without attention, of
``memory.last``, and part of the decoder's state.  Then ``attend`` is called with the queries of
all steps at once, or step by step.

Legend: B batch, S source steps, T queries (in beam search the hypotheses of one source),
H the width of the decoder, M the width of the encoder's outputs.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense
from minillm.layers.fresh import ParamSpec, uniform
from minillm.layers.types import Ids, Params, State


class Attention:
    """A kind of attention; a subclass defines its weights, its keys or its op."""

    weights: tuple[str, ...] = ()  # of the op, in the order of its arguments

    def new_layer(self, prefix: str, H: int, M: int) -> dict[str, ParamSpec]:
        """Declare the weights."""
        return {}

    def prepare(
        self, params: Params, prefix: str, hs: NDArray, h_last: NDArray, lengths: Ids, H: int
    ) -> tuple[State, Callable]:
        """Make the memory of a source: the encoder's outputs as values, and their keys.

        hs (B, S, M), h_last (B, M), lengths (B,) -> memory.  H is the width of the queries.
        ``backward(dmemory)`` -> dhs, dh_last, gradients.  One of the first two is None, which
        means zero.
        """
        keys, keys_backward = self.keys(params, prefix, hs, H)

        def backward(dmemory):
            dhs, gradients = keys_backward(dmemory["memory.keys"])
            return dmemory["memory.values"] + dhs, None, gradients

        return {
            "memory.keys": keys,
            "memory.values": hs,
            "memory.lengths": np.array(lengths),
        }, backward

    def keys(self, params: Params, prefix: str, hs: NDArray, H: int) -> tuple[NDArray, Callable]:
        """hs (B, S, M) -> keys; by default, hs itself.  ``backward(dkeys)`` -> dhs, gradients."""
        return hs, lambda dkeys: (dkeys, {})

    def attend(
        self, params: Params, prefix: str, query: NDArray, memory: State
    ) -> tuple[tuple[NDArray, NDArray | None], Callable]:
        """The context of each query, and its weights.

        query (B, T, H) -> context (B, T, M), weights (B, T, S), or None without attention.
        ``backward(dcontext)`` -> dquery, dmemory, gradients.
        """
        names = [f"{prefix}.{name}" for name in self.weights]
        weights = [params[name] for name in names]
        keys, values, lengths = (memory[f"memory.{name}"] for name in ("keys", "values", "lengths"))
        outputs, op_backward = self.op(query, keys, values, lengths, *weights)

        def backward(dcontext):
            dquery, dkeys, dvalues, *dweights = op_backward(dcontext)
            dmemory = {"memory.keys": dkeys, "memory.values": dvalues}
            return dquery, dmemory, dict(zip(names, dweights, strict=True))

        return outputs, backward

    def op(self, query, keys, values, lengths, W=None):
        """score = q W k^T, or q k^T without W; returns what the op returns."""
        return ops.multiplicative_attention(query, keys, values, W, lengths)


class NoAttention(Attention):
    """The encoder's last state as the context of every step."""

    def prepare(self, params, prefix, hs, h_last, lengths, H):
        """h_last (B, M) -> memory.  ``backward(dmemory)`` -> None, dh_last, gradients."""
        return {"memory.last": h_last}, lambda dmemory: (None, dmemory["memory.last"], {})

    def attend(self, params, prefix, query, memory):
        """query (B, T, H) -> context (B, T, M), None."""
        last = memory["memory.last"][:, None]  # (B, 1, M)
        context = np.broadcast_to(last, (*query.shape[:2], last.shape[-1]))

        def backward(dcontext):
            return np.zeros_like(query), {"memory.last": dcontext.sum(axis=1)}, {}

        return (context, None), backward


class Dot(Attention):
    """score = q k^T, where k is hs.

    A dot product needs vectors of one width: if M is 2H, the two directions are added.
    """

    def keys(self, params, prefix, hs, H):
        """hs (B, S, M) -> keys (B, S, H)."""
        if hs.shape[-1] == H:
            return super().keys(params, prefix, hs, H)
        # keys = forward + reverse
        keys = hs[..., :H] + hs[..., H:]
        return keys, lambda dkeys: (np.concatenate([dkeys, dkeys], axis=-1), {})


class General(Attention):
    """score = q W k^T, where k is hs."""

    weights = ("W",)

    def new_layer(self, prefix, H, M):
        """Declare ``W``."""
        return {f"{prefix}.W": ParamSpec((H, M), uniform(H**-0.5))}


class Additive(Attention):
    """score = v . tanh(q W_q + k), where k is hs W_k + b_k."""

    weights = ("W_q", "v")

    def new_layer(self, prefix, H, M):
        """Declare ``W_q``, ``W_k``, ``b_k`` and ``v``."""
        params = {f"{prefix}.W_q": ParamSpec((H, H), uniform(H**-0.5))}
        params |= dense.new_matrix(prefix, "_k", M, H, uniform(M**-0.5))
        return params | {f"{prefix}.v": ParamSpec((H,), uniform(H**-0.5))}

    def keys(self, params, prefix, hs, H):
        """hs (B, S, M) -> keys (B, S, H)."""
        return dense.layer(params, prefix, hs, suffix="_k")

    def op(self, query, keys, values, lengths, W_q, v):
        """See :func:`minillm.ops.additive_attention`."""
        return ops.additive_attention(query, keys, values, W_q, None, v, lengths)


KINDS: dict[str, Attention] = {
    "none": NoAttention(),
    "dot": Dot(),
    "general": General(),
    "additive": Additive(),
}
