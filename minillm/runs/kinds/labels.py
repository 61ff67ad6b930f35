"""The shared parts of classifiers: labelled texts, and the measures of their labels."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from minillm import metrics, ops
from minillm.data import Minibatches, Sequences, registry
from minillm.data.batching import batches_in_order
from minillm.data.labelled import Labelled, LabelledData, labelled_lines
from minillm.errors import InputError
from minillm.formats.format import Contents
from minillm.formats.word2vec import read_vectors
from minillm.layers.recurrent import CELLS
from minillm.metrics import frequency_loss
from minillm.models.bag_of_ngrams import Bag, BagConfig
from minillm.models.base import LabelModel
from minillm.models.classifier import CLASSIFIER_POOLINGS, Classifier, ClassifierConfig
from minillm.models.fine_tuned import (
    ENCODER_POOLINGS,
    ENCODERS,
    PREFIX,
    FineTuned,
    FineTunedConfig,
)
from minillm.models.vectors import Vectors
from minillm.option import option
from minillm.runs.folder import RunFolder
from minillm.runs.kind import Data, Given, Job, Kind, Parts, Results, Vocabularies
from minillm.runs.kinds.language import save_imported
from minillm.runs.kinds.texts import recorded, require_initial, vocabulary_for
from minillm.runs.load import load
from minillm.runs.run import Classified, Run
from minillm.runs.settings import (
    LENGTHS,
    ComparedEvaluation,
    LabelFacts,
    LabelledSettings,
    LoRASettings,
    VocabularySettings,
    config_from,
    of_data,
    of_text,
    of_validation,
    size,
    with_default,
)
from minillm.text import UNITS, Vocabulary, build_vocabulary, split_words
from minillm.text.ngrams import GROUPS, hashed_ngrams
from minillm.training import Summary
from minillm.training.minibatches import ClassificationTask, balanced_weights, fingerprint

BATCH = 64  # texts that are classified together
TOKENS = 2048  # the most tokens of these
LEAST_STEPS = 400  # of a training whose length is not given
MOST = 100_000  # training texts that TF-IDF learns from: more of them take minutes

Read = Callable[[str, str], list[int]]  # a text, and its place in messages -> its ids


@dataclass(frozen=True)
class TextClassifierSettings(LabelledSettings):
    """Settings of every classifier of texts."""

    data: str | None = of_data("lines label<TAB>text, or a folder for each label")
    validation: str | None = of_validation(
        "texts to measure on (default: every tenth of each label)", "DATA"
    )
    max_length: int = of_text(400, "read the first N tokens of a text", "N", least=1, most=100_000)
    epochs: int | None = with_default(
        LabelledSettings,
        "epochs",
        10,
        default_help="10; for few texts, enough for 400 steps",
    )
    warmup: float = 0.05


class TextClassifierKind(Kind):
    """A classifier of texts.  A subclass defines its model, and a function from a text to ids."""

    takes: ClassVar[tuple[str, ...]] = ("labels",)
    facts = LabelFacts
    evaluation = ComparedEvaluation

    def new_model(
        self, job: Job, texts: LabelledData, rng: np.random.Generator
    ) -> tuple[LabelModel, Vocabularies]:
        """A model with fresh parameters, and its vocabularies by attribute."""
        raise NotImplementedError

    def reader(self, config: Any, settings: Any, vocabularies: Vocabularies) -> Read:
        """A function from a text to the ids of its first tokens."""
        encode = vocabularies["tokenizer"].encode
        return lambda text, place: encode(text, place)[: settings.max_length].tolist()

    def complete(self, settings: Any, given: Mapping[str, object], job: Job) -> Any:
        """The settings with a length that fits the data.

        For few texts, there are enough epochs for ``LEAST_STEPS`` steps.
        """
        if any(given.get(name) is not None for name in LENGTHS):
            return settings
        texts = sum(1 for _ in open_data(job.data).texts("training"))
        steps = math.ceil(texts / (settings.batch * settings.accumulate))
        epochs = max(settings.epochs, math.ceil(LEAST_STEPS / steps))
        patience = settings.patience
        if given.get("patience") is None:
            patience = max(patience, epochs // 6)
        return replace(settings, epochs=epochs, patience=patience)

    def prepare(self, job: Job, rng: np.random.Generator) -> Parts:
        """Read the texts, in minibatches for training and validation."""
        settings, data = job.settings, job.data
        texts = open_data(data)
        notes = texts.notes()
        model, vocabularies = self.new_model(job, texts, rng)
        read = self.reader(model.config, settings, vocabularies)
        columns = {}
        for part in ("training", "validation"):
            columns[part] = encode_texts(texts.texts(part), read, texts.labels)
            notes.append(f"{len(columns[part][1]):,} {part} texts")
        sha256 = fingerprint(columns["training"])
        job.record(sha256, data["data"], "the data have")
        parts = classification_parts(model, columns, settings, "text")
        facts = LabelFacts(labels=tuple(texts.labels))
        return replace(parts, vocabularies=vocabularies, notes=notes, facts=facts)

    def closing(self, job: Job, parts: Parts, summary: Summary) -> Iterator[str]:
        """Yield the accuracy, and the accuracy of TF-IDF with logistic regression."""
        if not summary.interrupted:
            results = load(job.folder.path).evaluate(beside=True)
            tfidf = results["tfidf_accuracy"]
            yield f"accuracy {results['accuracy']:.1%} of {results['items']:,} validation texts"
            yield "accuracy of TF-IDF with logistic regression: " + (
                tfidf if isinstance(tfidf, str) else f"{tfidf:.1%}"
            )

    def classify(
        self, run: Run, items: Sequence[str], places: Sequence[str] | None
    ) -> list[Classified]:
        """See :meth:`minillm.runs.run.Run.classify`."""
        read = self.reader(run.model.config, run.settings, run.vocabularies)
        names = places or [f"text {number}" for number in range(1, len(items) + 1)]
        ids = Sequences(read(text, place) for text, place in zip(items, names, strict=True))
        return classified(class_probabilities(run.model, ids), run.data["labels"])

    def evaluate(self, run: Run, given: Given, options: ComparedEvaluation) -> Results:
        """Accuracy, macro-F1 and the confusion matrix."""
        left_out = 0
        if given.title:
            name = given.title
            labelled = [one for file in given.files for one in labelled_lines(file)]
            texts = [(label, text) for label, text in labelled if text]
            left_out = len(labelled) - len(texts)
            if not texts:
                raise InputError(f"{name}: expected a label with a text, found none")
        elif options.part == "test":
            raise InputError("part: the data have no test part")
        elif not run.data.get("data"):
            raise InputError(
                f"{run.path}: it comes from {run.data.get('imported')}: give the text to measure "
                "it on as FILE"
            )
        else:
            name = f"{run.data['data']}, validation"
            texts = list(open_data(run.data).texts("validation"))
        labels = run.data["labels"]
        read = self.reader(run.model.config, run.settings, run.vocabularies)
        ids, classes = encode_texts(texts, read, labels)
        results = class_results(name, class_probabilities(run.model, ids), classes, labels)
        if left_out:
            results["left_out_without_text"] = left_out
        if options.beside:
            results["tfidf_accuracy"] = tfidf_accuracy(run, texts)
        return results


# --- data ------------------------------------------------------------------------------------


def open_data(data: Data) -> LabelledData:
    """The labelled texts of a file or a folder."""
    if not data.get("data"):
        raise InputError("DATA: expected a file or a folder, found none")
    return registry.open_labelled(data["data"], data.get("validation"))


def encode_texts(
    texts: Iterable[Labelled], read: Read, labels: Sequence[str]
) -> tuple[Sequences, NDArray[np.int64]]:
    """The ids of each text, and the number of its label.

    InputError for a label that is not among ``labels``, or a text without tokens.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    ids, classes = Sequences(), []
    frame = len(read("", ""))
    for count, (label, text) in enumerate(texts, start=1):
        if label not in numbers:
            known = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
            raise InputError(f"text {count}: expected a label among {known}; found {label!r}")
        encoded = read(text, f"text {count}")
        if len(encoded) == frame:
            raise InputError(f"text {count}: expected at least one token, found none")
        ids.append(encoded)
        classes.append(numbers[label])
    return ids, np.array(classes, np.int64)


