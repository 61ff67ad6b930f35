"""A kind of model is a row: an object of :class:`Kind` in a module of ``runs/kinds/``.

    GPT_KIND = causal_kind(name="gpt", model=GPT, config=GPTConfig, settings=..., ...)

It has the kind's help, its settings, its model, the functions that open its data and make its task,
and the class of its runs, whose methods are what a run is able to do.  The command line,
:func:`minillm.load` and :func:`minillm.train` follow from the row.  Its title, which ends with the
year of the source, is in ``TITLES``, so that the list of kinds imports none of them.
"""

import importlib
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from minillm.data import registry
from minillm.data.corpora import text_blocks
from minillm.data.splits import Split
from minillm.errors import InputError, did_you_mean, short
from minillm.formats.format import Contents
from minillm.option import types_of
from minillm.runs.folder import RunFolder
from minillm.runs.settings import sizes_in
from minillm.text import vocabulary_from_dict
from minillm.training import Summary

if TYPE_CHECKING:
    from minillm.runs.run import Run

Data = Mapping[str, Any]  # the paths of the data, and facts about them, as JSON
Results = dict[str, Any]  # figures by name
Vocabularies = Mapping[str, Any]  # by the run's attribute; of word2vec they are WordCounts
Weights = Mapping[str, NDArray]
Given = Mapping[str, object]  # the settings that the user has set

FINE_TUNING_RATE_FACTOR = 0.3  # of the default learning rate, when weights are not fresh

# The kinds and their titles, in historical order.
TITLES = {
    "ngram": "An n-gram model: counted, not trained (1980)",
    "image-classifier": "The digit that an image shows (1986)",
    "neural-ngram": "A feed-forward language model over the last few tokens (2003)",
    "lm": "A recurrent language model of characters or words (2010)",
    "word2vec": "Word vectors: skip-gram or CBOW (2013)",
    "recurrent-classifier": "A text classifier that reads a text word by word (2014)",
    "seq2seq": "An encoder-decoder: translation, pronunciation, summaries (2014)",
    "classifier": "A text classifier: sentiment, topic, language (2016)",
    "tokenizer": "Byte pairs and wordpieces: tokens between characters and words (2016)",
    "qa": "Answers to questions, found in a text (2017)",
    "summariser": "A summariser: an encoder-decoder that copies from its source (2017)",
    "transformer": "An encoder-decoder of attention alone: translation, pronunciation (2017)",
    "convolution": "A language model of gated convolutions (2017)",
    "bert": "A Transformer that fills gaps, from both sides: BERT (2018)",
    "finetuned": "A text classifier that begins with a model of many texts (2018)",
    "gpt": "A Transformer that predicts the next token: GPT (2018)",
    "encoder": "An encoder after BERT: DistilBERT, RoBERTa, MPNet or ELECTRA (2019)",
    "chat": "A chat model, fine-tuned on conversations (2022)",
    "preferences": "A chat model, fine-tuned on the better of two answers: DPO (2023)",
    "llama": "The GPT of today: Llama (2023)",
    "mamba": "A language model whose state has a fixed size: Mamba (2023)",
    "decoder": "A decoder after Llama: Mistral, Qwen, SmolLM, Gemma or Phi (2025)",
}

# The modules in ``kinds/`` that have several kinds; any other has the name of its kind.
MODULES = {
    "language": ("neural-ngram", "lm", "convolution", "mamba", "gpt", "llama", "decoder"),
    "masked": ("bert", "encoder"),
    "pairs": ("seq2seq", "transformer", "summariser"),
    "labels": ("image-classifier", "classifier", "recurrent-classifier", "finetuned"),
    "chat": ("chat", "preferences"),
}

_kinds: dict[str, "Kind"] = {}


@dataclass(frozen=True)
class RunConfig:
    """The checked configuration of a run, from its config.json."""

    kind: "Kind"
    config: Any  # the model's
    settings: Any
    data: Data
    unit: str = ""  # of the loss


