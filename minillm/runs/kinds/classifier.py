"""``classifier``: a label for each text."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

from minillm.errors import InputError
from minillm.runs.augmentation import AugmentationFacts, AugmentationSettings, augmented, readable
from minillm.runs.kind import Evaluation, Job, Kind, Parts, Results
from minillm.runs.settings import (
    LENGTHS,
    LoRASettings,
    LabelledSettings,
    RecurrenceSettings,
    VocabularySettings,
    option,
    with_default,
)
from minillm.runs.vocabulary import vocabulary_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from minillm.data import Sequences
    from minillm.data.labelled import Labelled
    from minillm.runs.run import Classified, Run
    from minillm.text import Vocabulary

BATCH = 64  # texts that are classified together
TOKENS = 2048  # of these, at most
LEAST_STEPS = 400  # of a training whose length is not given


@dataclass(frozen=True)
class Settings(
    AugmentationSettings,
    VocabularySettings,
    RecurrenceSettings,
    LabelledSettings,
    LoRASettings,
):
    """The settings of a classifier."""

    data: str | None = option(
        None, "a file of lines, or a folder", "DATA", positional=True, data=True
    )
    validation: str | None = option(
        None,
        "texts to measure on (default: every tenth)",
        "DATA",
        group="the text",
        data=True,
        default_help="",
    )
    unit: str = option(
        "word",
        "what a text is split into; tokens are words that spaces separate already, wordpieces "
        "parts of lower-case words",
        choices=("character", "word", "token", "bpe", "wordpiece"),
        group="the text",
    )
    max_length: int = option(
        400, "read the first N tokens of a text", "N", least=1, most=100_000, group="the text"
    )
    pooling: str = option(
        "max",
        "how the outputs of all steps become one vector",
        choices=("last", "mean", "max", "attention", "first"),
        default_help="max; with --init what suits the encoder: last of a gpt, mean of a bert",
    )
    cell: str = with_default(
        RecurrenceSettings,
        "cell",
        "cnn",
        help="what reads the words: convolutions, or a kind of recurrence",
        choices=("cnn", "rnn", "lstm", "gru"),
    )
    hidden: int = with_default(
        RecurrenceSettings,
        "hidden",
        64,
        help="width of a layer: of each direction, or filters of each width",
    )
    embedding: int | None = option(
        None,
        "width of the embedding",
        "D",
        least=1,
        most=65536,
        default_help="64, or as wide as the --vectors",
    )
    vectors: str | None = option(
        None,
        "start the embedding from word vectors in word2vec's format, text or binary, as "
        "`minillm export` writes them; its width is theirs",
        "FILE",
        default_help="",
    )
    forward_only: bool = option(False, "read in one direction, not in both")
    ngrams: int = option(
        50_000,
        "buckets for n-grams of words and of characters, which are counted beside; 0: none",
        "N",
        least=0,
        most=10**8,
    )
    members: int = option(
        6,
        "train N models at once, with other first weights, and average their probabilities",
        "N",
        least=1,
        most=1000,
    )
    dropout: float = with_default(RecurrenceSettings, "dropout", 0.5)
    word_dropout: float = option(
        0.1,
        "leave out each word, and each n-gram, of a training text with probability P",
        "P",
        least=0,
        below=1,
        group="gradient descent",
    )
    mixup: float = option(
        0.0,
        "train on mixtures of two texts, a and 1 - a of each, a drawn from Beta(A, A); 0: none",
        "A",
        least=0,
        most=1000,
        group="gradient descent",
    )
    label_smoothing: float = option(
        0.0,
        "probability that is spread over all labels in training; with --init 0.1",
        "E",
        least=0,
        below=1,
        group="gradient descent",
    )
    folds: int | None = option(
        None,
        "then measure by cross-validation: K more trainings, each tested on a Kth of the texts; "
        "folds.jsonl tells of all",
        "K",
        least=2,
        most=10_000,
        group="the run",
        changeable=True,
        default_help="",
        excludes=("seeds",),
    )
    learning_rate: float = with_default(
        LabelledSettings,
        "learning_rate",
        2e-3,
        default_help="0.002; with --init 0.04 / width, and with LoRA ten times that; of a "
        "recurrent one 0.005, and twice that",
    )
    epochs: int | None = with_default(
        LabelledSettings,
        "epochs",
        10,
        default_help="10, with --init 4; of few texts as many as make 400 steps, and then the "
        "--patience is a sixth of them",
    )
    warmup: float = with_default(LabelledSettings, "warmup", 0.05)
    helper_loss: float = option(
        0.0,
        "go on learning to predict the next token, too, with a loss of weight W; of a gpt or an lm",
        "W",
        least=0,
        most=1000,
        group="fine-tuning",
        default_help="",
    )


# With --init, in place of the defaults.
FINE_TUNING = {
    "dropout": 0.1,
    "label_smoothing": 0.1,
    "batch": 16,
    "warmup": 0.1,
    "epochs": 4,
    "ngrams": 0,
    "word_dropout": 0.0,
    "members": 1,
}
RECURRENT = {"batch": 32, "learning_rate": 5e-3}  # of an lm, or of a classifier like it
RATE = 0.04  # of a Transformer of width 1
LORA, RECURRENT_LORA = 10, 2  # times the rate
SIZES = (  # the encoder's own
    *("hidden", "layers", "cell", "embedding", "vectors", "forward_only"),
    *("ngrams", "members"),
)


class ClassifierKind(Kind):
    """Convolutions and n-grams, a recurrence, or a model that has read many texts."""

    name = "classifier"
    year = 2016
    help = "a text classifier: sentiment, topic, language"
    description = """\