def classification_parts(
    model: LabelModel,
    columns: Mapping[str, tuple[Sequences | NDArray, NDArray]],
    settings: LabelledSettings,
    unit: str,
) -> Parts:
    """The parts of a classifier's training, from the inputs and classes of each part."""
    training, validation = (
        Minibatches(columns[part], settings.batch, settings.seed)
        for part in ("training", "validation")
    )
    classes, held_out = columns["training"][1], columns["validation"][1]
    weights, baseline = None, frequency_loss(classes, held_out)
    if settings.class_weights == "balanced":
        weights = balanced_weights(classes, model.config.classes).astype(model.dtype)
        baseline = math.log(model.config.classes)
    task = ClassificationTask(model, training, validation, weights)
    return Parts(model, task, unit, baseline=baseline)


# --- measures --------------------------------------------------------------------------------


def class_probabilities(model: LabelModel, ids: Sequences) -> NDArray:
    """P(label | text) of each text, (N, classes), in batches of similar length."""
    probabilities = np.empty((len(ids), model.config.classes))
    order = np.argsort(-ids.lengths, kind="stable")
    for rows in batches_in_order(order, ids.lengths, rows=BATCH, tokens=TOKENS):
        logits, _ = model.forward(*ids.padded(rows))
        probabilities[rows], _ = ops.softmax(logits)
    return probabilities


