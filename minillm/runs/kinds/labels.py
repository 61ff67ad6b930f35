"""Classifiers: of texts (a bag of n-grams, a recurrent network, a fine-tuned model), of images."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm import metrics, ops
from minillm.data import Minibatches, Sequences, registry
from minillm.data.labelled import Labelled, labels_of, read_labelled
from minillm.data.sequences import batches_in_order
from minillm.data.splits import Split
from minillm.errors import InputError, missing_extra
from minillm.formats.format import Contents
from minillm.models.bag_of_ngrams import Bag, BagConfig
from minillm.models.classifier import CLASSIFIER_POOLINGS, Classifier, ClassifierConfig
from minillm.models.fine_tuned import (
    ENCODER_POOLINGS,
    ENCODERS,
    PREFIX,
    FineTuned,
    FineTunedConfig,
)
from minillm.models.image_classifier import ImageClassifier, ImageClassifierConfig
from minillm.models.vectors import Vectors
from minillm.option import option, with_default
from minillm.runs.kind import Data, EvalData, Given, Kind, Results, Training, open_parts
from minillm.runs.kinds.texts import recorded, vocabulary_for
from minillm.runs.load import load, run_of
from minillm.runs.run import Run
from minillm.runs.settings import (
    LENGTHS,
    EvalOptions,
    LabelledSettings,
    LoRASettings,
    VocabularySettings,
    config_from,
    of_data,
    of_init,
    of_text,
    of_validation,
    settings,
)
from minillm.text import UNITS, Vocabulary, split_words
from minillm.text.ngrams import GROUPS, hashed_ngrams
from minillm.training import Summary
from minillm.training.minibatches import ClassificationTask, balanced_weights, fingerprint

BATCH = 64  # texts that are classified together
TOKENS = 2048  # the most tokens of these
LEAST_STEPS = 400  # of a training whose length is not given
MOST = 100_000  # training texts that TF-IDF learns from: more of them take minutes

Read = Callable[[str, str], list[int]]  # a text, and its place in messages -> its ids
Examples = tuple[Sequences | NDArray, NDArray[np.integer]]  # inputs, and the class of each


class Classified(NamedTuple):
    """The predicted label of one text or image."""

    label: str
    probability: float
    probabilities: dict[str, float]  # of every label, the most probable first


class LabelRun(Run):
    """A run that labels texts."""

    item = "text"

    def classify(self, items: Any, places: Sequence[str] | None = None) -> Any:
        """The label of each text, or of each image (its pixels, 0 to 1), as Classified.

        ``places`` name the items in error messages.
        """
        if isinstance(items, str) or getattr(items, "ndim", 2) == 1:
            return self.classify([items], places)[0]
        names = places or [f"{self.item} {number}" for number in range(1, len(items) + 1)]
        found = []
        for row in self.probabilities(self.inputs(items, names)).tolist():
            by_label = zip(self.data["labels"], row, strict=True)
            ranked = sorted(by_label, key=lambda entry: -entry[1])
            found.append(Classified(*ranked[0], dict(ranked)))
        return found

    def inputs(self, items: Sequence[Any], places: Sequence[str]) -> Any:
        """The inputs of the model: of texts the ids."""
        read = reader_of(self)
        return Sequences(read(text, place) for text, place in zip(items, places, strict=True))

    def probabilities(self, inputs: Any) -> NDArray:
        """P(label | text) of each text, (N, classes), in batches of similar length."""
        probabilities = np.empty((len(inputs), self.model.config.classes))
        order = np.argsort(-inputs.lengths, kind="stable")
        for rows in batches_in_order(order, inputs.lengths, rows=BATCH, tokens=TOKENS):
            logits, _ = self.model.forward(*inputs.padded(rows))
            probabilities[rows], _ = ops.softmax(logits)
        return probabilities

    def measure(self, data: EvalData, options: EvalOptions) -> Results:
        """Accuracy, macro-F1 and the confusion matrix; beside them, the accuracy of TF-IDF."""
        name, texts = data.items(read_labelled, options.part, partial(open_data, self.data))
        results = self.results(name, *encode_texts(texts, reader_of(self), self.data["labels"]))
        if options.beside:
            results["tfidf_accuracy"] = tfidf_accuracy(self.data, texts)
        return results

    def results(self, name: str, inputs: Any, classes: NDArray) -> Results:
        """The measures of every classifier.

        In the confusion matrix, each row is a label, each column a prediction.
        """
        probabilities, labels = self.probabilities(inputs), self.data["labels"]
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


# --- labelled texts ------------------------------------------------------------------------------


def open_data(data: Data) -> Split[Labelled]:
    """The labelled texts of a file or a folder.  InputError for a run that was imported."""
    return open_parts("labelled", data)


def reader_of(owner: LabelRun | Training) -> Read:
    """A function from a text to the ids of its first tokens, for the owner's model.

    A bag has ids of n-grams.  For a fine-tuned BERT or encoder, the tokens are between [CLS] and
    [SEP]; for a GPT or a Llama, EOS follows if the vocabulary has it.
    """
    config, longest = owner.model.config, owner.settings.max_length
    if isinstance(config, BagConfig):
        return lambda text, place: hashed_ngrams(split_words(text)[:longest], config.buckets)
    tokenizer = owner.vocabularies["tokenizer"]
    front: list[int] = []
    behind: list[int] = []
    if isinstance(config, FineTunedConfig):
        encoder = ENCODERS[config.kind]
        ends = (getattr(tokenizer, name, None) for name in (encoder.opened_by, encoder.closed_by))
        front, behind = ([] if token is None else [token] for token in ends)
        longest = min(longest, getattr(config.encoder, "context", longest))
    most = longest - len(front) - len(behind)
    return lambda text, place: [*front, *tokenizer.encode(text, place)[:most].tolist(), *behind]


def encode_texts(
    texts: Iterable[Labelled], read: Read, labels: Sequence[str]
) -> tuple[Sequences, NDArray[np.int64]]:
    """The ids of each text, and the number of its label.

    InputError for a label that is not among ``labels``.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    ids, classes = Sequences(), []
    for count, (label, text) in enumerate(texts, start=1):
        if label not in numbers:
            known = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
            raise InputError(f"text {count}: expected a label among {known}; found {label!r}")
        ids.append(read(text, f"text {count}"))
        classes.append(numbers[label])
    return ids, np.array(classes, np.int64)


