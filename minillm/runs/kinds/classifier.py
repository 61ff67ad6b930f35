"""``classifier``: a label for each text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from minillm.errors import InputError
from minillm.runs.kind import Evaluation, Kind, Parts, Results
from minillm.runs.settings import (
    LabelFacts,
    LabelledSettings,
    RecurrenceSettings,
    VocabularySettings,
    option,
    with_default,
)
from minillm.runs.text import vocabulary_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from minillm.data import Sequences
    from minillm.runs.run import Classified, Run
    from minillm.text import Vocabulary

BATCH = 64  # texts that are classified together


@dataclass(frozen=True)
class Settings(VocabularySettings, RecurrenceSettings, LabelledSettings):
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
        choices=("last", "mean", "max", "attention"),
    )
    cell: str = with_default(RecurrenceSettings, "cell", "gru")
    hidden: int = with_default(
        RecurrenceSettings, "hidden", 128, help="width of a layer, in each direction"
    )
    embedding: int | None = option(
        None,
        "width of the embedding",
        "D",
        least=1,
        most=65536,
        default_help="128, or as wide as the --vectors",
    )
    vectors: str | None = option(
        None,
        "start the embedding from word vectors in word2vec's format, text or binary, as "
        "`minillm export` writes them; its width is theirs",
        "FILE",
        default_help="",
    )
    forward_only: bool = option(False, "read in one direction, not in both")
    dropout: float = with_default(RecurrenceSettings, "dropout", 0.3)
    learning_rate: float = with_default(LabelledSettings, "learning_rate", 2e-3)


class ClassifierKind(Kind):
    """A recurrence over a text that predicts its label."""

    name = "classifier"
    year = 2016
    help = "a text classifier: sentiment, topic, language"
    description = """\
Train a recurrent network to label texts: a file of lines label<TAB>text, or a folder that has
a folder of text files for each label. Every tenth text of each label is held out."""
    examples = """\
  minillm train classifier reviews.tsv --out runs/reviews
  minillm train classifier topics/ --out runs/topics --pooling attention --patience 10
  minillm train classifier names.tsv --out runs/names --unit character --hidden 64
  minillm train classifier reviews.tsv --out runs/reviews2 --vectors vectors.bin

