"""Variants of Llama as transformers stores them: Mistral, Qwen, SmolLM 3, Gemma 3, Phi 3.

:mod:`minillm.formats.llama` explains the layout.  A row says where the files of a family differ
from a Llama's.  What a family's changes (:mod:`minillm.models.variants`) need in all files, such as
the bias of a query, has one name for all families.

Phi-3 has one matrix for query, key and value, and one for gate and up, as ours are.  Gemma stores
a gain as its difference from 1, because weight decay pulls numbers to 0.
"""

from dataclasses import replace
from typing import Any

from minillm.formats.huggingface import SILU
from minillm.formats.llama import LLAMA, LlamaFolder
from minillm.formats.weights import Names
from minillm.models.variants import Variant, VariantConfig

_BLOCK, _LAYER = "blocks.*", "layers.*"
_NAMES: Names = {
    **LLAMA.names,
    f"{_BLOCK}.attention.b_qkv": tuple(f"{_LAYER}.self_attn.{name}_proj.bias" for name in "qkv"),
    f"{_BLOCK}.attention.norm_q.gain": f"{_LAYER}.self_attn.q_norm.weight",
    f"{_BLOCK}.attention.norm_k.gain": f"{_LAYER}.self_attn.k_norm.weight",
}
_NO_BIAS = {"attention_bias": (False,)}
_NO_WINDOW = {"use_sliding_window": (False,)}


def family(
    name: str,
    *classes: str,
    names: Names | None = None,
    defaults: dict[str, Any] | None = None,
    **options: Any,
) -> LlamaFolder:
    """The folders of a family, with the names, entries and defaults that a Llama has not."""
    given = {"model_type": name, "fixed": SILU} | options
    return replace(
        LLAMA,
        signature=None,
        models=(Variant,),
        config_type=VariantConfig,
        family=name,
        architectures=classes,
        names={**_NAMES, **(names or {})},
        defaults={**LLAMA.defaults, **(defaults or {})},
        written={**LLAMA.written, "pad_token_id": None},  # some have a default here
        **given,
    )


FORMATS = (
    family(
        "mistral",
        "MistralForCausalLM",
        "MistralModel",
        defaults={"num_key_value_heads": 8, "sliding_window": 4096},
    ),
    family(
        "qwen2",
        "Qwen2ForCausalLM",
        "Qwen2Model",
        fixed=SILU | _NO_WINDOW,
    ),
    family(
        "qwen3",
        "Qwen3ForCausalLM",
        "Qwen3Model",
        defaults={"head_dim": 128},
        fixed=SILU | _NO_WINDOW | _NO_BIAS,
    ),
    family(
        "smollm3",
        "SmolLM3ForCausalLM",
        "SmolLM3Model",
        defaults={"num_key_value_heads": 4, "rope_theta": 2e6, "tie_word_embeddings": True},
        fixed=SILU | _NO_WINDOW | _NO_BIAS | {"mlp_bias": (False,)},
    ),
    family(
        "gemma3",
        "Gemma3ForCausalLM",
        "Gemma3TextModel",
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
        refused={"gemma3": "a model that also sees images cannot be run"},
        names={
            f"{_BLOCK}.attention.norm.gain": f"{_LAYER}.post_attention_layernorm.weight",
            f"{_BLOCK}.norm_2.gain": f"{_LAYER}.pre_feedforward_layernorm.weight",
            f"{_BLOCK}.feed_forward.norm.gain": f"{_LAYER}.post_feedforward_layernorm.weight",
        },
        gain=1.0,
    ),
    family(
        "phi3",
        "Phi3ForCausalLM",
        "Phi3Model",
        defaults={"rms_norm_eps": 1e-5, "original_max_position_embeddings": 4096},
        fixed=SILU | _NO_BIAS | {"partial_rotary_factor": (1.0, None)},
        names={
            f"{_BLOCK}.attention.W_qkv": f"{_LAYER}.self_attn.qkv_proj.weight",
            f"{_BLOCK}.feed_forward.W_gate_up": f"{_LAYER}.mlp.gate_up_proj.weight",
        },
    ),
)