# --- TF-IDF, to compare with ---------------------------------------------------------------------


def tfidf_accuracy(data: Data, texts: Sequence[Labelled]) -> float | str:
    """The accuracy of TF-IDF, fitted to the training texts of a run; or why there is none."""
    try:
        training = open_data(data)["training"]
        if len(training) > MOST:
            return f"not measured: it is for {MOST:,} training texts at most"
        return by_tfidf(training, texts)
    except InputError as error:
        return f"not measured: {error}"


def by_tfidf(training: Sequence[Labelled], held_out: Sequence[Labelled]) -> float:
    """The accuracy of logistic regression on the TF-IDF of words and pairs of words."""
    try:  # here, because it is optional, and takes 1,500 ms
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
    except ImportError:
        raise missing_extra("TF-IDF", "metrics") from None
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")
    model = make_pipeline(words, LogisticRegression(C=10, max_iter=1000))
    model.fit([text for _, text in training], [label for label, _ in training])
    return float(model.score([text for _, text in held_out], [label for label, _ in held_out]))


# --- training ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TextClassifierSettings(LabelledSettings):
    """Settings of every classifier of texts."""

    data: str | None = of_data("lines label<TAB>text, or a folder for each label")
    validation: str | None = of_validation(
        "texts to measure on (default: every tenth of each label)", "DATA"
    )
    max_length: int = of_text(400, "read the first N tokens of a text", "N", least=1, most=100_000)
    epochs: int | None = with_default(
        LabelledSettings, "epochs", 10, default_help="10; for few texts, enough for 400 steps"
    )
    warmup: float = 0.05


