"""The attention weights of a Transformer, for pictures.

The blocks of a model are called with an attention that notes its weights.

Legend: B batch, T time, S source steps, N heads, L layers.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.layers.heads import Attend, causal, to_all
from minillm.layers.stack import with_block
from minillm.layers.types import Ids
from minillm.models.transformer import Transformer


def attention_weights(model: Any, ids: Ids) -> NDArray:
    """The weights of all heads of a Transformer of one stack, such as a GPT or a BERT.

    ids (B, T) -> (L, B, N, T, T).
    """
    noted: list[NDArray] = []

    def block(*inputs: Any, attend: Attend, **more: Any) -> tuple[NDArray, None]:
        return model.block(*inputs, attend=partial(noting, noted, attend), **more)[0], None

    with_block(model, block).hidden(ids)
    return np.stack(noted)


def self_attention_weights(model: Transformer, source: Ids, inputs: Ids | None = None) -> NDArray:
    """The weights of all layers of a Transformer's encoder, (L, B, N, S, S).

    With ``inputs`` (B, T), BOS and the target without its last token: the weights of the decoder,
    (L, B, N, T, T).  source (B, S) has no padding.
    """
    layers, lengths = range(model.config.layers), np.full(len(source), source.shape[1])
    noted: list[NDArray] = []
    attend = partial(noting, noted, to_all() if inputs is None else causal)
    if inputs is None:
        x, _ = model.embed(model.source_E, source)
        for layer in layers:
            x, _ = model.encoder_block(f"encoder.{layer}", x, attend)
        return np.stack(noted)
    memory, _ = model.encode(source, lengths)
    x, _ = model.embed(model.target_E, inputs)
    for layer in layers:
        prefix = f"decoder.{layer}"
        x, _ = model.decoder_block(prefix, x, memory, lengths, attend=attend)[:2]
    return np.stack(noted)


def noting(
    noted: list[NDArray], attend: Attend, q: NDArray, k: NDArray, v: NDArray
) -> tuple[NDArray, Callable]:
    """The same attention; its weights (B, N, T, T) are added to a list.

    The weights are the results for values that are one-hot.
    """
    B, M, T, _ = v.shape
    noted.append(attend(q, k, np.broadcast_to(np.eye(T, dtype=v.dtype), (B, M, T, T)))[0])
    return attend(q, k, v)
