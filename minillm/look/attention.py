"""The attention weights of a Transformer, for pictures.

The blocks of a model are called with an attention that notes its weights.

Legend: B batch, T time, S source steps, N heads, L layers.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.layers.heads import Attend
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
    noted: list[NDArray] = []
    side = "encoder" if inputs is None else "decoder"

    def block(name: str, x: NDArray, attend: Attend, **more: Any) -> tuple[NDArray, None]:
        seen = partial(noting, noted, attend) if name.startswith(side) else attend
        return model.block(name, x, attend=seen, **more)[0], None

    lengths, noter = np.full(len(source), source.shape[1]), with_block(model, block)
    memory, _ = noter.encode(source, lengths)
    if inputs is not None:
        noter.decode(inputs, memory, lengths)
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