then: minillm classify DIR, minillm eval DIR"""
    settings = Settings
    facts = LabelFacts

    def types(self) -> tuple[type, type]:
        """The model and its config."""
        from minillm.models.classifier import Classifier, ClassifierConfig

        return Classifier, ClassifierConfig

    def prepare(
        self, settings: Settings, data: dict[str, Any], rng: "np.random.Generator"
    ) -> Parts:
        """The vocabulary of the texts, and minibatches for training and validation."""
        from minillm.data import Minibatches
        from minillm.metrics import frequency_loss
        from minillm.text import build_vocabulary
        from minillm.training.minibatches import ClassificationTask, fingerprint

        texts = open_data(data)
        tokenizer = vocabulary_for(
            settings,
            data,
            settings.unit,
            lambda: build_vocabulary(
                (text for _, text in texts.texts("training")),
                settings.unit,
                settings.minimum_count,
                settings.vocabulary,
                held_out=(text for _, text in texts.texts("validation")),
            ),
        )
        columns, notes = {}, []
        for part in ("training", "validation"):
            columns[part] = encode_texts(
                texts.texts(part), tokenizer, texts.labels, settings.max_length
            )
            notes.append(f"{len(columns[part][1]):,} {part} texts")
        found = fingerprint(columns["training"])
        resumed = "sha256" in data  # then the word vectors have been used already
        if data.setdefault("sha256", found) != found:
            raise InputError(f"{data['data']}: the data have changed since the run was started")
        data["labels"] = texts.labels

        model = self._new_model(settings, tokenizer, len(texts.labels), rng)
        if settings.vectors and not resumed:
            notes.append(start_from_vectors(model, tokenizer, settings.vectors))
        training, validation = (
            Minibatches(columns[part], settings.batch, settings.seed) for part in columns
        )
        task = ClassificationTask(model, training, validation)
        baseline = frequency_loss(*(classes for _, classes in columns.values()))
        return Parts(model, task, "text", {"tokenizer": tokenizer}, notes, baseline=baseline)

    def _new_model(
        self, settings: Settings, tokenizer: "Vocabulary", classes: int, rng: "np.random.Generator"
    ) -> Any:
        """The sizes that the settings say; the width of the embedding may be that of a file."""
        width = settings.embedding or 128
        if settings.vectors:
            _, vectors = read_vectors(settings.vectors)
            width = vectors.shape[1]
            if settings.embedding not in (None, width):
                raise InputError(
                    f"--embedding: the vectors of {settings.vectors} have {width} numbers each, "
                    f"found {settings.embedding}"
                )
        Model, _ = self.types()
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
        )
        return Model(config, rng)

    def classify(
        self, run: "Run", items: Sequence[str], places: Sequence[str] | None
    ) -> "list[Classified]":
        """See :meth:`minillm.runs.run.Run.classify`."""
        from minillm.data import Sequences

        ids = Sequences()
        for number, text in enumerate(items):
            place = places[number] if places else f"text {number + 1}"
            ids.append(run.tokenizer.encode(text, place)[: run.settings.max_length])
        return classified(class_probabilities(run.model, ids), run.data["labels"])

    def evaluate(self, run: "Run", asked: Evaluation) -> Results:
        """Accuracy, macro-F1 and the confusion matrix."""
        from minillm.data.labelled import read_labelled

        if asked.files:
            name = ", ".join(asked.files)
            texts = [text for file in asked.files for text in read_labelled(file)]
        elif asked.part == "test":
            raise InputError("--part: the data have no test part: give the FILE to measure on")
        else:
            name = f"{run.data['data']}, validation"
            texts = list(open_data(run.data).texts("validation"))
        labels = run.data["labels"]
        ids, classes = encode_texts(texts, run.tokenizer, labels, run.settings.max_length)
        return class_results(name, class_probabilities(run.model, ids), classes, labels)


def open_data(data: dict[str, Any]) -> Any:
    """The labelled texts of a file or a folder."""
    from minillm.data import registry

    if not data.get("data"):
        raise InputError("DATA: expected a file or a folder (see --help), found none")
    return registry.open_labelled(data["data"], data.get("validation"))


def encode_texts(
    texts: Iterable[tuple[str, str]], tokenizer: "Vocabulary", labels: Sequence[str], longest: int
) -> "tuple[Sequences, NDArray]":
    """The first ``longest`` ids of each text, and the number of its label.

    InputError for a label that is not among ``labels``, or a text without tokens.
    """
    import numpy as np

    from minillm.data import Sequences
    from minillm.text import unit_name

    numbers = {label: number for number, label in enumerate(labels)}
    ids, classes = Sequences(), []
    for count, (label, text) in enumerate(texts, start=1):
        if label not in numbers:
            known = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
            raise InputError(f"text {count}: expected a label among {known}; found {label!r}")
        encoded = tokenizer.encode(text, f"text {count}")[:longest]
        if len(encoded) == 0:
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

    All are scaled by one factor, so that their entries have variance 1, as those of the words
    without a vector do.
    """
    import numpy as np

    words, vectors = read_vectors(file)
    E = model.params["embedding.E"]
    rows = {word: row for row, word in enumerate(words)}
    scale = 1 / np.sqrt(np.mean(np.square(vectors)))
    known = [
        (id, rows[word]) for id in range(len(tokenizer)) if (word := tokenizer.show(id)) in rows
    ]
    for id, row in known:
        E[id] = scale * vectors[row]
    return f"{len(known):,} of {len(tokenizer):,} words have a vector in {file}"


def class_probabilities(model: Any, ids: "Sequences") -> "NDArray":
    """P(label | text) of each text, (N, classes); texts of about one length go together."""
    import numpy as np

    from minillm import ops

    probabilities = np.empty((len(ids), model.config.classes))
    order = np.argsort(ids.lengths, kind="stable")
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
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
