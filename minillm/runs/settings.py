"""Settings: what can be chosen for a run, declared once, as the fields of a dataclass.

    @dataclass(frozen=True)
    class Settings(TrainingSettings):
        hidden: int = option(512, "width of a layer", "H", least=1, most=65536)

A field carries its default, its help and its range.  The command line's options, their help
texts, and the checks of what comes from a command line, from Python or from a stored
configuration all follow from it.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, NewType, TypeVar, get_type_hints

from minillm.errors import InputError, short

Size = NewType("Size", int)  # a number of bytes, typed as 500M or 2G

LENGTHS = ("minutes", "steps", "epochs")  # of a run: it has one of them
GROUPS = (  # in the order of a help text
    *("the text", "the model", "the run", "gradient descent"),
    "fine-tuning",
)

S = TypeVar("S")


@dataclass(frozen=True)
class Option:
    """What a field of settings has beside its name, type and default.

    least and most are inclusive bounds, above and below exclusive ones.  positional: an argument
    without a name.  data: it says where the data are, and is stored with what is known of them,
    not with the settings.  changeable: it may differ when a run is resumed.  excludes: the
    options none of which can be given together with it.
    """

    help: str
    metavar: str | None = None
    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    below: float = math.inf
    choices: tuple[str, ...] = ()
    group: str = "the model"
    default_help: str | None = None  # shown in place of the default
    positional: bool = False
    data: bool = False
    changeable: bool = False
    excludes: tuple[str, ...] = ()

    def wanted(self, type_: type) -> str:
        """What is expected, in words."""
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

    def allows(self, value: Any) -> bool:
        """Whether a value of the right type lies within the bounds."""
        if self.choices:
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        within = self.least <= value <= self.most and self.above < value < self.below
        return within and (isinstance(value, int) or math.isfinite(value))


def option(default: Any, help: str, metavar: str | None = None, **details: Any) -> Any:
    """A field of settings."""
    return field(default=default, metadata={"option": Option(help, metavar, **details)})


def with_default(base: type, name: str, default: Any, **changes: Any) -> Any:
    """The field ``name`` of ``base`` with another default, and with other changes to its option."""
    inherited = option_of(base, name)
    return field(default=default, metadata={"option": dataclasses.replace(inherited, **changes)})


def option_of(settings: type, name: str) -> Option:
    """The option that the field ``name`` declares."""
    return settings.__dataclass_fields__[name].metadata["option"]  # type: ignore[attr-defined]


@cache
def types_of(settings: type) -> dict[str, tuple[type, bool, bool]]:
    """For each field, its plain type, whether it holds several, and whether it may be None."""
    found = {}
    hints = get_type_hints(settings)
    for entry in fields(settings):
        hint, optional, several = hints[entry.name], False, False
        if isinstance(hint, types.UnionType):
            optional = type(None) in hint.__args__
            hint = next(kind for kind in hint.__args__ if kind is not type(None))
        if typing.get_origin(hint) is tuple:
            several, hint = True, hint.__args__[0]
        found[entry.name] = (hint, several, optional)
    return found


def make(settings: type[S], values: Mapping[str, Any], place: str = "") -> S:
    """Settings from values by name, all checked; fields that are not given have their defaults.

    InputError for an unknown name, a missing one without a default, or a value of another type or
    out of its range; its message begins with ``place``.
    """
    kinds = types_of(settings)  # type: ignore[arg-type]
    given = {}
    for name, value in values.items():
        if name not in kinds:
            raise InputError(f"{place}{name[:60]}: there is no such setting")
        given[name] = _checked(settings, name, value, place)
    for entry in fields(settings):  # type: ignore[arg-type]
        if entry.name not in given and entry.default is dataclasses.MISSING:
            raise InputError(f"{place}{entry.name!r} is missing")
    return settings(**given)


def _checked(settings: type, name: str, value: Any, place: str) -> Any:
    type_, several, optional = types_of(settings)[name]
    declared = option_of(settings, name)
    if value is None and (optional or type_ is bool):
        return None if optional else False
    if several and isinstance(value, list | tuple):
        return tuple(_checked_one(declared, type_, name, entry, place) for entry in value)
    return _checked_one(declared, type_, name, value, place)


def _checked_one(declared: Option, type_: type, name: str, value: Any, place: str) -> Any:
    plain = int if type_ is Size else type_
    if plain is float and type(value) is int and abs(value) < 2**63:
        value = float(value)
    right = isinstance(value, plain) and (plain is bool or not isinstance(value, bool))
    if not right or not declared.allows(value):
        raise InputError(f"{place}{name}: expected {declared.wanted(type_)}, found {short(value)}")
    return value


def values_of(settings: Any, data: bool) -> dict[str, Any]:
    """The fields that say where the data are, or all others, for JSON."""
    return {
        entry.name: getattr(settings, entry.name)
        for entry in fields(settings)
        if entry.metadata["option"].data == data
    }


# --- what several kinds share ------------------------------------------------------------------


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of every model that the training loop trains."""

    minutes: float | None = option(
        5.0,
        "train for M minutes, the learning rate following the clock",
        "M",
        above=0,
        most=1e6,
        group="the run",
        changeable=True,
        excludes=("steps", "epochs"),
    )
    steps: int | None = option(
        None,
        "train for N steps instead",
        "N",
        least=1,
        most=10**12,
        group="the run",
        changeable=True,
        excludes=("minutes", "epochs"),
    )
    epochs: int | None = option(
        None,
        "train until all of the training data have been read N times",
        "N",
        least=1,
        most=10**6,
        group="the run",
        changeable=True,
        excludes=("minutes", "steps"),
    )
    seed: int = option(
        0,
        "seed of the first weights, dropout and shuffling",
        "N",
        least=0,
        most=2**63,
        group="the run",
    )
    seeds: int | None = option(
        None,
        "train N times, from N seeds; the best run remains, and seeds.jsonl tells of all",
        "N",
        least=1,
        most=10_000,
        group="the run",
        changeable=True,
        default_help="",
    )
    validations: int | None = option(
        10,
        "measure the validation loss N times, evenly over the run, fewer where that would take "
        "more than a twentieth of the --minutes",
        "N",
        least=1,
        most=10**6,
        group="the run",
        changeable=True,
    )
    patience: int = option(
        0,
        "stop after N validations in a row without a better loss; 0: never",
        "N",
        least=0,
        most=10**6,
        group="the run",
        changeable=True,
    )
    checkpoint_seconds: float = option(
        30.0,
        "save for --resume every S seconds",
        "S",
        least=0,
        most=1e9,
        group="the run",
        changeable=True,
    )
    optimiser: str = option(
        "adamw",
        "the rule that turns gradients into steps",
        choices=("sgd", "adam", "adamw"),
        group="gradient descent",
    )
    learning_rate: float = option(
        3e-3,
        "learning rate at its peak: it warms up, then falls along a cosine to a hundredth",
        "R",
        above=0,
        group="gradient descent",
        changeable=True,
    )
    warmup: float = option(
        0.02,
        "fraction of the run in which the learning rate rises",
        "F",
        least=0,
        below=1,
        group="gradient descent",
    )
    weight_decay: float = option(
        0.01,
        "how fast weights shrink towards zero, relative to the learning rate; adamw only",
        "D",
        least=0,
        group="gradient descent",
    )
    beta2: float = option(
        0.999,
        "how slowly the mean of squared gradients follows them; adam and adamw only",
        "B",
        least=0,
        below=1,
        group="gradient descent",
    )
    momentum: float = option(
        0.9,
        "fraction of the last step that is added to the next; sgd only",
        "M",
        least=0,
        below=1,
        group="gradient descent",
    )
    clip: float = option(
        1.0,
        "largest norm of the gradient",
        "N",
        above=0,
        group="gradient descent",
        changeable=True,
    )
    batch: int = option(32, "rows in a batch", "B", least=1, most=65536, group="gradient descent")
    accumulate: int = option(
        1,
        "add up the gradients of N batches for one step",
        "N",
        least=1,
        most=10**6,
        group="gradient descent",
    )


