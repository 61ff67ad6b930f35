"""Llama as Hugging Face's library transformers stores it (:mod:`minillm.formats.huggingface`).

Many models of others have this form, such as SmolLM2.  The tokenizer is one of byte pairs:
tokenizer.json, or vocab.json and merges.txt.

Its linear layers have weights (out, in), the transpose of ours.  Query, key and value are three
matrices, of N, M and M heads, and so are gate and up; ours are side by side.  Pairs of rotated
numbers are halves of a head, as in ours.  The angles are in ``rope_theta`` and ``rope_scaling``,
or, since transformers 5, both in ``rope_parameters``.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from minillm.data.entries import Entries
from minillm.data.files import warn_of_unknown
from minillm.errors import Reasons
from minillm.formats.gguf import widths_of
from minillm.formats.huggingface import Transformers, config_from
from minillm.formats.tensors import Tensor
from minillm.formats.weights import Weight, weights_of
from minillm.models.llama import Llama, LlamaConfig
from minillm.ops.rotary import RotaryScaling

_SCALING = {
    "factor": "factor",
    "low_frequency_factor": "low_freq_factor",
    "high_frequency_factor": "high_freq_factor",
    "original_context": "original_max_position_embeddings",
}
_OF_ANGLES = {"rope_theta", "rope_type", "type", "partial_rotary_factor", *_SCALING.values()}


class LlamaFolder(Transformers):
    """Folders of a Llama."""

    models = (Llama,)
    signature = "a folder with a Llama"
    model_type = "llama"
    architectures = ("LlamaForCausalLM", "LlamaModel")
    sizes: ClassVar = {
        "vocabulary": "vocab_size",
        "context": "max_position_embeddings",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "key_heads": "num_key_value_heads",
        "width": "hidden_size",
        "feed_forward": "intermediate_size",
        "head_width": "head_dim",
    }
    fixed: ClassVar = {
        "hidden_act": ("silu", "swish"),  # two names of one function
        "attention_bias": (False,),
        "mlp_bias": (False,),
    }
    others: ClassVar = {
        "rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor",
        "original_max_position_embeddings", "rms_norm_eps", "attention_dropout", "pretraining_tp",
        "is_llama_config", "rope_interleaved", "max_sequence_length",
    }  # fmt: skip
    names: ClassVar = {
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
    tokenizer_class = "PreTrainedTokenizerFast"
    prefix = "model."
    output, heads = "lm_head.weight", "lm_head"
    buffers = re.compile(r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq")  # of older versions

    def tied(self, config: LlamaConfig) -> dict[str, tuple[str, str]]:
        """The output, if it is tied to the embedding."""
        return super().tied(config) if config.tied else {}

    def weights(self, config: LlamaConfig) -> Iterator[Weight]:
        """Keys and values may have fewer heads than queries."""
        return weights_of(Llama.shapes(config), self.names, True, widths_of(config))

    def config(self, file: Entries, tensors: Mapping[str, Tensor]) -> LlamaConfig:
        """The sizes, the angles, and whether the output is tied."""
        given = {
            ours: theirs
            for ours, theirs in self.sizes.items()
            if ours not in ("key_heads", "head_width") or file.values.get(theirs) is not None
        }
        reasons, others = Reasons(), dict[str, Any]()
        with reasons:
            others["rotary_base"], others["rope_scaling"] = _read_angles(file)
        with reasons:
            others["eps"] = file.number("rms_norm_eps", 1e-6)
        with reasons:
            others["tied"] = file.flag("tie_word_embeddings", False)
        with reasons:
            config = config_from(file, LlamaConfig, given, **others)
        reasons.check()
        return config

    def entries(self, config: LlamaConfig) -> dict[str, Any]:
        """The angles, eps and the tie."""
        scaling = None
        if config.rope_scaling is not None:
            numbers = RotaryScaling(*config.rope_scaling)._asdict()
            numbers["original_context"] = int(numbers["original_context"])
            scaling = {"rope_type": "llama3", **{_SCALING[n]: v for n, v in numbers.items()}}
        return {
            "rope_theta": config.rotary_base,
            "rope_scaling": scaling,
            "rms_norm_eps": config.eps,
            "tie_word_embeddings": config.tied,
            "attention_dropout": 0.0,
        }


def _read_angles(file: Entries) -> tuple[float, RotaryScaling | None]:
    """The base of the angles, and their scaling; InputError for one that is not Llama 3's.

    As in transformers, ``rope_scaling`` replaces ``rope_parameters`` and its base, and an original
    context next to them in the file replaces the one inside.
    """
    values = file.values
    name = "rope_scaling" if values.get("rope_scaling") else "rope_parameters"
    given = values.get(name) or {}
    if not isinstance(given, dict):
        raise file.wrong(name, "an object or null")
    angles = {"rope_theta": values.get("rope_theta", 10000.0)} | given
    kind = angles.get("rope_type", angles.get("type", "default"))
    length = _SCALING["original_context"]
    if kind == "llama3" and values.get(length) is not None:
        angles[length] = values[length]
    part = Entries(f"{file.path}: {name}", angles | {"rope_type": kind})
    whole: dict[str, tuple[Any, ...]] = {"partial_rotary_factor": (1.0, None)}
    base = part.number("rope_theta", 10000.0)
    part.check_all(whole)
    part.check("rope_type", ("llama3", "default"), "'llama3'")
    warn_of_unknown(Path(part.path), angles, _OF_ANGLES)
    if kind == "default":
        return base, None
    file.check_all(whole)
    missing = float("nan")  # no scaling has it
    return base, RotaryScaling(
        **{n: part.number(theirs, missing) for n, theirs in _SCALING.items()}
    )
