"""Options: fields of dataclasses that carry their help and their range.

    @dataclass(frozen=True)
    class Sampling:
        top_k: int | None = option(None, "draw from the K most probable tokens", "K", least=1)

The options of the command line, their help texts, and the checks of values from a command line,
from Python or from a file all follow from such a declaration.
"""

import difflib
import math
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from typing import Any, NamedTuple, NewType, TypeVar, get_type_hints

from minillm.errors import InputError, short

Size = NewType("Size", int)  # a number of bytes, typed as 500M or 2G

# Options here -> their names in nanoGPT, Hugging Face, gensim, PyTorch, scikit-learn and elsewhere.
_SYNONYMS = {
    ("accumulate",): "gradient_accumulation_steps",
    ("algorithm",): "sg",
    ("apart",): "repeat_last_n",
    ("batch",): "batch_size per_device_train_batch_size",
    ("beam",): "beam_size beam_width num_beams",
    ("cell",): "rnn_type",
    ("clip",): "grad_clip max_grad_norm",
    ("context",): "n_ctx",
    ("context", "max_length", "max_source", "window"): "max_seq_length",
    ("context", "window"): "block_size context_length seq_len",
    ("count", "top"): "topn",
    ("data", "files"): "dataset train_file",
    ("dimension",): "vector_size",
    ("dimension", "hidden", "width"): "size",
    ("dimension", "width", "hidden"): "dim",
    ("embedding", "dimension", "width"): "embedding_dim",
    ("epochs",): "num_epochs num_train_epochs",
    ("epochs", "steps"): "iter",
    ("feed_forward",): "d_ff dim_feedforward ffn_dim intermediate_size",
    ("files",): "data",
    ("files", "data"): "corpus_file file input",
    ("final_rate",): "min_alpha",
    ("heads",): "n_head n_heads nhead num_attention_heads num_heads",
    ("hidden", "width"): "hidden_dim hidden_size",
    ("init",): "pretrained",
    ("init", "run_folder"): "model_name_or_path",
    ("key_heads",): "n_kv_heads num_key_value_heads",
    ("label_smoothing",): "label_smoothing_factor",
    ("layers",): "n_layer n_layers num_hidden_layers num_layers",
    ("learning_rate",): "lr",
    ("learning_rate", "lora_alpha"): "alpha",
    ("length",): "max_new_tokens max_tokens n_predict num_tokens",
    ("length", "context", "max_source"): "max_length",
    ("least",): "min_length min_new_tokens",
    ("length_exponent",): "length_penalty",
    ("lora_rank",): "lora_r r rank",
    ("lora_targets",): "target_modules",
    ("minimum_count",): "min_count",
    ("max_source",): "max_source_length",
    ("max_target",): "max_target_length",
    ("n_best",): "num_return_sequences",
    ("no_repeat",): "block_ngram_repeat no_repeat_ngram_size",
    ("optimiser",): "optim optimizer",
    ("order", "count", "n_best"): "n",
    ("out",): "out_dir output_dir save_dir",
    ("out", "to"): "output",
    ("overwrite",): "force",
    ("patience",): "early_stopping",
    ("precision",): "dtype",
    ("prompt",): "start text",
    ("quantise",): "quantize",
    ("resume",): "resume_from_checkpoint",
    ("run_folder",): "checkpoint model run",
    ("schedule",): "lr_scheduler_type",
    ("seed",): "random_state",
    ("steps",): "max_iters max_steps num_steps",
    ("steps", "epochs"): "iterations max_iter",
    ("subsample",): "sample",
    ("system",): "system_prompt",
    ("temperature",): "temp",
    ("threads",): "num_workers workers",
    ("tied",): "tie_word_embeddings",
    ("to", "out"): "output_file",
    ("validation",): "val_file validation_file",
    ("validations",): "eval_interval eval_steps",
    ("vocabulary",): "max_vocab_size vocab_size",
    ("warmup",): "warmup_iters warmup_ratio warmup_steps",
    ("width", "hidden"): "d_model",
    ("width", "hidden", "embedding"): "n_embd",
}
ELSEWHERE = {name: options for options, names in _SYNONYMS.items() for name in names.split()}

LARGEST = 10**9  # of numbers in a file that no option declares

S = TypeVar("S")


