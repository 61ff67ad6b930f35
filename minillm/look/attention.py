"""The attention weights of a Transformer, for pictures.

The blocks of a model are called with an attention that notes its weights.

Legend: B batch, T time, S source steps, N heads, L layers.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers.heads import Attend
from minillm.layers.types import Ids
from minillm.models.bert import BERT, bert_block
from minillm.models.gpt import GPT, gpt_block
from minillm.models.llama import llama_block
from minillm.models.transformer import Transformer
from minillm.ops.softmax import masked_softmax


def attention_weights(model: Any, ids: Ids) -> NDArray:
    """The weights of all heads of a GPT, a Llama or a BERT: ids (B, T) -> (L, B, N, T, T)."""
    c, p = model.config, model.params
    positions = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    attend, noted = _noting(causal=not isinstance(model, BERT))
    block: Callable[[str, NDArray], Any]
    if isinstance(model, GPT):
        x, _ = model.embed(ids, positions)
        block = lambda prefix, x: gpt_block(p, prefix, x, c.heads, attend=attend)  # noqa: E731
    elif isinstance(model, BERT):
        x, _ = model.embed(ids, None)
        block = lambda prefix, x: bert_block(p, prefix, x, c, attend)  # noqa: E731
    else:
        x, _ = model.embed(ids)
        block = lambda prefix, x: llama_block(p, prefix, x, positions, c, attend=attend)  # noqa: E731
    for layer in range(c.layers):
        x, _ = block(f"blocks.{layer}", x)
    return np.stack(noted)


def self_attention_weights(model: Transformer, source: Ids, inputs: Ids | None = None) -> NDArray:
    """The weights of all layers of a Transformer's encoder, (L, B, N, S, S).

    With ``inputs`` (B, T), BOS and the target without its last token: the weights of the decoder,
    (L, B, N, T, T).  source (B, S) has no padding.
    """
    layers, lengths = range(model.config.layers), np.full(len(source), source.shape[1])
    attend, noted = _noting(causal=inputs is not None)
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


def _noting(causal: bool) -> tuple[Attend, list[NDArray]]:
    """An attention, and a list that gets the weights (B, N, T, T) of each of its calls."""
    noted: list[NDArray] = []

    def attend(q: NDArray, k: NDArray, v: NDArray) -> tuple[NDArray, Callable]:
        shared = np.repeat(k, q.shape[1] // k.shape[1], axis=1)  # (B, N, T, w)
        scores = q @ np.swapaxes(shared, -1, -2) / np.sqrt(q.shape[-1], dtype=q.dtype)
        every = np.ones(scores.shape[-2:], bool)
        noted.append(masked_softmax(scores, np.tril(every) if causal else every)[0])
        return ops.scaled_dot_product_attention(q, k, v, causal)

    return attend, noted
