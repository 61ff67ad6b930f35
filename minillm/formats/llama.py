"""Llama as Hugging Face's library transformers stores it (:mod:`minillm.formats.huggingface`).

Many models of others have this form, such as SmolLM2.  The tokenizer is one of byte pairs:
tokenizer.json, or vocab.json and merges.txt.

Its linear layers have weights (out, in), the transpose of ours.  Query, key and value are three
matrices, of N, M and M heads, and so are gate and up; ours are side by side.  Pairs of rotated
numbers are halves of a head, as in ours.  :mod:`minillm.formats.angles` reads the angles.

The families of :mod:`minillm.formats.variants` have the same form, and entries for the changes of
:mod:`minillm.models.variants`.  Two changes can only be represented if they follow a rule.  A list
of layers (``layer_types``, ``no_rope_layers``) must name every n-th layer.  A Gemma must divide its
scores by sqrt(w), as all but the largest do.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minillm.data.entries import Entries
from minillm.formats.angles import ORIGINAL, config_entries, read_angles
from minillm.formats.gguf import check_others_have_it, widths_of
from minillm.formats.huggingface import SILU, Transformers
from minillm.formats.tensors import Tensor
from minillm.formats.weights import Weight, every, weights_of
from minillm.models.llama import Llama, LlamaConfig
from minillm.models.variants import FAMILIES, Changes

_WHOLE, _LOCAL = "full_attention", "sliding_attention"
_SCALE = "query_pre_attn_scalar"
_LOCAL_BASE = "rope_local_base_freq"
_PATTERNS = ("sliding_window_pattern", "_sliding_window_pattern")  # the second of transformers 5


@dataclass(frozen=True, kw_only=True)
class LlamaFolder(Transformers):
    """Folders of a Llama, or of a family of its variants."""

    family: str = ""  # none: a Llama

    @property
    def changes(self) -> Changes:
        """The changes of the family to a Llama."""
        return FAMILIES.get(self.family, Changes())

    def holds(self, model: Any) -> bool:
        """Whether the model is one of this family."""
        return super().holds(model) and getattr(model.config, "family", "") == self.family

    def weights(self, config: LlamaConfig) -> Iterator[Weight]:
        """Keys and values may have fewer heads than queries."""
        shapes = self.model_of(config).shapes(config)
        return weights_of(shapes, self.names, self.transposed, widths_of(config))

    def fields(self, file: Entries, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """The angles, and the numbers that the family's changes need."""
        changes, found = self.changes, dict[str, Any]()
        if self.family:
            found["family"] = self.family
        found["rotary_base"], found["rope_scaling"] = read_angles(file)
        if changes.windows:
            found["window"] = _window(file)
        types = file.values.get("layer_types")
        if changes.global_every:
            width = file.values.get("head_dim")
            file.check(_SCALE, (width,), f"{width}, as head_dim")
            either = (_LOCAL, _WHOLE)
            n = _every(file, _PATTERNS, "layer_types", either, changes.global_every)
            found["global_every"] = n
            found["local_base"] = file.number(_LOCAL_BASE, 10000.0)
        elif isinstance(types, list) and any(one != _WHOLE for one in types):
            raise file.wrong("layer_types", f"{_WHOLE!r} for all layers")
        if changes.unrotated_every:
            interval, default = ("no_rope_layer_interval",), changes.unrotated_every
            found["unrotated_every"] = _every(file, interval, "no_rope_layers", (1, 0), default)
        return found

    def entries(self, config: Any) -> dict[str, Any]:
        """The angles, and what the family's changes need; InputError for n-grams or sinks."""
        check_others_have_it(config)
        changes, layers = self.changes, range(config.layers)
        entries = super().entries(config) | config_entries(config)
        scaling = entries["rope_scaling"] or {}
        if ORIGINAL in self.defaults and ORIGINAL in scaling:
            entries[ORIGINAL] = scaling[ORIGINAL]  # the default would replace the one inside
        if changes.windows:
            entries["sliding_window"] = config.window
        if changes.global_every:
            none = not (config.global_every or config.window)
            local = config.local_base if config.global_every else config.rotary_base
            whole = [none or config.is_global(layer) for layer in layers]
            entries |= {
                "sliding_window": config.window or config.context,
                "layer_types": [_WHOLE if one else _LOCAL for one in whole],
                _LOCAL_BASE: local,
                _SCALE: config.head_width,
            }
        if changes.unrotated_every:
            entries["no_rope_layers"] = [int(config.rotation_of(n) is not None) for n in layers]
        return entries

    def completed(self, file: Entries) -> Entries:
        """The entries, completed by defaults; the angles are the global layers'."""
        values = dict(super().completed(file).values)
        angles = values.get("rope_parameters")
        if self.changes.global_every and isinstance(angles, dict):
            of_types = {name: angles.get(name) or {} for name in (_WHOLE, _LOCAL)}
            if not all(isinstance(one, dict) for one in of_types.values()):
                raise file.wrong("rope_parameters", "an object for each type of layer")
            place = f"{file.path}: rope_parameters: {_LOCAL}"
            Entries(place, of_types[_LOCAL]).check("rope_type", ("default",))
            values["rope_parameters"] = of_types[_WHOLE]
            for name, one in (("rope_theta", _WHOLE), (_LOCAL_BASE, _LOCAL)):
                if "rope_theta" in of_types[one]:
                    values[name] = of_types[one]["rope_theta"]
        return Entries(file.path, values)


def _window(file: Entries) -> int | None:
    """The window; None for one that never hides a token."""
    if file.values.get("sliding_window") is None:
        return None
    window = file.size("sliding_window")
    return window if window < file.size("max_position_embeddings") else None


def _every(
    file: Entries, intervals: Sequence[str], name: str, either: tuple[Any, Any], default: int
) -> int:
    """n, if every n-th layer is marked, with the second one of ``either`` in the list ``name``.

    Without a list, n is one of the ``intervals``, or the default.  InputError for other lists.
    """
    for interval in intervals:
        if file.values.get(interval) is not None:
            default = file.size(interval)
    values, layers = file.values.get(name), file.size("num_hidden_layers")
    if values is None:
        return default
    if (
        not isinstance(values, list)
        or len(values) < layers
        or any(value not in either for value in values)
    ):
        expected = " or ".join(map(repr, sorted(either)))
        raise file.wrong(name, f"a list with {expected} for each of {layers} layers")
    n = every([value == either[1] for value in values[:layers]], default)
    if n is None:
        raise file.wrong(name, "every n-th layer to differ from the others, for one n")
    return n


LLAMA = LlamaFolder(
    signature="a folder with a Llama or one of its variants",
    models=(Llama,),
    config_type=LlamaConfig,
    model_type="llama",
    architectures=("LlamaForCausalLM", "LlamaModel"),
    sizes={
        "vocabulary": "vocab_size",
        "context": "max_position_embeddings",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "key_heads": "num_key_value_heads",
        "width": "hidden_size",
        "feed_forward": "intermediate_size",
        "head_width": "head_dim",
    },
    numbers={"eps": (1e-6, "rms_norm_eps"), "tied": (False, "tie_word_embeddings")},
    fixed={**SILU, "attention_bias": (False,), "mlp_bias": (False,)},
    defaults={"num_key_value_heads": None, "head_dim": None},
    written={"attention_dropout": 0.0},
    names={
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
    },
    prefix="model.",
    buffers=r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq",  # of older versions
)
FORMATS = (LLAMA,)
