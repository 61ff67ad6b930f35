"""Llama as Hugging Face's library transformers stores it (:mod:`minillm.formats.huggingface`).

Many models of others have this form, such as SmolLM2.  The tokenizer is one of byte pairs:
tokenizer.json, or vocab.json and merges.txt.

Its linear layers have weights (out, in), the transpose of ours.  Query, key and value are three
matrices, of N, M and M heads, and so are gate and up; ours are side by side.  Pairs of rotated
numbers are halves of a head, as ours.  The angles stand in ``rope_theta`` and ``rope_scaling``, or,
from transformers 5 on, both in ``rope_parameters``.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from minillm.data.entries import Entries
from minillm.data.files import read_json, warn_of_unknown
from minillm.errors import InputError
from minillm.formats import huggingface
from minillm.formats.format import Contents
from minillm.formats.gguf import widths_of
from minillm.formats.huggingface import Transformers, answering
from minillm.formats.weights import Weight, weights_of
from minillm.models.llama import Llama, LlamaConfig
from minillm.ops.rotary import RotaryScaling
from minillm.quantised.matrix import dequantised
from minillm.text import Vocabulary, load_tokenizer

_NAMES: dict[str, str | tuple[str, ...]] = {  # ours, theirs
    "embedding.E": "embed_tokens.weight",
    "blocks.*.norm_1.gain": "layers.*.input_layernorm.weight",
    "blocks.*.attention.W_qkv": tuple(f"layers.*.self_attn.{n}_proj.weight" for n in "qkv"),
    "blocks.*.attention.W_o": "layers.*.self_attn.o_proj.weight",
    "blocks.*.norm_2.gain": "layers.*.post_attention_layernorm.weight",
    "blocks.*.feed_forward.W_gate_up": (
        "layers.*.mlp.gate_proj.weight",
        "layers.*.mlp.up_proj.weight",
    ),
    "blocks.*.feed_forward.W_down": "layers.*.mlp.down_proj.weight",
    "norm.gain": "norm.weight",
    "output.W": "lm_head.weight",
}
PREFIX = "model."  # of all tensors but the output
_OUTPUT = "lm_head.weight"
_TIED = {_OUTPUT: ("embed_tokens.weight", "embedding.E")}
_ANGLES = re.compile(r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq")  # a buffer of older versions

_SIZES = {
    "vocabulary": "vocab_size",
    "context": "max_position_embeddings",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "key_heads": "num_key_value_heads",
    "width": "hidden_size",
    "feed_forward": "intermediate_size",
    "head_width": "head_dim",
}
_OPTIONAL = ("num_key_value_heads", "head_dim")
_SCALING = {
    "factor": "factor",
    "low_frequency_factor": "low_freq_factor",
    "high_frequency_factor": "high_freq_factor",
    "original_context": "original_max_position_embeddings",
}
_OF_ANGLES = {"rope_theta", "rope_type", "type", "partial_rotary_factor", *_SCALING.values()}

# Entries that may vary in Hugging Face's Llama, but not in ours; the default comes first.
_FIXED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", "swish"),  # two names of one function
    "attention_bias": (False,),
    "mlp_bias": (False,),
}
_ARCHITECTURES = ("LlamaForCausalLM", "LlamaModel")
# Entries that are read below, and others that change no result.
_OTHERS = {
    *_SIZES.values(),
    "rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor",
    "original_max_position_embeddings", "rms_norm_eps", "attention_dropout", "pretraining_tp",
    "is_llama_config", "rope_interleaved", "max_sequence_length",
}  # fmt: skip


def weights(config: LlamaConfig) -> Iterator[Weight]:
    """The parameters of a model, and their tensors."""
    return weights_of(Llama.shapes(config), _NAMES, transposed=True, widths=widths_of(config))


# --- reading -----------------------------------------------------------------


def import_llama(folder: str | Path) -> tuple[Llama, Vocabulary]:
    """The Llama in a folder, in float32, and its tokenizer.

    InputError names the file, and the entry or tensor that is missing, damaged or not supported by
    :mod:`minillm.models.llama`.
    """
    folder = Path(folder)
    config = _read_config(folder / "config.json")
    tokenizer = load_tokenizer(folder)
    huggingface.check_vocabulary(folder, config.vocabulary, len(tokenizer))
    tensors = huggingface.open_weights(folder, lambda name: name.removeprefix(PREFIX))
    tied = _TIED if config.tied else {}
    params = huggingface.read_weights(folder, tensors, weights(config), tied, _ANGLES.fullmatch)
    return Llama(config, params=params), tokenizer


def _read_config(path: Path) -> LlamaConfig:
    values = read_json(path)
    huggingface.check_known(
        path, values, "llama", _ARCHITECTURES, _FIXED | huggingface.CAUSAL, _OTHERS
    )
    sizes = {
        ours: Entries(path, values).size(theirs)
        for ours, theirs in _SIZES.items()
        if theirs not in _OPTIONAL or values.get(theirs) is not None
    }
    tied = Entries(path, values).flag("tie_word_embeddings", False)
    base, scaling = _read_angles(path, values)
    eps = Entries(path, values).number("rms_norm_eps", 1e-6)
    try:
        return LlamaConfig(
            **sizes,
            rotary_base=base,
            rope_scaling=scaling,
            eps=eps,
            tied=tied,
        )
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def _read_angles(path: Path, values: Mapping[str, Any]) -> tuple[float, RotaryScaling | None]:
    """The base of the angles, and their scaling; InputError for one that is not Llama 3's.

    As in transformers, ``rope_scaling`` replaces ``rope_parameters``, with the base in it, and a
    length of the first training beside them replaces the one among them.
    """
    name = "rope_scaling" if values.get("rope_scaling") else "rope_parameters"
    angles = values.get(name) or {}
    if not isinstance(angles, dict):
        raise Entries(path, values).wrong(name, "an object or null")
    place, plain = Path(f"{path}: {name}"), {"rope_theta": values.get("rope_theta", 10000.0)}
    angles = plain | angles
    base = Entries(place, angles).number("rope_theta", 10000.0)
    kind = angles.get("rope_type", angles.get("type", "default"))
    Entries(place, angles).check_all({"partial_rotary_factor": (1.0, None)})
    if kind in ("default", "llama3"):
        warn_of_unknown(place, angles, _OF_ANGLES)
    if kind == "default":
        return base, None
    if kind != "llama3":
        raise Entries(place, angles | {"rope_type": kind}).wrong("rope_type", "'llama3'")
    Entries(path, values).check_all({"partial_rotary_factor": (1.0, None)})
    length = _SCALING["original_context"]
    if values.get(length) is not None:
        angles[length] = values[length]
    missing = float("nan")  # no scaling has it
    numbers = {
        ours: Entries(place, angles).number(theirs, missing) for ours, theirs in _SCALING.items()
    }
    return base, RotaryScaling(**numbers)


# --- writing -----------------------------------------------------------------


def export_llama(
    model: Llama, tokenizer: Vocabulary, folder: str | Path, template: str | None = None
) -> None:
    """Write a new folder that transformers loads, with the same logits; whole or not at all.

    ``template`` is the chat template of a model that answers.

    InputError for a tokenizer that is not one of byte pairs.
    """
    c = model.config
    files = huggingface.byte_pair_files(tokenizer, "PreTrainedTokenizerFast", c.context)
    files["config.json"] = huggingface.json_file(_config_values(c, tokenizer))
    if template:
        files[huggingface.CHAT_TEMPLATE] = template.encode()
    tensors = {
        theirs if theirs == _OUTPUT else PREFIX + theirs: view
        for weight in weights(c)
        for theirs, view in weight.views(model.params[weight.name]).items()
    }
    huggingface.write_folder(folder, files, tensors)


def _config_values(config: LlamaConfig, tokenizer: Vocabulary) -> dict[str, Any]:
    scaling = None
    if config.rope_scaling is not None:
        numbers = RotaryScaling(*config.rope_scaling)._asdict()
        numbers["original_context"] = int(numbers["original_context"])
        scaling = {"rope_type": "llama3", **{_SCALING[n]: v for n, v in numbers.items()}}
    return {
        "model_type": "llama",
        "architectures": list(_ARCHITECTURES[:1]),
        **{theirs: getattr(config, ours) for ours, theirs in _SIZES.items()},
        **{name: allowed[0] for name, allowed in _FIXED.items() if allowed[0] is not None},
        "rope_theta": config.rotary_base,
        "rope_scaling": scaling,
        "rms_norm_eps": config.eps,
        "tie_word_embeddings": config.tied,
        "attention_dropout": 0.0,
        "bos_token_id": tokenizer.bos,
        "eos_token_id": tokenizer.eos,
    }


class LlamaFolder(Transformers):
    """Folders of a Llama."""

    models = (Llama,)
    model_type = "llama"
    signature = "a folder with a Llama"

    def read(self, path: str, baseline: Any = None) -> Contents:
        """See :func:`import_llama`."""
        return answering(path, *import_llama(path))

    def write(self, contents: Contents, path: str | Path, options: Any) -> None:
        """See :func:`export_llama`."""
        template = contents.chat.source if contents.chat else None
        export_llama(dequantised(contents.model), contents.tokenizer, path, template)
