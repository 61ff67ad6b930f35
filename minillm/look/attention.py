"""The attention weights of a Transformer, for pictures.

The blocks of a model are called with an attention that notes its weights.

Legend: B batch, T time, S source steps, N heads, L layers.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers.heads import CAUSAL
from minillm.layers.types import Ids
from minillm.models.bert import BERT, bert_block
from minillm.models.encoders import Encoder, relative_bias
from minillm.models.gpt import GPT, gpt_block
from minillm.models.llama import llama_block
from minillm.models.transformer import Transformer
from minillm.models.variants import Variant, variant_block
from minillm.ops import Mask
from minillm.ops.softmax import masked_softmax


def attention_weights(model: Any, ids: Ids) -> NDArray:
    """The weights of all heads of a Transformer of one stack, such as a GPT or a BERT.

    ids (B, T) -> (L, B, N, T, T).
    """
    c, p = model.config, model.params
    positions = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    attend, noted = _noting(Mask() if isinstance(model, BERT | Encoder) else CAUSAL)
    if isinstance(model, GPT):
        x, _ = model.embed(ids, positions)

        def block(n: int, x: NDArray) -> Any:
            return gpt_block(p, f"blocks.{n}", x, c.heads, attend=attend)

    elif isinstance(model, BERT | Encoder):
        x, _ = model.embed(ids, None)
        own = attend
        if isinstance(model, Encoder) and c.changes.relative:
            own = partial(attend, bias=relative_bias(p, ids.shape[1])[0])

        def block(n: int, x: NDArray) -> Any:
            return bert_block(p, f"blocks.{n}", x, c, own)

    elif isinstance(model, Variant):
        x, _ = model.embed(ids)

        def block(n: int, x: NDArray) -> Any:
            masked = partial(attend, mask=c.mask_of(n))
            return variant_block(p, n, x, positions, c, attend=masked)

    else:
        x, _ = model.embed(ids)

        def block(n: int, x: NDArray) -> Any:
            return llama_block(p, f"blocks.{n}", x, positions, c, attend=attend)

    for layer in range(c.layers):
        x, _ = block(layer, x)
    return np.stack(noted)


def self_attention_weights(model: Transformer, source: Ids, inputs: Ids | None = None) -> NDArray:
    """The weights of all layers of a Transformer's encoder, (L, B, N, S, S).

    With ``inputs`` (B, T), BOS and the target without its last token: the weights of the decoder,
    (L, B, N, T, T).  source (B, S) has no padding.
    """
    layers, lengths = range(model.config.layers), np.full(len(source), source.shape[1])
    attend, noted = _noting(Mask() if inputs is None else CAUSAL)
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


def _noting(usual: Mask) -> tuple[Callable, list[NDArray]]:
    """An attention, and a list that gets the weights (B, N, T, T) of each of its calls."""
    noted: list[NDArray] = []

    def attend(
        q: NDArray,
        k: NDArray,
        v: NDArray,
        mask: Mask = usual,
        bias: NDArray | None = None,
    ) -> tuple[NDArray, Callable]:
        shared = np.repeat(k, q.shape[1] // k.shape[1], axis=1)  # (B, N, T, w)
        scores = q @ np.swapaxes(shared, -1, -2) / np.sqrt(q.shape[-1], dtype=q.dtype)
        scores = scores if bias is None else scores + bias
        noted.append(masked_softmax(scores, mask.allowed(*scores.shape[-2:]))[0])
        if bias is not None:
            return ops.biased_attention(q, k, v, bias)
        return ops.scaled_dot_product_attention(q, k, v, mask=mask)

    return attend, noted