@dataclass
class Training:
    """A training: what it begins with, and what its kind makes of it."""

    kind: "Kind"
    folder: RunFolder
    settings: Any
    data: Data  # the paths of the data; of a run to resume, with what is stored about them
    report: Callable[[str], None]  # called with each line of output
    quiet: bool = False  # show no progress, and draw no loss curve
    resume_command: str = ""  # shown if the training is interrupted
    stored: RunConfig | None = None  # of the run to resume
    initial: "Run | None" = None  # the run of --init, while it is needed
    info: dict[str, Any] = field(default_factory=dict)  # stored with the data: entries of DataInfo

    # Made by the kind.
    model: Any = None  # has ``config`` and ``params``
    task: Any = None  # a Task
    unit: str = ""  # the loss is the mean over these: "character", "text", "image"
    item: str = ""  # for the progress display, if it counts rows of ``task``: "pair"
    vocabularies: Vocabularies = field(default_factory=dict)
    baseline: float = math.inf  # the validation loss of predicting by frequency
    notes: list[str] = field(default_factory=list)  # lines to report before the training
    # For weights, dropout and shuffling; it has the seed of the settings.
    rng: np.random.Generator = field(default_factory=np.random.default_rng)

    def record(
        self, sha256: str, name: str, what: str = "the text has", key: str = "sha256"
    ) -> None:
        """Record a fingerprint.  InputError if a run to resume has another one."""
        check_fingerprint(self.data, sha256, name, what, key)
        self.info[key] = sha256

    def config(self, unit: str = "") -> RunConfig:
        """The configuration to store."""
        info = {name: value for name, value in self.info.items() if value is not None}
        data = {**self.data, **info}
        return RunConfig(self.kind, self.model.config, self.settings, data, unit or self.unit)


@dataclass(frozen=True)
class EvalData:
    """The data to measure a run on: files, or those held out in training."""

    files: tuple[str, ...] = ()
    name: str = ""  # of the data in the results, if they are not the files
    report: Callable[[str], None] = warnings.warn  # called with what cannot be measured here

    @property
    def title(self) -> str:
        """The name of the data in the results; empty for those held out in training."""
        return self.name or ", ".join(self.files)

    def items(
        self, read: Callable[[str], Iterable[Any]], part: str | None, own: Callable[[], Split[Any]]
    ) -> tuple[str, list[Any]]:
        """The name and the items of the files, or of a part of the run's own data."""
        if self.title:
            return self.title, [item for file in self.files for item in read(file)]
        parts, part = own(), part or "validation"
        return f"{parts.name}, {part}", parts[part]

    def blocks(self, most: int | None = None) -> Iterator[str]:
        """The text of the files in blocks of whole lines.

        InputError for a file of more than ``most`` bytes.
        """
        for name in self.files:
            yield from text_blocks(name, most=most)


def open_parts(kind: str, data: Data) -> Split[Any]:
    """The data of a run, or of a training, of a kind of :func:`minillm.data.registry.open_data`.

    InputError for a run that was imported.
    """
    if "imported" in data:
        raise InputError(
            f"it comes from {data['imported']}: give the text to measure it on as FILE"
        )
    return registry.open_data(kind, data["data"], data.get("validation"))


# --- the functions of a row, where a kind has none of its own ---------------------------------


def begin_with_same(kind: "Kind", initial: "Run", given: Given) -> dict[str, object]:
    """The defaults of a run that begins with another one of its kind: its sizes, a lower rate.

    InputError for a run of another kind.
    """
    if initial.kind.run is not kind.run or initial.kind.model is not kind.model:
        raise InputError(
            f"expected a run of {kind.name}, found one of {initial.kind.name} in {initial.path}",
            "init",
        )
    defaults = sizes_of(initial, kind.settings)
    rate = kind.settings.learning_rate
    if rate is not None and not given.get("lora_rank"):
        defaults["learning_rate"] = FINE_TUNING_RATE_FACTOR * rate
    return defaults


def same_names(initial: "Run", data: Data) -> dict[str, str]:
    """Each weight of the run of ``--init`` has the same name here."""
    return {name: name for name in initial.model.params}


def built(config: Any, vocabularies: Vocabularies, weights: Weights, model: type) -> Any:
    """A model with these weights.  ValueError where they do not fit the config."""
    made = model(config, params=dict(weights))
    dtypes = {str(array.dtype) for array in weights.values()}
    if len(dtypes) > 1 or not dtypes <= {"float32", "float64"}:
        raise ValueError(f"expected weights of one dtype, a float, found {sorted(dtypes)}")
    return made


