"""A kind of model is one declaration: a subclass of :class:`Kind` in a module of ``runs/kinds/``.

It tells a command all that it needs to know of a model: the kind's name and help, its settings, how
its data are opened and its task is made, what ``eval`` measures, and what its runs are able to do.
Its title, which ends with the year of the source, is a row of ``TITLES``.
The command line, :mod:`minillm.runs.load` and :class:`minillm.runs.run.Run` follow from these, so
that a new kind is ``models/x.py``, a class in ``runs/kinds/``, a row and their tests.
"""

import importlib
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from minillm.data.corpora import text_blocks
from minillm.errors import InputError, did_you_mean, short
from minillm.option import types_of
from minillm.runs.folder import RunFolder
from minillm.runs.settings import Evaluation, Facts, sizes_in
from minillm.text import Vocabulary, vocabulary_from_dict
from minillm.training import Summary, Task

if TYPE_CHECKING:
    from minillm.runs.run import Run

Data = Mapping[str, Any]  # the paths of the data, and facts about them, as JSON
Results = dict[str, Any]  # figures by name
Vocabularies = Mapping[str, Any]  # by the run's attribute; of word2vec they are WordCounts
Weights = Mapping[str, NDArray]

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
    "captioner": "A description of an image in words (2015)",
    "classifier": "A text classifier: sentiment, topic, language (2016)",
    "tokenizer": "Byte pairs and wordpieces: tokens between characters and words (2016)",
    "qa": "Answers to questions, found in a text (2017)",
    "summariser": "A summariser: an encoder-decoder that copies from its source (2017)",
    "transformer": "An encoder-decoder of attention alone: translation, pronunciation (2017)",
    "bert": "A Transformer that fills gaps, from both sides: BERT (2018)",
    "finetuned": "A text classifier that begins with a model of many texts (2018)",
    "gpt": "A Transformer that predicts the next token: GPT (2018)",
    "encoder": "An encoder after BERT: DistilBERT, RoBERTa, MPNet or ELECTRA (2019)",
    "chat": "A chat model, fine-tuned on conversations or preferences (2022)",
    "llama": "The GPT of today: Llama (2023)",
    "mamba": "A language model whose state has a fixed size: Mamba (2023)",
    "decoder": "A decoder after Llama: Mistral, Qwen, SmolLM, Gemma or Phi (2025)",
}

# The modules in ``kinds/`` that have several kinds; any other has the name of its kind.
MODULES = {
    "language": ("neural-ngram", "lm", "mamba"),
    "causal": ("gpt", "llama", "decoder"),
    "masked": ("bert", "encoder"),
    "pairs": ("seq2seq", "transformer", "summariser"),
    "labels": ("classifier", "recurrent-classifier", "finetuned"),
    "images": ("image-classifier", "captioner"),
}

_kinds: dict[str, "Kind"] = {}


@dataclass(frozen=True)
class Stored:
    """The checked configuration of a run, from its config.json."""

    kind: "Kind"
    config: Any  # the model's
    settings: Any
    data: Data
    unit: str = ""  # of the loss


@dataclass(frozen=True)
class Job:
    """A training to start, or to resume if there is a stored configuration."""

    folder: RunFolder
    settings: Any
    data: Data  # of a run to resume with the facts about them
    stored: Stored | None  # of the run to resume
    report: Callable[[str], None]  # called with each line of output
    quiet: bool = False  # show no progress, and draw no loss curve
    resume_command: str = ""  # shown if the training is interrupted
    initial: "Run | None" = None  # the run of --init, while it is needed
    fingerprints: dict[str, str] = field(default_factory=dict)  # of everything that was read

    def record(
        self, sha256: str, name: str, what: str = "the text has", key: str = "sha256"
    ) -> None:
        """Record a fingerprint.  InputError if a run to resume has another one."""
        check_fingerprint(self.data, sha256, name, what, key)
        self.fingerprints[key] = sha256

    def data_with(self, facts: Facts) -> dict[str, object]:
        """The data to store: their paths, the fingerprints, and other facts."""
        known = {name: value for name, value in vars(facts).items() if value is not None}
        return {**self.data, **self.fingerprints, **known}


@dataclass
class Parts:
    """The parts of a training that a kind makes from settings and data."""

    model: Any  # has ``config`` and ``params``
    task: Task
    unit: str  # the loss is the mean over these: "character", "text", "image"
    vocabularies: Vocabularies = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # lines to report before the training
    item: str = ""  # for the progress display, if it counts rows of ``task``: "pair"
    baseline: float = math.inf  # the validation loss of predicting by frequency
    facts: Facts = field(default_factory=Facts)  # an object of the kind's ``facts``


@dataclass(frozen=True)
class Given:
    """The data to measure a run on: files, or those held out in training."""

    files: tuple[str, ...] = ()
    name: str = ""  # of the data in the results, if they are not the files
    report: Callable[[str], None] = warnings.warn  # called with what cannot be measured here

    @property
    def title(self) -> str:
        """The name of the data in the results; empty for those held out in training."""
        return self.name or ", ".join(self.files)

    def blocks(self, most: int | None = None) -> Iterator[str]:
        """The text of the files in blocks of whole lines.

        InputError for a file of more than ``most`` bytes.
        """
        for name in self.files:
            yield from text_blocks(name, most=most)


