"""Variants of Llama as transformers stores them: Mistral, Qwen, SmolLM 3, Gemma 3, Phi 3.

:mod:`minillm.formats.llama` explains the layout, and :mod:`minillm.formats.families` says, for each
family, where its files differ.  Here are the entries of config.json for the changes of
:mod:`minillm.models.variants`.

Two changes can only be represented if they follow a rule.  A list of layers (``layer_types``,
``no_rope_layers``) must name every n-th layer.  A Gemma may divide its scores by another number
than sqrt(w), the root of ``query_pre_attn_scalar``; its quotient with ours becomes part of the gain
that multiplies each query.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from minillm.data.entries import Entries, in_file
from minillm.data.files import read_json
from minillm.errors import Reasons
from minillm.formats.angles import ORIGINAL
from minillm.formats.families import FILES, NAMES, every
from minillm.formats.format import Contents, Format
from minillm.formats.llama import LlamaFolder
from minillm.formats.tensors import Tensor
from minillm.models.variants import FAMILIES, Variant, VariantConfig

_WHOLE, _LOCAL = "full_attention", "sliding_attention"
_SCALE = "query_pre_attn_scalar"
_PATTERNS = ("sliding_window_pattern", "_sliding_window_pattern")  # the second of transformers 5
_OF_CHANGES = {  # entries that are read below
    "windows": {"sliding_window"},
    "global_every": {"layer_types", "rope_local_base_freq", _SCALE, *_PATTERNS},
    "unrotated_every": {"no_rope_layers", "no_rope_layer_interval"},
}


class FamilyFolder(LlamaFolder):
    """Folders of one family."""

    models = (Variant,)
    signature = None

    def __init__(self, family: str):
        self.family, self.row = family, FILES[family]
        changes = FAMILIES[family]
        read = [names for change, names in _OF_CHANGES.items() if getattr(changes, change)]
        row = {
            "model_type": self.row.model_type or family,
            "architectures": self.row.architectures,
            "fixed": self.row.fixed,
            "gain": self.row.gain,
            "others": LlamaFolder.others.union(self.row.others, *read),
            "names": {**LlamaFolder.names, **NAMES, **self.row.names},
        }
        for name, value in row.items():  # they replace what the class declares of a Llama
            setattr(self, name, value)

    @classmethod
    def declared(cls) -> list[Format]:
        """A format for each family."""
        return [cls(family) for family in FILES]

    def holds(self, model: Any) -> bool:
        """Whether the model is one of this family."""
        return super().holds(model) and model.config.family == self.family

    def recognises(self, path: Path, head: bytes) -> bool:
        """Whether config.json has the family's type, or a relative's, which ``read`` refuses."""
        config = path / "config.json"
        found = read_json(config).get("model_type") if config.is_file() else None
        return found == self.model_type or (isinstance(found, str) and found in self.row.refused)

    def read(self, path: str | Path, baseline: Any = None) -> Contents:
        """The model, with gains as ours, and a gain of its queries that scales the scores."""
        contents = super().read(path, baseline)
        config, params = contents.model.config, contents.model.params
        file = self._completed(Entries(path, read_json(Path(path) / "config.json")))
        scale = np.sqrt(config.head_width / file.number(_SCALE, config.head_width))
        for name, array in params.items():
            if name.endswith(".gain"):
                array += np.float32(self.gain)
            if name.endswith(".norm_q.gain"):
                array *= np.float32(scale)
        return contents

    def write(self, contents: Contents, path: str | Path, options: Any = None) -> None:
        """See :meth:`minillm.formats.huggingface.Transformers.write`."""
        model, gain = contents.model, np.float32(self.gain)
        params = {
            name: array - gain if name.endswith(".gain") else array
            for name, array in model.params.items()
        }
        super().write(replace(contents, model=Variant(model.config, params=params)), path, options)

    def _supported(self, file: Entries, tensors: Mapping[str, Tensor]) -> Any:
        """Also the reason why a relative of the family is refused."""
        reason = self.row.refused.get(str(file.values.get("model_type")))
        if reason is not None:
            raise file.wrong("model_type", f"{self.model_type!r}: {reason}")
        return super()._supported(file, tensors)

    def config(self, file: Entries, tensors: Mapping[str, Tensor]) -> VariantConfig:
        """A Llama's sizes, and what the family's changes need."""
        file = self._completed(file)
        changes, given, reasons = FAMILIES[self.family], dict[str, Any](), Reasons()
        with reasons:
            config = super().config(file, tensors)
        with reasons:
            if changes.windows:
                given["window"] = _window(file)
        with reasons:
            if changes.global_every:
                given["global_every"] = _global_every(file, changes.global_every)
                given["local_base"] = file.number("rope_local_base_freq", 10000.0)
            else:
                _check_types(file)
        with reasons:
            if changes.unrotated_every:
                given["unrotated_every"] = _unrotated_every(file, changes.unrotated_every)
        with reasons:
            if file.number(_SCALE, 1) <= 0:
                raise file.wrong(_SCALE, "a number above 0")
        reasons.check()
        with in_file(file.path):
            return VariantConfig(**vars(config), family=self.family, **given)

    def entries(self, config: Any) -> dict[str, Any]:
        """A Llama's entries, and the entries that the changes need."""
        changes, layers = config.changes, range(config.layers)
        entries = super().entries(config) | {"pad_token_id": None}  # some have a default here
        scaling = entries["rope_scaling"] or {}
        if ORIGINAL in self.row.defaults and ORIGINAL in scaling:
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
                "rope_local_base_freq": local,
                _SCALE: config.head_width,
            }
        if changes.unrotated_every:
            entries["no_rope_layers"] = [int(config.rotation_of(n) is not None) for n in layers]
        return entries

    def _completed(self, file: Entries) -> Entries:
        """The entries, completed by defaults; the angles are the global layers'."""
        values = {**self.row.defaults, **file.values}
        angles = values.get("rope_parameters")
        if FAMILIES[self.family].global_every and isinstance(angles, dict):
            for name in (_WHOLE, _LOCAL):
                if not isinstance(angles.get(name) or {}, dict):
                    raise file.wrong("rope_parameters", "an object for each type of layer")
            whole, local = (angles.get(name) or {} for name in (_WHOLE, _LOCAL))
            part = Entries(f"{file.path}: rope_parameters: {_LOCAL}", local)
            part.check("rope_type", ("default",))
            values |= {"rope_parameters": whole}
            for name, of in (("rope_theta", whole), ("rope_local_base_freq", local)):
                if "rope_theta" in of:
                    values[name] = of["rope_theta"]
        return Entries(file.path, values)