def classified(probabilities: NDArray, labels: Sequence[str]) -> list[Classified]:
    """The labels for rows of probabilities (N, classes)."""
    results = []
    for row in probabilities.tolist():
        ranked = sorted(zip(row, labels, strict=True), key=lambda entry: -entry[0])
        probability, label = ranked[0]
        results.append(Classified(label, probability, {name: p for p, name in ranked}))
    return results


def class_results(
    name: str, probabilities: NDArray, classes: NDArray, labels: Sequence[str]
) -> Results:
    """The measures of every classifier.

    In the confusion matrix, each row is a label, each column a prediction.
    """
    matrix = metrics.confusion_matrix(probabilities.argmax(axis=1), classes, len(labels))
    of_actual = probabilities[np.arange(len(classes)), classes]
    return {
        "data": name,
        "items": len(classes),
        "nats_per_item": float(-np.log(np.maximum(of_actual, 1e-300)).mean()),
        **metrics.measure_classes(matrix),
        "labels": list(labels),
        "confusion": matrix.tolist(),
    }


def tfidf_accuracy(run: Run, texts: Sequence[Labelled]) -> float | str:
    """The accuracy of TF-IDF, fitted to the run's training texts; or why there is none."""
    if not has_sklearn():
        return "not measured: it needs the package scikit-learn"
    try:
        training = list(open_data(run.data).texts("training"))
    except InputError as error:
        return f"not measured: {error}"
    if len(training) > MOST:
        return f"not measured: it is for {MOST:,} training texts at most"
    return by_tfidf(training, texts)["accuracy"]


def has_sklearn() -> bool:
    """Whether scikit-learn is installed."""
    return find_spec("sklearn") is not None


def by_tfidf(training: Sequence[Labelled], held_out: Sequence[Labelled]) -> dict[str, float]:
    """The accuracy of logistic regression on the TF-IDF of words and pairs of words."""
    # Here, because it is optional, and takes 1,500 ms.
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")
    model = make_pipeline(words, LogisticRegression(C=10, max_iter=1000))
    model.fit([text for _, text in training], [label for label, _ in training])
    texts, labels = [text for _, text in held_out], [label for label, _ in held_out]
    return {"accuracy": float(model.score(texts, labels))}


@dataclass(frozen=True)
class ClassifierSettings(TextClassifierSettings):
    """The settings of a bag of n-grams."""

    max_length: int = with_default(
        TextClassifierSettings, "max_length", 2000, help="read the first N words of a text"
    )
    buckets: int = size(
        BagConfig,
        "buckets",
        f"buckets for the n-grams, a multiple of {GROUPS}",
        "N",
        least=GROUPS,
        most=10**8,
        rare=True,
    )
    learning_rate: float = 0.02