@dataclass(frozen=True)
class FineTuningSettings:
    """Settings of a model that may begin with the weights of another."""

    init: str | None = option(
        None,
        "begin with the weights of the run in DIR; its tokenizer and its sizes come along",
        "DIR",
        group="fine-tuning",
        data=True,
        default_help="",
    )
    freeze: str | None = option(
        None,
        "do not train the lowest N layers, of which the embeddings are the first; or encoder: "
        "nothing of it",
        "N",
        group="fine-tuning",
        default_help="",
    )
    layer_decay: float = option(
        1.0,
        "the learning rate of a layer is D times that of the layer above it",
        "D",
        above=0,
        most=1,
        group="fine-tuning",
    )
    unfreeze: float = option(
        0.0,
        "train the top alone, then one more layer after the other, all from the fraction F of the "
        "run on",
        "F",
        least=0,
        most=1,
        group="fine-tuning",
    )
    lora_rank: int | None = option(
        None,
        "LoRA: train no weight, but to some weights an addition of rank R, which is all that is "
        "stored",
        "R",
        least=1,
        most=65536,
        group="fine-tuning",
        default_help="",
    )
    lora_alpha: float | None = option(
        None,
        "the additions count A / R times",
        "A",
        above=0,
        most=1e6,
        group="fine-tuning",
        default_help="2 R",
    )
    lora_targets: tuple[str, ...] = option(
        (),
        "the weights with an addition, as the ends of their names, such as W_qkv or "
        "attention.W_*; none: all matrices of all layers",
        "NAME",
        group="fine-tuning",
    )


