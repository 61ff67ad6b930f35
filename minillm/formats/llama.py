"""Llama as Hugging Face's library transformers stores it (:mod:`minillm.formats.huggingface`).

Many models of others have this form, such as SmolLM2.  The tokenizer is one of byte pairs:
tokenizer.json, or vocab.json and merges.txt.

Its linear layers have weights (out, in), the transpose of ours.  Query, key and value are three
matrices, of N, M and M heads, and so are gate and up; ours are side by side.  Pairs of rotated
numbers are halves of a head, as in ours.  :mod:`minillm.formats.angles` reads the angles.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from minillm.data.entries import Entries
from minillm.errors import Reasons
from minillm.formats.angles import CONFIG_ENTRIES, config_entries, read_angles
from minillm.formats.gguf import check_has_no_ngrams, widths_of
from minillm.formats.huggingface import Transformers, config_from
from minillm.formats.tensors import Tensor
from minillm.formats.weights import Weight, weights_of
from minillm.models.llama import Llama, LlamaConfig


class LlamaFolder(Transformers):
    """Folders of a Llama."""

    models: ClassVar[tuple[type, ...]] = (Llama,)
    signature: ClassVar[str | None] = "a folder with a Llama or one of its variants"
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
        *CONFIG_ENTRIES, "rms_norm_eps", "attention_dropout", "pretraining_tp",
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
        return weights_of(self.model.shapes(config), self.names, self.transposed, widths_of(config))

    def config(self, file: Entries, tensors: Mapping[str, Tensor]) -> LlamaConfig:
        """The sizes, the angles, and whether the output is tied."""
        given = {
            ours: theirs
            for ours, theirs in self.sizes.items()
            if ours not in ("key_heads", "head_width") or file.values.get(theirs) is not None
        }
        reasons, others = Reasons(), dict[str, Any]()
        with reasons:
            others["rotary_base"], others["rope_scaling"] = read_angles(file)
        with reasons:
            others["eps"] = file.number("rms_norm_eps", 1e-6)
        with reasons:
            others["tied"] = file.flag("tie_word_embeddings", False)
        with reasons:
            config = config_from(file, LlamaConfig, given, **others)
        reasons.check()
        return config

    def entries(self, config: LlamaConfig) -> dict[str, Any]:
        """The angles, eps and the tie; InputError for a model with n-grams."""
        check_has_no_ngrams(config)
        return {
            **config_entries(config),
            "rms_norm_eps": config.eps,
            "tie_word_embeddings": config.tied,
            "attention_dropout": 0.0,
        }