def _window(file: Entries) -> int | None:
    """The window; None for one that never hides a token."""
    if file.values.get("sliding_window") is None:
        return None
    window = file.size("sliding_window")
    return window if window < file.size("max_position_embeddings") else None


def _global_every(file: Entries, default: int) -> int:
    """n, if every n-th layer sees all tokens; InputError for other lists of layers."""
    given = [name for name in _PATTERNS if file.values.get(name) is not None]
    default = file.size(given[0]) if given else default
    types = file.values.get("layer_types")
    if types is None:
        return default
    marked = [one == _WHOLE for one in _list(file, "layer_types", (_WHOLE, _LOCAL))]
    return _rule(file, "layer_types", marked, default)


def _unrotated_every(file: Entries, default: int) -> int:
    """n, if every n-th layer has no rotation; InputError for other lists of layers."""
    if file.values.get("no_rope_layer_interval") is not None:
        default = file.size("no_rope_layer_interval")
    if file.values.get("no_rope_layers") is None:
        return default
    marked = [not rotated for rotated in _list(file, "no_rope_layers", (0, 1))]
    return _rule(file, "no_rope_layers", marked, default)


def _list(file: Entries, name: str, allowed: tuple[Any, ...]) -> list[Any]:
    """An entry for each layer; InputError for others than the allowed ones."""
    values, layers = file.values[name], file.size("num_hidden_layers")
    if (
        not isinstance(values, list)
        or len(values) < layers
        or any(value not in allowed for value in values)
    ):
        either = " or ".join(map(repr, allowed))
        raise file.wrong(name, f"a list with {either} for each of {layers} layers")
    return values[:layers]


def _rule(file: Entries, name: str, marked: list[bool], default: int) -> int:
    """n, if exactly every n-th layer is marked."""
    n = every(marked, default)
    if n is None:
        raise file.wrong(name, "every n-th layer to differ from the others, for one n")
    return n


def _check_types(file: Entries) -> None:
    """InputError for layers with a window in a family that has none, or has it in all layers."""
    types = file.values.get("layer_types")
    if isinstance(types, list) and any(one != _WHOLE for one in types):
        raise file.wrong("layer_types", f"{_WHOLE!r} for all layers")