def with_enough_epochs(training: Training, given: Given) -> Any:
    """The settings with a length that fits the data.

    For few texts, there are enough epochs for ``LEAST_STEPS`` steps.
    """
    settings = training.settings
    if any(given.get(name) is not None for name in LENGTHS):
        return settings
    texts = len(open_data(training.data)["training"])
    steps = math.ceil(texts / (settings.batch * settings.accumulate))
    epochs = max(settings.epochs, math.ceil(LEAST_STEPS / steps))
    patience = settings.patience
    if given.get("patience") is None:
        patience = max(patience, epochs // 6)
    return replace(settings, epochs=epochs, patience=patience)


def read_texts(training: Training, texts: Split[Labelled]) -> tuple[Sequences, NDArray[np.int64]]:
    """Read the texts for the training's model.  -> those to train on, and their classes"""
    training.info["labels"] = tuple(labels_of(texts))
    read, parts = reader_of(training), {}
    for part in ("training", "validation"):
        parts[part] = encode_texts(texts[part], read, training.info["labels"])
        training.notes.append(f"{len(parts[part][1]):,} {part} texts")
    training.record(fingerprint(parts["training"]), training.data["data"], "the data have")
    set_task(training, parts["training"], parts["validation"], "text")
    return parts["training"]


def set_task(training: Training, examples: Examples, held_out: Examples, unit: str) -> None:
    """Make the task of a classifier, with minibatches for training and validation."""
    settings, model = training.settings, training.model
    batches = [Minibatches(part, settings.batch, settings.seed) for part in (examples, held_out)]
    weights, baseline = None, metrics.frequency_loss(examples[1], held_out[1])
    if settings.class_weights == "balanced":
        weights = balanced_weights(examples[1], model.config.classes).astype(model.dtype)
        baseline = math.log(model.config.classes)
    training.task = ClassificationTask(model, batches[0], batches[1], weights)
    training.unit, training.baseline = unit, baseline


def accuracies(training: Training, summary: Summary) -> Iterator[str]:
    """Yield the accuracy, and the accuracy of TF-IDF with logistic regression."""
    if not summary.interrupted:
        results = load(training.folder.path).evaluate(beside=True)
        tfidf = results["tfidf_accuracy"]
        yield f"accuracy {results['accuracy']:.1%} of {results['items']:,} validation texts"
        yield "accuracy of TF-IDF with logistic regression: " + (
            tfidf if isinstance(tfidf, str) else f"{tfidf:.1%}"
        )


label_kind = partial(
    Kind,
    complete=with_enough_epochs,
    closing=accuracies,
    takes=("labels",),
    info=("labels",),
    eval_options=("part", "beside"),
    run=LabelRun,
)


# --- a bag of n-grams ----------------------------------------------------------------------------


def prepare_bag(training: Training) -> None:
    """Make a bag with the weights of naive Bayes: hashed n-grams need no vocabulary."""
    texts = open_data(training.data)
    config = config_from(training.settings, BagConfig, classes=len(labels_of(texts)))
    training.model = Bag(config, training.rng)
    ids, classes = read_texts(training, texts)
    training.model.begin_with_counts(ids.ids, ids.lengths, classes)


CLASSIFIER = label_kind(
    name="classifier",
    description="""\
Train a classifier to label texts: a file of lines label<TAB>text, or a folder with a subfolder of
text files for each label. Every tenth text of each label is held out. It reads n-grams of words and
of characters, trains in seconds, and is hard to beat.""",
    examples="""\
  minillm train classifier reviews.tsv --out runs/reviews
  minillm train classifier topics/ --out runs/topics --class-weights balanced

then: minillm classify DIR, minillm eval DIR""",
    model=Bag,
    config=BagConfig,
    settings=settings(
        TextClassifierSettings,
        config=BagConfig,
        sizes="buckets",
        buckets={"help": f"a multiple of {GROUPS}", "least": GROUPS, "most": 10**8, "rare": True},
        max_length={"default": 2000, "help": "read the first N words of a text"},
        optimiser={"default": "sgd"},
        learning_rate=1.0,
    ),
    vocabularies={},
    prepare=prepare_bag,
)


# --- a recurrent network -------------------------------------------------------------------------


def with_width_of_vectors(training: Training, given: Given) -> Any:
    """The settings with an embedding as wide as the word vectors."""
    settings = with_enough_epochs(training, given)
    if not settings.vectors:
        return settings
    width = open_vectors(settings.vectors).vectors.shape[1]
    if given.get("embedding") not in (None, width):
        expected = f"the vectors of {settings.vectors} have {width} numbers each"
        raise InputError(f"{expected}, found {settings.embedding}", "embedding")
    return replace(settings, embedding=width)


def prepare_recurrent(training: Training) -> None:
    """Make a model of the words of the texts; a run to resume has had the word vectors."""
    settings, texts = training.settings, open_data(training.data)
    learned_from, held_out = (
        (text for _, text in texts[part]) for part in ("training", "validation")
    )
    tokenizer = vocabulary_for(training, settings.unit, learned_from, held_out)
    sizes = {"vocabulary": len(tokenizer), "classes": len(labels_of(texts))}
    config = config_from(settings, ClassifierConfig, **sizes)
    training.model = Classifier(config, training.rng)
    training.vocabularies = {"tokenizer": tokenizer}
    if settings.vectors and training.stored is None:
        training.notes.append(start_from_vectors(training.model, tokenizer, settings.vectors))
    read_texts(training, texts)


@cache
def open_vectors(path: str) -> Vectors:
    """The word vectors of a run of word2vec, or of a file in its format."""
    return load(path).vectors


def start_from_vectors(model: Classifier, tokenizer: Vocabulary, path: str) -> str:
    """Put the vectors of known words into a fresh model's embedding; return a line about them.

    All are scaled by one factor, so that they have the variance of the fresh embeddings.
    """
    vectors, E, known = open_vectors(path), model.params["embedding.E"], 0
    scale = E.std() / (vectors.vectors.std() or 1)
    for token in range(len(tokenizer)):
        row = vectors.ids.get(tokenizer.show(token))
        if row is not None:
            E[token] = scale * vectors.vectors[row]
            known += 1
    return f"{known:,} of {len(tokenizer):,} words have a vector in {path}"


RECURRENT_CLASSIFIER = label_kind(
    name="recurrent-classifier",
    description="""\
Train a recurrent network to label texts, from the data of `train classifier`. It may be better
where the order of many words or characters matters.""",
    examples="""\
  minillm train recurrent-classifier names.tsv --out runs/names --unit character --hidden 64
  minillm train recurrent-classifier reviews.tsv --out runs/reviews --vectors vectors.bin
  minillm train recurrent-classifier topics/ --out runs/topics --pooling attention

then: minillm classify DIR, minillm eval DIR""",
    model=Classifier,
    config=ClassifierConfig,
    settings=settings(
        VocabularySettings,
        TextClassifierSettings,
        config=ClassifierConfig,
        sizes="cell layers hidden embedding pooling dropout",
        layers={"most": 64},
        hidden={"help": "width of a layer, in each direction"},
        embedding={"default_help": "128, or the width of the --vectors"},
        pooling={
            "help": "the pooling of all steps' outputs to one vector",
            "choices": CLASSIFIER_POOLINGS,
        },
        unit=(str, of_text("word", "the tokens of a text", choices=tuple(UNITS))),
        vectors=(
            str | None,
            of_init(None, "begin with the word vectors of a file or a run of word2vec", "FILE"),
        ),
        learning_rate=2e-3,
    ),
    complete=with_width_of_vectors,
    prepare=prepare_recurrent,
)


# --- a fine-tuned model --------------------------------------------------------------------------

# Learning rates: large models need smaller ones, and LoRA, which trains few weights, larger ones.
RATE, LORA_RATE = 0.04, 0.4  # of a Transformer of width 1: divided by its width
RECURRENT_RATE, RECURRENT_LORA_RATE = 0.005, 0.01
LONGEST = 400  # tokens of a text, where the model to begin with sets no limit


def begin_with_encoder(kind: Kind, initial: Run, given: Given) -> dict[str, object]:
    """The settings that depend on the model to begin with.  InputError without an encoder."""
    if initial.kind.name not in (*ENCODERS, kind.name):
        raise InputError(
            f"RUN: expected a run of {', '.join(ENCODERS)} or {kind.name}, found one of "
            f"{initial.kind.name} in {initial.path}"
        )
    name, encoder = encoder_in(initial)
    lora, context = given.get("lora_rank"), getattr(encoder, "context", None)
    if context is None:  # recurrent
        rate, batch = RECURRENT_LORA_RATE if lora else RECURRENT_RATE, 32
    else:
        rate, batch = (LORA_RATE if lora else RATE) / encoder.width, 16
    if initial.kind is kind:
        pooling, longest = initial.config.pooling, initial.settings.max_length
    else:
        pooling = initial.data.get("pooling") or ENCODERS[name].pooling
        longest = min(initial.data.get("longest") or LONGEST, context or LONGEST, LONGEST)
    return {"learning_rate": rate, "batch": batch, "pooling": pooling, "max_length": longest}


def encoder_in(run: Run) -> tuple[str, Any]:
    """The kind and the config of a run's encoder, which may be the whole run."""
    return getattr(run.config, "kind", run.kind.name), getattr(run.config, "encoder", run.config)


def prepare_tuning(training: Training) -> None:
    """Make a model with the encoder's sizes; its weights are taken later."""
    settings, initial, texts = training.settings, training.initial, open_data(training.data)
    assert initial is not None
    name, encoder = encoder_in(initial)
    config = config_from(
        settings,
        FineTunedConfig,
        kind=name,
        encoder=replace(encoder, dropout=settings.dropout, **ENCODERS[name].headless),
        classes=len(labels_of(texts)),
        head=getattr(initial.config, "head", None),
    )
    tokenizer = recorded(training, initial.tokenizer, training.data["init"])
    training.model = FineTuned(config, training.rng)
    training.vocabularies = {"tokenizer": tokenizer}
    read_texts(training, texts)


def names_in_encoder(initial: Run, data: Data) -> dict[str, str]:
    """The encoder's weights; with the same labels, the last layer, too."""
    if not isinstance(initial.model, FineTuned):
        return {name: f"{PREFIX}{name}" for name in initial.model.params}
    same = list(initial.data["labels"]) == list(data["labels"])
    kept = (PREFIX, "head.")
    return {n: n for n in initial.model.params if same or n.startswith(kept)}


def imported(kind: Kind, contents: Contents, file: str) -> Run:
    """A run of a classifier of another program."""
    config = contents.model.config
    settings = kind.settings(
        max_length=contents.facts["longest"] or config.encoder.context,
        pooling=config.pooling,
        batch=16,
        learning_rate=RATE / config.encoder.width,
    )
    return run_of(kind, contents, file, settings, {"labels": list(contents.facts["labels"])})


FINETUNED = label_kind(
    name="finetuned",
    description="""\
Fine-tune a model to label texts. RUN is a bert, an encoder, a gpt, a llama or an lm, or a
classifier made from one. DATA is a file of lines label<TAB>text, or a folder with a subfolder of
text files for each label; every tenth text of each label is held out. All weights are trained, or
with --freeze only the upper layers, or with --lora-rank only small updates to the matrices.
`minillm train chat` and `minillm train preferences` have the options for conversations.""",
    examples="""\
  minillm finetune runs/bert reviews.tsv --out runs/reviews
  minillm finetune runs/gpt reviews.tsv --out runs/reviews2 --lora-rank 8
  minillm finetune runs/lm few.tsv --out runs/few --freeze encoder

then: minillm classify DIR, minillm eval DIR, minillm merge DIR --out DIR2 (of LoRA)""",
    model=FineTuned,
    config=FineTunedConfig,
    settings=settings(
        TextClassifierSettings,
        LoRASettings,
        config=FineTunedConfig,
        sizes="pooling dropout label_smoothing",
        init={
            "help": f"the run to begin with: of {', '.join(ENCODERS)} or finetuned",
            "metavar": "RUN",
            "positional": True,
        },
        max_length={"default_help": "400, or what RUN can read"},
        pooling={
            "help": "the pooling of all tokens' outputs to one vector",
            "choices": tuple(ENCODER_POOLINGS),
            "default_help": "last of a gpt or llama, max of an lm, mean of a bert or encoder",
        },
        batch={"default_help": "16, of a recurrent RUN 32"},
        learning_rate={
            "default_help": "0.04 / width, with LoRA 0.4 / width; of a recurrent RUN 0.005 and 0.01"
        },
        epochs={"default": 4, "default_help": "4; for few texts, enough for 400 steps"},
        warmup=0.1,
    ),
    padded=True,
    prepare=prepare_tuning,
    begin=begin_with_encoder,
    names_from=names_in_encoder,
    imported=imported,
)


# --- images ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImageSettings(LabelledSettings):
    """The settings of a classifier of images."""

    data: str = option(
        "digits", "the built-in set", "DATA", choices=("digits",), positional=True, data=True
    )


class ImageRun(LabelRun):
    """A run that labels images."""

    item = "image"

    def inputs(self, items: Sequence[Any], places: Sequence[str]) -> NDArray:
        """The images (N, pixels): each is numbers, or a line of them."""
        pixels = self.config.pixels
        images = [
            read_image(item, place, pixels) for item, place in zip(items, places, strict=True)
        ]
        return np.array(images, self.model.dtype).reshape(-1, pixels)

    def probabilities(self, inputs: NDArray) -> NDArray:
        """P(label | image) of each image, (N, classes)."""
        return ops.softmax(self.model.forward(inputs)[0])[0]

    def measure(self, data: EvalData, options: EvalOptions) -> Results:
        """Accuracy, macro-F1 and the confusion matrix."""
        if data.title:
            raise InputError("FILE: images are measured on the built-in set only (part)")
        part, name = options.part or "validation", self.data["data"]
        images, classes = registry.open_data("images", name).part(part)
        return self.results(f"{name}, {part}", images, classes)


def read_image(item: Any, place: str, pixels: int) -> list[float]:
    """The pixels of an image: numbers, or a line of them.

    InputError, with its place, for anything else.
    """
    try:
        image = [float(number) for number in (item.split() if isinstance(item, str) else item)]
    except (TypeError, ValueError):
        image = []
    if len(image) != pixels or not all(0 <= pixel <= 1 for pixel in image):
        raise InputError(f"{place}: expected an image: {pixels} numbers from 0 to 1")
    return image


def prepare_images(training: Training) -> None:
    """The images for training and validation, in minibatches."""
    digits = registry.open_data("images", training.data["data"])
    sizes = {"pixels": digits.images.shape[1], "classes": len(digits.labels)}
    config = config_from(training.settings, ImageClassifierConfig, **sizes)
    training.model = ImageClassifier(config, training.rng)
    training.info["labels"] = tuple(digits.labels)
    set_task(training, digits.part("training"), digits.part("validation"), "image")


IMAGE_CLASSIFIER = Kind(
    name="image-classifier",
    description="""\
Train a feed-forward network to recognise handwritten digits of 8 by 8 pixels, from
scikit-learn's bundled set (it needs the package scikit-learn).""",
    examples="""\
  minillm train image-classifier digits --out runs/digits
  minillm eval runs/digits --part test""",
    model=ImageClassifier,
    config=ImageClassifierConfig,
    settings=settings(ImageSettings, config=ImageClassifierConfig, sizes="hidden dropout"),
    run=ImageRun,
    prepare=prepare_images,
    vocabularies={},
    info=("labels",),
    eval_options=("part",),
)
