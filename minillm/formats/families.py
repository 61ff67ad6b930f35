"""The files of Llama's variants (:mod:`minillm.models.variants`): a family is a row of a table.

A row says where its files differ from a Llama's: in a folder of transformers
(:mod:`minillm.formats.variants`), and in a GGUF file (:mod:`minillm.formats.gguf`).  What a
family's changes need in all files, such as the bias of a query, has one name for all families.

Phi-3 has one matrix for query, key and value, and one for gate and up, as ours are.  Gemma stores
a gain as its difference from 1, because weight decay pulls numbers to 0; llama.cpp adds the 1.

To llama.cpp a Mistral is a Llama, without a window.  Our GGUF files of a Mistral have its window in
an entry of our own, which llama.cpp ignores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Names = Mapping[str, str | tuple[str, ...]]  # of tensors: ours, theirs


@dataclass(frozen=True)
class Files:
    """The files of a family, where they differ from a Llama's."""

    architectures: tuple[str, ...]  # classes of transformers that have these weights
    model_type: str = ""  # in config.json, if it is not the family's name
    defaults: Mapping[str, Any] = field(default_factory=dict)  # of entries that may be missing
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)  # the only values we have
    others: tuple[str, ...] = ()  # entries that change no result
    refused: Mapping[str, str] = field(default_factory=dict)  # types of relatives: reasons
    names: Names = field(default_factory=dict)
    gain: float = 0.0  # our gain is the file's and this

    architecture: str = ""  # in a GGUF file, if it is not the family's name
    gguf_names: Names = field(default_factory=dict)
    neighbours: bool = False  # whether llama.cpp rotates x_{2i} and x_{2i + 1}
    window: str = "{}.attention.sliding_window"  # the entry of the window
    no_window: bool = False  # whether llama.cpp has none for the family


_BLOCK, _LAYER = "blocks.*", "layers.*"
NAMES: Names = {
    f"{_BLOCK}.attention.b_qkv": tuple(f"{_LAYER}.self_attn.{name}_proj.bias" for name in "qkv"),
    f"{_BLOCK}.attention.norm_q.gain": f"{_LAYER}.self_attn.q_norm.weight",
    f"{_BLOCK}.attention.norm_k.gain": f"{_LAYER}.self_attn.k_norm.weight",
}
GGUF_NAMES: Names = {
    f"{_BLOCK}.attention.b_qkv": tuple(f"blk.*.attn_{name}.bias" for name in "qkv"),
    f"{_BLOCK}.attention.norm_q.gain": "blk.*.attn_q_norm.weight",
    f"{_BLOCK}.attention.norm_k.gain": "blk.*.attn_k_norm.weight",
    f"{_BLOCK}.attention.norm.gain": "blk.*.post_attention_norm.weight",
    f"{_BLOCK}.feed_forward.norm.gain": "blk.*.post_ffw_norm.weight",
}

_SILU = {"hidden_act": ("silu", "swish")}  # two names of one function
_NO_BIAS = {"attention_bias": (False,)}
_NO_WINDOW = {"use_sliding_window": (False,)}
_OF_LAYERS = ("layer_types", "max_window_layers", "sliding_window")

LLAMA = Files(("LlamaForCausalLM", "LlamaModel"), neighbours=True)
FILES = {
    "mistral": Files(
        architectures=("MistralForCausalLM", "MistralModel"),
        defaults={"num_key_value_heads": 8, "sliding_window": 4096},
        fixed=_SILU,
        architecture="llama",
        neighbours=True,
        window="minillm.attention.sliding_window",
        no_window=True,
    ),
    "qwen2": Files(
        architectures=("Qwen2ForCausalLM", "Qwen2Model"),
        fixed=_SILU | _NO_WINDOW,
        others=_OF_LAYERS,
    ),
    "qwen3": Files(
        architectures=("Qwen3ForCausalLM", "Qwen3Model"),
        defaults={"head_dim": 128},
        fixed=_SILU | _NO_WINDOW | _NO_BIAS,
        others=_OF_LAYERS,
    ),
    "smollm3": Files(
        architectures=("SmolLM3ForCausalLM", "SmolLM3Model"),
        defaults={"num_key_value_heads": 4, "rope_theta": 2e6, "tie_word_embeddings": True},
        fixed=_SILU | _NO_WINDOW | _NO_BIAS | {"mlp_bias": (False,)},
        others=_OF_LAYERS,
        neighbours=True,
    ),
    "gemma3": Files(
        architectures=("Gemma3ForCausalLM", "Gemma3TextModel"),
        model_type="gemma3_text",
        defaults={
            "num_key_value_heads": 4,
            "head_dim": 256,
            "sliding_window": 4096,
            "rope_theta": 1e6,
            "tie_word_embeddings": True,
            "query_pre_attn_scalar": 256,
        },
        fixed=_NO_BIAS
        | {
            "hidden_activation": ("gelu_pytorch_tanh",),
            "attn_logit_softcapping": (None,),
            "final_logit_softcapping": (None,),
            "use_bidirectional_attention": (False, None),
        },
        others=("cache_implementation", "hidden_act"),
        refused={"gemma3": "a model that also sees images cannot be run"},
        names={
            f"{_BLOCK}.attention.norm.gain": f"{_LAYER}.post_attention_layernorm.weight",
            f"{_BLOCK}.norm_2.gain": f"{_LAYER}.pre_feedforward_layernorm.weight",
            f"{_BLOCK}.feed_forward.norm.gain": f"{_LAYER}.post_feedforward_layernorm.weight",
        },
        gain=1.0,
    ),
    "phi3": Files(
        architectures=("Phi3ForCausalLM", "Phi3Model"),
        defaults={"rms_norm_eps": 1e-5, "original_max_position_embeddings": 4096},
        fixed=_SILU | _NO_BIAS | {"partial_rotary_factor": (1.0, None)},
        others=("embd_pdrop", "resid_pdrop"),
        names={
            f"{_BLOCK}.attention.W_qkv": f"{_LAYER}.self_attn.qkv_proj.weight",
            f"{_BLOCK}.feed_forward.W_gate_up": f"{_LAYER}.mlp.gate_up_proj.weight",
        },
        gguf_names={
            f"{_BLOCK}.attention.W_qkv": "blk.*.attn_qkv.weight",
            f"{_BLOCK}.feed_forward.W_gate_up": "blk.*.ffn_up.weight",
        },
        no_window=True,
    ),
}


def every(marked: Sequence[bool], expected: int) -> int | None:
    """n, if exactly every n-th layer is marked: ``expected``, if that is true of it.

    None if there is no such n.  Where no layer is marked, n is above the number of layers.
    """
    layers = len(marked)
    first = marked.index(True) if True in marked else layers
    for n in (expected, first + 1):
        if n > 0 and list(marked) == [(layer + 1) % n == 0 for layer in range(layers)]:
            return n
    return None