class ClassifierKind(TextClassifierKind):
    """A linear classifier of words, pairs and triples of words, and parts of words."""

    name = "classifier"
    description = """\
Train a classifier to label texts: a file of lines label<TAB>text, or a folder with a subfolder of
text files for each label. Every tenth text of each label is held out. The classifier reads n-grams
of words and of characters, trains in seconds, and is hard to beat. To begin with a pre-trained
model, see minillm finetune; for a recurrent network, minillm train recurrent-classifier."""
    examples = """\
  minillm train classifier reviews.tsv --out runs/reviews
  minillm train classifier topics/ --out runs/topics --class-weights balanced

then: minillm classify DIR, minillm eval DIR"""
    model = Bag
    config = BagConfig
    settings = ClassifierSettings
    vocabularies: ClassVar[dict[str, tuple[str, str]]] = {}

    def new_model(
        self, job: Job, texts: LabelledData, rng: np.random.Generator
    ) -> tuple[Bag, Vocabularies]:
        """A bag of zeros: hashed n-grams need no vocabulary."""
        return Bag(config_from(job.settings, BagConfig, classes=len(texts.labels)), rng), {}

    def reader(self, config: Any, settings: Any, vocabularies: Vocabularies) -> Read:
        """A function from a text to the buckets of its n-grams."""
        return lambda text, place: hashed_ngrams(
            split_words(text)[: settings.max_length], config.buckets
        )


@dataclass(frozen=True)
class RecurrentClassifierSettings(VocabularySettings, TextClassifierSettings):
    """The settings of a recurrent classifier."""

    unit: str = of_text(
        "word",
        "the tokens of a text: character, word, token (between spaces), bpe or wordpiece",
        choices=tuple(UNITS),
    )
    vectors: str | None = option(
        None,
        "initialise the embedding with word vectors: a file in word2vec's format, or a run of "
        "word2vec",
        "FILE",
        default_help="",
    )
    cell: str = size(ClassifierConfig, "cell", choices=tuple(CELLS))
    layers: int = size(ClassifierConfig, "layers", most=64)
    hidden: int = size(ClassifierConfig, "hidden", "width of a layer, in each direction")
    embedding: int = size(
        ClassifierConfig, "embedding", default_help="128, or the width of the --vectors"
    )
    forward_only: bool = option(False, "read in one direction, not in both", rare=True)
    pooling: str = size(
        ClassifierConfig,
        "pooling",
        "the pooling of all steps' outputs to one vector",
        choices=CLASSIFIER_POOLINGS,
    )
    dropout: float = size(ClassifierConfig, "dropout")
    learning_rate: float = 2e-3


class RecurrentClassifierKind(TextClassifierKind):
    """A recurrence over words, whose outputs are pooled."""

    name = "recurrent-classifier"
    description = """\
Train a recurrent network to label texts: a file of lines label<TAB>text, or a folder with a
subfolder of text files for each label. Every tenth text of each label is held out. If the order of
many words or characters matters, it may be better than minillm train classifier."""
    examples = """\
  minillm train recurrent-classifier names.tsv --out runs/names --unit character --hidden 64
  minillm train recurrent-classifier reviews.tsv --out runs/reviews --vectors vectors.bin
  minillm train recurrent-classifier topics/ --out runs/topics --pooling attention --patience 10

then: minillm classify DIR, minillm eval DIR"""
    model = Classifier
    config = ClassifierConfig
    settings = RecurrentClassifierSettings

    def complete(self, settings: Any, given: Mapping[str, object], job: Job) -> Any:
        """The settings with an embedding as wide as the word vectors."""
        settings = super().complete(settings, given, job)
        if not settings.vectors:
            return settings
        width = open_vectors(settings.vectors).vectors.shape[1]
        if given.get("embedding") not in (None, width):
            raise InputError(
                f"embedding: the vectors of {settings.vectors} have {width} numbers each, "
                f"found {settings.embedding}"
            )
        return replace(settings, embedding=width)

    def new_model(
        self, job: Job, texts: LabelledData, rng: np.random.Generator
    ) -> tuple[Classifier, Vocabularies]:
        """A model of the words of the texts; a run to resume has had the word vectors."""
        settings: RecurrentClassifierSettings = job.settings
        tokenizer = vocabulary_for(
            job,
            settings.unit,
            lambda: build_vocabulary(
                (text for _, text in texts.texts("training")),
                settings.unit,
                settings.minimum_count,
                settings.vocabulary,
                held_out=(text for _, text in texts.texts("validation")),
            ),
        )
        sizes = {"vocabulary": len(tokenizer), "classes": len(texts.labels)}
        config = config_from(
            settings, ClassifierConfig, bidirectional=not settings.forward_only, **sizes
        )
        model = Classifier(config, rng)
        if settings.vectors and job.stored is None:
            job.report(start_from_vectors(model, tokenizer, settings.vectors))
        return model, {"tokenizer": tokenizer}