class Kind:
    """One kind of model.  Every command knows all subclasses with a ``name``.

    In addition to the methods below, a kind defines those that its runs need, each with the name
    and, after the run, the arguments of a method of :class:`minillm.runs.run.Run`.  A kind with
    ``train(job)`` trains without the loop, and returns False if the training was interrupted; one
    with ``import_model(contents, file, folder)`` makes a run of a model of another program, and
    returns a line about it.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    examples: ClassVar[str]

    model: ClassVar[type[Any]]
    config: ClassVar[type[Any]]  # of the model: a dataclass
    settings: ClassVar[type[Any]]  # a dataclass: see minillm.runs.settings
    facts: ClassVar[type[Facts]] = Facts  # a dataclass: the stored facts about the data
    evaluation: ClassVar[type[Evaluation]] = Evaluation  # a dataclass: the options of ``eval``
    resumable: ClassVar[bool] = True

    # The arguments of minillm.train and Run.evaluate that it takes data from, besides files:
    # "text", "sentences", "labels" (with texts), "pairs".
    takes: ClassVar[tuple[str, ...]] = ()

    # The run's attribute -> the vocabulary's file, and the field of the model's config that is
    # its size.
    vocabularies: ClassVar[dict[str, tuple[str, str]]] = {
        "tokenizer": ("vocabulary.json", "vocabulary")
    }
    # The options that would mean another tokenizer than the one of the run of --init.
    tokenizer_options: ClassVar[tuple[str, ...]] = (
        "tokenizer",
        "unit",
        "vocabulary",
        "minimum_count",
        "pretokenised",
    )
    padded: ClassVar[bool] = False  # whether its models may have more rows than tokens

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if "name" in vars(cls):
            _kinds[cls.name] = cls()

    # --- settings ---

    def begins_with(self, initial: "Run") -> bool:
        """Whether this kind can begin with a run of ``--init``."""
        return isinstance(initial.kind, type(self))

    def init_defaults(self, initial: "Run", given: Mapping[str, object]) -> dict[str, object]:
        """The settings that replace the defaults when a run begins with another one.

        InputError for a run that this kind cannot begin with.
        """
        if not self.begins_with(initial):
            raise InputError(
                f"expected a run of {self.name}, found one of {initial.kind.name} in "
                f"{initial.path}",
                "init",
            )
        defaults = sizes_of(initial, self.settings)
        rate = self.settings.learning_rate
        if rate is not None and not given.get("lora_rank"):
            defaults["learning_rate"] = FINE_TUNING_RATE_FACTOR * rate
        return defaults

    def names_from(self, initial: "Run", data: Data) -> dict[str, str]:
        """Map the name of each weight to take from another run to its name in this kind."""
        return {name: name for name in initial.model.params}

    def initial_data(self, initial: "Run") -> Data:
        """The data to store about the run of --init, if not only its path."""
        return {}

    def complete(self, settings: Any, given: Mapping[str, object], job: Job) -> Any:
        """Fill in the settings of a new run that depend on other settings or on the data.

        ``given`` are the settings that the user has set.
        """
        return settings

    # --- training ---

    def prepare(self, job: Job, rng: np.random.Generator) -> Parts:
        """Open the data, and make model and task.

        ``job.data`` has the paths of the data.  Facts that later commands need, such as labels,
        are among the parts.  InputError for wrong data.
        """
        raise NotImplementedError

    def closing(self, job: Job, parts: Parts, summary: Summary) -> Iterable[str]:
        """Lines to report at the end of the training."""
        return ()

    def sample(self, run: "Run") -> Iterable[str]:
        """A sample of the model's output, to show at the end of its training."""
        return ()

    # --- opening ---

    def config_of(self, values: Mapping[str, object]) -> type[Any]:
        """The class of the model's config, by the values of its JSON form."""
        return self.config

    def model_of(self, config: Any) -> type[Any]:
        """The class of a model with this config."""
        return self.model

    def open_vocabulary(self, values: Mapping[str, object]) -> Vocabulary:
        """A vocabulary from its JSON form; ValueError if it is damaged."""
        return vocabulary_from_dict(values)

    def build(self, config: Any, vocabularies: Vocabularies, weights: Weights) -> Any:
        """A model with these weights.  ValueError where they do not fit the config."""
        model = self.model_of(config)(config, params=dict(weights))
        dtypes = {str(array.dtype) for array in weights.values()}
        if len(dtypes) > 1 or not dtypes <= {"float32", "float64"}:
            raise ValueError(f"expected weights of one dtype, a float, found {sorted(dtypes)}")
        return model

    # --- abilities of every kind ---

    def evaluate(self, run: "Run", given: Given, options: Any) -> Results:
        """The figures of ``eval``, by name; ``options`` are an object of ``evaluation``."""
        raise InputError(f"{run.path}: a run of {self.name} has no measures")


def check_fingerprint(
    data: Data, sha256: str, name: str, what: str = "the text has", key: str = "sha256"
) -> None:
    """InputError if ``data`` has another fingerprint."""
    if data.get(key, sha256) != sha256:
        raise InputError(f"{what} changed since the run was started", name)


def sizes_of(run: "Run", settings: type) -> dict[str, object]:
    """The settings that are sizes of a run's model, and the unit of its text."""
    sizes = sizes_in(run.model.config, settings)
    for name in {"unit", "pretokenised"} & types_of(settings).keys():
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


def kinds() -> dict[str, Kind]:
    """All kinds by name, in order."""
    for name in TITLES:
        find_kind(name)
    return dict(sorted(_kinds.items()))
