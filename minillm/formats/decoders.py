"""Models that predict the next token as transformers stores them: GPT-2, Llama, Mamba, and others.

GPT-2's linear layers ("Conv1D") have weights (in, out), as ours do: nothing is transposed.  Those
of the other models are (out, in).

A Llama has separate matrices of N, M and M heads for query, key and value, and two for gate and up;
ours are side by side.  Pairs of rotated numbers are halves of a head, as in ours.
:mod:`minillm.formats.angles` reads the angles.  The relatives of Llama have the same form, and
entries for the changes of :mod:`minillm.models.decoders`.  Every n-th layer differs, for an n that
is an entry; a list of layers must agree with it.  A Gemma must divide its scores by sqrt(w), as all
but the largest do, and stores a gain as its difference from 1, because weight decay pulls numbers
to 0.  Phi-3 has one matrix for query, key and value, and one for gate and up, as ours are.

A Mamba's A_log (E, N) is as ours.  The filters of its convolution are (E, 1, K); ours are (K, E).
"""

from dataclasses import replace
from typing import Any

from minillm.data.entries import Entries
from minillm.errors import InputError
from minillm.formats.angles import angle_entries, read_angles
from minillm.formats.layout import SILU, Layout, Tensors, relative
from minillm.formats.weights import TABLES
from minillm.models.decoders import FAMILIES, Decoder, DecoderConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.models.mamba import Mamba, MambaConfig

GPT2 = Layout(
    model_type="gpt2",
    classes=("GPT2LMHeadModel", "GPT2Model"),
    model=GPT,
    config=GPTConfig,
    entries={
        "vocabulary": "vocab_size",
        "context": "n_positions",
        "layers": "n_layer",
        "heads": "n_head",
        "width": "n_embd",
        "dropout": "resid_pdrop",
    },
    defaults={"resid_pdrop": 0.1},
    fixed={
        "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # two names of one function
        "layer_norm_epsilon": (1e-5,),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
    },
    written={"attn_pdrop": 0.0},
    more_entries=lambda layout, config: {"embd_pdrop": config.dropout},
    names={
        "embedding": "wte",
        "positions": "wpe",
        "blocks.*.norm_1": "h.*.ln_1",
        "blocks.*.attention.qkv": "h.*.attn.c_attn",
        "blocks.*.attention.o": "h.*.attn.c_proj",
        "blocks.*.norm_2": "h.*.ln_2",
        "blocks.*.feed_forward.1": "h.*.mlp.c_fc",
        "blocks.*.feed_forward.2": "h.*.mlp.c_proj",
        "norm": "ln_f",
    },
    prefix="transformer.",
    heads={"output": "lm_head"},
    as_theirs=("",),  # all
    ignored=r"h\.\d+\.attn\.(masked_)?bias",  # masks of older versions
)


# --- Llama and its relatives ---------------------------------------------------------------------


def check_others_have_it(config: LlamaConfig) -> None:
    """InputError for a model with hashed n-grams or sinks, which no other program has."""
    if ngrams := getattr(config, "ngrams", None):
        raise InputError(
            "expected a model without n-grams, which other programs lack (train with --ngrams 1), "
            f"found n-grams of up to {ngrams} tokens"
        )
    if sinks := getattr(config, "sinks", 0):
        raise InputError(f"expected no sinks, which other programs lack, found {sinks}", "sinks")


def _llama_fields(layout: Layout, file: Entries, tensors: Tensors) -> dict[str, Any]:
    """The angles, and the numbers that the family's changes need."""
    found, types = dict[str, Any](), file.values.get("layer_types")
    found["rotary_base"], found["rope_scaling"] = read_angles(file)
    changes = FAMILIES.get(layout.family)
    if changes and changes.windows and file.values.get("sliding_window") is not None:
        window = file.size("sliding_window")
        found["window"] = window if window < file.size("max_position_embeddings") else None
    if isinstance(types, list) and any(one != _WHOLE for one in types):
        raise file.wrong("layer_types", f"{_WHOLE!r} for all layers")
    return found


def _llama_entries(layout: Layout, config: Any) -> dict[str, Any]:
    """The angles, and the window; InputError for a model with n-grams."""
    check_others_have_it(config)
    changes = FAMILIES.get(layout.family)
    window = {"sliding_window": config.window} if changes and changes.windows else {}
    return angle_entries(config) | window