@cache
def open_vectors(path: str) -> Vectors:
    """The word vectors of a file in word2vec's format, or of a run of word2vec."""
    return load(path).vectors if Path(path).is_dir() else Vectors(*read_vectors(path))


def start_from_vectors(model: Classifier, tokenizer: Vocabulary, path: str) -> str:
    """Put the vectors of known words into a fresh model's embedding; return a line about them.

    All are scaled by one factor, so that they have the variance of the fresh embeddings.
    """
    vectors, E = open_vectors(path), model.params["embedding.E"]
    size = max(np.sqrt(np.mean(np.square(vectors.vectors))), np.finfo(vectors.vectors.dtype).tiny)
    known = {
        token: vectors.ids[word]
        for token in range(len(tokenizer))
        if (word := tokenizer.show(token)) in vectors.ids
    }
    scale = E.std() / size
    for token, row in known.items():
        E[token] = scale * vectors.vectors[row]
    return f"{len(known):,} of {len(tokenizer):,} words have a vector in {path}"


# Learning rates: large models need smaller ones, and LoRA, which trains few weights, larger ones.
RATE, LORA_FACTOR = 0.04, 10  # of a Transformer of width 1: divided by its width
RECURRENT_RATE, RECURRENT_LORA_FACTOR = 0.005, 2
LONGEST = 400  # tokens of a text, where the model to begin with sets no limit


@dataclass(frozen=True)
class FineTunedSettings(TextClassifierSettings, LoRASettings):
    """The settings of fine-tuning."""

    init: str | None = with_default(
        LoRASettings,
        "init",
        None,
        help=f"the run to begin with: of {', '.join(ENCODERS)} or finetuned",
        metavar="RUN",
        positional=True,
    )
    max_length: int | None = with_default(  # type: ignore[assignment]
        TextClassifierSettings, "max_length", None, default_help="400, or what RUN can read"
    )
    pooling: str | None = option(
        None,
        "the pooling of all tokens' outputs to one vector",
        choices=tuple(ENCODER_POOLINGS),
        of_model=True,
        default_help="last of a gpt or llama, max of an lm, mean of a bert or encoder",
    )
    dropout: float = size(FineTunedConfig, "dropout")
    label_smoothing: float = size(FineTunedConfig, "label_smoothing")
    batch: int | None = with_default(  # type: ignore[assignment]
        TextClassifierSettings, "batch", None, default_help="16, of a recurrent RUN 32"
    )
    learning_rate: float | None = with_default(  # type: ignore[assignment]
        TextClassifierSettings,
        "learning_rate",
        None,
        default_help="0.04 / width, with LoRA 0.4 / width; of a recurrent RUN 0.005 and 0.01",
    )
    epochs: int | None = with_default(
        TextClassifierSettings, "epochs", 4, default_help="4; for few texts, enough for 400 steps"
    )
    warmup: float = 0.1


