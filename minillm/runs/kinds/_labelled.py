"""The shared parts of classifiers: labelled texts, and the measures of their labels."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from minillm import metrics, ops
from minillm.data import Minibatches, Sequences, registry
from minillm.data.batching import batches_in_order
from minillm.data.labelled import Labelled, LabelledData, labelled_lines
from minillm.errors import InputError
from minillm.metrics import frequency_loss
from minillm.models.base import LabelModel
from minillm.runs.kind import Data, Given, Job, Kind, Parts, Results, Vocabularies
from minillm.runs.load import load
from minillm.runs.run import Classified, Run
from minillm.runs.settings import (
    LENGTHS,
    ComparedEvaluation,
    LabelFacts,
    LabelledSettings,
    of_data,
    of_text,
    of_validation,
    with_default,
)
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
        """A function from a text to the ids that the model reads."""
        raise NotImplementedError

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
        if summary.interrupted:
            return
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
            raise InputError("part: the data have no test part: give the FILE to measure on")
        elif not run.data.get("data"):
            origin = run.data.get("imported")
            raise InputError(
                f"{run.path}: it comes from {origin}: give the text to measure it on as FILE"
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
    if not run.data.get("data"):
        return "not measured: the training texts of an imported run are unknown"
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
