"""Sizes and changes of Llamas and later decoders in the metadata of GGUF files.

Most entries have the architecture before their names: llama.context_length, gemma3.block_count.
A row says where the files of a family differ from a Llama's.  In a GGUF file a Mistral is a Llama,
without a window.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.entries import Entries, in_file
from minillm.errors import InputError
from minillm.formats.angles import DIVISORS, gguf_angles, read_gguf_angles, single
from minillm.formats.weights import Names, tensor_of
from minillm.models.decoders import FAMILIES, DecoderConfig
from minillm.models.llama import LlamaConfig
from minillm.ops.rotary_scaling import Llama3
from minillm.quantised.gguf import GGUFTensor

EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"
_SIZES = {
    "context": "context_length",
    "layers": "block_count",
    "heads": "attention.head_count",
    "key_heads": "attention.head_count_kv",
    "width": "embedding_length",
    "feed_forward": "feed_forward_length",
    "head_width": "attention.key_length",
}
_WINDOW, _PATTERN = "attention.sliding_window", "attention.sliding_window_pattern"
_OPTIONAL = ("key_heads", "head_width")
_FIXED = {  # entries that may vary in llama.cpp's Llama, but not in ours
    "expert_count": 0,
    "attention.causal": True,
    "attn_logit_softcapping": 0,
    "final_logit_softcapping": 0,
}


@dataclass(frozen=True)
class Architecture:
    """The GGUF files of a family, where they differ from a Llama's."""

    name: str  # of the architecture
    names: Names = field(default_factory=dict)
    neighbours: bool = False  # whether llama.cpp rotates x_{2i} and x_{2i + 1}


_QKV, _GATE_UP = "blocks.*.attention.qkv", "blocks.*.feed_forward.gate_up"
ARCHITECTURES = {
    "llama": Architecture("llama", neighbours=True),
    "mistral": Architecture("llama", neighbours=True),
    "qwen2": Architecture("qwen2"),
    "qwen3": Architecture("qwen3"),
    "smollm3": Architecture("smollm3", neighbours=True),
    "gemma3": Architecture("gemma3"),
    "phi3": Architecture("phi3", {_QKV: "blk.*.attn_qkv", _GATE_UP: "blk.*.ffn_up"}),
}


def families() -> dict[str, str]:
    """The family of each architecture; a Mistral has a Llama's."""
    return {row.name: family for family, row in ARCHITECTURES.items() if family != "mistral"}


def row_of(config: LlamaConfig) -> Architecture:
    """The row of a family, or of a Llama."""
    return ARCHITECTURES[config.family if isinstance(config, DecoderConfig) else "llama"]


# --- reading -------------------------------------------------------------------------------------


def config_of(entries: Entries, tensors: Mapping[str, GGUFTensor]) -> LlamaConfig:
    """The sizes; InputError for a model that ours cannot represent."""
    path, metadata = Path(entries.path), entries.values
    arch = metadata.get("general.architecture")
    if not isinstance(arch, str) or arch not in families():
        raise entries.wrong("general.architecture", " or ".join(map(repr, families())))
    entries.check_all({f"{arch}.{name}": (only,) for name, only in _FIXED.items()})
    names = {ours: f"{arch}.{theirs}" for ours, theirs in _SIZES.items()}
    sizes: dict[str, Any] = {
        ours: entries.size(name)
        for ours, name in names.items()
        if ours not in _OPTIONAL or name in metadata
    }
    with in_file(path):
        config = LlamaConfig(
            **sizes,
            vocabulary=tensor_of(path, tensors, EMBEDDING).shape[0],
            rotary_base=single(entries, f"{arch}.rope.freq_base", 10000.0),
            eps=single(entries, f"{arch}.attention.layer_norm_rms_epsilon", 1e-5),
            tied=OUTPUT not in tensors,
        )
    width = config.head_width
    for name in (f"{arch}.rope.dimension_count", f"{arch}.attention.value_length"):
        entries.check(name, (width,), f"{width}, the width of a head")
    config = _decoder_of(entries, config)
    divisors = None
    if DIVISORS in tensors:
        divisors = tensor_of(path, tensors, DIVISORS, (width // 2,)).read()
    return replace(config, rope_scaling=read_gguf_angles(entries, arch, config, divisors))


def _decoder_of(entries: Entries, config: LlamaConfig) -> LlamaConfig:
    """The config of the family in a file: a Llama's, with the numbers that the changes need.

    llama.cpp has windows in a Gemma 3 only if the file has one; else all layers are whole.
    """
    arch = entries.text("general.architecture")
    family = families()[arch]
    if family == "llama":
        return config
    changes, given, window = FAMILIES[family], dict[str, Any](), 0
    if changes.windows and (name := f"{arch}.{_WINDOW}") in entries.values:
        window = entries.size(name, 0)
        given["window"] = window if 0 < window < config.context else None
    if changes.global_every:
        usual = entries.values.get(pattern := f"{arch}.{_PATTERN}") is None
        given["global_every"] = 1 if not window else 6 if usual else entries.size(pattern)
        given["local_base"] = single(entries, f"{arch}.rope.freq_base_swa", 10000.0)
    with in_file(entries.path):
        return DecoderConfig(**vars(config), family=family, **given)


# --- writing -------------------------------------------------------------------------------------


def entries_of(config: LlamaConfig) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """The entries of a config, and the tensors of its angles: the inverse of :func:`config_of`."""
    arch = row_of(config).name
    angles, divisors = gguf_angles(config, arch)
    entries = {
        **{f"{arch}.{theirs}": getattr(config, ours) for ours, theirs in _SIZES.items()},
        f"{arch}.attention.value_length": config.head_width,
        f"{arch}.rope.dimension_count": config.head_width,
        f"{arch}.rope.freq_base": float(config.rotary_base),
        **angles,
        f"{arch}.attention.layer_norm_rms_epsilon": float(config.eps),
        f"{arch}.vocab_size": config.vocabulary,
    }
    if isinstance(config, DecoderConfig):
        entries |= _of_changes(config, arch)
    return entries, divisors


def _of_changes(config: DecoderConfig, arch: str) -> dict[str, Any]:
    """The entries of a family's changes; a window that a file must have is the context."""
    changes, found = config.changes, dict[str, Any]()
    if changes.windows and arch != "llama":
        found[f"{arch}.{_WINDOW}"] = config.window or 0
    if changes.global_every:
        every = config.global_every or (config.layers + 1 if config.window else 1)
        found[f"{arch}.{_WINDOW}"] = config.window or config.context
        found[f"{arch}.{_PATTERN}"] = every
        local = config.local_base if config.global_every else config.rotary_base
        found[f"{arch}.rope.freq_base_swa"] = float(local)
    return found


def check_for_llama_cpp(path: str | Path, config: LlamaConfig) -> None:
    """InputError where llama.cpp rotates other layers, or knows no divisors of angles."""
    if not isinstance(config, DecoderConfig):
        return
    fixed, found = config.changes.unrotated_every, config.unrotated_every
    if fixed and found != fixed:
        raise InputError(
            f"{path}: unrotated_every: expected {fixed}, as in llama.cpp, found {found}"
        )
    scaling, arch = config.rope_scaling, row_of(config).name
    if isinstance(scaling, Llama3) and arch != "llama":
        raise InputError(
            f"{path}: rope_scaling: expected None, Linear or Yarn in a {arch}, as in llama.cpp, "
            f"found {scaling}"
        )