class FineTunedKind(TextClassifierKind):
    """An encoder that was trained without labels, and a new output layer."""

    name = "finetuned"
    description = """\
Fine-tune a model to label texts. RUN is a bert, an encoder, a gpt, a llama or an lm, which was
trained on texts without labels, or a classifier made from one. DATA is a file of lines
label<TAB>text, or a folder with a subfolder of text files for each label; every tenth text of each
label is held out. All weights are trained, or with --freeze only the upper layers, or with
--lora-rank only small updates to the matrices; then only these are saved. `minillm train chat` has
the options for conversations."""
    examples = """\
  minillm finetune runs/bert reviews.tsv --out runs/reviews
  minillm finetune runs/gpt reviews.tsv --out runs/reviews2 --lora-rank 8
  minillm finetune runs/lm few.tsv --out runs/few --freeze encoder

then: minillm classify DIR, minillm eval DIR, minillm merge DIR --out DIR2 (of LoRA)"""
    padded = True
    model = FineTuned
    config = FineTunedConfig
    settings = FineTunedSettings

    def init_defaults(self, initial: Run, given: Mapping[str, object]) -> dict[str, object]:
        """The settings that depend on the model to begin with.  InputError without an encoder."""
        if initial.kind.name not in (*ENCODERS, self.name):
            raise InputError(
                f"RUN: expected a run of {', '.join(ENCODERS)} or {self.name}, found one of "
                f"{initial.kind.name} in {initial.path}"
            )
        name, encoder = _encoder_of(initial)
        lora = given.get("lora_rank") is not None
        context, data = getattr(encoder, "context", None), initial.data
        if context is None:  # recurrent
            rate, batch = RECURRENT_RATE * (RECURRENT_LORA_FACTOR if lora else 1), 32
        else:
            rate, batch = RATE * (LORA_FACTOR if lora else 1) / encoder.width, 16
        pooling = data.get("pooling") or ENCODERS[name].pooling
        limits = (data.get("longest"), context, LONGEST)
        longest = min(limit for limit in limits if limit is not None)
        if initial.kind is self:
            pooling, longest = initial.model.config.pooling, initial.settings.max_length
        return {"learning_rate": rate, "batch": batch, "pooling": pooling, "max_length": longest}

    def complete(self, settings: Any, given: Mapping[str, object], job: Job) -> Any:
        """The settings with a length that fits the data.  InputError without a run."""
        require_initial(job)
        return super().complete(settings, given, job)

    tokenizer_options = ()  # the run brings its tokenizer

    def names_from(self, initial: Run, data: Data) -> dict[str, str]:
        """The encoder's weights; with the same labels, the last layer, too."""
        if initial.kind is not self:
            return {name: f"{PREFIX}{name}" for name in initial.model.params}
        same = list(initial.data["labels"]) == list(data["labels"])
        kept = (PREFIX, "head.")
        return {n: n for n in initial.model.params if same or n.startswith(kept)}

    def new_model(
        self, job: Job, texts: LabelledData, rng: np.random.Generator
    ) -> tuple[FineTuned, Vocabularies]:
        """A model with the encoder's sizes; its weights are taken later."""
        settings, initial = job.settings, job.initial
        assert initial is not None
        name, encoder = _encoder_of(initial)
        encoder = replace(encoder, dropout=settings.dropout, **ENCODERS[name].headless)
        try:
            config = FineTunedConfig(
                kind=name,
                encoder=encoder,
                classes=len(texts.labels),
                pooling=settings.pooling,
                head=getattr(initial.model.config, "head", None),
                dropout=settings.dropout,
                label_smoothing=settings.label_smoothing,
            )
        except ValueError as error:
            raise InputError(f"{initial.path}: {error}") from None
        tokenizer = recorded(job, initial.tokenizer, job.data["init"])
        return FineTuned(config, rng), {"tokenizer": tokenizer}

    def reader(self, config: Any, settings: Any, vocabularies: Vocabularies) -> Read:
        """A function from a text to the ids of its first tokens.

        For a BERT or an encoder, they are between [CLS] and [SEP]; for a GPT or a Llama, EOS
        follows if the vocabulary has it.
        """
        tokenizer, encoder = vocabularies["tokenizer"], ENCODERS[config.kind]
        ends = (getattr(tokenizer, name, None) for name in (encoder.opened_by, encoder.closed_by))
        front, behind = ([] if token is None else [token] for token in ends)
        longest = settings.max_length or LONGEST
        most = min(longest, getattr(config.encoder, "context", longest)) - len(front) - len(behind)
        return lambda text, place: [*front, *tokenizer.encode(text, place)[:most].tolist(), *behind]

    def import_model(self, contents: Contents, file: str, folder: RunFolder) -> str:
        """See :class:`minillm.runs.kind.Kind`: a classifier of another program."""
        config = contents.model.config
        settings = FineTunedSettings(
            max_length=contents.facts["longest"] or config.encoder.context,
            pooling=config.pooling,
            batch=16,
            learning_rate=RATE / config.encoder.width,
        )
        facts = {"labels": list(contents.facts["labels"])}
        line = save_imported(self, contents, file, folder, settings, facts)
        return f"{line}, {config.classes} labels"


def _encoder_of(run: Run) -> tuple[str, Any]:
    """The kind and the config of a run's encoder, which may be the whole run."""
    config = run.model.config
    if isinstance(config, FineTunedConfig):
        return config.kind, config.encoder
    return run.kind.name, config
