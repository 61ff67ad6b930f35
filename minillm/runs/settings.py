"""Settings: the options of a run, declared once as the fields of a dataclass.

A field carries its help and its range: see :mod:`minillm.option`.  Groups of settings that several
kinds share are classes here, and :func:`settings` makes a kind's from them.  A size belongs to the
model: its default comes from the model's config, and it is stored with the model.
"""

from dataclasses import dataclass, field, fields, make_dataclass, replace
from functools import partial
from typing import Any, TypeVar, get_args, get_type_hints

from minillm.layers.recurrent import CELLS
from minillm.option import Option, option, option_of, types_of, with_default
from minillm.training.optimisers import OPTIMISERS
from minillm.training.options import LoopSettings, of_descent

LENGTHS = ("minutes", "steps", "epochs")  # of a run, which has one of them

# Of options, in the order of a help text.
GROUPS = ("the text", "the model", "the run", "gradient descent", "fine-tuning", "sampling")

S = TypeVar("S")

OF_TEXTS = ("mean", "first", "max")  # poolings of a text's tokens to one vector

_RATE: Any = {"metavar": "RATE", "least": 0, "below": 1}

# The descriptions of sizes that several kinds of models have.
SIZES = {
    "layers": Option("number of layers", "L", most=1000),
    "width": Option("width of a token's vector", "D", most=65536),
    "context": Option("how many tokens the model sees", "C", least=2, most=1 << 24),
    "hidden": Option("width of a layer", "H", most=65536),
    "embedding": Option("width of the embedding", "D", most=65536),
    "heads": Option("heads of attention in each block", "N", most=65536),
    "key_heads": Option("heads of keys and values, a divisor of N", "M", least=1, most=65536),
    "feed_forward": Option("width of the feed-forward layers", "F", least=1, most=1 << 20),
    "window": Option(
        "tokens that a token of mistral, gemma3 or phi3 attends to", "W", least=1, most=1 << 20
    ),
    "sinks": Option("first tokens in sight of all windows", "N", least=0, most=65536, rare=True),
    "ngrams": Option(
        "tokens of the longest n-grams with a vector of their own; 1: none",
        "N",
        least=1,
        most=100,
        rare=True,
    ),
    "state": Option("numbers that each column of a layer remembers", "N", most=65536),
    "inner": Option("width inside a layer", "E", least=1, most=1 << 20, rare=True),
    "convolution": Option("tokens that the convolution sees", "K", least=2, most=1000, rare=True),
    "rank": Option("rank of the matrix of the steps' sizes", "R", least=1, most=65536, rare=True),
    "cell": Option("kind of recurrence", choices=tuple(CELLS)),
    "tied": Option("the output layer's weights are the embedding's"),
    "dropout": Option("fraction of activations zeroed in training", **_RATE),
    "coverage": Option("weight of the loss for attending to the same words again", least=0),
    "label_smoothing": Option(
        "probability that is spread over all labels or tokens in training",
        "E",
        least=0,
        below=1,
        rare=True,
    ),
}


def settings(*bases: type, config: type | None = None, sizes: str = "", **own: Any) -> type[Any]:
    """The settings of a kind: the settings of ``bases``, in this order, with changes.

    ``sizes`` are the names of fields of the model's ``config`` that are settings; their defaults
    come from the config, and their descriptions from ``SIZES``.  ``own`` are other defaults,
    changes of declarations, or new settings:

        settings(
            TextSettings, TrainingSettings,
            config=LanguageModelConfig,
            sizes="layers hidden embedding",
            batch=16,                                                         # a default
            embedding={"least": 0, "help": "0: one-hot input"},               # changes
            learning_rate={"default": None, "default_help": "0.4 / width"},
            window=(int, option(64, "steps", "T", least=1)),                  # a new setting
        )
    """
    made: dict[str, Any] = dict.fromkeys(sizes.split())
    for name in {**made, **own}:
        changes = own.get(name, {})
        if isinstance(changes, tuple):
            made[name] = changes
            continue
        changes = changes if isinstance(changes, dict) else {"default": changes}
        declares: Any = config if name in made else next(b for b in bases if name in types_of(b))
        hint, default = get_type_hints(declares)[name], declares.__dataclass_fields__[name].default
        details = {"default": default, **changes}
        known = option_of(declares, name)
        if name in made:
            known = replace(SIZES.get(name, Option("")), of_model=True)
            if type(default) is int and known.least is None:
                known = replace(known, least=1)
        default = details.pop("default")
        if default is None and type(None) not in get_args(hint):
            hint = hint | None
        made[name] = hint, field(default=default, metadata={"option": replace(known, **details)})
    return make_dataclass(
        "Settings", [(name, *declared) for name, declared in made.items()], bases=bases, frozen=True
    )