LLAMA = Layout(
    model_type="llama",
    classes=("LlamaForCausalLM", "LlamaModel"),
    model=Llama,
    config=LlamaConfig,
    entries={
        "vocabulary": "vocab_size",
        "context": "max_position_embeddings",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "key_heads": "num_key_value_heads",
        "width": "hidden_size",
        "feed_forward": "intermediate_size",
        "head_width": "head_dim",
        "eps": "rms_norm_eps",
        "tied": "tie_word_embeddings",
    },
    defaults={
        "num_key_value_heads": None,
        "head_dim": None,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
    },
    fixed=SILU,
    written={"attention_dropout": 0.0},
    more=_llama_fields,
    more_entries=_llama_entries,
    names={
        "embedding": "embed_tokens",
        "blocks.*.norm_1": "layers.*.input_layernorm",
        "blocks.*.attention.qkv": tuple(f"layers.*.self_attn.{n}_proj" for n in "qkv"),
        "blocks.*.attention.norm_q": "layers.*.self_attn.q_norm",
        "blocks.*.attention.norm_k": "layers.*.self_attn.k_norm",
        "blocks.*.attention.o": "layers.*.self_attn.o_proj",
        "blocks.*.norm_2": "layers.*.post_attention_layernorm",
        "blocks.*.feed_forward.gate_up": ("layers.*.mlp.gate_proj", "layers.*.mlp.up_proj"),
        "blocks.*.feed_forward.down": "layers.*.mlp.down_proj",
        "norm": "norm",
    },
    prefix="model.",
    heads={"output": "lm_head"},
    ignored=r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq",  # of older versions
)


_DECODER = replace(LLAMA, model=Decoder, config=DecoderConfig)
_NO_WINDOW = {**SILU, "use_sliding_window": (False,)}
_INTERVAL = "no_rope_layer_interval"
_WHOLE, _LOCAL = "full_attention", "sliding_attention"
_PATTERN = "sliding_window_pattern"
_SCALE, _LOCAL_BASE = "query_pre_attn_scalar", "rope_local_base_freq"


def _check_layers(file: Entries, name: str, n: int, either: tuple[Any, Any]) -> None:
    """InputError for a list of layers where others than every n-th have ``either[1]``."""
    layers, found = file.size("num_hidden_layers"), file.values.get(name)
    expected = [either[(layer + 1) % n == 0] for layer in range(min(layers, 10_000))]
    if found is not None and (not isinstance(found, list) or found[:layers] != expected):
        raise file.wrong(name, f"{either[1]!r} for every layer of number {n}, 2 {n} and so on")


def _smollm3_fields(layout: Layout, file: Entries, tensors: Tensors) -> dict[str, Any]:
    """The numbers of a SmolLM 3: some layers have no rotation."""
    n = file.size(_INTERVAL)
    _check_layers(file, "no_rope_layers", n, (1, 0))
    return _llama_fields(layout, file, tensors) | {"unrotated_every": n}


def _smollm3_entries(layout: Layout, config: DecoderConfig) -> dict[str, Any]:
    """The inverse of :func:`_smollm3_fields`; the list is for other programs."""
    rotated = [int(config.rotation_of(layer) is not None) for layer in range(config.layers)]
    n = config.unrotated_every or config.layers + 1
    return _llama_entries(layout, config) | {_INTERVAL: n, "no_rope_layers": rotated}


def _gemma_fields(layout: Layout, file: Entries, tensors: Tensors) -> dict[str, Any]:
    """The numbers of a Gemma: some layers have no window, and the others have other angles."""
    width, values = file.values["head_dim"], dict(file.values)
    file.check(_SCALE, (width,), f"{width}, as head_dim")
    if values.get(f"_{_PATTERN}") is not None:  # its name in transformers 5
        values[_PATTERN] = values[f"_{_PATTERN}"]
    angles = values.get("rope_parameters")
    if isinstance(angles, dict):  # there is an object for each type of layer
        whole, local = (angles.get(one) or {} for one in (_WHOLE, _LOCAL))
        if not isinstance(whole, dict) or not isinstance(local, dict):
            raise file.wrong("rope_parameters", "an object for each type of layer")
        Entries(f"{file.path}: rope_parameters: {_LOCAL}", local).check("rope_type", ("default",))
        values["rope_parameters"] = whole
        values["rope_theta"] = whole.get("rope_theta", values["rope_theta"])
        values[_LOCAL_BASE] = local.get("rope_theta", values[_LOCAL_BASE])
    file = Entries(file.path, values)
    n = file.size(_PATTERN)
    _check_layers(file, "layer_types", n, (_LOCAL, _WHOLE))
    without_types = Entries(file.path, {**values, "layer_types": None})
    found = _llama_fields(layout, without_types, tensors)
    return found | {"global_every": n, "local_base": file.number(_LOCAL_BASE)}


def _gemma_entries(layout: Layout, config: DecoderConfig) -> dict[str, Any]:
    """The inverse of :func:`_gemma_fields`."""
    n = config.global_every or (config.layers + 1 if config.window else 1)
    types = [_LOCAL if (layer + 1) % n else _WHOLE for layer in range(config.layers)]
    return _llama_entries(layout, config) | {
        "sliding_window": config.window or config.context,
        _PATTERN: n,
        "layer_types": types,
        _LOCAL_BASE: config.local_base if config.global_every else config.rotary_base,
        _SCALE: config.head_width,
    }


