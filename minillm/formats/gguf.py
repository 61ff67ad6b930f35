"""Llamas and later decoders in GGUF files, as llama.cpp has them (:mod:`minillm.quantised.gguf`).

A row of a matrix has the weights of one output, so the matrices are the transposes of ours.  Query,
key and value are three matrices, and so are gate and up; ours are side by side.

llama.cpp rotates the neighbours x_{2i} and x_{2i + 1}; our models rotate x_i and x_{i + w/2}.  The
rows of each head of a query and a key are therefore in another order.  No block contains parts of
two rows, so rows of quantised weights can change places without being decoded.

:mod:`minillm.formats.gguf_config` has the sizes, and what a decoder has under other names.

Weights that are quantised in the file remain so, as :class:`minillm.quantised.Quantised`.  A file
is opened once, and its weights are read straight into their places, so it may be used as a run.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.entries import Entries
from minillm.data.files import copy_file
from minillm.errors import InputError
from minillm.formats.angles import DIVISORS
from minillm.formats.decoders import check_others_have_it
from minillm.formats.format import Contents, Format
from minillm.formats.gguf_config import (
    EMBEDDING,
    check_for_llama_cpp,
    config_of,
    entries_of,
    row_of,
)
from minillm.formats.gguf_tokenizer import metadata_of, tokenizer_of
from minillm.formats.weights import Names, Weight, check_tensors, weights_of
from minillm.models.decoders import Decoder, DecoderConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.quantised.blocks import FLOATS, TYPES, Bytes, coded
from minillm.quantised.codes import Coded
from minillm.quantised.gguf import MAGIC, GGUFTensor, open_gguf, write_gguf
from minillm.quantised.matrix import Quantised, dense
from minillm.quantised.panels import pack
from minillm.text import ChatTemplate, Vocabulary

_NAMES: Names = {
    "embedding": "token_embd",
    "blocks.*.norm_1": "blk.*.attn_norm",
    "blocks.*.attention.qkv": ("blk.*.attn_q", "blk.*.attn_k", "blk.*.attn_v"),
    "blocks.*.attention.o": "blk.*.attn_output",
    "blocks.*.norm_2": "blk.*.ffn_norm",
    "blocks.*.feed_forward.gate_up": ("blk.*.ffn_gate", "blk.*.ffn_up"),
    "blocks.*.feed_forward.down": "blk.*.ffn_down",
    "norm": "output_norm",
    "output": "output",
    # of the decoders after Llama
    "blocks.*.attention.norm_q": "blk.*.attn_q_norm",
    "blocks.*.attention.norm_k": "blk.*.attn_k_norm",
    "blocks.*.attention.norm": "blk.*.post_attention_norm",
    "blocks.*.feed_forward.norm": "blk.*.post_ffw_norm",
}
SUFFIX = ".gguf"


def _model(config: LlamaConfig) -> Any:
    """The class of the model."""
    return Decoder if isinstance(config, DecoderConfig) else Llama


def _weights(config: LlamaConfig) -> Iterator[Weight]:
    """Our parameters, and their tensors."""
    names = {**_NAMES, **row_of(config).names}
    return weights_of(_model(config).shapes(config), names, config)


def _heads(tensor: str, config: LlamaConfig) -> int:
    """The number of heads of a tensor whose rows are in another order; 0 for other tensors."""
    if not row_of(config).neighbours:
        return 0
    return {"attn_q": config.heads, "attn_k": config.key_heads}.get(tensor.split(".")[-2], 0)


def _our_order(rows: NDArray, heads: int, pairs: tuple[int, int] = (-1, 2)) -> NDArray:
    """Their rows (O, ...) in our order: in each head the even ones, then the odd ones."""
    if not heads:
        return rows
    return rows[np.arange(len(rows)).reshape(heads, *pairs).swapaxes(1, 2).ravel()]


def _their_order(rows: NDArray, heads: int) -> NDArray:
    """The inverse of :func:`_our_order`."""
    return _our_order(rows, heads, (2, -1))


# --- reading -------------------------------------------------------------------------------------


def read_weights(path: str | Path, config: LlamaConfig) -> dict[str, NDArray]:
    """The parameters of a model of these sizes; InputError for a file that has others."""
    if not isinstance(config, LlamaConfig):
        raise InputError(f"{path}: only a run of llama has quantised weights")
    return _params_of(Path(path), config, open_gguf(path)[1])


def _params_of(
    path: Path, config: LlamaConfig, tensors: Mapping[str, GGUFTensor]
) -> dict[str, Any]:
    """The parameters; every tensor is checked before any is read."""
    weights = list(_weights(config))
    check_tensors(path, tensors, weights, re.escape(DIVISORS))
    for name in [name for weight in weights if len(weight.shape) == 1 for name in weight.columns]:
        if tensors[name].type not in FLOATS:
            raise InputError(f"{path}: {name}: expected floats, found {tensors[name].type}")
    return {w.name: _param(w, config, tensors) for w in weights}


def _param(weight: Weight, config: LlamaConfig, tensors: Mapping[str, GGUFTensor]) -> Any:
    """A parameter of ours: quantised if all of its tensors are."""
    if any(tensors[name].type in FLOATS for name in weight.columns):
        array = np.empty(weight.shape, np.float32)
        for name, view in weight.views(array).items():
            rows = tensors[name].read()
            _check_finite(tensors[name], name, rows)
            view[...] = _our_order(rows, _heads(name, config))
        return array
    panels = [
        pack(tensors[name].rows, _coded(tensors[name], name, _heads(name, config)))
        for name in weight.columns
    ]
    matrix = Quantised(tuple(panels))
    return matrix if weight.transposed else matrix.T


def _coded(tensor: GGUFTensor, name: str, heads: int) -> Iterator[Coded]:
    """The codes and scales of some of our rows at a time."""
    pieces: Iterable[Bytes] = (piece for _, piece in tensor.pieces())
    if heads:
        pieces = [_our_order(np.concatenate(list(pieces)), heads)]
    for piece in pieces:
        found = coded(piece, tensor.type)
        for numbers in (found.scale, found.offset, found.d, found.e):
            if numbers is not None:
                _check_finite(tensor, name, numbers)
        yield found


def _check_finite(tensor: GGUFTensor, name: str, numbers: NDArray) -> None:
    if not np.isfinite(numbers).all():
        raise InputError(
            f"{tensor.path}: {name}: expected finite numbers, found a NaN or an infinite one"
        )


# --- writing -------------------------------------------------------------------------------------


def export_gguf(
    model: Llama | Decoder,
    tokenizer: Vocabulary,
    path: str | Path,
    block_type: str = "F32",
    chat: ChatTemplate | None = None,
) -> None:
    """Write a file that llama.cpp loads, with all matrices of one type, and gains in float32.

    With fewer than 6.5 bits, the output, or the table that it is tied to, has Q8_0, because its
    errors reach the logits directly.  A matrix whose rows are not a multiple of 256 weights has
    Q5_0 in place of Q4_K, else Q8_0.
    A tokenizer that is not one of byte pairs is left out: llama.cpp then takes only ids.  ``chat``
    has the model's template.

    InputError for weights that the type cannot hold, and for a model with n-grams or sinks.
    """
    c = model.config
    check_others_have_it(c)
    tensors: dict[str, tuple[NDArray, str]] = {}
    for weight in _weights(c):
        output = weight.name == ("embedding.E" if c.tied else "output.W")
        array = dense(model.params[weight.name])
        for name, rows in weight.views(array).items():
            kind = "F32" if rows.ndim == 1 else _type_for(block_type, rows, output)
            tensors[name] = _their_order(rows, _heads(name, c)), kind
    entries, divisors = entries_of(c)
    tensors |= {name: (array, "F32") for name, array in divisors.items()}
    metadata = {
        "general.architecture": row_of(c).name,
        "general.file_type": TYPES[block_type].file,
        "general.quantization_version": 2,
        **entries,
        **metadata_of(tokenizer, c.vocabulary),
    }
    if chat is not None:
        metadata["tokenizer.chat_template"] = chat.source
    try:
        write_gguf(path, metadata, tensors)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def _type_for(block_type: str, rows: NDArray, output: bool) -> str:
    """The type of a matrix, whose rows are to be cut into whole blocks."""
    if rows.shape[-1] % TYPES[block_type].weights:
        block_type = "Q5_0" if block_type == "Q4_K" else "Q8_0"
    if output and TYPES[block_type].bits < 6.5:
        block_type = "Q8_0"
    return block_type


def read(path: str | Path) -> Contents:
    """The model in a file, its tokenizer, and its chat template if there is one."""
    metadata, tensors = open_gguf(path)
    entries = Entries(Path(path), metadata)
    config = config_of(entries, tensors)
    tokenizer = tokenizer_of(entries)
    if len(tokenizer) > config.vocabulary:
        raise InputError(
            f"{path}: {EMBEDDING} has {config.vocabulary:,} rows, "
            f"but the tokenizer has {len(tokenizer):,} tokens"
        )
    template = entries.text("tokenizer.chat_template", "")
    chat = ChatTemplate.of(template, tokenizer)
    params = _params_of(Path(path), config, tensors)
    model = _model(config)(config, params=params)
    return Contents(model, tokenizer, chat, weights=Path(path))


def write(contents: Contents, path: str | Path) -> None:
    """Write a model in float32, or copy the file of a run, whose weights may be quantised."""
    stored = contents.weights
    check_for_llama_cpp(path, contents.model.config)
    if stored and stored.suffix == SUFFIX:
        copy_file(stored, path)
    else:
        export_gguf(contents.model, contents.tokenizer, path, chat=contents.chat)


FORMATS = (
    Format(
        name="gguf",
        models=(Llama, Decoder),
        read=read,
        write=write,
        recognises=lambda path, head: head.startswith(MAGIC),
        default="llama.gguf",
        suffix=SUFFIX,
        signature="a GGUF file",
    ),
)