def config_from(settings: object, config: type[S], base: object = None, **values: object) -> S:
    """The model's config, from the sizes among the settings and other values.

    None means the value of ``base``, another config, or the default.  InputError if the config
    does not accept the values.
    """
    names = [entry.name for entry in fields(config)]  # type: ignore[arg-type]
    sizes = {name: getattr(settings, name) for name in names_of_sizes(type(settings))}
    known = {name: getattr(base, name) for name in names if base is not None}
    given = {n: v for n, v in (sizes | values).items() if n in names and v is not None}
    return config(**known | given)


def names_of_sizes(settings: type) -> list[str]:
    """The names of the settings that the model's config stores."""
    return [name for name in types_of(settings) if option_of(settings, name).of_model]


def sizes_in(config: object, settings: type) -> dict[str, object]:
    """The values of a model's config that are settings."""
    return {n: getattr(config, n) for n in names_of_sizes(settings) if hasattr(config, n)}


def names_of_data(settings: type) -> list[str]:
    """The names of the settings that say where the data are."""
    return [name for name in types_of(settings) if option_of(settings, name).data]


def stored_values(settings: object) -> dict[str, object]:
    """The settings that are stored with neither the data nor the model."""
    elsewhere = {*names_of_data(type(settings)), *names_of_sizes(type(settings))}
    return {n: value for n, value in vars(settings).items() if n not in elsewhere}


# --- settings that several kinds share ---------------------------------------------------------

of_text = partial(option, group="the text")
of_init = partial(option, group="fine-tuning")
of_data = partial(option, None, metavar="DATA", positional=True, data=True)
of_validation = partial(option, None, group="the text", data=True)


@dataclass(frozen=True)
class TrainingSettings(LoopSettings):
    """Settings of every model that uses the training loop."""

    minutes: float | None = 5.0
    seed: int = option(
        0, "seed of weights, dropout and shuffling", "N", least=0, most=2**63 - 1, group="the run"
    )
    optimiser: str = of_descent("adamw", "update rule", choices=tuple(OPTIMISERS))
    weight_decay: float = of_descent(
        0.01,
        "decay of the weights towards zero, relative to the learning rate; adamw and muon only",
        "D",
        least=0,
        rare=True,
    )
    beta2: float = of_descent(
        0.999,
        "decay rate of the mean of squared gradients; not for sgd",
        "B",
        least=0,
        below=1,
        rare=True,
    )
    momentum: float = of_descent(
        0.9,
        "fraction of the last step that is added to the next; sgd and muon only",
        "M",
        least=0,
        below=1,
        rare=True,
    )
    batch: int = of_descent(32, "rows in a batch", "B", least=1, most=65536)


def by_default(text: str | None, value: object = None) -> dict[str, Any]:
    """Another default of a setting, which the help may describe by a text."""
    return {"default": value, "default_help": text}


MUON = by_default("muon; with --init adamw", "muon")  # an optimiser


@dataclass(frozen=True)
class LoRASettings:
    """Settings of a model that may begin with another run's weights, and train some of them."""

    init: str | None = of_init(
        None, "begin with weights, tokenizer and sizes of the run DIR", "DIR", data=True
    )
    freeze: str | None = of_init(
        None,
        "do not train the lowest N layers, counting the embeddings as the first; or encoder: "
        "do not train the encoder",
        "N",
        rare=True,
    )
    lora_rank: int | None = of_init(
        None, "LoRA: train and save only updates of rank R", "R", least=1, most=65536
    )
    lora_alpha: float | None = of_init(
        None, "multiply the updates by A / R", "A", above=0, most=1e6, default_help="2 R", rare=True
    )


@dataclass(frozen=True)
class TokenizerSettings:
    """Settings of a model that may use an existing vocabulary."""

    tokenizer: str | None = of_text(
        None, "use the vocabulary of another run or tokenizer", "DIR", data=True
    )


@dataclass(frozen=True)
class VocabularySettings(TokenizerSettings):
    """Settings of a model that reads words, characters or byte pairs."""

    minimum_count: int = of_text(
        2, "words seen less often become the unknown word", "N", least=1, most=10**12, rare=True
    )
    vocabulary: int = of_text(
        20000, "number of words, byte pairs or wordpieces", "N", least=2, most=1_000_000
    )


@dataclass(frozen=True)
class FilesSettings:
    """Settings of a model of running text."""

    files: tuple[str, ...] = option(
        (),
        "UTF-8 text, - for standard input (default: the built-in corpus)",
        "FILE",
        positional=True,
        data=True,
    )
    pretokenised: bool = of_text(
        False, "words are separated by spaces already; do not split off punctuation", rare=True
    )

    @property
    def split_into(self) -> str:
        """The unit of :func:`minillm.text.build_vocabulary`."""
        unit = getattr(self, "unit", "word")
        return "token" if unit == "word" and self.pretokenised else unit