RELATIVES = (
    relative(
        _DECODER,
        "mistral",
        classes=("MistralForCausalLM", "MistralModel"),
        defaults={"num_key_value_heads": 8, "sliding_window": 4096},
    ),
    relative(
        _DECODER,
        "qwen2",
        classes=("Qwen2ForCausalLM", "Qwen2Model"),
        fixed=_NO_WINDOW,
    ),
    relative(
        _DECODER,
        "qwen3",
        classes=("Qwen3ForCausalLM", "Qwen3Model"),
        defaults={"head_dim": 128},
        fixed=_NO_WINDOW,
    ),
    relative(
        _DECODER,
        "smollm3",
        classes=("SmolLM3ForCausalLM", "SmolLM3Model"),
        defaults={
            "num_key_value_heads": 4,
            "rope_theta": 2e6,
            "tie_word_embeddings": True,
            _INTERVAL: 4,
        },
        fixed=_NO_WINDOW,
        more=_smollm3_fields,
        more_entries=_smollm3_entries,
    ),
    relative(
        _DECODER,
        "gemma3",
        classes=("Gemma3ForCausalLM", "Gemma3TextModel"),
        model_type="gemma3_text",
        defaults={
            "num_key_value_heads": 4,
            "head_dim": 256,
            "sliding_window": 4096,
            "rope_theta": 1e6,
            "tie_word_embeddings": True,
            _SCALE: 256,
            _PATTERN: 6,
            _LOCAL_BASE: 10000.0,
        },
        fixed={
            "hidden_activation": ("gelu_pytorch_tanh",),
            "attn_logit_softcapping": (None,),
            "final_logit_softcapping": (None,),
            "use_bidirectional_attention": (False, None),
        },
        more=_gemma_fields,
        more_entries=_gemma_entries,
        names={
            "blocks.*.attention.norm": "layers.*.post_attention_layernorm",
            "blocks.*.norm_2": "layers.*.pre_feedforward_layernorm",
            "blocks.*.feed_forward.norm": "layers.*.post_feedforward_layernorm",
        },
        gain=1.0,
    ),
    relative(
        _DECODER,
        "phi3",
        classes=("Phi3ForCausalLM", "Phi3Model"),
        defaults={"rms_norm_eps": 1e-5},
        names={
            "blocks.*.attention.qkv": "layers.*.self_attn.qkv_proj",
            "blocks.*.feed_forward.gate_up": "layers.*.mlp.gate_up_proj",
        },
    ),
)


# --- Mamba ---------------------------------------------------------------------------------------


def _mamba_fields(layout: Layout, file: Entries, tensors: Tensors) -> dict[str, Any]:
    """The inner width, by default ``expand`` times the width, and the rank."""
    found, values, expand = dict[str, Any](), file.values, file.size("expand")
    if values["intermediate_size"] is None:
        found["inner"] = expand * file.size("hidden_size")
    if values.get("time_step_rank", "auto") not in ("auto", None):
        found["rank"] = file.size("time_step_rank")
    return found


def _mamba_entries(layout: Layout, config: MambaConfig) -> dict[str, Any]:
    """The inner width once more, in other words, and the rank."""
    expand, rest = divmod(config.inner, config.width)
    return {"time_step_rank": config.rank} | ({} if rest else {"expand": expand})


MAMBA = Layout(
    model_type="mamba",
    classes=("MambaForCausalLM", "MambaModel"),
    model=Mamba,
    config=MambaConfig,
    entries={
        "vocabulary": "vocab_size",
        "layers": "num_hidden_layers",
        "width": "hidden_size",
        "inner": "intermediate_size",
        "state": "state_size",
        "convolution": "conv_kernel",
        "eps": "layer_norm_epsilon",
        "tied": "tie_word_embeddings",
    },
    defaults={
        "state_size": 16,
        "conv_kernel": 4,
        "expand": 2,
        "intermediate_size": None,
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": True,
    },
    fixed=SILU,
    written={"residual_in_fp32": True},  # how sums are rounded in half precision
    more=_mamba_fields,
    more_entries=_mamba_entries,
    names={
        "embedding": "embeddings",
        "layers.*.norm": "layers.*.norm",
        "layers.*.input": "layers.*.mixer.in_proj",
        "layers.*.convolution": "layers.*.mixer.conv1d",
        "layers.*.selection": "layers.*.mixer.x_proj",
        "layers.*.step": "layers.*.mixer.dt_proj",
        "layers.*.A_log": "layers.*.mixer.A_log",
        "layers.*.skip": "layers.*.mixer.D",
        "layers.*.output": "layers.*.mixer.out_proj",
        "norm": "norm_f",
    },
    prefix="backbone.",
    heads={"output": "lm_head"},
    as_theirs=(*TABLES, ".A_log"),
    filters=(".convolution.W",),
    older=((r"^embedding\.", "embeddings."),),
)

LAYOUTS = (GPT2, LLAMA, *RELATIVES, MAMBA)
