"""The layout of a model in transformers: a row says where its sizes and its weights are.

A row is plain data, and two functions where a few entries of config.json do not correspond to one
field of ours.  :mod:`minillm.formats.decoders` and :mod:`minillm.formats.encoders` have the rows.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from minillm.data.entries import Entries, in_file
from minillm.formats.tensors import Tensor
from minillm.formats.weights import TABLES, Names, Weight, weights_of
from minillm.models.fine_tuned import PREFIX, FineTuned, FineTunedConfig

Allowed = Mapping[str, tuple[Any, ...]]  # the values that entries may have, the default first
Tensors = Mapping[str, Tensor]

SILU: Allowed = {"hidden_act": ("silu", "swish")}  # two names of one function


@dataclass(frozen=True)
class Classifier:
    """The last layers of a classifier of texts: a hidden layer, and the output."""

    hidden: str  # the beginning of the names of its tensors
    output: str
    activation: str  # of the hidden layer
    dropout: str = "classifier_dropout"  # the entry; null: as inside the encoder


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One type of model: entries of its config.json, and the names of its tensors."""

    model_type: str
    classes: tuple[str, ...]  # of transformers, which have these weights; the first one is written
    model: type
    config: type
    family: str = ""  # the config's, if the model is one of several relatives
    causal: bool = True  # whether a token sees no later ones

    # config.json
    entries: Mapping[str, str]  # fields of our config, their entries
    defaults: Mapping[str, Any] = field(default_factory=dict)  # None: ours; also says the type
    fixed: Allowed  # entries that may vary in their model, but not in ours, and show in no tensor
    written: Mapping[str, Any] = field(default_factory=dict)  # entries of every such model
    more: Callable[["Layout", Entries, Tensors], dict[str, Any]] = lambda layout, file, tensors: {}
    more_entries: Callable[["Layout", Any], dict[str, Any]] = lambda layout, config: {}

    # weights
    names: Names  # with the prefix, unless a model was saved without it
    prefix: str
    heads: Mapping[str, str] = field(default_factory=dict)  # names without the prefix
    output: str = "lm_head.weight"  # which may be tied to the embedding
    as_theirs: tuple[str, ...] = TABLES  # endings of names of ours: all others are transposed
    filters: tuple[str, ...] = ()
    gain: float = 0.0  # our gains are theirs and this
    ignored: str = "(?!)"  # a pattern of the names of tensors that are not weights
    older: tuple[tuple[str, str], ...] = ()  # patterns in older files, and what is there today
    classifier: Classifier | None = None

    def offset(self, name: str) -> float:
        """The difference between our parameter and their tensor."""
        return self.gain if name.endswith(".gain") else 0.0


def relative(base: Layout, family: str, **changes: Any) -> Layout:
    """The layout of a relative: ``base`` with further names, entries and defaults."""
    for name in ("names", "entries", "defaults"):
        changes[name] = {**getattr(base, name), **changes.get(name, {})}
    return replace(base, **{"family": family, "model_type": family} | changes)


def plain(layout: Layout, name: str) -> str:
    """The one name of a tensor that may have several."""
    name = name.removeprefix(layout.prefix)
    for before, today in layout.older:
        name = re.sub(before, today, name)
    return name


def stored(layout: Layout, name: str, config: Any) -> str:
    """The name of a tensor or a module in a file; an encoder without heads has no prefix."""
    encoder = layout.config is type(config) and not layout.causal
    if encoder and not config.masked_words:
        return name
    outside, last = [*layout.heads.values()], layout.classifier
    if last:
        outside.append(last.output)
        outside += [last.hidden] if last.hidden not in layout.names.values() else []
    roots = {one.partition(".")[0] for one in outside}
    return name if name.partition(".")[0] in roots else layout.prefix + name


def model_of(layout: Layout, config: Any) -> Any:
    """The class of the model with this config, which may be a classifier's."""
    return FineTuned if isinstance(config, FineTunedConfig) else layout.model


def encoder_config(config: Any) -> Any:
    """The config of an encoder, which may be inside a classifier's."""
    return config.encoder if isinstance(config, FineTunedConfig) else config


def names_of(layout: Layout, config: Any) -> Names:
    """The names of all tensors by ours, which are others in a classifier."""
    names = {**layout.names, **layout.heads}
    last = layout.classifier
    if last is None or not isinstance(config, FineTunedConfig):
        return names
    of_encoder: Names = {f"{PREFIX}{ours}": theirs for ours, theirs in names.items()}
    return {**of_encoder, "head": last.hidden, "output": last.output}


def weights(layout: Layout, config: Any) -> Iterator[Weight]:
    """The parameters of a model, and their tensors."""
    shapes = model_of(layout, config).shapes(config)
    names = names_of(layout, config)
    return weights_of(shapes, names, config, layout.as_theirs, layout.filters)


def tied(layout: Layout, config: Any) -> dict[str, tuple[str, str]]:
    """The second names of tensors, their first names, and our parameters."""
    may_be = config.tied if hasattr(config, "tied") else getattr(config, "masked_words", True)
    if not may_be or isinstance(config, FineTunedConfig):
        return {}
    found = {layout.output: (f"{layout.names['embedding']}.weight", "embedding.E")}
    second, first = layout.output.replace(".weight", ".bias"), layout.heads.get("mask.output_b")
    return found | ({second: (first, "mask.output_b")} if first not in (None, second) else {})


def config_of(layout: Layout, file: Entries, tensors: Tensors) -> Any:
    """Our config of a model; InputError for one that ours cannot represent.

    The file has to name one of the classes, or none.  Entries that are not known here are ignored,
    as in transformers.
    """
    names = file.values.get("architectures") or list(layout.classes)
    if not isinstance(names, list) or not any(name in layout.classes for name in names):
        raise file.wrong("architectures", " or ".join(layout.classes))
    causal = (True,) if layout.causal else (False, None)
    file.check_all({"quantization_config": (None,), "is_causal": causal, **layout.fixed})
    file = Entries(file.path, {**layout.defaults, **file.values})
    found = dict[str, Any]()
    for ours, theirs in layout.entries.items():
        default = layout.defaults.get(theirs)
        if isinstance(default, bool | float):
            read: Any = file.flag if isinstance(default, bool) else file.number
            found[ours] = read(theirs, default)
        elif file.values.get(theirs) is not None or theirs not in layout.defaults:
            found[ours] = file.size(theirs)
    found |= {"family": layout.family} if layout.family else {}
    found |= layout.more(layout, file, tensors)
    with in_file(file.path):
        return layout.config(**found)


def entries_of(layout: Layout, config: Any) -> dict[str, Any]:
    """The entries of config.json for a config of ours; InputError for one that theirs lacks."""
    found = {
        "model_type": layout.model_type,
        "architectures": [layout.classes[0]],
        **{name: allowed[0] for name, allowed in layout.fixed.items()},
        "tie_word_embeddings": True,
        **layout.written,
        **{theirs: getattr(config, ours) for ours, theirs in layout.entries.items()},
        **layout.more_entries(layout, config),
    }
    Entries(f"a {layout.model_type}", found).check_all(layout.fixed)
    return found