@dataclass(frozen=True)
class ShardSettings(FilesSettings):
    """Settings of a model that also reads shards of a text that exceeds memory."""

    files: tuple[str, ...] = with_default(
        FilesSettings,
        "files",
        (),
        help="UTF-8 text, - for standard input, or a folder of `minillm tokenize` (default: the "
        "built-in corpus)",
    )
    validation_tokens: int = option(
        50_000,
        "measure the validation loss on N of the held-out tokens (eval: on all)",
        "N",
        least=1,
        most=10**8,
        group="the run",
        rare=True,
    )


@dataclass(frozen=True)
class TextSettings(FilesSettings, VocabularySettings):
    """Settings of a language model that is trained on windows of a text."""

    unit: str = of_text("character", "tokens", choices=("character", "word", "bpe"))
    vocabulary: int = 10000


@dataclass(frozen=True)
class WindowSettings(TextSettings):
    """Settings of a language model that reads on from window to window."""

    window: int = option(
        64,
        "tokens of a window, which begins with the state of the one before",
        "T",
        least=1,
        most=65536,
    )


@dataclass(frozen=True)
class LabelledSettings(TrainingSettings):
    """Settings of every classifier: small labelled sets are soon memorised."""

    minutes: float | None = None
    epochs: int | None = 30
    validations: int | None = with_default(
        TrainingSettings, "validations", None, default_help="one after each epoch"
    )
    patience: int = 5
    class_weights: str = of_descent(
        "none",
        "balanced: all classes count equally; none: all texts do",
        choices=("none", "balanced"),
        rare=True,
    )


# --- options of searching and of ``eval`` ---------------------------------------------------------


@dataclass(frozen=True)
class Search:
    """Options of beam search: see :func:`minillm.decoding.beam.beam_search`."""

    beam: int = option(5, "extend K hypotheses at each step", "K", least=1, most=1000)
    length_exponent: float | None = option(
        None,
        "rank outputs by log probability / length^A",
        "A",
        least=0,
        most=10,
        default_help="1.5 of a model that copies, otherwise 1",
    )
    no_repeat: int | None = option(
        None,
        "write no N-gram twice in an output; 0: any may repeat",
        "N",
        least=0,
        most=1000,
        default_help="2 of a model that copies, otherwise 0",
    )
    no_repeat_window: int | None = option(
        None,
        "write none of the last N tokens again",
        "N",
        least=0,
        most=1000,
        default_help="4 of a model that copies, otherwise 0",
    )
    least: int | None = option(
        None,
        "write N tokens or more",
        "N",
        least=0,
        most=10_000,
        default_help="1 of a model that copies, otherwise 0",
    )


def search_options(values: object) -> dict[str, Any]:
    """The options of beam search among the attributes of an object, if they are set."""
    values_of = {name: getattr(values, name) for name in types_of(Search)}
    return {name: value for name, value in values_of.items() if value is not None}


# Options of beam search for summaries, in which models like to repeat themselves.
SummarySearch = settings(
    Search,
    beam=4,
    length_exponent=by_default(None, 1.5),
    no_repeat=by_default(None, 2),
    no_repeat_window=by_default(None, 4),
    least=by_default(None, 1),
)


@dataclass(frozen=True)
class EvalOptions(Search):
    """Options of ``eval``; each kind has some of them: see :class:`minillm.runs.kind.Kind`."""

    part: str | None = option(
        None,
        "the part of a built-in set to measure on",
        choices=("validation", "test"),
        default_help="validation",
    )
    beside: bool = option(False, "also measure the best n-gram, TF-IDF, or extracts")
    adapt: bool = option(
        False, "also measure a copy of the model that learns each window of the text once scored"
    )
    mix: bool = option(
        False,
        "also measure a mixture of the model with n-grams of its training text and of the text "
        "read so far",
    )
    pattern: str | None = option(
        None,
        "of conversations: compare the last match of REGEX in the written answer and the known",
        "REGEX",
    )


SEARCH = tuple(types_of(Search))  # the names of its options


# --- what is stored about the data of a run -------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DataInfo:
    """Facts that are stored about the data of a run; each kind has some of them."""

    sha256: str | None = option(None, "the fingerprint of the data")
    vocabulary_sha256: str | None = option(None, "the fingerprint of the vocabulary of --tokenizer")
    init_sha256: str | None = option(None, "the fingerprint of the weights of --init, with LoRA")
    imported: str | None = option(None, "the origin of a run that was not trained here")
    documents: bool | None = option(None, "the text consists of documents, each closed by EOS")
    labels: tuple[str, ...] | None = option(None, "a name for each class")
    longest_target: int | None = option(None, "tokens, with EOS", least=1, most=10_001)
    unanswered: bool = option(False, "some questions have no answer in their contexts")
    # Of an imported sentence encoder.
    pooling: str | None = option(None, "of the tokens of a text", choices=OF_TEXTS)
    normalised: bool = option(False, "its vectors have the length 1")
    longest: int | None = option(None, "tokens to read, including [CLS] and [SEP]", least=3)
    dimension: int | None = option(None, "numbers of a vector that are kept", least=1)