TOKENIZER = {"tokenizer": ("vocabulary.json", "vocabulary")}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of model."""

    name: str
    description: str
    examples: str
    model: type[Any]
    config: type[Any]  # of the model: a dataclass
    settings: type[Any]  # a dataclass: see minillm.runs.settings
    run: type["Run"]  # the class of its runs

    # Open the data and make model and task, in the attributes of the training; InputError for wrong
    # data.  Or train without the loop; the result is False if the training was interrupted.
    prepare: Callable[[Training], None] | None = None
    train: Callable[[Training], bool] | None = None
    # The settings of a new run, with those that depend on other settings or on the data.
    complete: Callable[[Training, Given], Any] = lambda training, given: training.settings
    # Lines to report at the end of the training.
    closing: Callable[[Training, Summary], Iterable[str]] = lambda training, summary: ()

    # --- a run that begins with the run of --init ---
    # The settings that replace the defaults; InputError for a run that it cannot begin with.
    begin: Callable[["Kind", "Run", Given], dict[str, object]] = begin_with_same
    # The name here of each weight to take from it.
    names_from: Callable[["Run", Data], dict[str, str]] = same_names

    # --- opening a run ---
    model_of: Callable[[Any], type[Any]] | None = None  # by the config, if there are several
    config_of: Callable[[Given], type[Any]] | None = None  # by the config's JSON form, likewise
    # The run's attribute -> the vocabulary's file, and the field of the config that is its size.
    vocabularies: Mapping[str, tuple[str, str]] = field(default_factory=lambda: TOKENIZER)
    open_vocabulary: Callable[[Given], Any] = vocabulary_from_dict  # ValueError if damaged
    padded: bool = False  # whether its models may have more rows than tokens
    build: Callable[[Any, Vocabularies, Weights, type], Any] = built
    # A run of the contents of a file of another program: see minillm.runs.load.
    imported: Callable[["Kind", Contents, str], "Run"] | None = None

    # --- data and measures ---
    info: tuple[str, ...] = ()  # entries of DataInfo that each of its runs has
    eval_options: tuple[str, ...] = ()  # entries of EvalOptions
    # The arguments of minillm.train and Run.evaluate that it takes data from, besides files:
    # "text", "sentences", "labels" (with texts), "pairs".
    takes: tuple[str, ...] = ()
    resumable: bool = True  # whether a training that was interrupted can go on

    def __post_init__(self) -> None:
        _kinds[self.name] = self

    def class_of(self, config: Any) -> type[Any]:
        """The class of a model with this config."""
        return self.model_of(config) if self.model_of else self.model


def check_fingerprint(
    data: Data, sha256: str, name: str, what: str = "the text has", key: str = "sha256"
) -> None:
    """InputError if ``data`` has another fingerprint."""
    if data.get(key, sha256) != sha256:
        raise InputError(f"{what} changed since the run was started", name)


def sizes_of(run: "Run", settings: type) -> dict[str, object]:
    """The settings that are sizes or the form of a run's model, and the unit of its text."""
    sizes = sizes_in(run.model.config, settings)
    for name in {"unit", "pretokenised", "joint"} & types_of(settings).keys():
        sizes[name] = getattr(run.settings, name, None)
    return {
        name: value
        for name, value in sizes.items()
        if value is not None and not isinstance(value, float)
    }


def find_kind(name: str) -> Kind:
    """The kind of that name; only its module is imported.

    InputError if there is none.
    """
    if name not in _kinds and name in TITLES:
        module = next((module for module, names in MODULES.items() if name in names), name)
        importlib.import_module(f"minillm.runs.kinds.{module}")
    if name not in _kinds:
        raise InputError(
            f"expected one of {', '.join(kinds())}; found {short(name)}"
            f"{did_you_mean(str(name), kinds())}",
            "kind",
        )
    return _kinds[name]


def kind_of(model: Any) -> Kind | None:
    """The kind of a model, if there is one; chat models, which begin with a run, come last."""
    cls = type(model)
    if cls.__name__.lower() in TITLES:  # importing all kinds takes 500 ms
        kind = find_kind(cls.__name__.lower())
        if kind.model is cls:
            return kind
    return next((kind for kind in kinds().values() if kind.model is cls), None)


def kinds() -> dict[str, Kind]:
    """All kinds by name, in order."""
    return {name: find_kind(name) for name in TITLES}