Train a network to label texts: a file of lines label<TAB>text, or a folder that has
a folder of text files for each label. Every tenth text of each label is held out. With --init,
a bert, a gpt or an lm that was trained without labels reads the texts, and is fine-tuned."""
    examples = """\
  minillm train classifier reviews.tsv --out runs/reviews
  minillm train classifier topics/ --out runs/topics --pooling attention --patience 10
  minillm train classifier names.tsv --out runs/names --unit character --hidden 64
  minillm train classifier reviews.tsv --out runs/reviews2 --vectors vectors.bin
  minillm train classifier few.tsv --out runs/few --augment swap,deletion,fill=runs/bert
  minillm train classifier reviews.tsv --out runs/reviews3 --init runs/sentences

then: minillm classify DIR, minillm eval DIR"""
    settings = Settings
    facts = AugmentationFacts
    exports: ClassVar[dict[str, str]] = {"peft": "peft"}

    def types(self) -> tuple[type, type]:
        """The model and its config."""
        from minillm.models.classifier import Classifier, ClassifierConfig

        return Classifier, ClassifierConfig

    def types_of(self, sizes: Mapping[str, Any]) -> tuple[type, type]:
        """One that was fine-tuned has an encoder; an ensemble has members."""
        from minillm.models.ensemble import Ensemble
        from minillm.models.fine_tuned import FineTuned, FineTunedConfig

        if "encoder" in sizes:
            return FineTuned, FineTunedConfig
        Model, Config = self.types()
        return (Ensemble if sizes.get("members", 1) != 1 else Model), Config

    def begin_from(self, run: "Run", given: Mapping[str, Any]) -> dict[str, Any]:
        """The defaults of fine-tuning.  InputError for sizes: they are the encoder's."""
        from minillm.models.fine_tuned import ENCODERS
        from minillm.runs.initial import sizes_of

        if run.kind.name not in (*ENCODERS, self.name):
            raise InputError(
                f"--init: expected a run of {', '.join(ENCODERS)} or {self.name}, found one of "
                f"{run.kind.name} in {run.path}"
            )
        for name in SIZES:
            if given.get(name) not in (None, False):
                option = f"--{name.replace('_', '-')}"
                raise InputError(f"{option}: the encoder is that of --init, found {given[name]}")
        config = getattr(run.model.config, "encoder", run.model.config)
        of_transformer = hasattr(config, "heads")
        own = {"learning_rate": RATE / config.width} if of_transformer else RECURRENT
        defaults: dict[str, Any] = FINE_TUNING | own
        if given.get("lora_rank"):
            defaults["learning_rate"] *= LORA if of_transformer else RECURRENT_LORA
        if run.kind is self:
            sizes = sizes_of(run, self.settings)
            sizes["forward_only"] = not getattr(run.model.config, "bidirectional", True)
            return defaults | sizes | {"max_length": run.settings.max_length}
        read = [run.data.get("longest"), getattr(run.model.config, "context", None), 400]
        return defaults | {
            "pooling": run.data.get("pooling") or ENCODERS[run.kind.name][2],
            "max_length": min(length for length in read if length is not None),
        }

    def with_length(
        self, settings: Settings, given: Mapping[str, Any], data: dict[str, Any]
    ) -> Settings:
        """Few texts are read more often, for their epochs have few steps.

        There are as many epochs as it takes to make enough steps, and the patience is a sixth of
        them at least.
        """
        if any(given.get(name) is not None for name in LENGTHS):
            return settings
        texts = sum(1 for _ in open_data(data).texts("training"))
        steps = math.ceil(texts / (settings.batch * settings.accumulate))
        assert settings.epochs is not None
        epochs = max(settings.epochs, math.ceil(LEAST_STEPS / steps))
        patience = settings.patience
        if given.get("patience") is None:
            patience = max(patience, epochs // 6)
        return replace(settings, epochs=epochs, patience=patience)

    def names_from(self, run: "Run", data: Mapping[str, Any]) -> dict[str, str]:
        """The encoder's weights; of a classifier with the same labels the last layer, too."""
        from minillm.models.fine_tuned import PREFIX

        if run.kind is not self:
            return {name: f"{PREFIX}{name}" for name in run.model.params}
        same = list(run.data["labels"]) == list(data["labels"])
        return {n: n for n in run.model.params if same or ".output." not in f".{n}"}

    def initial_config(self, run: "Run", settings: Settings, classes: int) -> Any:
        """The sizes of that run's model as a classifier; heads that it has are left."""
        from minillm.models.fine_tuned import FineTunedConfig

        config = run.model.config
        own: dict[str, Any] = {
            "classes": classes,
            "pooling": settings.pooling,
            "dropout": settings.dropout,
            "label_smoothing": settings.label_smoothing,
        }
        if run.kind is self and not hasattr(config, "encoder"):
            more = {"mixup": settings.mixup, "word_dropout": settings.word_dropout}
            return replace(config, **own, **more)
        if settings.mixup:
            raise InputError(
                f"--mixup: texts are mixed for a recurrence from scratch or from a classifier, not "
                f"for the {run.kind.name} of --init; found {settings.mixup}"
            )
        kind, encoder = (
            (config.kind, config.encoder) if run.kind is self else (run.kind.name, config)
        )
        heads: dict[str, dict[str, bool]] = {
            "bert": {"masked_words": False, "pooler": False, "next_sentence": False},
            "lm": {"headless": not settings.helper_loss},
            "gpt": {},
        }
        encoder = replace(encoder, dropout=settings.dropout, **heads[kind])
        try:
            return FineTunedConfig(kind, encoder, **own, helper_loss=settings.helper_loss)
        except ValueError as error:
            raise InputError(f"--init {run.path}: {error}") from None

    def prepare(
        self, settings: Settings, data: dict[str, Any], rng: "np.random.Generator"
    ) -> Parts:
        """The vocabulary of the texts, and minibatches for training and validation."""
        from minillm.data import Minibatches
        from minillm.data.augmentation import new_words
        from minillm.metrics import frequency_loss
        from minillm.text import build_vocabulary
        from minillm.training.minibatches import ClassificationTask, balanced_weights, fingerprint

        texts = open_data(data)
        labelled: list[Labelled] = []
        copies: list[Labelled] = []
        new: Iterable[str] = ()
        columns, notes = {}, texts.notes()
        if settings.augment:
            labelled = list(texts.texts("training"))
            copies, note = augmented(settings, data, labelled)
            new = new_words(labelled, copies)
            notes.append(note)
        tokenizer = vocabulary_for(
            settings,
            data,
            settings.unit,
            lambda: build_vocabulary(
                chain((text for _, text in texts.texts("training")), new),
                settings.unit,
                settings.minimum_count,
                settings.vocabulary,
                held_out=(text for _, text in texts.texts("validation")),
            ),
        )
        model = self._new_model(settings, data, tokenizer, len(texts.labels), rng)
        read = reader_of(model.config, tokenizer, settings.max_length)
        for part, more in (("training", readable(copies, tokenizer)), ("validation", ())):
            columns[part] = encode_texts(
                chain(texts.texts(part), more), read, tokenizer, texts.labels
            )
            notes.append(f"{len(columns[part][1]):,} {part} texts")
        found = fingerprint(columns["training"])
        resumed = "sha256" in data  # then the word vectors have been used already
        if data.setdefault("sha256", found) != found:
            made = ", or what --augment makes of them," if copies else ""
            raise InputError(
                f"{data['data']}: the data{made} have changed since the run was started"
            )
        data["labels"] = texts.labels

        if settings.vectors and not resumed:
            notes.append(start_from_vectors(model, tokenizer, settings.vectors))
        training, validation = (
            Minibatches(columns[part], settings.batch, settings.seed) for part in columns
        )
        texts_alone = len(labelled) if copies else None
        task = ClassificationTask(model, training, validation, texts_alone)
        baseline = frequency_loss(*(classes for _, classes in columns.values()))
        if settings.class_weights == "balanced":
            task.class_weights = balanced_weights(
                columns["training"][1], len(data["labels"])
            ).astype(model.dtype)
            baseline = math.log(len(data["labels"]))
        return Parts(model, task, "text", {"tokenizer": tokenizer}, notes, baseline=baseline)

    def _new_model(
        self,
        settings: Settings,
        data: dict[str, Any],
        tokenizer: "Vocabulary",
        classes: int,
        rng: "np.random.Generator",
    ) -> Any:
        """Of the sizes of --init, or of the settings; word vectors have a width of their own."""
        from minillm.runs.initial import initial_run

        if initial := initial_run(data):
            config = self.initial_config(initial, settings, classes)
            return self.types_of(asdict(config))[0](config, rng)
        width = settings.embedding or 64
        if settings.vectors:
            _, vectors = read_vectors(settings.vectors)
            width = vectors.shape[1]
            if settings.embedding not in (None, width):
                raise InputError(
                    f"--embedding: the vectors of {settings.vectors} have {width} numbers each, "
                    f"found {settings.embedding}"
                )
        config = self.new_config(
            vocabulary=len(tokenizer),
            classes=classes,
            embedding=width,
            hidden=settings.hidden,
            layers=settings.layers,
            cell=settings.cell,
            bidirectional=not settings.forward_only,
            pooling=settings.pooling,
            dropout=settings.dropout,
            mixup=settings.mixup,
            ngrams=settings.ngrams,
            word_dropout=settings.word_dropout,
            members=settings.members,
            label_smoothing=settings.label_smoothing,
        )
        return self.types_of(asdict(config))[0](config, rng)

    def classify(
        self, run: "Run", items: Sequence[str], places: Sequence[str] | None
    ) -> "list[Classified]":
        """See :meth:`minillm.runs.run.Run.classify`."""
        from minillm.data import Sequences

        read = reader_of(run.model.config, run.tokenizer, run.settings.max_length)
        ids = Sequences()
        for number, text in enumerate(items):
            place = places[number] if places else f"text {number + 1}"
            ids.append(read(text, place))
        return classified(class_probabilities(run.model, ids), run.data["labels"])

    def evaluate(self, run: "Run", asked: Evaluation) -> Results:
        """Accuracy, macro-F1 and the confusion matrix."""
        from minillm.data.labelled import read_labelled, without_text

        left_out = sum(map(without_text, asked.files))
        if asked.files:
            name = ", ".join(asked.files)
            texts = [text for file in asked.files for text in read_labelled(file)]
        elif asked.part == "test":
            raise InputError("--part: the data have no test part: give the FILE to measure on")
        else:
            name = f"{run.data['data']}, validation"
            texts = list(open_data(run.data).texts("validation"))
        labels = run.data["labels"]
        read = reader_of(run.model.config, run.tokenizer, run.settings.max_length)
        ids, classes = encode_texts(texts, read, run.tokenizer, labels)
        results = class_results(name, class_probabilities(run.model, ids), classes, labels)
        if left_out:
            results["left_out_without_text"] = left_out
        return results | ({"tfidf_accuracy": tfidf_accuracy(run, texts)} if asked.beside else {})

    def train(self, job: Job) -> bool:
        """As any kind; then the model is set beside TF-IDF, so that nobody is fooled."""
        from minillm.runs.run import load

        finished = super().train(job)
        if finished and not job.quiet:
            found = load(job.folder.path).evaluate(Evaluation(beside=True))
            tfidf = found["tfidf_accuracy"]
            tfidf = tfidf if isinstance(tfidf, str) else f"{tfidf:.1%}"
            job.report(f"accuracy {found['accuracy']:.1%} of {found['items']:,} validation texts")
            job.report(f"accuracy of TF-IDF with logistic regression: {tfidf}")
        return finished


def tfidf_accuracy(run: "Run", texts: "Sequence[Labelled]") -> float | str:
    """What TF-IDF with logistic regression reaches from the run's training texts, or why not."""
    from minillm.runs.tfidf import MISSING, MOST, by_tfidf, has_sklearn

    if not has_sklearn():
        return MISSING
    try:
        training = list(open_data(run.data).texts("training"))
    except InputError as error:
        return f"not measured: {error}"
    if len(training) > MOST:
        return f"not measured: it is for {MOST:,} training texts at most"
    return by_tfidf(training, texts)["accuracy"]


def open_data(data: dict[str, Any]) -> Any:
    """The labelled texts of a file or a folder."""
    from minillm.data import registry

    if not data.get("data"):
        raise InputError("DATA: expected a file or a folder (see --help), found none")
    return registry.open_labelled(data["data"], data.get("validation"))


def reader_of(config: Any, tokenizer: Any, longest: int) -> "Callable[[str, str], list[int]]":
    """From a text, and its place, to the ids that a model of these sizes reads.

    They are ``longest`` at most.  A BERT has [CLS] in front and [SEP] behind; a GPT whose texts
    end with EOS has that behind, where it has seen all of the text.  A model with n-grams reads
    their buckets behind the words, numbered from the size of the vocabulary on.
    """
    from minillm.text import split_words
    from minillm.text.ngrams import hashed_ngrams

    kind = getattr(config, "kind", None)
    front: list[int] = []
    behind: list[int] = []
    if kind == "bert":
        front, behind = [tokenizer.cls], [tokenizer.sep]
    elif kind == "gpt" and tokenizer.eos is not None:
        behind = [tokenizer.eos]
    context = getattr(getattr(config, "encoder", None), "context", longest)
    most = min(longest, context) - len(front) - len(behind)
    buckets = getattr(config, "ngrams", 0)

    def read(text: str, place: str) -> list[int]:
        ids = [*front, *tokenizer.encode(text, place)[:most].tolist(), *behind]
        grams = hashed_ngrams(split_words(text)[:longest], buckets) if buckets else []
        return [*ids, *(len(tokenizer) + gram for gram in grams)]

    return read


def encode_texts(
    texts: Iterable[tuple[str, str]],
    read: Callable[[str, str], list[int]],
    tokenizer: "Vocabulary",
    labels: Sequence[str],
) -> "tuple[Sequences, NDArray]":
    """The ids of each text, and the number of its label.

    InputError for a label that is not among ``labels``, or a text without tokens.
    """
    import numpy as np

    from minillm.data import Sequences
    from minillm.text import unit_name

    numbers = {label: number for number, label in enumerate(labels)}
    ids, classes = Sequences(), []
    frame = len(read("", ""))
    for count, (label, text) in enumerate(texts, start=1):
        if label not in numbers:
            known = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
            raise InputError(f"text {count}: expected a label among {known}; found {label!r}")
        encoded = read(text, f"text {count}")
        if len(encoded) == frame:
            unit = unit_name(tokenizer)
            raise InputError(f"text {count}: expected at least one {unit}, found none")
        ids.append(encoded)
        classes.append(numbers[label])
    return ids, np.array(classes, np.int64)


@cache
def read_vectors(file: str) -> "tuple[list[str], NDArray]":
    """The words and vectors of a file, read once."""
    from minillm.formats import word2vec

    return word2vec.read_vectors(file)


def start_from_vectors(model: Any, tokenizer: "Vocabulary", file: str) -> str:
    """Puts the vectors of known words into a fresh model's embedding; returns a line on how many.

    All are scaled by one factor, so that their entries have the variance of those of the words
    without a vector.
    """
    import numpy as np

    words, vectors = read_vectors(file)
    tables = [p for name, p in model.params.items() if name.endswith("embedding.E")]
    rows = {word: row for row, word in enumerate(words)}
    size = max(np.sqrt(np.mean(np.square(vectors))), np.finfo(vectors.dtype).tiny)
    known = [
        (id, rows[word]) for id in range(len(tokenizer)) if (word := tokenizer.show(id)) in rows
    ]
    for E in tables:
        scale = E.std() / size
        for id, row in known:
            E[id] = scale * vectors[row]
    return f"{len(known):,} of {len(tokenizer):,} words have a vector in {file}"


def class_probabilities(model: Any, ids: "Sequences") -> "NDArray":
    """P(label | text) of each text, (N, classes); texts of about one length go together."""
    import numpy as np

    from minillm import ops

    probabilities = np.empty((len(ids), model.config.classes))
    order = np.argsort(-ids.lengths, kind="stable")
    while len(order):
        together = max(1, min(BATCH, TOKENS // max(1, ids.lengths[order[0]])))
        rows, order = order[:together], order[together:]
        logits, _ = model.forward(*ids.padded(rows))
        probabilities[rows], _ = ops.softmax(logits)
    return probabilities


def classified(probabilities: "NDArray", labels: Sequence[str]) -> "list[Classified]":
    """The labels for rows of probabilities (N, classes)."""
    from minillm.runs.run import Classified

    found = []
    for row in probabilities.tolist():
        ranked = sorted(zip(row, labels, strict=True), key=lambda entry: -entry[0])
        probability, label = ranked[0]
        found.append(Classified(label, probability, {name: p for p, name in ranked}))
    return found


def class_results(
    name: str, probabilities: "NDArray", classes: "NDArray", labels: Sequence[str]
) -> Results:
    """The measures of every classifier.

    In the confusion matrix, each row is a label, each column what was predicted.
    """
    import numpy as np

    from minillm import metrics

    matrix = metrics.confusion_matrix(probabilities.argmax(axis=1), classes, len(labels))
    of_actual = probabilities[np.arange(len(classes)), classes]
    return {
        "data": name,
        "items": len(classes),
        "nats_per_item": float(-np.log(np.maximum(of_actual, 1e-300)).mean()),
        "accuracy": metrics.accuracy(matrix),
        "macro_f1": metrics.macro_f1(matrix),
        "labels": list(labels),
        "confusion": matrix.tolist(),
    }
