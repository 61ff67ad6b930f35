"""Decoders: a decoder writes a target, token by token, from a source.

    decoder = TargetDecoder(model)
    state = decoder.start(source, lengths)          one hypothesis of each source
    logits, weights, state = decoder.step(ids, state)

``start`` reads sources (B, S).  ``step`` is one of K hypotheses of each source, which share its
memory: ids (B, K) -> logits (B, K, V + 1), attention weights (B, K, S) or None, the new state.  The
configuration of the model has ``bos`` and ``eos``.

A state is a dictionary of arrays for B sources and K hypotheses of each.
"""

from functools import singledispatch
from typing import Any

import numpy as np

from minillm.decoding.hypotheses import TransformerDecoder
from minillm.decoding.pointer import PointerDecoder
from minillm.decoding.recurrent import RecurrentDecoder
from minillm.layers.types import Ids, State
from minillm.models.encoder_decoder import EncoderDecoder
from minillm.models.pointer_generator import PointerGenerator
from minillm.models.transformer import Transformer


@singledispatch
def TargetDecoder(model: Any) -> Any:
    """The decoder of a model; a model that decodes by itself is its own."""
    if not hasattr(model, "step"):
        raise TypeError(f"TargetDecoder: expected a model of pairs, found {type(model).__name__}")
    return model


TargetDecoder.register(EncoderDecoder, RecurrentDecoder)
TargetDecoder.register(PointerGenerator, PointerDecoder)
TargetDecoder.register(Transformer, TransformerDecoder)


def select(state: State, rows: Ids, parents: Ids) -> State:
    """Select sources of a decoder's state, and hypotheses of each of them.

    rows (b,) in 0..B-1, parents (b, k) in 0..K-1 -> a state of b sources with k hypotheses each.
    The name of an entry tells its shape.  ``memory...`` is (B, ...): the hypotheses of a source
    share it.  ``shared...`` belongs to all sources together.  All other entries are (B, K, ...),
    and the first entry of a state is one of them.
    """
    B = len(next(iter(state.values())))
    all_rows = np.array_equal(rows, np.arange(B))  # then the memory need not be copied
    selected = {}
    for name, entry in state.items():
        if name.startswith("shared."):
            selected[name] = entry
        elif not name.startswith("memory."):
            selected[name] = entry[rows[:, None], parents]
        else:
            selected[name] = entry if all_rows else entry[rows]
    return selected