@dataclass(frozen=True)
class AdaptationSettings(FineTuningSettings):
    """Settings of a language model that may be adapted to another domain."""

    replay: float = option(
        0.0,
        "SHARE of what is trained on is text of the run of --init, so that less of it is forgotten",
        "SHARE",
        least=0,
        below=1,
        group="fine-tuning",
    )


@dataclass(frozen=True)
class LabelledSettings(TrainingSettings):
    """Settings of every classifier: labelled data are few, and are soon learnt by heart."""

    minutes: float | None = with_default(TrainingSettings, "minutes", None)
    epochs: int | None = with_default(TrainingSettings, "epochs", 30)
    validations: int | None = with_default(
        TrainingSettings, "validations", None, default_help="one after each epoch"
    )
    patience: int = with_default(TrainingSettings, "patience", 5)
    seeds: int | None = with_default(TrainingSettings, "seeds", None, excludes=("folds",))
    class_weights: str = option(
        "none",
        "balanced: a text of a rare class counts more, so that all classes count alike",
        choices=("none", "balanced"),
        group="gradient descent",
    )


@dataclass(frozen=True)
class RecurrenceSettings:
    """Settings of a model whose layers are recurrent."""

    cell: str = option("lstm", "kind of recurrence", choices=("rnn", "lstm", "gru"))
    layers: int = option(1, "number of layers", "L", least=1, most=64)
    hidden: int = option(256, "width of a layer", "H", least=1, most=65536)
    dropout: float = option(
        0.2, "fraction of activations zeroed in training", "RATE", least=0, below=1
    )


@dataclass(frozen=True)
class TokenizerSettings:
    """Settings of a model that may take its vocabulary from elsewhere."""

    tokenizer: str | None = option(
        None,
        "the vocabulary of a tokenizer's folder or file, or of another run, in place of --unit",
        "DIR",
        group="the text",
        data=True,
        default_help="",
    )


@dataclass(frozen=True)
class VocabularySettings(TokenizerSettings):
    """Settings of a model that reads words, characters or byte pairs."""

    minimum_count: int = option(
        2,
        "words seen less often become the unknown word",
        "N",
        least=1,
        most=10**12,
        group="the text",
    )
    vocabulary: int = option(
        20000,
        "keep the N most frequent words; of byte pairs or wordpieces, learn N tokens",
        "N",
        least=2,
        most=1_000_000,
        group="the text",
    )


@dataclass(frozen=True)
class FilesSettings:
    """Settings of a model of running text."""

    files: tuple[str, ...] = option(
        (),
        "UTF-8 text, any number of files, - for standard input; none: the built-in corpus",
        "FILE",
        positional=True,
        data=True,
    )
    pretokenised: bool = option(
        False,
        "words are separated by spaces already; do not split off punctuation",
        group="the text",
    )

    @property
    def split_into(self) -> str:
        """The unit of :func:`minillm.text.build_vocabulary`."""
        unit = getattr(self, "unit", "word")
        return "token" if unit == "word" and self.pretokenised else unit


@dataclass(frozen=True)
class TextSettings(FilesSettings, VocabularySettings):
    """Settings of a language model that is trained on windows of a text."""

    unit: str = option(
        "character",
        "what the model reads at each step",
        choices=("character", "word", "bpe"),
        group="the text",
    )
    vocabulary: int = with_default(VocabularySettings, "vocabulary", 10000)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a run stores about its data, beside where they are: all that a kind reads again."""

    sha256: str | None = option(None, "their fingerprint")
    vocabulary_sha256: str | None = option(None, "the fingerprint of the vocabulary of --tokenizer")
    documents: bool = option(False, "the text consists of documents, each closed by EOS")
    init_sha256: str | None = option(None, "the fingerprint of the weights of --init, with LoRA")
    imported: str | None = option(None, "the file of another program that the run was made of")


@dataclass(frozen=True, kw_only=True)
class LabelFacts(Facts):
    """Those of a classifier."""

    labels: tuple[str, ...] = option(dataclasses.MISSING, "a name for each class")