@dataclass(frozen=True)
class Option:
    """The description of a field, in addition to its name, type and default.

    least and most are inclusive bounds, above and below are exclusive ones.  positional: an
    argument without a name.  data: the setting says where the data are, and is stored with them.
    changeable: it may differ when a run is resumed.  rare: ``--help`` leaves it out, and
    ``--help-all`` shows it.  of_model: a field of the model's config has the same name, and stores
    it.
    """

    help: str
    metavar: str | None = None
    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    below: float = math.inf
    choices: tuple[str, ...] = ()
    group: str = "the model"
    default_help: str | None = None  # shown instead of the default
    positional: bool = False
    data: bool = False
    changeable: bool = False
    rare: bool = False
    of_model: bool = False

    def expected(self, type_: type) -> str:
        """A description of the values that are allowed."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if type_ is Size:
            return "a size such as 500M or 2G"
        if type_ is int:
            upper = f"to {self.most:.0f}" if math.isfinite(self.most) else "up"
            return f"a whole number from {self.least:.0f} {upper}"
        if type_ is float:
            bounds = {"at least": self.least, "above": self.above}
            bounds |= {"at most": self.most, "below": self.below}
            limits = [f"{word} {x:g}" for word, x in bounds.items() if math.isfinite(x)]
            return f"a number {' and '.join(limits)}".strip()
        return {bool: "true or false", str: "a text"}.get(type_, str(type_))

    def allows(self, value: object) -> bool:
        """Whether a value of the right type lies within the bounds."""
        if self.choices:
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        within = self.least <= value <= self.most and self.above < value < self.below
        return within and (isinstance(value, int) or math.isfinite(value))


def name_here(name: str, known: Mapping[str, str]) -> str:
    """A hint at the known name for an unknown one: of another program, or misspelt; or nothing.

    ``known`` maps names to the forms to show.

    >>> name_here("n_layer", {"layers": "--layers"}), name_here("layer", {"layers": "layers"})
    (': here it is --layers', '; did you mean layers?')
    """
    spelled = name.strip("-").replace("-", "_").lower()
    for option in (spelled, *ELSEWHERE.get(spelled, ())):
        if option in known:
            return f": here it is {known[option]}"
    close = difflib.get_close_matches(spelled, list(known), 3, 0.6)
    return f"; did you mean {', '.join(known[option] for option in close)}?" if close else ""


def check_names(names: Iterable[str], known: Collection[str], place: str = "") -> None:
    """InputError for a name that is not known; its message begins with ``place``."""
    for name in names:
        if name not in known:
            hint = name_here(name[:60], {option: option for option in known})
            raise InputError(f"{place}{name[:60]}: there is no such setting{hint}")


UNDECLARED = Option("", least=-LARGEST, most=LARGEST)


def option(
    default: Any,
    help: str,  # noqa: A002
    metavar: str | None = None,
    **details: Any,
) -> Any:
    """Declare a field."""
    return field(default=default, metadata={"option": Option(help, metavar, **details)})


def with_default(base: type, name: str, default: Any, **changes: Any) -> Any:
    """Declare the setting ``name`` of ``base`` with another default and other changes."""
    inherited = replace(option_of(base, name), **changes)
    return field(default=default, metadata={"option": inherited})


def option_of(settings: type, name: str) -> Option:
    """The option of the field ``name``; a plain default in a subclass keeps the rest of it.

    The fields of a config have none.
    """
    for base in settings.__mro__:
        declared = getattr(base, "__dataclass_fields__", {}).get(name)
        if declared is not None and "option" in declared.metadata:
            return declared.metadata["option"]
    return UNDECLARED


def names_of_sizes(settings: type) -> list[str]:
    """The names of the settings that the model's config stores."""
    return [name for name in types_of(settings) if option_of(settings, name).of_model]


class FieldType(NamedTuple):
    """The type of a field: ``tuple[str, ...]`` is several texts, ``str | None`` is optional."""

    plain: type
    several: bool
    optional: bool


def types_of(settings: type) -> dict[str, FieldType]:
    """The type of each field of a dataclass."""
    return _types_of(settings)  # once: it takes a millisecond


@cache
def _types_of(settings: type) -> dict[str, FieldType]:
    plain_types = {}
    hints = get_type_hints(settings)
    for entry in fields(settings):
        hint, optional, several = hints[entry.name], False, False
        if isinstance(hint, types.UnionType):
            optional = type(None) in hint.__args__
            hint = next(kind for kind in hint.__args__ if kind is not type(None))
        if typing.get_origin(hint) is tuple:
            several, hint = True, hint.__args__[0]
        plain_types[entry.name] = FieldType(hint, several, optional)
    return plain_types


def make(settings: type[S], values: Mapping[str, object], place: str = "") -> S:
    """A dataclass with these values, after a check, and defaults for the others.

    InputError for an unknown name, a missing value without a default, or a value with the wrong
    type or out of range; its message begins with ``place``.
    """
    return settings(**checked(settings, values, place))


def checked(
    cls: type,
    values: Mapping[str, object],
    place: str,
    bounds: type | None = None,
    given: Collection[str] = (),
) -> dict[str, object]:
    """Check the values of a dataclass's fields like :func:`make`, and return them.

    ``bounds`` are settings with the bounds of fields that are sizes.  ``given`` are the names of
    fields that come from elsewhere.
    """
    known, sizes = types_of(cls), names_of_sizes(bounds) if bounds else []
    result = {}
    check_names(values, known, place)
    for name, value in values.items():
        declared = option_of(bounds if bounds and name in sizes else cls, name)
        result[name] = _checked(declared, known[name], name, value, place)
    for entry in fields(cls):
        if entry.name not in (*values, *given) and entry.default is MISSING:
            raise InputError(f"{place}{entry.name!r} is missing")
    return result


def _checked(declared: Option, hint: FieldType, name: str, value: object, place: str) -> object:
    type_ = hint.plain
    if value is None and (hint.optional or type_ is bool):
        return None if hint.optional else False
    if hint.several and isinstance(value, list | tuple):
        return tuple(_checked_one(declared, type_, name, entry, place) for entry in value)
    return _checked_one(declared, type_, name, value, place)


def _checked_one(declared: Option, type_: type, name: str, value: object, place: str) -> object:
    plain = int if type_ is Size else type_
    if plain is float and type(value) is int and abs(value) < 2**63:
        value = float(value)
    right = isinstance(value, plain) and (plain is bool or not isinstance(value, bool))
    if not right or not declared.allows(value):
        raise InputError(
            f"{place}{name}: expected {declared.expected(type_)}, found {short(value)}"
        )
    return value
